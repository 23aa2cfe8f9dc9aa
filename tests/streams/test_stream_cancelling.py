"""Where the results of an operation wait: cancelling."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from streaming import fill, stream_of, take, take_all

from doubles import RecordingGate, next_event, on_virtual_time, settle


@on_virtual_time
async def test_cancelling_a_wait_leaves_everything_as_it_was() -> None:
    """The next one gets the next event."""
    gate = RecordingGate()
    stream = stream_of(gate=gate)
    waiting = asyncio.ensure_future(next_event(stream))
    await settle()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert (0, 0) == (gate.waiting, stream.delivered)
    fill(stream, 1)
    assert 1 == take(stream)


@on_virtual_time
async def test_an_event_that_came_as_its_consumer_was_cancelled_is_not_lost() -> None:
    """It is taken or left, whichever of the two comes first."""
    for comes_first in ("event", "cancel"):
        stream = stream_of()
        waiting = asyncio.ensure_future(next_event(stream))
        await settle()

        if comes_first == "event":
            fill(stream, 1)
            waiting.cancel()
        else:
            waiting.cancel()
            fill(stream, 1)
        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert (1, 0) == (stream.buffered, stream.delivered)
        assert 1 == take(stream)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["put", "get", "cancel", "turn"]), max_size=40))
@on_virtual_time
async def test_no_course_of_cancelled_waits_loses_or_doubles_an_event(course: list[str]) -> None:
    """What was taken and what is left are together what came, in order."""
    stream, came, taken = stream_of(), 0, []
    waiting: asyncio.Future[Raw] | None = None

    def collect() -> None:
        nonlocal waiting
        if waiting is not None and waiting.done():
            if not waiting.cancelled():
                taken.append(int(bytes(waiting.result())))
            waiting = None

    for step in course:
        collect()
        match step:
            case "put":
                came += 1
                fill(stream, came)
            case "get" if waiting is None:
                waiting = asyncio.ensure_future(next_event(stream))
            case "cancel" if waiting is not None:
                waiting.cancel()
            case "turn":
                await asyncio.sleep(0)
    await settle()
    collect()
    if waiting is not None:
        waiting.cancel()
        await settle()

    assert list(range(1, came + 1)) == taken + take_all(stream)
