"""One live connection over a wire in memory: helpers of its tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from doubles import MemoryWire
from gqlwire._connection.connection import Connection
from gqlwire._connection.keepalive import Limits
from gqlwire._streams.reply import Reply
from gqlwire._streams.stream import Buffer, EventStream, Overflow
from spelling import REQUEST, says

if TYPE_CHECKING:
    from gqlwire._protocols import Dialect


HOST = "h.example:443"


ACK = says("connection_ack")


PING = says("ping")


PONG = says("pong")


KA = says("ka")


RESULT = {"data": {"n": 1}}


def opened(
    dialect: Dialect, *, answers_close: bool = True, **options: Any
) -> tuple[Connection, MemoryWire]:
    """Open a connection; the server has said nothing yet."""
    wire = MemoryWire(answers_close=answers_close)
    connection = Connection(dialect, host=HOST, **options)
    wire.handler = connection
    connection.opened(wire)
    return connection, wire


def acked(
    dialect: Dialect, *, answers_close: bool = True, **options: Any
) -> tuple[Connection, MemoryWire]:
    """Open a connection that the server has acknowledged; forget the messages so far."""
    connection, wire = opened(dialect, answers_close=answers_close, **options)
    hear(connection, ACK)
    wire.sent.clear()
    return connection, wire


def hear(connection: Connection, *messages: bytes) -> None:
    """Let the server say something, in one burst."""
    for message in messages:
        connection.received(message)
    connection.heard()


def subscribed(
    connection: Connection, buffer: Buffer | None = None, overflow: Overflow = Overflow.BLOCK
) -> tuple[str, EventStream]:
    stream = EventStream(connection.gate, buffer or Buffer(), overflow)
    return connection.start(REQUEST, stream), stream


def asked(connection: Connection) -> tuple[str, asyncio.Task[Raw | None]]:
    reply = Reply(connection.gate)
    id = connection.start(REQUEST, reply)
    return id, asyncio.ensure_future(reply.get())


def now() -> float:
    return asyncio.get_running_loop().time()


class Ending:
    """When, and how often, a connection ended."""

    def __init__(self) -> None:
        self.begun = now()
        self.times: list[float] = []

    def __call__(self, connection: Connection) -> None:
        assert connection.reason is not None
        self.times.append(now() - self.begun)

    @property
    def time(self) -> float:
        [time] = self.times
        return time


def we_close(connection: Connection) -> None:
    closing = asyncio.ensure_future(connection.close())
    closing.add_done_callback(asyncio.Future.result)


def dying(
    dialect: Dialect, limits: Limits, **options: Any
) -> tuple[Connection, MemoryWire, Ending]:
    ending = Ending()
    connection, wire = acked(dialect, limits=limits, on_end=ending, **options)
    return connection, wire, ending


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.name == "gqlwire.wire"]
