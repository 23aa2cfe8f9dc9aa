"""One operation with one result. It is sent again only where that does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Raw

from gqlwire import _loop
from gqlwire._connection.connection import Connection
from gqlwire._operations.link import Link, roomy
from gqlwire._payloads.request import OperationKind
from gqlwire._streams.reply import Reply, State
from gqlwire.errors import IncompleteResult, OperationTimeout, TransportError, TransportQueryError
from gqlwire.errors.reasons import interrupted, late, tell_sent

T = TypeVar("T")

# An operation that is lost again and again may be what the server ends the connections for, to the
# harm of all others. A large one probably is: the close frame, with 1009, does not arrive if the
# server drops the socket immediately.
_RESENDS = 5
_LARGE, _LARGE_RESENDS = 1024 * 1024, 1


async def ask(
    link: Link,
    payload: bytes,
    kind: OperationKind,
    timeout: float | None,
    read: Callable[[Raw], T],
    *,
    idempotent: bool = False,
) -> T:
    """Run an operation, and return what `read` makes of its first result.

    `payload` is the request as JSON. The operation waits for a connection, within `timeout`
    seconds. If the connection is lost before the operation was sent, it goes to the next one. If it
    is lost afterwards, the operation is sent again only if it is `idempotent`, or a query and the
    link retries those; a few times, for it may be what ends the connections.

    Raises what `read` raises, TransportQueryError if the server refuses the operation or completes
    it without a result, OperationTimeout, OperationInterrupted if the connection was lost and
    another one follows, or the failure that ended the last one. Each has `maybe_executed`.
    Raises RuntimeError in another event loop than that of the link. Cancelling tells the server to
    stop.
    """
    loop = asyncio.get_running_loop()
    if loop is not link.loop:
        _loop.check(link.loop)
    deadline = None if timeout is None else loop.time() + timeout
    left = timeout
    was_sent = False  # on an earlier connection
    reply: Reply | None = None
    resends = _most_resends(payload) if idempotent or _is_retried(link, kind) else 0
    link.running += 1
    try:
        while True:
            connection = link.live
            if connection is None or connection.is_clogged:
                connection = await _roomy(link, kind, deadline, timeout, was_sent=was_sent)
                left = None if deadline is None else deadline - loop.time()
            reply = Reply(connection.gate, payload)
            try:
                return await _answer(connection, payload, kind, left, reply, read)
            except OperationTimeout:
                raise late(connection.host, kind, timeout) from None
            except TransportError as failure:
                _raise_unless_repeated(link, kind, reply, failure, is_repeatable=resends > 0)
                resends -= reply.state is State.LOST
                was_sent = was_sent or _is_sent(reply)
    except BaseException as failure:  # a cancellation gets a note
        tell_sent(failure, kind, was_sent=was_sent or _is_sent(reply))
        raise
    finally:
        link.running -= 1
        if link.on_finished is not None:
            link.on_finished()


def _is_retried(link: Link, kind: OperationKind) -> bool:
    return link.retry_queries and kind != "mutation"


def _most_resends(payload: bytes) -> int:
    """Return how often an operation is sent again at most after its connection was lost."""
    return _LARGE_RESENDS if len(payload) > _LARGE else _RESENDS


def _roomy(
    link: Link,
    kind: OperationKind,
    deadline: float | None,
    timeout: float | None,
    *,
    was_sent: bool,
) -> Awaitable[Connection]:
    return roomy(link, kind, deadline, timeout, "execute_timeout", was_sent=was_sent)


def _raise_unless_repeated(
    link: Link, kind: OperationKind, reply: Reply, failure: TransportError, *, is_repeatable: bool
) -> None:
    """Raise what an operation ends with, unless it is sent on the next connection."""
    if link.is_final or reply.state not in (State.LOST, State.UNSENT):
        raise failure
    if reply.state is State.LOST and not is_repeatable:
        raise interrupted(link.host, kind, failure) from failure


def _is_sent(reply: Reply | None) -> bool:
    return reply is not None and reply.state is not State.UNSENT


async def _answer(
    connection: Connection,
    payload: bytes,
    kind: OperationKind,
    timeout: float | None,
    reply: Reply,
    read: Callable[[Raw], T],
) -> T:
    """Run an operation on one connection, and return what `read` makes of its first result.

    Tells the server to stop if the operation is a subscription, or if its result is only a part of
    one. The server ends every other operation on its own. `reply` says afterwards
    whether the operation was sent, lost or expired.
    """
    if connection.reason is None:
        reply.state = State.SENT  # from the first byte on, whatever happens while it is sent
    id = connection.start(payload, reply)
    if timeout is not None and connection.reason is None:  # it may have ended during the start
        connection.deadlines.add(reply, timeout)
    must_stop = True
    try:
        answer = await reply.get()
        if answer is None and reply.state is State.EXPIRED:
            raise late(connection.host, kind, timeout)
        if answer is None:
            raise TransportQueryError("the server completed the operation without a result", id)
        must_stop = kind == "subscription"
        return read(answer)
    except IncompleteResult:
        must_stop = True
        raise
    finally:
        if timeout is not None:
            connection.deadlines.remove(reply, timeout)
        # The connection ignores this for an operation that is over.
        if must_stop:
            connection.stop(id)
        elif reply.state is State.SENT:
            connection.forget(id)
