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
    KeepAliveTimeout,
    OperationInterrupted,
    OperationTimeout,
    Phase,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
)

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
    text = f"{host} did not acknowledge connection_init within {limit:g} seconds (ack_timeout)"
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
    text = f"{host} sent nothing for {limit:g} seconds {when}"
    return KeepAliveTimeout(text, limit=limit, host=host, phase=phase)


def already(host: str, phase: Phase) -> str:
    """Return the message for a second call of `connect()`."""
    doing = "connecting" if phase in _CONNECTING else "connected"
    return f"the transport to {host} is already {doing}"


def not_connected(host: str, why: str) -> TransportClosed:
    """An operation was started before `connect()`, or `close()` ended the attempt to connect."""
    return TransportClosed(f"the transport to {host} is not connected: {why}", host=host)


def late(
    host: str, kind: str, limit: float | None, option: str = "execute_timeout"
) -> OperationTimeout:
    """The server did not answer an operation within `limit` seconds; `option` sets the limit.

    `kind` is "query", "mutation" or "subscription".
    """
    limit = limit or 0.0
    text = f"{host} did not answer the {kind} within {limit:g} seconds ({option})"
    return OperationTimeout(text, limit=limit, host=host)


def unconnected(
    host: str, kind: str, limit: float | None, option: str, last: Exception | None
) -> OperationTimeout:
    """There was no connection for an operation within `limit` seconds; `option` sets the limit."""
    limit = limit or 0.0
    text = (
        f"the {kind} was not sent: there was no connection to {host} within {limit:g} seconds "
        f"({option})"
    )
    if last is not None:
        text += f"; the last failure: {last}"
    return OperationTimeout(text, limit=limit, host=host)


def eventless(host: str, limit: float, option: str) -> OperationTimeout:
    """A subscription got no event within `limit` seconds; `option` sets the limit."""
    text = f"{host} sent no event of the subscription within {limit:g} seconds ({option})"
    return OperationTimeout(text, limit=limit, host=host)


def interrupted(host: str, kind: str, lost: TransportError) -> OperationInterrupted:
    """The connection ended, with the error `lost`, while a query or mutation ran (`kind`)."""
    note = " (the server may or may not have executed it)" if kind == "mutation" else ""
    known = lost if isinstance(lost, TransportConnectionFailed) else TransportConnectionFailed()
    return OperationInterrupted(
        f"the connection was lost during the {kind}{note}: {lost}",
        host=host,
        phase=known.phase,
        code=known.code,
        reason=known.reason,
    )


def reconnecting(host: str, phase: Phase, reason: str) -> TransportClosed:
    """The user called `reconnect()`, with this reason."""
    text = f"the connection to {host} was closed by reconnect()" + (f": {reason}" if reason else "")
    return TransportClosed(text, host=host, phase=phase)


def terminated(host: str, phase: Phase) -> TransportConnectionFailed:
    """The user called `terminate()`."""
    text = f"the connection to {host} was dropped by terminate()"
    return TransportConnectionFailed(text, host=host, phase=phase)


def idle(host: str, limit: float) -> TransportClosed:
    """No operation ran for `limit` seconds."""
    text = f"the connection to {host} was closed: nothing ran for {limit:g} s (idle_close_after)"
    return TransportClosed(text, host=host, phase=Phase.OPEN)


def not_answered(host: str, limit: float) -> CloseTimeout:
    """The server did not answer the close frame within `limit` seconds."""
    text = (
        f"{host} did not answer the close frame within {limit:g} seconds (close_timeout); "
        f"the socket was dropped"
    )
    return CloseTimeout(text, limit=limit, host=host, phase=Phase.CLOSING)


E = TypeVar("E", bound=Exception)


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
