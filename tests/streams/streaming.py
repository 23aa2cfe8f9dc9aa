"""Where the results of an operation wait: helpers of its tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from msgspec import Raw

from doubles import RecordingGate, next_event
from gqlwire._streams.ready import Line, Turn
from gqlwire._streams.stream import EVENT_OVERHEAD, Buffer, EventStream, Overflow
from gqlwire.errors import TransportConnectionFailed

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
    return int(bytes(at_once(next_event(stream))))


def take_all(stream: EventStream) -> list[int]:
    return [take(stream) for _ in range(stream.buffered)]


def cost(*payloads: Raw) -> int:
    return sum(len(payload) + EVENT_OVERHEAD for payload in payloads)


def turn(*, awaited: bool = True) -> Turn:
    """A turn in a line of its own; `awaited` says whether somebody waits for it."""
    line = Line()
    if awaited:
        line.waiter = asyncio.Future(loop=_NO_LOOP)
    return Turn(line, 1)


def came(turn: Turn) -> bool:
    """Whether it has come, once, and the waiting task was woken up."""
    line = turn.line
    assert len(line.ready) <= 1
    assert line.waiter is None or line.waiter.done() == bool(line.ready)
    return [turn] == [*line.ready]


def again(stream: EventStream, turn: Turn) -> None:
    """Take a turn that has come out of its line, and have it line up again."""
    turn.item = None
    turn.line = Line()
    turn.line.waiter = asyncio.Future(loop=_NO_LOOP)
    stream.line_up(turn)
