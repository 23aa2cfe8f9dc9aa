"""One operation with one result. It is sent again only where that does no harm."""

from __future__ import annotations

import asyncio

from msgspec import Raw

from gqlwire._connection.connection import Connection
from gqlwire._operations.feed import Link, roomy
from gqlwire._payloads.request import OperationKind
from gqlwire._payloads.result import decode_result
from gqlwire._streams.reply import Reply, State
from gqlwire.errors import OperationTimeout, TransportError, TransportQueryError
from gqlwire.errors.reasons import interrupted, late

# A request of more than so many bytes that is lost twice may be what the server drops the
# connection for. Its close frame, with 1009, does not arrive if it drops the socket immediately.
_LARGE, _LARGE_RESENDS = 1024 * 1024, 1


async def ask(
    link: Link,
    payload: bytes,
    kind: OperationKind,
    timeout: float | None,
    *,
    idempotent: bool = False,
) -> Raw:
    """Run an operation and return its first result, undecoded; `payload` is the request as JSON.

    It waits for a connection, within `timeout` seconds. If the connection is lost before the
    operation was sent, it goes to the next one. If it is lost afterwards, the operation is sent
    again, a large one once, only if it is `idempotent`, or a query and the link retries those.

    Raises TransportQueryError if the server refuses the operation or completes it without a
    result, TransportProtocolError if the result is not JSON, OperationTimeout, OperationInterrupted
    if the connection was lost and another one follows, or the failure that ended the last one.
    Cancelling tells the server to stop.
    """
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    left, losses = timeout, 0
    link.running += 1
    try:
        while True:
            connection = link.live
            if connection is None or connection.is_clogged:
                connection = await roomy(link, kind, deadline, timeout, "execute_timeout")
                left = None if deadline is None else deadline - asyncio.get_running_loop().time()
            reply = Reply(connection.gate, payload)
            try:
                return await _answer(connection, payload, kind, left, reply)
            except OperationTimeout:
                raise late(connection.host, kind, timeout) from None
            except TransportError as failure:
                is_lost = reply.state is State.LOST
                is_unsent = reply.state is State.UNSENT and connection.reason is not None
                if link.is_final or not (is_lost or is_unsent):
                    raise
                losses += is_lost
                is_repeatable = idempotent or (link.retry_queries and kind != "mutation")
                if losses > _LARGE_RESENDS and len(payload) > _LARGE:
                    is_repeatable = False
                if is_lost and not is_repeatable:
                    raise interrupted(connection.host, kind, failure) from failure
    finally:
        link.running -= 1
        if link.on_finished is not None:
            link.on_finished()


async def _answer(
    connection: Connection, payload: bytes, kind: OperationKind, timeout: float | None, reply: Reply
) -> Raw:
    """Run an operation on one connection and return its first result.

    Tells the server to stop if the operation is a subscription, or if its result announces more
    (`@defer`). The server ends every other operation on its own. `reply` says afterwards whether
    the operation was sent, lost or expired.
    """
    id = connection.start(payload, reply)
    if reply.state is State.UNSENT:  # it may have ended while it was sent
        reply.state = State.SENT
    if timeout is not None:
        connection.deadlines.add(reply, timeout)
    must_stop = True
    try:
        answer = await reply.get()
        if answer is None and reply.state is State.EXPIRED:
            raise late(connection.host, kind, timeout)
        if answer is None:
            raise TransportQueryError("the server completed the operation without a result", id)
        must_stop = kind == "subscription" or _announces_more(answer)
        return answer
    finally:
        if timeout is not None:
            connection.deadlines.remove(reply, timeout)
        # The connection ignores this for an operation that is over.
        if must_stop:
            connection.stop(id)
        elif reply.state is State.SENT:
            connection.forget(id)


def _announces_more(answer: Raw) -> bool:
    # `in` would first try whether the text is a number, which takes longer than to look for it.
    return bytes(answer).find(b'"hasNext"') >= 0 and bool(decode_result(answer).has_next)
