"""Running one operation on a connection: for one result (`ask`), or for all of them (`Feed`).

Whatever ends the caller's interest, the server is told of it exactly once. This module knows no
protocol and no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec import Raw

from gqlwire._connection import Connection
from gqlwire._endings import late
from gqlwire._replies import Reply
from gqlwire._sinks import Item
from gqlwire._streams import Buffer, EventStream, Overflow
from gqlwire.errors import TransportError, TransportProtocolError, TransportQueryError
from gqlwire.request import OperationKind
from gqlwire.results import decode_result


async def ask(
    connection: Connection, payload: bytes, kind: OperationKind, timeout: float | None
) -> Raw:
    """Run an operation and return its first result; `payload` is the request as JSON.

    After a subscription the server is told to stop, as it is when the result itself announces more
    (`@defer`), and when the caller is cancelled or `timeout` seconds are over.

    Raises TransportQueryError if the server refuses the operation or ends it without a result,
    TransportProtocolError if the result is no JSON, OperationTimeout, or what ended the connection.
    """
    if connection.is_clogged:
        return await _ask_when_there_is_room(connection, payload, kind, timeout)
    reply = Reply(connection.gate)
    id = connection.start(payload, reply)
    if timeout is not None:
        connection.deadlines.add(reply, timeout)
    must_stop = True
    try:
        answer = await reply.get()
        if answer is None and reply.is_expired:
            raise late(connection.host, kind, timeout)
        if answer is None:
            raise TransportQueryError("the server completed the operation without a result", id)
        must_stop = kind == "subscription" or _announces_more(answer)
        return answer
    finally:
        if timeout is not None:
            connection.deadlines.remove(reply, timeout)
        # An operation that is over is not stopped: the connection knows.
        if must_stop:
            connection.stop(id)
        else:
            connection.forget(id)


async def _ask_when_there_is_room(
    connection: Connection, payload: bytes, kind: OperationKind, timeout: float | None
) -> Raw:
    # Rare, and the time that it takes is a part of the limit.
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            await connection.ready_to_send()
            return await ask(connection, payload, kind, None)
    except TimeoutError:
        if not scope.expired():
            raise  # the connection's own
        raise late(connection.host, kind, timeout) from None


def _announces_more(answer: Raw) -> bool:
    return b'"hasNext"' in bytes(answer) and bool(decode_result(answer).has_next)


class Feed:
    """The raw results of one operation, which starts when the first is asked for.

    `connection` returns what is to run it, or raises; `payload` is the request as JSON.
    """

    __slots__ = (
        "_buffer",
        "_connection",
        "_loop",
        "_overflow",
        "_payload",
        "_running",
        "id",
        "is_over",
        "stream",
    )

    def __init__(
        self,
        connection: Callable[[], Connection],
        payload: bytes,
        buffer: Buffer,
        overflow: Overflow,
    ) -> None:
        self.id: str | None = None
        self.stream: EventStream | None = None
        self._connection = connection
        self._payload = payload
        self._buffer = buffer
        self._overflow = overflow
        self.is_over = False
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
        try:
            connection = self._connection()
            await connection.ready_to_send()
            if self.is_over:
                raise StopAsyncIteration
            if self.stream is not None:
                raise RuntimeError("this subscription is being started by another task already")
            stream = EventStream(connection.gate, self._buffer, self._overflow)
            id = connection.start(self._payload, stream)
        except TransportError:
            self.is_over = True
            raise
        stream.on_refusal = partial(connection.stop, id)
        self.id, self.stream = id, stream
        self._running = connection
        self._loop = asyncio.get_running_loop()
        return stream

    def end(self, stream: EventStream) -> Exception:
        """Return what to raise at the end: once the failure, if there was one."""
        ending = StopAsyncIteration() if self.is_over else stream.ending()
        self.is_over = True
        self._running = None
        return ending

    def stop(self) -> None:
        """Give it up: the server is told, once, and what is buffered is dropped."""
        self.is_over = True
        if self._running is None or self.id is None or self.stream is None:
            return
        self.stream.end(None)
        self.stream.clear()
        self._running.stop(self.id)
        self._running = None

    def stop_from_anywhere(self) -> None:
        """Give it up from a finalizer: in whatever thread, amid whatever is going on."""
        if self._running is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.stop)
