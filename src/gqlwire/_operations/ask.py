"""One operation that has one result, on one connection."""

from __future__ import annotations

import asyncio

from msgspec import Raw

from gqlwire._connection.connection import Connection
from gqlwire._payloads.request import OperationKind
from gqlwire._payloads.result import decode_result
from gqlwire._streams.reply import Reply
from gqlwire.errors import (
    TransportQueryError,
)
from gqlwire.errors.reasons import late


async def ask(
    connection: Connection,
    payload: bytes,
    kind: OperationKind,
    timeout: float | None,
    reply: Reply | None = None,
) -> Raw:
    """Run an operation and return its first result; `payload` is the request as JSON.

    `reply` is where it is to be awaited, for who wants to know what became of it.

    After a subscription the server is told to stop, as it is when the result itself announces more
    (`@defer`), and when the caller is cancelled or `timeout` seconds are over.

    Raises TransportQueryError if the server refuses the operation or ends it without a result,
    TransportProtocolError if the result is no JSON, OperationTimeout, or what ended the connection.
    """
    if reply is None:
        reply = Reply(connection.gate)
    if connection.is_clogged:
        return await _ask_when_there_is_room(connection, payload, kind, timeout, reply)
    id = connection.start(payload, reply)
    reply.is_started = True
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
        elif not reply.is_over:
            connection.forget(id)


async def _ask_when_there_is_room(
    connection: Connection,
    payload: bytes,
    kind: OperationKind,
    timeout: float | None,
    reply: Reply,
) -> Raw:
    # Rare, and the time that it takes is a part of the limit.
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            await connection.ready_to_send()
            return await ask(connection, payload, kind, None, reply)
    except TimeoutError:
        if not scope.expired():
            raise  # the connection's own
        raise late(connection.host, kind, timeout) from None


def _announces_more(answer: Raw) -> bool:
    # `in` would first try whether the text is a number, which takes longer than to look for it.
    return bytes(answer).find(b'"hasNext"') >= 0 and bool(decode_result(answer).has_next)
