"""Where results wait: in order, bounded, counted, and ended once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from doubles import RecordingGate, RecordingOwner, on_virtual_time, settle
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.ready import Line, Turn
from gqlwire._streams.reply import Reply
from gqlwire._streams.stream import EVENT_OVERHEAD, Buffer, EventStream, Overflow
from gqlwire.errors import SlowConsumer, TransportClosed, TransportConnectionFailed

ROOMY = Buffer(1_000, 1 << 20)
LOST = TransportConnectionFailed("lost", host="h:80")
MEGABYTE = Raw(bytes(1 << 20))


class _NoLoop(asyncio.AbstractEventLoop):
    """What a future wants that nobody awaits, and that has no callbacks."""

    def get_debug(self) -> bool:
        return False


_NO_LOOP = _NoLoop()


def stream_of(
    buffer: Buffer = ROOMY, overflow: Overflow = Overflow.BLOCK, gate: RecordingGate | None = None
) -> EventStream:
    return EventStream(gate or RecordingGate(), buffer, overflow)


def event(number: int) -> Raw:
    return Raw(b"%d" % number)


def fill(stream: EventStream, *numbers: int) -> None:
    for number in numbers:
        stream.put(event(number))


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def take(stream: EventStream) -> int:
    return int(bytes(at_once(stream.get())))


def take_all(stream: EventStream) -> list[int]:
    return [take(stream) for _ in range(stream.buffered)]


def cost(*payloads: Raw) -> int:
    return sum(len(payload) + EVENT_OVERHEAD for payload in payloads)


# --- Bounds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [(0, 1), (1, 0), (-1, 5), (5, -1)])
def test_a_buffer_without_room_is_an_error(bounds: tuple[int, int]) -> None:
    """It could never deliver anything."""
    with pytest.raises(ValueError, match="at least one event and one byte"):
        Buffer(*bounds)


def test_by_default_a_buffer_is_bounded_both_ways() -> None:
    """The numbers are those of the documentation."""
    assert (65_536, 16 * 1024 * 1024) == (Buffer().events, Buffer().size)


# --- In good order ---------------------------------------------------------------------------


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
async def test_who_waits_gets_the_event_when_it_comes() -> None:
    """And is counted as waiting until then."""
    gate = RecordingGate()
    stream = stream_of(gate=gate)
    taken = asyncio.ensure_future(stream.get())
    await settle()
    assert (False, 1) == (taken.done(), gate.waiting)

    fill(stream, 1)

    assert event(1) == await taken
    assert 0 == gate.waiting


@on_virtual_time
async def test_what_is_there_is_taken_without_waiting() -> None:
    """Nobody is counted as waiting for it."""
    gate = RecordingGate()
    stream = stream_of(gate=gate)
    fill(stream, 1, 2)

    assert [event(1), event(2)] == [await stream.get(), await stream.get()]
    assert (0, []) == (gate.waiting, gate.told)


@on_virtual_time
async def test_one_task_at_a_time_waits_for_events() -> None:
    """The second one is told so, and disturbs nothing."""
    gate = RecordingGate()
    stream = stream_of(gate=gate)
    first = asyncio.ensure_future(stream.get())
    await settle()

    with pytest.raises(RuntimeError, match="another task"):
        await stream.get()

    assert 1 == gate.waiting
    fill(stream, 1)
    assert event(1) == await first


@on_virtual_time
async def test_an_event_is_handed_to_the_one_who_waits() -> None:
    """Nobody takes it from them before they run; what came with it is there for anybody."""
    stream = stream_of()
    waiting = asyncio.ensure_future(stream.get())
    await settle()
    fill(stream, 1, 2)

    assert (1, 2) == (stream.buffered, take(stream))
    assert event(1) == await waiting
    assert 2 == stream.delivered


@on_virtual_time
async def test_an_event_is_not_lost_with_the_one_who_was_handed_it() -> None:
    """Who is cancelled before they could take it leaves it to the next, in its place."""
    stream = stream_of()
    waiting = asyncio.ensure_future(stream.get())
    await settle()
    fill(stream, 1, 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert (0, 2) == (stream.delivered, stream.buffered)
    assert [1, 2] == [take(stream), take(stream)]
    assert 2 == stream.delivered


@on_virtual_time
async def test_what_was_handed_and_left_is_counted() -> None:
    """Its bytes are, too."""
    stream = stream_of()
    waiting = asyncio.ensure_future(stream.get())
    await settle()
    fill(stream, 1)
    waiting.cancel()
    await settle()

    assert 1 == stream.buffered
    assert len(event(1)) + EVENT_OVERHEAD == stream.buffered_size


def turn(*, awaited: bool = True) -> Turn:
    """A turn in a line of its own, for which somebody waits, or nobody does."""
    line = Line()
    if awaited:
        line.waiter = asyncio.Future(loop=_NO_LOOP)
    return Turn(line, 1)


def came(turn: Turn) -> bool:
    """Whether it has come, once, and whoever waits was woken up."""
    line = turn.line
    assert len(line.ready) <= 1
    assert line.waiter is None or line.waiter.done() == bool(line.ready)
    return [turn] == [*line.ready]


def again(stream: EventStream, turn: Turn) -> None:
    """Take a turn that has come out of its line, and have it line up anew."""
    turn.item = None
    turn.line = Line()
    turn.line.waiter = asyncio.Future(loop=_NO_LOOP)
    stream.line_up(turn)


def test_who_lines_up_gets_the_first_event() -> None:
    """Once; the others are buffered, whether they come with it or later."""
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
def test_one_event_goes_along_without_a_queue(put: Any) -> None:
    """As an idle subscription is to be small: alone, or as the only one that came."""
    stream, mine = stream_of(), turn()
    stream.line_up(mine)
    put(stream, event(1))

    assert (True, event(1), event(1)) == (came(mine), mine.item, stream.untaken)
    assert (None, 1, 0) == (stream.items, stream.delivered, stream.buffered)


def test_who_has_had_a_turn_may_line_up_again() -> None:
    """Nothing of the empty buffer is kept meanwhile."""
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


def test_where_nobody_waits_events_stay_in_the_buffer() -> None:
    """Within the bounds; the turn comes with the first, and brings nothing along."""
    for put in (lambda stream: fill(stream, 1), lambda stream: stream.put_all([event(1)])):
        stream, mine = stream_of(Buffer(2), Overflow.DROP_OLDEST), turn(awaited=False)
        stream.line_up(mine)
        assert not stream.is_awaited
        put(stream)
        stream.put_all([event(2), event(3)])
        stream.end(None)

        assert (True, None, 1, [2, 3]) == (came(mine), mine.item, stream.dropped, take_all(stream))


def test_it_is_awaited_until_its_turn_has_come() -> None:
    """By whoever waits for the line."""
    stream, mine = stream_of(), turn()
    assert not stream.is_awaited

    stream.line_up(mine)
    assert stream.is_awaited
    fill(stream, 1)

    assert not stream.is_awaited


@on_virtual_time
async def test_nothing_is_taken_back_of_what_was_not_handed() -> None:
    """As of one who was cancelled while it waited, or was told of the end."""
    for ends in (False, True):
        stream = stream_of()
        arrival = stream.arrival()
        if ends:
            stream.end(None)
        assert stream.untaken is None
        stream.take_back()
        arrival.cancel()
        stream.take_back()
        stream.arrived()

        assert (0, 0, None) == (stream.buffered, stream.delivered, stream.items)


@pytest.mark.parametrize("others", [[], [2], [2, 3]])
@on_virtual_time
async def test_what_is_taken_back_is_counted_and_comes_first(others: list[int]) -> None:
    """Also where the buffer is full: one more event is no reason to lose any."""
    stream = stream_of(Buffer(2), Overflow.DROP_OLDEST)
    stream.arrival()
    fill(stream, 1, *others)
    assert event(1) == stream.untaken
    stream.take_back()
    stream.arrived()

    assert (0, 0, 1 + len(others)) == (stream.dropped, stream.delivered, stream.buffered)
    assert cost(*map(event, [1, *others])) == stream.buffered_size
    assert [1, *others] == take_all(stream)
    assert 0 == stream.buffered_size


def test_what_was_handed_and_is_forgotten_was_not_delivered() -> None:
    """Nor dropped: it was not for want of room."""
    stream = stream_of()
    stream.line_up(turn())
    fill(stream, 1, 2)
    stream.forget()

    assert (0, 0, 1) == (stream.delivered, stream.dropped, stream.buffered)


def test_what_is_handed_over_is_beside_the_buffer() -> None:
    """It does not count for the bounds, which begin with what comes after it."""
    gate = RecordingGate()
    stream = stream_of(Buffer(2), Overflow.BLOCK, gate)
    stream.line_up(turn())
    stream.put_all([event(n) for n in range(3)])
    assert ([], 2) == (gate.told, stream.buffered)

    fill(stream, 3)

    assert ["hold"] == gate.told


# --- Cancelling ------------------------------------------------------------------------------


@on_virtual_time
async def test_cancelling_a_wait_leaves_everything_as_it_was() -> None:
    """The next one gets the next event."""
    gate = RecordingGate()
    stream = stream_of(gate=gate)
    waiting = asyncio.ensure_future(stream.get())
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
        waiting = asyncio.ensure_future(stream.get())
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
                waiting = asyncio.ensure_future(stream.get())
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


# --- The end ---------------------------------------------------------------------------------


def test_the_end_comes_after_what_is_buffered() -> None:
    """In good order it is StopAsyncIteration, again and again."""
    stream = stream_of()
    fill(stream, 1, 2)
    stream.end(None)

    assert [1, 2] == take_all(stream)
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            at_once(stream.get())
    assert stream.over is True


def test_a_failure_comes_after_what_is_buffered() -> None:
    """Each raising is of a copy: one failure reaches many."""
    stream = stream_of()
    fill(stream, 1)
    stream.end(LOST)

    assert 1 == take(stream)
    caught = []
    for _ in range(2):
        with pytest.raises(TransportConnectionFailed, match="lost") as raised:
            at_once(stream.get())
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
        at_once(stream.get())


def test_a_failure_after_a_good_end_is_none() -> None:
    """The other way round."""
    stream = stream_of()
    stream.end(None)
    stream.end(LOST)

    with pytest.raises(StopAsyncIteration):
        at_once(stream.get())


def test_what_comes_after_the_end_is_ignored() -> None:
    """Neither kept nor counted."""
    stream = stream_of()
    stream.end(None)
    fill(stream, 1)

    assert (0, 0, 0) == (stream.buffered, stream.dropped, stream.buffered_size)


@pytest.mark.parametrize("failure", [None, LOST])
@on_virtual_time
async def test_who_waits_is_told_of_the_end_at_once(failure: TransportConnectionFailed) -> None:
    """Nobody waits for what will not come."""
    stream = stream_of()
    waiting = asyncio.ensure_future(stream.get())
    await settle()
    before = asyncio.get_running_loop().time()

    stream.end(failure)

    with pytest.raises(StopAsyncIteration if failure is None else TransportConnectionFailed):
        await waiting
    assert before == asyncio.get_running_loop().time()


def test_clearing_forgets_what_nobody_will_take() -> None:
    """Without counting it as dropped: it was not for want of room."""
    stream = stream_of()
    fill(stream, 1, 2)
    stream.clear()

    assert (0, 0, 0, 0) == (
        stream.buffered,
        stream.buffered_size,
        stream.dropped,
        stream.delivered,
    )


# --- What a full one does --------------------------------------------------------------------


@pytest.mark.parametrize("overflow", Overflow)
def test_a_buffer_holds_what_it_says(overflow: Overflow) -> None:
    """Nothing happens before it is over its bound."""
    gate = RecordingGate()
    bound = 1 if overflow is Overflow.LATEST else 3
    stream = stream_of(Buffer(3), overflow, gate)

    fill(stream, *range(bound))

    assert (bound, 0, False, []) == (stream.buffered, stream.dropped, stream.over, gate.told)


@pytest.mark.parametrize("overflow", Overflow)
def test_a_buffer_counts_bytes_as_well(overflow: Overflow) -> None:
    """Each event costs its payload and its overhead."""
    gate = RecordingGate()
    stream = stream_of(Buffer(10, cost(event(1), event(2))), overflow, gate)
    fill(stream, 1)
    if overflow is not Overflow.LATEST:
        fill(stream, 2)
    assert (0, False, []) == (stream.dropped, stream.over, gate.told)

    fill(stream, 3)

    happened = (stream.dropped, stream.over, gate.told)
    expected = {
        Overflow.BLOCK: (0, False, ["hold"]),
        Overflow.DROP_OLDEST: (1, False, []),
        Overflow.LATEST: (1, False, []),
        Overflow.ERROR: (1, True, []),
    }
    assert expected[overflow] == happened


@pytest.mark.parametrize("overflow", Overflow)
def test_one_event_is_always_taken_however_big_it_is(overflow: Overflow) -> None:
    """A bound of one byte loses nothing of a feed that is keeping up."""
    stream = stream_of(Buffer(5, 1), overflow)

    for _ in range(3):
        stream.put(MEGABYTE)
        assert (1, cost(MEGABYTE)) == (stream.buffered, stream.buffered_size)
        assert MEGABYTE == at_once(stream.get())

    assert (3, 0, False) == (stream.delivered, stream.dropped, stream.over)


def test_drop_oldest_keeps_the_newest_and_counts_the_others() -> None:
    """In order."""
    stream = stream_of(Buffer(3), Overflow.DROP_OLDEST)
    fill(stream, *range(10))

    assert (3, 7) == (stream.buffered, stream.dropped)
    assert [7, 8, 9] == take_all(stream)


def test_drop_oldest_makes_room_for_a_big_one() -> None:
    """As many go as must, and the newest stays."""
    stream = stream_of(Buffer(100, cost(MEGABYTE) - 1), Overflow.DROP_OLDEST)
    fill(stream, 1, 2, 3)
    stream.put(MEGABYTE)

    assert (1, 3, cost(MEGABYTE)) == (stream.buffered, stream.dropped, stream.buffered_size)


def test_latest_keeps_one() -> None:
    """Whatever the bound in events is."""
    stream = stream_of(Buffer(100), Overflow.LATEST)
    fill(stream, *range(10))

    assert (1, 9) == (stream.buffered, stream.dropped)
    assert 9 == take(stream)


def test_error_ends_it_after_what_is_buffered() -> None:
    """The error carries what the buffer held, and nothing was dropped before."""
    refused = []
    stream = stream_of(Buffer(3), Overflow.ERROR)
    stream.owner = RecordingOwner(lambda: refused.append(stream.over))
    fill(stream, 1, 2, 3, 4, 5)

    assert (3, 1, True) == (stream.buffered, stream.dropped, stream.over)
    # The server is told to stop before anybody hears of it, and once.
    assert [False] == refused
    assert [1, 2, 3] == take_all(stream)
    with pytest.raises(SlowConsumer, match=r"3 events \(411 bytes\).*`buffer` and `overflow`") as e:
        at_once(stream.get())
    assert (3, cost(event(1), event(2), event(3))) == (e.value.events, e.value.size)


# --- Block: when reading pauses --------------------------------------------------------------


def test_block_holds_when_full_and_releases_when_half_empty() -> None:
    """Not for each event: a pause costs more than it."""
    gate = RecordingGate()
    stream = stream_of(Buffer(4), Overflow.BLOCK, gate)
    fill(stream, *range(6))
    assert ["hold", "hold"] == gate.told

    told = []
    for _ in range(6):
        take(stream)
        told.append(gate.told[2:])

    assert [[], [], [], ["release"], ["release"], ["release"]] == told
    assert 0 == stream.dropped


def test_block_counts_bytes_for_the_release_as_well() -> None:
    """Half the bytes, too."""
    gate = RecordingGate()
    stream = stream_of(Buffer(100, cost(MEGABYTE)), Overflow.BLOCK, gate)
    stream.put(MEGABYTE)
    fill(stream, 1)
    at_once(stream.get())

    assert ["hold", "release"] == gate.told


@pytest.mark.parametrize("way", ["clear", "end"])
def test_a_stream_that_is_given_up_or_over_holds_nothing_back(way: str) -> None:
    """Others may read on."""
    gate = RecordingGate()
    stream = stream_of(Buffer(1), Overflow.BLOCK, gate)
    fill(stream, 1, 2)

    if way == "clear":
        stream.clear()
    else:
        stream.end(None)

    assert ["hold", "release"] == gate.told


def test_a_stream_that_was_never_full_releases_nothing() -> None:
    """There is nothing to release."""
    gate = RecordingGate()
    stream = stream_of(Buffer(4), Overflow.BLOCK, gate)
    fill(stream, 1, 2)
    stream.clear()
    stream.end(None)

    assert [] == gate.told


@pytest.mark.parametrize(
    ("buffer", "payload", "allowed"),
    [
        (Buffer(1), Raw(b"1"), 1 + 65_536),
        (Buffer(10), Raw(b"1"), 10 + 65_536),
        (Buffer(1, 1), MEGABYTE, 15),
        (Buffer(65_536, 8 << 20), MEGABYTE, 23),
    ],
    ids=["events", "more events", "bytes", "more bytes"],
)
def test_block_ends_it_when_it_is_over_its_bound_by_a_whole_buffer(
    buffer: Buffer, payload: Raw, allowed: int
) -> None:
    """Where reading had to go on for others, memory stays bounded all the same."""
    refused = []
    stream = stream_of(buffer, Overflow.BLOCK)
    stream.owner = RecordingOwner(lambda: refused.append(stream.over))
    for _ in range(allowed):
        stream.put(payload)
    assert (allowed, False, []) == (stream.buffered, stream.over, refused)

    stream.put(payload)

    assert (allowed, 1, True, [False]) == (stream.buffered, stream.dropped, stream.over, refused)
    for _ in range(allowed):
        at_once(stream.get())
    with pytest.raises(SlowConsumer) as caught:
        at_once(stream.get())
    assert (allowed, allowed * cost(payload)) == (caught.value.events, caught.value.size)


class Socket:
    """Where a `ReadGate` pauses and resumes."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.gate = ReadGate()
        self.gate.attach(
            lambda: self.told.append("pause"), lambda: self.told.append("resume"), lambda: False
        )


@on_virtual_time
async def test_block_pauses_the_socket_only_while_nobody_waits() -> None:
    """An answer that is waited for makes reading go on, though the stream is full."""
    socket = Socket()
    stream = EventStream(socket.gate, Buffer(2), Overflow.BLOCK)
    fill(stream, 1, 2, 3)
    assert ["pause"] == socket.told

    reply = Reply(socket.gate)
    answer = asyncio.ensure_future(reply.get())
    await settle()
    assert ["pause", "resume"] == socket.told

    # What comes before the answer is kept, beyond the bound.
    fill(stream, 4, 5)
    assert ["pause", "resume"] == socket.told
    reply.put(event(0))
    assert event(0) == await answer

    # Nobody waits any more.
    fill(stream, 6)
    assert ["pause", "resume", "pause"] == socket.told
    assert [1, 2, 3, 4, 5, 6] == take_all(stream)
    assert ["pause", "resume", "pause", "resume"] == socket.told


@on_virtual_time
async def test_a_full_stream_does_not_starve_the_consumer_of_another() -> None:
    """Who waits for events counts as well as who waits for an answer."""
    socket = Socket()
    slow = EventStream(socket.gate, Buffer(1), Overflow.BLOCK)
    quick = EventStream(socket.gate, Buffer(1), Overflow.BLOCK)
    fill(slow, 1, 2)

    waiting = asyncio.ensure_future(quick.get())
    await settle()
    assert ["pause", "resume"] == socket.told

    fill(quick, 3)
    assert event(3) == await waiting


@on_virtual_time
async def test_a_consumer_that_waits_for_its_own_stream_is_never_held_up() -> None:
    """It has emptied the buffer, so there is nothing to hold back."""
    socket = Socket()
    stream = EventStream(socket.gate, Buffer(1, 1), Overflow.BLOCK)
    taken: list[Raw] = []

    async def consume() -> None:
        while len(taken) < 10:
            taken.append(await stream.get())

    task = asyncio.ensure_future(consume())
    for number in range(10):
        fill(stream, number)
        await settle()
        assert not socket.gate.paused
    await task

    assert [event(number) for number in range(10)] == taken


# --- Any course of events, against a model ---------------------------------------------------

WAITS = object()
BLOBS = [Raw(bytes(size)) for size in (0, 1, 100, 6 << 20)]


class Model:
    """What a stream is supposed to do, said as simply as can be."""

    def __init__(self, buffer: Buffer, overflow: Overflow) -> None:
        self.overflow = overflow
        self.events = 1 if overflow is Overflow.LATEST else buffer.events
        self.size = buffer.size
        self.waiting: list[Raw] = []
        self.delivered = 0
        self.dropped = 0
        self.over = False
        self.failure: Any = None
        self.held = False
        self.told: list[str] = []

    def exceeds(self, events: int, size: int) -> bool:
        return len(self.waiting) > events or cost(*self.waiting) > size

    def put(self, payload: Raw) -> None:
        if self.over:
            return
        self.waiting.append(payload)
        if not self.exceeds(self.events, self.size):
            return
        match self.overflow:
            case Overflow.ERROR:
                self.refuse()
            case Overflow.BLOCK:
                self.held = True
                self.told.append("hold")
                if self.exceeds(self.events + 65_536, self.size + (16 << 20)):
                    self.refuse()
            case _:
                while self.exceeds(self.events, self.size) and len(self.waiting) > 1:
                    del self.waiting[0]
                    self.dropped += 1

    def refuse(self) -> None:
        if len(self.waiting) > 1:
            del self.waiting[-1]
            self.dropped += 1
            self.end(SlowConsumer)

    def end(self, failure: Any) -> None:
        if not self.over:
            self.over = True
            self.failure = failure
            self.release(always=True)

    def take(self) -> object:
        if self.waiting:
            self.delivered += 1
            payload = self.waiting.pop(0)
            self.release()
            return payload
        if self.over:
            return self.failure or StopAsyncIteration
        return WAITS

    def clear(self) -> None:
        self.waiting.clear()
        self.release()

    def release(self, *, always: bool = False) -> None:
        if self.held and (always or not self.exceeds(self.events // 2, self.size // 2)):
            self.held = False
            self.told.append("release")


def taken_of(stream: EventStream) -> object:
    coroutine = stream.get()
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    except (StopAsyncIteration, TransportConnectionFailed, SlowConsumer) as end:
        return type(end)
    coroutine.close()
    return WAITS


buffers = st.builds(
    Buffer, st.integers(1, 4), st.sampled_from([1, 150, 300, 1 << 20, 7 << 20, 1 << 30])
)
steps = st.one_of(
    st.tuples(st.just("put"), st.integers(0, len(BLOBS) - 1)),
    st.tuples(st.just("put"), st.integers(0, len(BLOBS) - 1)),
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.sampled_from(["end", "fail", "clear"]), st.just(0)),
)


@pytest.mark.parametrize("overflow", Overflow)
@settings(deadline=None)
@given(buffer=buffers, course=st.lists(steps, max_size=40))
@on_virtual_time
async def test_a_stream_does_what_its_model_does(
    overflow: Overflow, buffer: Buffer, course: list[tuple[str, int]]
) -> None:
    """Same events in the same order, same counts, same end, same words to the gate."""
    gate = RecordingGate()
    stream, model = EventStream(gate, buffer, overflow), Model(buffer, overflow)

    for step, blob in course:
        match step:
            case "put":
                # Equal payloads are told apart by identity.
                payload = Raw(BLOBS[blob])
                stream.put(payload)
                model.put(payload)
            case "take":
                assert model.take() is taken_of(stream)
            case "end":
                stream.end(None)
                model.end(None)
            case "fail":
                stream.end(LOST)
                model.end(TransportConnectionFailed)
            case "clear":
                stream.clear()
                model.clear()
        assert (model.delivered, model.dropped, model.over, len(model.waiting)) == (
            stream.delivered,
            stream.dropped,
            stream.over,
            stream.buffered,
        )
        assert cost(*model.waiting) == stream.buffered_size
        assert (model.told, 0) == (gate.told, gate.waiting)


# --- One result ------------------------------------------------------------------------------


@on_virtual_time
async def test_a_reply_is_the_first_result() -> None:
    """Others are not waited for, nor kept."""
    reply = Reply(RecordingGate())
    reply.put(event(1))
    reply.put(event(2))
    reply.end(LOST)

    assert event(1) == await reply.get()


@on_virtual_time
async def test_a_reply_is_waited_for_and_that_is_counted() -> None:
    """The gate must know."""
    gate = RecordingGate()
    reply = Reply(gate)
    waiting = asyncio.ensure_future(reply.get())
    await settle()
    assert 1 == gate.waiting

    reply.put(event(1))

    assert event(1) == await waiting
    assert 0 == gate.waiting


@on_virtual_time
async def test_a_good_end_without_a_result_is_none() -> None:
    """What to make of it is the caller's affair."""
    reply = Reply(RecordingGate())
    reply.end(None)
    reply.end(LOST)
    reply.put(event(1))

    assert await reply.get() is None


@on_virtual_time
async def test_a_failure_reaches_who_waits_for_a_reply_at_once() -> None:
    """As a copy of its own."""
    gate = RecordingGate()
    reply = Reply(gate)
    waiting = asyncio.ensure_future(reply.get())
    await settle()
    before = asyncio.get_running_loop().time()

    reply.end(LOST)
    reply.end(None)

    with pytest.raises(TransportConnectionFailed, match="lost") as caught:
        await waiting
    assert caught.value is not LOST
    assert (before, 0) == (asyncio.get_running_loop().time(), gate.waiting)


@on_virtual_time
async def test_cancelling_who_waits_for_a_reply_is_noted() -> None:
    """And what comes then harms nobody."""
    gate = RecordingGate()
    reply = Reply(gate)
    waiting = asyncio.ensure_future(reply.get())
    await settle()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert 0 == gate.waiting
    reply.put(event(1))
    reply.end(LOST)
