"""Where the results of one operation wait for who asked for them.

`EventStream` for many, `Reply` for one. What is queued is the payload as it arrived. Both end
once, for one reason. This module knows no socket, no protocol and no GraphQL.

What a full stream may do is said by `Overflow`; it never grows without bound and never loses
anything that is not counted. Pausing the socket is the affair of a `Gate`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from msgspec import Raw

from gqlwire.errors import SlowConsumer, TransportError

EVENT_OVERHEAD = 136
"""Bytes that a queued event costs beside its payload: two object headers and the envelope."""


class Overflow(StrEnum):
    """What happens when events come faster than they are taken, and the buffer is full."""

    BLOCK = "block"
    """Stop reading the socket, so that the server waits, as long as nobody else on this
    connection waits for anything (an answer, an event, a pong). If somebody does, reading goes
    on; a stream that is then over its bound by a whole default `Buffer` ends with
    `SlowConsumer`."""
    DROP_OLDEST = "drop_oldest"
    """Drop the oldest events, and count them."""
    LATEST = "latest"
    """Keep only the newest event, and count the others."""
    ERROR = "error"
    """End the subscription with `SlowConsumer`, after the events that are buffered."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """How much may wait for a slow consumer: `events` at most, and `size` bytes at most.

    One event is always taken, however big it is. `size` counts what the events occupy in memory.
    """

    events: int = 65_536
    size: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.events < 1 or self.size < 1:
            raise ValueError("a buffer holds at least one event and one byte")


class Sink(Protocol):
    """What a connection puts the results of an operation into."""

    def put(self, payload: Raw) -> None:
        """Take one result. Called by the socket's reader, so it never waits."""
        ...

    def end(self, failure: TransportError | None) -> None:
        """Be over: in good order, or by `failure`. Only the first end counts."""
        ...


class Gate(Protocol):
    """What a stream may ask of the connection that feeds it."""

    def hold(self, stream: EventStream) -> None:
        """Stop reading, if that harms nobody: `stream` is full."""
        ...

    def release(self, stream: EventStream) -> None:
        """`stream` has room again."""
        ...

    def awaited(self, change: int) -> None:
        """Somebody begins (+1) or ceases (-1) to wait for what the socket brings."""
        ...


class EventStream:
    """The events of one operation, bounded, for one consumer.

    `delivered` and `dropped` count events; `buffered` and `buffered_size` (bytes) say what waits.
    `on_refusal` is called when it ends because it is full.
    """

    delivered: int
    dropped: int
    buffered_size: int
    on_refusal: Callable[[], None]

    def __init__(self, gate: Gate, buffer: Buffer, overflow: Overflow) -> None:
        self.delivered = 0
        self.dropped = 0
        self.buffered_size = 0
        self._gate = gate
        self._buffer = Buffer(1, buffer.size) if overflow is Overflow.LATEST else buffer
        self._overflow = overflow
        self.on_refusal = lambda: None
        self._payloads: deque[Raw] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._held = False
        self._over = False
        self._failure: TransportError | None = None

    @property
    def buffered(self) -> int:
        """How many events wait to be taken."""
        return len(self._payloads)

    @property
    def over(self) -> bool:
        """Whether it has ended; what is buffered can still be taken."""
        return self._over

    def put(self, payload: Raw) -> None:
        """Take one event."""
        if self._over:
            return
        self._payloads.append(payload)
        self.buffered_size += len(payload) + EVENT_OVERHEAD
        if self._is_full():
            self._on_full()
        if self._arrival is not None:
            self._wake()

    def end(self, failure: TransportError | None) -> None:
        """Be over: in good order, or by `failure`. Only the first end counts."""
        if self._over:
            return
        self._over = True
        self._failure = failure
        if self._held:
            # Nothing more comes for it, so there is nothing to hold back.
            self._held = False
            self._gate.release(self)
        if self._arrival is not None:
            self._wake()

    async def get(self) -> Raw:
        """Take the next event, waiting for it.

        Raises StopAsyncIteration at the end in good order, else the failure, each after the
        events that were buffered. Cancelling is safe: an event is taken or left, never lost.
        """
        while not self._payloads:
            if self._over:
                raise StopAsyncIteration if self._failure is None else replica(self._failure)
            await self._next_arrival()
        self.delivered += 1
        return self._take()

    def clear(self) -> None:
        """Forget what is buffered: nobody will take it."""
        self._payloads.clear()
        self.buffered_size = 0
        self._release_if_roomy()

    def _take(self) -> Raw:
        payload = self._payloads.popleft()
        self.buffered_size -= len(payload) + EVENT_OVERHEAD
        if self._held:
            self._release_if_roomy()
        return payload

    async def _next_arrival(self) -> None:
        if self._arrival is not None:
            raise RuntimeError("this subscription is being iterated by another task already")
        self._arrival = asyncio.get_running_loop().create_future()
        self._gate.awaited(+1)
        try:
            await self._arrival
        finally:
            self._arrival = None
            self._gate.awaited(-1)

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _is_full(self) -> bool:
        return len(self._payloads) > self._buffer.events or self.buffered_size > self._buffer.size

    def _on_full(self) -> None:
        if self._overflow is Overflow.BLOCK:
            self._held = True
            self._gate.hold(self)
            if self._is_twice_full():
                self._refuse()
        elif self._overflow is Overflow.ERROR:
            self._refuse()
        else:
            self._drop()

    def _is_twice_full(self) -> bool:
        # The bounds of `Buffer` come on top even of a tiny one: what one read of the socket
        # brings is not the consumer's fault.
        allowance = Buffer()
        return (
            len(self._payloads) > self._buffer.events + allowance.events
            or self.buffered_size > self._buffer.size + allowance.size
        ) and len(self._payloads) > 1

    def _refuse(self) -> None:
        if len(self._payloads) == 1:
            return
        newest = self._payloads.pop()
        self.buffered_size -= len(newest) + EVENT_OVERHEAD
        self.dropped += 1
        self.on_refusal()
        held, size = len(self._payloads), self.buffered_size
        self.end(
            SlowConsumer(
                f"the consumer is too slow: {held} events ({size} bytes) wait for it, and its "
                f"buffer has no room for more; see `buffer` and `overflow` of subscribe()",
                events=held,
                size=size,
            )
        )

    def _drop(self) -> None:
        while self._is_full() and len(self._payloads) > 1:
            oldest = self._payloads.popleft()
            self.buffered_size -= len(oldest) + EVENT_OVERHEAD
            self.dropped += 1

    def _release_if_roomy(self) -> None:
        # Half empty before reading goes on: a pause and a resumption per event would cost more
        # than the events.
        roomy = (
            len(self._payloads) <= self._buffer.events // 2
            and self.buffered_size <= self._buffer.size // 2
        )
        if self._held and roomy:
            self._held = False
            self._gate.release(self)


class Reply:
    """The one result of an operation that has one."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._payload: Raw | None = None
        self._over = False
        self._failure: TransportError | None = None
        self._arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, payload: Raw) -> None:
        """Take the result; the first one counts."""
        if self._payload is None and not self._over:
            self._payload = payload
            self._wake()

    def end(self, failure: TransportError | None) -> None:
        """Be over: in good order, or by `failure`. Only the first end counts."""
        if not self._over:
            self._over = True
            self._failure = failure
            self._wake()

    async def get(self) -> Raw | None:
        """Wait for the result; None if the operation ended without one.

        Raises the failure that ended it.
        """
        self._gate.awaited(+1)
        try:
            await self._arrival
        finally:
            self._gate.awaited(-1)
        if self._payload is None and self._failure is not None:
            raise replica(self._failure)
        return self._payload

    def _wake(self) -> None:
        if not self._arrival.done():
            self._arrival.set_result(None)


def replica(failure: TransportError) -> TransportError:
    """Return a copy of `failure` to raise.

    One failure reaches many waiters; each raising would write its traceback into the shared one.
    """
    duplicate = copy(failure)
    duplicate.__cause__ = failure.__cause__
    return duplicate
