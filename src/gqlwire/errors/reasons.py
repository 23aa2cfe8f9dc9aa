"""Builds the errors for the ends of connections and operations, each with its message.

All these messages are here, so that they read alike. `MEANINGS` explains the close codes. Sources:
RFC 6455, section 7.4; PROTOCOL.md of enisdenjo/graphql-ws; and the servers that use the codes in
other ways. This module does not decide whether to connect again; `retry` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, TypeVar

from gqlwire.errors import (
    AckTimeout,
    CloseTimeout,
    ConnectionClosed,
    ConnectionRejected,
    HandshakeRejected,
    IncompleteResult,
    KeepAliveTimeout,
    OperationInterrupted,
    OperationTimeout,
    Phase,
    ResultMismatch,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
    TransportQueryError,
)
from gqlwire.errors.text import seconds

ABNORMAL = 1006
"""The close code for "no close frame arrived" (RFC 6455, section 7.1.5)."""

MEANINGS = {
    1000: "normal closure",
    1001: "the server is going away",
    1002: "protocol error; often: subprotocol not acceptable",
    1003: "unsupported data",
    1005: "no code given",
    1007: "a text message that is not UTF-8",
    1008: "policy violation",
    1009: "a message was too big for the server",
    1010: "a required extension is missing",
    1011: "internal server error",
    1012: "the server is restarting",
    1013: "the server asks to try again later",
    1014: "bad gateway",
    3008: "the server received nothing for too long; ping more often",
    4400: "bad request: a message was invalid, or connection_init was refused",
    4401: "unauthorized: the credentials are missing, wrong or expired",
    4403: "forbidden: the server refused the credentials",
    4406: "subprotocol not acceptable",
    4408: "connection_init arrived too late",
    4409: "an operation with this id already exists",
    4429: "too many requests or connections",
    4499: "terminated by the server",
    4500: "internal server error",
    4504: "the server timed out",
}

_MAYBE = "the server may or may not have executed it"
MEANINGS_BEFORE_ACK = {
    1009: "connection_init was too big for the server",
    4408: "gqlwire had sent connection_init immediately; the server may have refused it",
    4500: "the server failed to check connection_init",
}
"""What some of the codes mean before `connection_ack`."""

_NAME_SHOWN = 60

_CONNECTING = {Phase.CONNECT, Phase.HANDSHAKE, Phase.INIT, Phase.WAITING}

_WHEN = {
    Phase.HANDSHAKE: " during the handshake",
    Phase.INIT: " before it acknowledged connection_init",
}


def connection_closed(
    *, host: str, phase: Phase, code: int, reason: str = "", hint: str = ""
) -> ConnectionClosed:
    """The server or the network ended the connection.

    `hint`: anything else that is known about the cause; the message ends with it.
    """
    when = _WHEN.get(phase, "")
    if code == ABNORMAL:
        text = f"the connection to {host} was lost{when}: no close frame arrived (1006)"
    else:
        text = f"{host} closed the connection{when}: {code}"
        text += f" {reason}" if reason else ""
        early = MEANINGS_BEFORE_ACK if phase is Phase.INIT else {}
        meaning = early.get(code) or MEANINGS.get(code)
        text += f" ({meaning})" if meaning else ""
    if hint:
        text += f"; {hint}"
    return ConnectionClosed(text, host=host, phase=phase, code=code, reason=reason)


def closed_by_user(host: str, phase: Phase) -> TransportClosed:
    """The user called `close()`."""
    text = f"the connection to {host} was closed by close()"
    return TransportClosed(text, host=host, phase=phase)


def given_up(host: str, phase: Phase) -> TransportClosed:
    """The task that connects, or that keeps the connection, was cancelled."""
    return TransportClosed(f"the connection to {host} was cancelled", host=host, phase=phase)


def not_acknowledged(host: str, limit: float, hint: str = "") -> AckTimeout:
    """No `connection_ack` arrived within `limit` seconds; `hint` as above."""
    text = f"{host} did not acknowledge connection_init within {seconds(limit)} (ack_timeout)"
    if hint:
        text += f"; {hint}"
    return AckTimeout(text, limit=limit, host=host, phase=Phase.INIT)


def request_size(size: int) -> str:
    """The hint for the operation that was probably too big for the server."""
    return f"the request of this operation has {size:,} bytes, perhaps more than it accepts"


def not_offered(
    host: str, name: str, offered: Iterable[str], headers: Mapping[str, str], *, is_forced: bool
) -> HandshakeRejected:
    """The server answered the upgrade with a subprotocol that was not offered."""
    text = (
        f"{host} chose the subprotocol {name[:_NAME_SHOWN]!r}, which was not offered "
        f"({', '.join(offered)}); RFC 6455, section 4.1, does not allow that"
    )
    if is_forced:
        text += "; see the option subprotocols"
    lowered = {name.lower(): value for name, value in headers.items()}
    return HandshakeRejected(text, host=host, status=101, headers=lowered)


def refused(host: str, complaint: str, payload: Any) -> ConnectionRejected:
    """The server answered `connection_init` with `connection_error`."""
    text = f"{host} refused connection_init: {complaint}"
    return ConnectionRejected(text, payload=payload, host=host)


def silent(host: str, phase: Phase, limit: float, when: str) -> KeepAliveTimeout:
    """Nothing arrived from the server for `limit` seconds; `when` names the option."""
    text = f"{host} sent nothing for {seconds(limit)} {when}"
    return KeepAliveTimeout(text, limit=limit, host=host, phase=phase)


def already(host: str, phase: Phase) -> str:
    """Return the message for a second call of `connect()`."""
    doing = "connecting" if phase in _CONNECTING else "connected"
    return f"the transport to {host} is already {doing}"


def not_connected(host: str, why: str) -> TransportClosed:
    """An operation was started before `connect()`, or `close()` ended the attempt to connect."""
    return TransportClosed(f"the transport to {host} is not connected: {why}", host=host)


def late(host: str, kind: str, limit: float | None) -> OperationTimeout:
    """The server did not answer an operation that was sent within `limit` seconds.

    `kind` is "query", "mutation" or "subscription".
    """
    limit = limit or 0.0
    text = f"{host} did not answer the {kind} within {seconds(limit)} (execute_timeout)"
    if kind == "mutation":
        text += f"; {_MAYBE}"
    timeout = OperationTimeout(text, limit=limit, host=host)
    timeout.maybe_executed = True
    return timeout


def unsent(
    host: str,
    kind: str,
    limit: float | None,
    option: str,
    *,
    is_connected: bool,
    was_sent: bool,
    last: Exception | None,
) -> OperationTimeout:
    """An operation could not be sent, or not again, within `limit` seconds.

    `option` sets the limit. `is_connected`: whether there is a connection, which takes no data.
    `was_sent`: whether the operation was sent on a connection that was lost. `last`: why there is
    no connection.
    """
    limit = limit or 0.0
    why = f"there was no connection to {host}"
    if is_connected:
        why = f"the connection to {host} took no data"
    when = f"within {seconds(limit)} ({option})"
    if was_sent:
        text = f"the {kind} was sent, its connection was lost, and then {why} {when}"
        text += f"; {_MAYBE}"
    else:
        text = f"the {kind} was not sent: {why} {when}"
    if last is not None and not is_connected:
        text += f"; the last failure: {last}"
    timeout = OperationTimeout(text, limit=limit, host=host)
    timeout.maybe_executed = was_sent
    return timeout


def eventless(host: str, limit: float, option: str) -> OperationTimeout:
    """A subscription got no event within `limit` seconds; `option` sets the limit."""
    text = f"{host} sent no event of the subscription within {seconds(limit)} ({option})"
    return OperationTimeout(text, limit=limit, host=host)


def unheard(host: str, limit: float) -> OperationTimeout:
    """A step of a subscription got no event within `limit` seconds; the subscription continues."""
    unit = "second" if limit == 1 else "seconds"
    text = (
        f"{host} sent no event within {limit:g} {unit} (timeout of next()); the subscription "
        f"continues: take the next step, or end it with aclose()"
    )
    return OperationTimeout(text, limit=limit, host=host)


def interrupted(host: str, kind: str, lost: TransportError) -> OperationInterrupted:
    """The connection ended, with the error `lost`, while a query or mutation ran (`kind`)."""
    note = f" ({_MAYBE})" if kind == "mutation" else ""
    known = lost if isinstance(lost, TransportConnectionFailed) else TransportConnectionFailed()
    return OperationInterrupted(
        f"the connection was lost during the {kind}{note}: {lost}",
        host=host,
        phase=known.phase,
        code=known.code,
        reason=known.reason,
    )


def blamed(failure: TransportError, count: int) -> TransportError:
    """Return `failure`, which ended `count` connections, as that of the subscription to blame."""
    often = "the connection" if count == 1 else f"{count} connections"
    blame = replica(failure)
    blame.args = (f"{failure}; {often} ended like this after this subscription had been sent",)
    return blame


_TELLING = (
    OperationTimeout,
    OperationInterrupted,
    TransportQueryError,
    ResultMismatch,
    IncompleteResult,
)
"""Errors whose message shows whether the operation was sent."""


def tell_sent(failure: BaseException, kind: str, *, was_sent: bool) -> None:
    """Note on `failure`, which ends an operation, whether the operation was sent.

    A TransportError has an attribute for it. A CancelledError has not, so it gets a note if it ends
    a mutation, as do the errors whose message does not tell.
    """
    if isinstance(failure, TransportError):
        failure.maybe_executed = was_sent
    elif isinstance(failure, Exception):
        return  # it is of a function of the user's, and other tasks may raise the same object
    if kind == "mutation" and not isinstance(failure, _TELLING):
        what = f"was sent; {_MAYBE}" if was_sent else "was not sent"
        failure.add_note(f"the mutation {what}")


def reconnecting(host: str, phase: Phase, reason: str) -> TransportClosed:
    """The user called `reconnect()`, with this reason."""
    text = f"{_subject(host, phase)} was closed by reconnect()" + (f": {reason}" if reason else "")
    return TransportClosed(text, host=host, phase=phase)


def terminated(host: str, phase: Phase) -> TransportConnectionFailed:
    """The user called `terminate()`."""
    text = f"{_subject(host, phase)} was dropped by terminate()"
    return TransportConnectionFailed(text, host=host, phase=phase)


def _subject(host: str, phase: Phase) -> str:
    return f"the {'attempt to connect' if phase in _CONNECTING else 'connection'} to {host}"


def after(failure: TransportError, earlier: Iterable[Exception]) -> TransportError:
    """Return a copy of `failure` whose message also has those of the failures before it."""
    told = replica(failure)
    texts = [str(each) for each in earlier]
    if texts:
        told.args = (f"{failure}; the other URLs failed as well: {'; '.join(texts)}",)
    return told


def idle(host: str, limit: float, option: str = "idle_close_after") -> TransportClosed:
    """No operation ran for `limit` seconds, which `option` allows."""
    text = f"the connection to {host} was closed: nothing ran for {limit:g} s ({option})"
    return TransportClosed(text, host=host, phase=Phase.OPEN)


# Strawberry; AppSync, as its name and as its message.
_CAPS = ("Subscription limit reached", "MaxSubscriptionsReachedError", "subscriptions reached")
_CAP_READ = 500
"""How many characters of a refusal to read."""


def is_cap(failure: Exception) -> bool:
    """Whether the server refused an operation because its connection has too many of them."""
    if not isinstance(failure, TransportQueryError):
        return False
    named = [each.get("errorType") for each in failure.errors or [] if isinstance(each, dict)]
    said = [str(failure)[:_CAP_READ], *(name for name in named if isinstance(name, str))]
    return any(cap in text for text in said for cap in _CAPS)


def not_answered(host: str, limit: float) -> CloseTimeout:
    """The server did not answer the close frame within `limit` seconds."""
    text = (
        f"{host} did not answer the close frame within {seconds(limit)} (close_timeout); "
        f"the socket was dropped"
    )
    return CloseTimeout(text, limit=limit, host=host, phase=Phase.CLOSING)


E = TypeVar("E", bound=Exception)


def without_frames(failure: E) -> E:
    """Return `failure`, which will be kept, without the frames that it was raised in.

    The variables in them would keep what was received: up to 64 MiB.
    """
    chain: list[BaseException | None] = [failure]
    while chain:
        each = chain.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            chain += [each.__cause__, each.__context__]
    return failure


def forget_frames(failure: BaseException | None) -> None:
    """Drop the tracebacks of `failure`, and of its causes, once another failure has followed.

    Their frames hold the attempt, which holds the failure before it, which has frames as well. So
    all attempts of a long outage would stay in memory, with their sockets.
    """
    seen: set[int] = set()
    while failure is not None and id(failure) not in seen:
        seen.add(id(failure))
        failure.__traceback__ = None
        failure = failure.__cause__ or failure.__context__


def replica(failure: E) -> E:
    """Return a copy of `failure` to raise.

    One failure is raised in many tasks. Each `raise` adds to the traceback of its exception, so
    each task needs its own copy. An exception from outside gqlwire, such as one of a user's
    function, is returned as it is, because not every exception can be copied.
    """
    if not isinstance(failure, TransportError):
        return failure
    duplicate = copy(failure)
    duplicate.__cause__ = failure.__cause__
    return duplicate
