"""Where the results of an operation wait: in good order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from streaming import LOST, again, came, cost, event, fill, stream_of, take, take_all, turn

from doubles import RecordingGate, next_event, on_virtual_time, settle
from gqlwire._streams.stream import EVENT_OVERHEAD, Buffer, EventStream, Overflow
from gqlwire.errors import TransportConnectionFailed


def test_events_come_out_in_the_order_in_which_they_came() -> None:
    """And are counted on the way."""
    stream = stream_of()
    fill(stream, 1, 2, 3)
    assert (3, cost(*map(event, (1, 2, 3)))) == (stream.buffered, stream.buffered_size)

    assert [1, 2, 3] == take_all(stream)
    assert (3, 0, 0, 0) == (
        stream.delivered,
        stream.dropped,
        stream.buffered,
        stream.buffered_size,
    )


@on_virtual_time
async def test_a_waiting_step_gets_the_event_when_it_comes() -> None:
    """It is counted as waiting until then."""
    gate = RecordingGate()
    stream = stream_of(gate=gate)
    taken = asyncio.ensure_future(next_event(stream))
    await settle()
    assert (False, 1) == (taken.done(), gate.waiting)

    fill(stream, 1)

    assert event(1) == await taken
    assert 0 == gate.waiting


@on_virtual_time
async def test_buffered_events_are_taken_without_waiting() -> None:
    """No step is counted as waiting for them."""
    gate = RecordingGate()
    stream = stream_of(gate=gate)
    fill(stream, 1, 2)

    assert [event(1), event(2)] == [await next_event(stream), await next_event(stream)]
    assert (0, []) == (gate.waiting, gate.told)


@on_virtual_time
async def test_a_second_task_cannot_wait_for_events() -> None:
    """It raises RuntimeError, and disturbs nothing."""
    gate = RecordingGate()
    stream = stream_of(gate=gate)
    first = asyncio.ensure_future(next_event(stream))
    await settle()

    with pytest.raises(RuntimeError, match="another task"):
        await next_event(stream)

    assert 1 == gate.waiting
    fill(stream, 1)
    assert event(1) == await first


@on_virtual_time
async def test_an_event_is_handed_to_the_waiting_step() -> None:
    """Nobody else can take it; the events that came with it are there for anybody."""
    stream = stream_of()
    waiting = asyncio.ensure_future(next_event(stream))
    await settle()
    fill(stream, 1, 2)

    assert (1, 2) == (stream.buffered, take(stream))
    assert event(1) == await waiting
    assert 2 == stream.delivered


@on_virtual_time
async def test_a_cancelled_step_returns_its_event() -> None:
    """The next step gets it, in its place."""
    stream = stream_of()
    waiting = asyncio.ensure_future(next_event(stream))
    await settle()
    fill(stream, 1, 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert (0, 2) == (stream.delivered, stream.buffered)
    assert [1, 2] == [take(stream), take(stream)]
    assert 2 == stream.delivered


@on_virtual_time
async def test_a_returned_event_is_counted_as_buffered() -> None:
    """With its bytes."""
    stream = stream_of()
    waiting = asyncio.ensure_future(next_event(stream))
    await settle()
    fill(stream, 1)
    waiting.cancel()
    await settle()

    assert 1 == stream.buffered
    assert len(event(1)) + EVENT_OVERHEAD == stream.buffered_size


def test_a_turn_in_line_gets_the_first_event() -> None:
    """Once; the other events are buffered, whether they come with it or later."""
    stream, mine = stream_of(), turn()
    stream.line_up(mine)
    assert not came(mine)

    stream.put_all([event(1), event(2), event(3)])
    fill(stream, 4)

    assert (True, event(1)) == (came(mine), mine.item)
    assert (1, 3, cost(event(2), event(3), event(4))) == (
        stream.delivered,
        stream.buffered,
        stream.buffered_size,
    )
    assert [2, 3, 4] == take_all(stream)


@pytest.mark.parametrize(
    "put", [EventStream.put, lambda stream, item: stream.put_all([item])], ids=["alone", "only one"]
)
def test_a_single_event_needs_no_queue(put: Any) -> None:
    """An idle subscription is small. The event comes alone, or is the only one of its burst."""
    stream, mine = stream_of(), turn()
    stream.line_up(mine)
    put(stream, event(1))

    assert (True, event(1), event(1)) == (came(mine), mine.item, stream.untaken)
    assert (None, 1, 0) == (stream.items, stream.delivered, stream.buffered)


def test_a_turn_may_line_up_again() -> None:
    """The empty buffer is not kept in between."""
    stream, mine = stream_of(), turn()
    stream.line_up(mine)
    for number in range(3):
        fill(stream, number, number + 10)
        assert (True, event(number)) == (came(mine), mine.item)
        assert number + 10 == take(stream)

        again(stream, mine)
        assert stream.items is None
    assert 6 == stream.delivered


@on_virtual_time
async def test_only_one_waits_for_an_event() -> None:
    """Another one is told so, also when the first has got one; the first is not disturbed."""
    stream, mine = stream_of(), turn()
    stream.line_up(mine)
    for _ in range(2):
        for other in (lambda: stream.line_up(turn()), stream.arrival):
            with pytest.raises(RuntimeError, match="another task"):
                other()
        fill(stream, 1)
    assert (True, event(1), [1]) == (came(mine), mine.item, take_all(stream))

    stream = stream_of()
    waiting = stream.arrival()
    with pytest.raises(RuntimeError, match="another task"):
        stream.line_up(turn())
    fill(stream, 1)
    assert event(1) == waiting.result()


@pytest.mark.parametrize("failure", [None, LOST])
def test_the_end_has_a_turn(failure: TransportConnectionFailed) -> None:
    """With no event, whatever the end is; not where one is on its way, which comes first."""
    waiting, handed = stream_of(), stream_of()
    turns = turn(), turn()
    for stream, mine in zip((waiting, handed), turns, strict=True):
        stream.line_up(mine)
    fill(handed, 1)

    waiting.end(failure)
    handed.end(failure)
    waiting.put(event(2))

    assert [(True, None), (True, event(1))] == [(came(mine), mine.item) for mine in turns]
    assert [(0, 0), (1, 0)] == [(each.delivered, each.buffered) for each in (waiting, handed)]


def test_events_stay_in_the_buffer_if_nobody_waits() -> None:
    """Within the bounds; the turn comes with the first event, and has none."""
    for put in (lambda stream: fill(stream, 1), lambda stream: stream.put_all([event(1)])):
        stream, mine = stream_of(Buffer(2), Overflow.DROP_OLDEST), turn(awaited=False)
        stream.line_up(mine)
        assert not stream.is_awaited
        put(stream)
        stream.put_all([event(2), event(3)])
        stream.end(None)

        assert (True, None, 1, [2, 3]) == (came(mine), mine.item, stream.dropped, take_all(stream))


def test_a_stream_is_awaited_until_its_turn_has_come() -> None:
    """By the task that waits for the line."""
    stream, mine = stream_of(), turn()
    assert not stream.is_awaited

    stream.line_up(mine)
    assert stream.is_awaited
    fill(stream, 1)

    assert not stream.is_awaited


@on_virtual_time
async def test_taking_back_without_a_handed_event_does_nothing() -> None:
    """After a wait that was cancelled, or that the end of the stream ended."""
    for ends in (False, True):
        stream = stream_of()
        arrival = stream.arrival()
        if ends:
            stream.end(None)
        assert stream.untaken is None
        if not ends:
            arrival.cancel()
        assert stream.give_up(arrival) is None
        assert stream.give_up(arrival) is None

        assert (0, 0, None) == (stream.buffered, stream.delivered, stream.items)


@pytest.mark.parametrize("others", [[], [2], [2, 3]])
@on_virtual_time
async def test_an_event_that_is_taken_back_is_counted_and_comes_first(others: list[int]) -> None:
    """Also if the buffer is full: one more event is no reason to drop any."""
    stream = stream_of(Buffer(2), Overflow.DROP_OLDEST)
    arrival = stream.arrival()
    fill(stream, 1, *others)
    assert event(1) == stream.untaken
    item = stream.give_up(arrival)
    assert event(1) == item
    stream.put_back(item)

    assert (0, 0, 1 + len(others)) == (stream.dropped, stream.delivered, stream.buffered)
    assert cost(*map(event, [1, *others])) == stream.buffered_size
    assert [1, *others] == take_all(stream)
    assert 0 == stream.buffered_size


@pytest.mark.parametrize(("others", "expected"), [([], [1]), ([2], [2]), ([2, 3], [3])])
@on_virtual_time
async def test_an_event_that_is_taken_back_is_not_newer_than_the_latest(
    others: list[int], expected: list[int]
) -> None:
    """With `latest` it is dropped if a newer one is there, and counted."""
    stream = stream_of(overflow=Overflow.LATEST)
    arrival = stream.arrival()
    fill(stream, 1, *others)
    item = stream.give_up(arrival)
    assert item is not None
    stream.put_back(item)

    assert len(others) == stream.dropped
    assert expected == take_all(stream)
    assert 1 == stream.delivered


def test_a_forgotten_event_is_not_counted_as_delivered() -> None:
    """Nor as dropped: there was room for it."""
    stream = stream_of()
    stream.line_up(turn())
    fill(stream, 1, 2)
    stream.forget()

    assert (0, 0, 1) == (stream.delivered, stream.dropped, stream.buffered)


def test_a_handed_event_does_not_count_for_the_bounds() -> None:
    """They count from the event after it."""
    gate = RecordingGate()
    stream = stream_of(Buffer(2), Overflow.BLOCK, gate)
    stream.line_up(turn())
    stream.put_all([event(n) for n in range(3)])
    assert ([], 2) == (gate.told, stream.buffered)

    fill(stream, 3)

    assert ["hold"] == gate.told
