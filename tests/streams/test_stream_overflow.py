"""Where the results of an operation wait: what a full one does."""

from __future__ import annotations

import pytest
from streaming import MEGABYTE, at_once, cost, event, fill, stream_of, take, take_all

from doubles import RecordingGate, RecordingOwner, next_event
from gqlwire._streams.stream import Buffer, Overflow
from gqlwire.errors import SlowConsumer


@pytest.mark.parametrize("overflow", Overflow)
def test_nothing_happens_within_the_bounds_of_a_buffer(overflow: Overflow) -> None:
    """Whatever the overflow policy is."""
    gate = RecordingGate()
    bound = 1 if overflow is Overflow.LATEST else 3
    stream = stream_of(Buffer(3), overflow, gate)

    fill(stream, *range(bound))

    assert (bound, 0, False, []) == (stream.buffered, stream.dropped, bool(stream.over), gate.told)


@pytest.mark.parametrize("overflow", Overflow)
def test_a_buffer_counts_bytes_as_well(overflow: Overflow) -> None:
    """Each event costs its payload and its overhead."""
    gate = RecordingGate()
    stream = stream_of(Buffer(10, cost(event(1), event(2))), overflow, gate)
    fill(stream, 1)
    if overflow is not Overflow.LATEST:
        fill(stream, 2)
    assert (0, False, []) == (stream.dropped, bool(stream.over), gate.told)

    fill(stream, 3)

    happened = (stream.dropped, bool(stream.over), gate.told)
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
        assert MEGABYTE == at_once(next_event(stream))

    assert (3, 0, False) == (stream.delivered, stream.dropped, bool(stream.over))


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


def test_error_ends_the_stream_after_buffered_events() -> None:
    """The error carries what the buffer held, and nothing was dropped before."""
    refused = []
    stream = stream_of(Buffer(3), Overflow.ERROR)
    stream.owner = RecordingOwner(lambda: refused.append(bool(stream.over)))
    fill(stream, 1, 2, 3, 4, 5)

    assert (3, 1, True) == (stream.buffered, stream.dropped, bool(stream.over))
    # The server is told to stop before anybody hears of it, and once.
    assert [False] == refused
    assert [1, 2, 3] == take_all(stream)
    with pytest.raises(SlowConsumer, match=r"3 events \(411 bytes\).*`buffer` and `overflow`") as e:
        at_once(next_event(stream))
    assert (3, cost(event(1), event(2), event(3))) == (e.value.events, e.value.size)
