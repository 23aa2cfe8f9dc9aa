"""Where the results of an operation wait: block: when reading pauses."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw
from streaming import MEGABYTE, at_once, cost, event, fill, stream_of, take, take_all

from doubles import RecordingGate, RecordingOwner, next_event, on_virtual_time, settle
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.reply import Reply
from gqlwire._streams.stream import Buffer, EventStream, Overflow
from gqlwire.errors import SlowConsumer


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
    at_once(next_event(stream))

    assert ["hold", "release"] == gate.told


@pytest.mark.parametrize("way", ["clear", "end"])
def test_a_stream_that_is_dropped_or_over_holds_nothing_back(way: str) -> None:
    """Reading resumes for the others."""
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
    stream.owner = RecordingOwner(lambda: refused.append(bool(stream.over)))
    for _ in range(allowed):
        stream.put(payload)
    assert (allowed, False, []) == (stream.buffered, bool(stream.over), refused)

    stream.put(payload)

    assert stream.over
    assert (allowed, 1, [False]) == (stream.buffered, stream.dropped, refused)
    for _ in range(allowed):
        at_once(next_event(stream))
    with pytest.raises(SlowConsumer) as caught:
        at_once(next_event(stream))
    assert (allowed, allowed * cost(payload)) == (caught.value.events, caught.value.size)


class Socket:
    """Where a `ReadGate` pauses and resumes."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.gate = ReadGate()
        told = self.told
        self.gate.attach(
            self, lambda: told.append("pause"), lambda: told.append("resume"), lambda: False
        )


@on_virtual_time
async def test_block_pauses_the_socket_only_while_nobody_waits() -> None:
    """Waiting for an answer resumes reading, though the stream is full."""
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

    waiting = asyncio.ensure_future(next_event(quick))
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
            taken.append(await next_event(stream))

    task = asyncio.ensure_future(consume())
    for number in range(10):
        fill(stream, number)
        await settle()
        assert not socket.gate.paused
    await task

    assert [event(number) for number in range(10)] == taken
