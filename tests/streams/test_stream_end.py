"""Where the results of an operation wait: the end."""

from __future__ import annotations

import asyncio

import pytest
from streaming import LOST, at_once, fill, stream_of, take, take_all

from doubles import next_event, on_virtual_time, settle
from gqlwire.errors import TransportClosed, TransportConnectionFailed


def test_the_end_comes_after_buffered_events() -> None:
    """Without a failure it is StopAsyncIteration, again and again."""
    stream = stream_of()
    fill(stream, 1, 2)
    stream.end(None)

    assert [1, 2] == take_all(stream)
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            at_once(next_event(stream))
    assert stream.over


def test_a_failure_comes_after_buffered_events() -> None:
    """Each step raises a copy: one failure reaches many."""
    stream = stream_of()
    fill(stream, 1)
    stream.end(LOST)

    assert 1 == take(stream)
    caught = []
    for _ in range(2):
        with pytest.raises(TransportConnectionFailed, match="lost") as raised:
            at_once(next_event(stream))
        caught.append(raised.value)
    assert LOST not in caught
    assert caught[0] is not caught[1]
    assert LOST.__traceback__ is None


@pytest.mark.parametrize("later", [None, TransportClosed("closed")])
def test_only_the_first_end_counts(later: TransportClosed | None) -> None:
    """One end, for one reason."""
    stream = stream_of()
    stream.end(LOST)
    stream.end(later)

    with pytest.raises(TransportConnectionFailed, match="lost"):
        at_once(next_event(stream))


def test_a_failure_after_a_normal_end_is_ignored() -> None:
    """The other way round."""
    stream = stream_of()
    stream.end(None)
    stream.end(LOST)

    with pytest.raises(StopAsyncIteration):
        at_once(next_event(stream))


def test_events_after_the_end_are_ignored() -> None:
    """Neither kept nor counted."""
    stream = stream_of()
    stream.end(None)
    fill(stream, 1)

    assert (0, 0, 0) == (stream.buffered, stream.dropped, stream.buffered_size)


@pytest.mark.parametrize("failure", [None, LOST])
@on_virtual_time
async def test_the_end_interrupts_a_waiting_step(failure: TransportConnectionFailed) -> None:
    """Immediately."""
    stream = stream_of()
    waiting = asyncio.ensure_future(next_event(stream))
    await settle()
    before = asyncio.get_running_loop().time()

    stream.end(failure)

    with pytest.raises(StopAsyncIteration if failure is None else TransportConnectionFailed):
        await waiting
    assert before == asyncio.get_running_loop().time()


def test_clearing_drops_events_that_nobody_will_take() -> None:
    """They are not counted in `dropped`: the buffer had room for them."""
    stream = stream_of()
    fill(stream, 1, 2)
    stream.clear()

    assert (0, 0, 0, 0) == (
        stream.buffered,
        stream.buffered_size,
        stream.dropped,
        stream.delivered,
    )
