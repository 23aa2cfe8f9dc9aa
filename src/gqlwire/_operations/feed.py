"""Running one operation on a connection: for one result (`ask`), or for all of them (`Feed`).

Whatever ends the caller's interest, the server is told of it exactly once. This module knows no
protocol and no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Raw, Struct, field

from gqlwire._connection.connection import Connection
from gqlwire._operations.event_timeout import Patience
from gqlwire._streams.buffer import Buffer, Overflow
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import EventStream
from gqlwire.errors import (
    TransportError,
    TransportProtocolError,
)
from gqlwire.errors.reasons import eventless


class Reconnected(Struct, frozen=True):
    """A subscription goes on, on a new connection; what happened meanwhile may be missing.

    `gap_seconds`: for how long it had no connection. `attempts`: how many it took. `failure`: why
    the last connection ended.
    """

    gap_seconds: float
    attempts: int
    failure: TransportError


class Terms(Struct, frozen=True):
    """How the results of an operation wait for who takes them: see `session.subscribe`."""

    buffer: Buffer = field(default_factory=Buffer)
    overflow: Overflow = Overflow.BLOCK
    first_event_timeout: float | None = None
    idle_timeout: float | None = None

    @classmethod
    def of(
        cls,
        buffer: Buffer | int | None,
        overflow: Overflow | str,
        first_event_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> Terms:
        """Return the terms as they are spelt in calls: a `buffer` may be a number of events."""
        if (buffer, overflow, first_event_timeout, idle_timeout) == _USUAL:
            return USUAL_TERMS  # one for all: there may be very many of them
        bound = Buffer(events=buffer) if isinstance(buffer, int) else (buffer or Buffer())
        return cls(bound, Overflow(overflow), first_event_timeout, idle_timeout)


_USUAL = (None, Overflow.BLOCK, None, None)
USUAL_TERMS = Terms()


class Feed:
    """The raw results of one operation, which starts when the first is asked for.

    `connection` returns what is to run it, or raises; `payload` is the request as JSON.
    """

    __slots__ = (
        "_connection",
        "_loop",
        "_patience",
        "_payload",
        "_running",
        "_terms",
        "id",
        "is_over",
        "stream",
    )

    def __init__(
        self,
        connection: Callable[[], Connection],
        payload: bytes,
        terms: Terms,
    ) -> None:
        self.id: str | None = None
        self.stream: EventStream | None = None
        self._connection = connection
        self._payload = payload
        self._terms = terms
        self._patience: Patience | None = None
        self.is_over: bool = False
        self._running: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def payload(self, item: Item) -> Raw | None:
        """Return the payload of an event that could not be read; None if it is none of ours.

        Raises TransportProtocolError, and ends the connection, if its message is no JSON.
        """
        if isinstance(item, Raw):
            return item
        if self._running is None or self.id is None:
            return None
        try:
            return self._running.routes.read(item, self.id)
        except TransportProtocolError as unreadable:
            self._running.failed(unreadable, code=1002)
            self.is_over = True
            # Nothing of what came after it would be there, had it been read when it came.
            if self.stream is not None:
                self.stream.clear()
            raise

    async def start(self) -> EventStream:
        """Start the operation, and return where its results arrive.

        Raises StopAsyncIteration if it was given up, or what keeps it from being started.
        """
        if self.is_over:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            connection = await self._roomy()
            if self.is_over:
                raise StopAsyncIteration
            if self.stream is not None:
                raise RuntimeError("this subscription is being started by another task already")
            stream = EventStream(connection.gate, self._terms.buffer, self._terms.overflow)
            self._begin(connection, stream, self._payload)
        except TransportError:
            self.is_over = True
            raise
        self._loop = loop
        self._watch(stream, begin)
        self.stream = stream
        return stream

    async def _roomy(self) -> Connection:
        """Return a connection that takes data."""
        connection = self._connection()
        await connection.ready_to_send()
        return connection

    def _begin(self, connection: Connection, stream: EventStream, payload: bytes) -> None:
        self.id = connection.start(payload, stream)
        self._running = connection
        stream.owner = self

    def overrun(self) -> None:
        """Tell the server to stop: the stream is full."""
        if self._running is not None and self.id is not None:
            self._running.stop(self.id)

    def keeps(self, failure: TransportError) -> bool:
        """Say that it ends with its connection."""
        del failure
        return False

    def _watch(self, stream: EventStream, begin: float) -> None:
        first, idle = self._terms.first_event_timeout, self._terms.idle_timeout
        if first is not None or idle is not None:
            self._patience = Patience(first, idle, begin, self._expire)
            self._patience.watch(stream)

    def _expire(self, limit: float, option: str) -> None:
        stream, host = self.stream, "" if self._running is None else self._running.host
        if stream is not None:
            self._stop_running()
            stream.end(eventless(host or "the server", limit, option))

    def end(self, stream: EventStream) -> Exception:
        """Return what to raise at the end: once the failure, if there was one."""
        ending = StopAsyncIteration() if self.is_over else stream.ending()
        self.is_over = True
        self._running = stream.owner = None
        if self._patience is not None:
            self._patience.stop()
        return ending

    def stop(self) -> None:
        """Give it up: the server is told, once, and what is buffered is dropped."""
        self.is_over = True
        if self._patience is not None:
            self._patience.stop()
        if self.stream is not None:
            self.stream.owner = None
            self.stream.end(None)
            self.stream.clear()
        self._stop_running()

    def _stop_running(self) -> None:
        running, self._running = self._running, None
        if running is not None and self.id is not None:
            running.stop(self.id)

    def stop_from_anywhere(self) -> None:
        """Give it up from a finalizer: in whatever thread, amid whatever is going on."""
        if not self.is_over and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.stop)


class Seam(Struct, frozen=True):
    """What a subscription wants where one connection ends and the next begins.

    `renew` returns the request, as JSON, to go on with; None is the first one again. `on_reconnect`
    is called, and with `is_marked` the same comes between the events. What does not survive ends
    with its connection.
    """

    renew: Callable[[], bytes] | None = None
    on_reconnect: Callable[[Reconnected], object] | None = None
    is_marked: bool = False
    survives: bool = True


USUAL_SEAM = Seam()
