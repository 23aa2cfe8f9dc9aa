"""Running one operation on a connection: for one result (`ask`), or for all of them (`Feed`).

Whatever ends the caller's interest, the server is told of it exactly once. This module knows no
protocol and no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Raw

from gqlwire._connection import Connection
from gqlwire._streams import Buffer, EventStream, Overflow, Reply
from gqlwire.errors import TransportError, TransportQueryError
from gqlwire.results import ExecutionResult, decode_result


async def ask(connection: Connection, payload: bytes, *, streams: bool) -> ExecutionResult:
    """Run an operation and return its first result; `payload` is the request as JSON.

    `streams` says that more results may follow (a subscription): then the server is told to stop,
    as it is when the result itself announces more (`@defer`), and when the caller is cancelled.

    Raises TransportQueryError if the server refuses the operation or ends it without a result,
    TransportProtocolError if the result is none, or what ended the connection.
    """
    await connection.ready_to_send()
    reply = Reply(connection.gate)
    id = connection.start(payload, reply)
    must_stop = True
    try:
        answer = await reply.get()
        if answer is None:
            raise TransportQueryError("the server completed the operation without a result", id)
        result = decode_result(answer)
        must_stop = streams or bool(result.has_next)
        return result
    finally:
        # An operation that is over is not stopped: the connection knows.
        if must_stop:
            connection.stop(id)
        else:
            connection.forget(id)


class Feed:
    """The raw results of one operation, which starts when the first is asked for.

    `connection` returns what is to run it, or raises; `payload` is the request as JSON.
    """

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
        self._over = False
        self._running: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(self) -> Raw:
        """Wait for the next result.

        Raises StopAsyncIteration at the end, or what ended it: once; then StopAsyncIteration.
        """
        if self._over:
            raise StopAsyncIteration
        try:
            stream = self.stream or await self._start()
            return await stream.get()
        except (StopAsyncIteration, TransportError):
            self._over = True
            self._running = None
            raise

    async def _start(self) -> EventStream:
        connection = self._connection()
        await connection.ready_to_send()
        if self.stream is not None:
            raise RuntimeError("this subscription is being started by another task already")
        stream = EventStream(connection.gate, self._buffer, self._overflow)
        id = connection.start(self._payload, stream)
        stream.on_refusal = lambda: connection.stop(id)
        self.id, self.stream = id, stream
        self._running = connection
        self._loop = asyncio.get_running_loop()
        return stream

    def stop(self) -> None:
        """Give it up: the server is told, once, and what is buffered is dropped."""
        self._over = True
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
