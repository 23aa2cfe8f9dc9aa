"""Every exception of gqlwire, in one tree.

    TransportError
    ├── InvalidURL                      (also a ValueError)
    ├── TransportAlreadyConnected
    ├── TransportProtocolError          the server said something unreadable
    ├── TransportQueryError             GraphQL errors: of one operation, or of one event
    ├── ResultMismatch                  `data` is not of the `result_type` that was asked for
    ├── TransportServerError
    │   ├── ConnectionRejected          `connection_error`     (also TransportConnectionFailed)
    │   └── KeepAliveTimeout            the server fell silent (also TransportConnectionFailed)
    ├── SlowConsumer                    a subscription outran the buffer that was chosen for it
    ├── OperationTimeout                (also a TimeoutError)
    └── TransportConnectionFailed       carries `code`, `reason`, `status`, `phase`, `host`
        ├── NameNotResolved
        ├── ConnectionRefused
        ├── ProxyFailed
        ├── TLSFailed
        ├── HandshakeRejected           the upgrade was answered with another status than 101
        ├── ConnectionClosed            the server closed, or the line went dead
        ├── MessageTooBig
        ├── TransportClosed             closed by you
        ├── CredentialsFailed           what you gave to supply them raised, or took too long
        ├── OperationInterrupted        the connection was lost amid a query or mutation
        ├── ConnectTimeout              (also a TimeoutError)
        ├── AckTimeout                  (also a TimeoutError)
        └── CloseTimeout                (also a TimeoutError)

The names that begin with `Transport` are those of `gql.transport.exceptions`; code that catches
them goes on working. This module knows no asyncio, no socket and no message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

__all__ = [
    "AckTimeout",
    "CloseTimeout",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionRefused",
    "ConnectionRejected",
    "CredentialsFailed",
    "HandshakeRejected",
    "InvalidURL",
    "KeepAliveTimeout",
    "MessageTooBig",
    "NameNotResolved",
    "OperationInterrupted",
    "OperationTimeout",
    "Phase",
    "ProxyFailed",
    "ResultMismatch",
    "SlowConsumer",
    "TLSFailed",
    "TransportAlreadyConnected",
    "TransportClosed",
    "TransportConnectionFailed",
    "TransportError",
    "TransportProtocolError",
    "TransportQueryError",
    "TransportServerError",
]


class Phase(StrEnum):
    """How far a connection has come. Errors say in which phase they arose."""

    CONNECT = "connect"
    """Looking up the name, reaching the address, passing the proxy."""
    HANDSHAKE = "handshake"
    """TLS and the HTTP upgrade (RFC 6455, section 4)."""
    INIT = "init"
    """`connection_init` was sent, `connection_ack` has not come yet."""
    OPEN = "open"
    """Acknowledged: operations may run."""
    CLOSING = "closing"
    """We are saying goodbye."""
    WAITING = "waiting"
    """Lost, or not made; the next attempt follows after a while."""
    IDLE = "idle"
    """Closed as nothing ran (`idle_close_after`); the next operation connects again."""
    CLOSED = "closed"
    """Over. Nothing is sent or received any more."""


class TransportError(Exception):
    """Base of every error that gqlwire raises about a server or a connection."""


class InvalidURL(TransportError, ValueError):
    """The URL cannot be one of a WebSocket server; the message says why."""


class TransportAlreadyConnected(TransportError):
    """`connect()` was called on a transport that is connected or connecting."""


class TransportProtocolError(TransportError):
    """The server sent something that its protocol has no meaning for.

    The message shows an excerpt. When a single operation is affected, only that one gets it.
    """


class TransportServerError(TransportError):
    """The server reported a failure of its own, or stopped answering."""

    def __init__(self, message: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class TransportQueryError(TransportError):
    """GraphQL errors: the operation was refused, or a result carries `errors`.

    `errors` is the list of error objects as the server sent them, `data` what came along with
    them (or None), `extensions` the result's extensions (or None). `query_id` is the operation's
    id when the server ended the operation with an `error` message, else None.
    """

    def __init__(
        self,
        msg: str,
        query_id: str | None = None,
        errors: Sequence[Any] | None = None,
        data: Any | None = None,
        extensions: Any | None = None,
    ) -> None:
        super().__init__(msg)
        self.query_id = query_id
        self.errors = errors
        self.data = data
        self.extensions = extensions

    @classmethod
    def of(
        cls,
        errors: Sequence[Any],
        *,
        query_id: str | None = None,
        data: Any | None = None,
        extensions: Any | None = None,
    ) -> TransportQueryError:
        """Build the error whose text is the first GraphQL error and the number of others."""
        return cls(_summary(errors), query_id, errors, data, extensions)


def _summary(errors: Sequence[Any]) -> str:
    if not errors:
        return "the server reported an error and said nothing about it"
    first = errors[0]
    text = str(first.get("message", first)) if isinstance(first, Mapping) else str(first)
    path = first.get("path") if isinstance(first, Mapping) else None
    if isinstance(path, list) and path:
        text += f" (at {'.'.join(str(step) for step in path)})"
    if len(errors) > 1:
        text += f" (and {len(errors) - 1} more)"
    return text


class ResultMismatch(TransportError):
    """The `data` of a result does not fit the `result_type` that was asked for.

    `path` is where, from `data` on: `$.trade.price`. `data` is all of it, as plain objects;
    `extensions` and `errors` are what came along, or None. A subscription goes on with its next
    step.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str = "$",
        data: Any = None,
        extensions: Any = None,
        errors: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.data = data
        self.extensions = extensions
        self.errors = errors


class SlowConsumer(TransportError):
    """Events came faster than they were taken, and the buffer's bound was reached.

    Raised to the consumer after the events that were buffered; nothing was dropped before it.
    `events` and `size` (bytes) are what the buffer held when it overflowed.
    """

    def __init__(self, message: str = "", *, events: int = 0, size: int = 0) -> None:
        super().__init__(message)
        self.events = events
        self.size = size


class OperationTimeout(TransportError, TimeoutError):
    """An operation had no answer within its limit; the server was told to stop it.

    `limit` is in seconds, `host` the server's host and port.
    """

    def __init__(self, message: str = "", *, limit: float = 0.0, host: str = "") -> None:
        super().__init__(message)
        self.limit = limit
        self.host = host


class TransportConnectionFailed(TransportError):
    """There is no connection: it could not be made, or it was lost.

    `host`: host and port of the server. `phase`: how far the connection had come (`Phase`, a
    str). `code` and `reason`: the close code (RFC 6455, section 7.4) and the close frame's words,
    where there was one. `status`: the HTTP status of a refused upgrade. `str()` tells all of it
    in one sentence.
    """

    def __init__(
        self,
        message: str = "",
        *,
        host: str = "",
        phase: Phase | None = None,
        code: int | None = None,
        reason: str = "",
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.host = host
        self.phase = phase
        self.code = code
        self.reason = reason
        self.status = status


class NameNotResolved(TransportConnectionFailed):
    """The host name has no address."""


class ConnectionRefused(TransportConnectionFailed):
    """Nothing listens there, or the network does not lead there."""


class ProxyFailed(TransportConnectionFailed):
    """The proxy could not be reached, or would not pass us on."""


class TLSFailed(TransportConnectionFailed):
    """The TLS handshake failed; the message says which check did not pass."""


class HandshakeRejected(TransportConnectionFailed):
    """The server answered the upgrade with something else than 101 Switching Protocols.

    `status` is the HTTP status (None if the answer was no HTTP at all), `headers` the answer's
    headers with lower-case names, `body` its first bytes.
    """

    headers: Mapping[str, str]
    body: bytes

    def __init__(
        self,
        message: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        host: str = "",
        phase: Phase | None = Phase.HANDSHAKE,
        status: int | None = None,
    ) -> None:
        super().__init__(message, host=host, phase=phase, status=status)
        self.headers = headers or {}
        self.body = body


class ConnectionClosed(TransportConnectionFailed):
    """The server closed the connection, or the connection broke (`code` 1006)."""


class MessageTooBig(TransportConnectionFailed):
    """A message was longer than `limit` bytes; we closed with 1009."""

    def __init__(
        self,
        message: str = "",
        *,
        limit: int = 0,
        host: str = "",
        phase: Phase | None = Phase.OPEN,
    ) -> None:
        super().__init__(message, host=host, phase=phase, code=1009)
        self.limit = limit


class TransportClosed(TransportConnectionFailed):
    """The transport was closed by `close()` while, or before, the operation ran."""


class CredentialsFailed(TransportConnectionFailed):
    """A callable for `url`, `headers` or `init_payload` raised, or took too long.

    What it raised is the `__cause__`.
    """


class OperationInterrupted(TransportConnectionFailed):
    """The connection was lost while a query or a mutation ran, and it was not repeated.

    `maybe_executed`: whether the server may have run it; whether it has cannot be known. The
    `__cause__` is why the connection ended, whose `code`, `reason` and `phase` are these.
    """

    def __init__(
        self,
        message: str = "",
        *,
        maybe_executed: bool = True,
        host: str = "",
        phase: Phase | None = None,
        code: int | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message, host=host, phase=phase, code=code, reason=reason)
        self.maybe_executed = maybe_executed


class ConnectionRejected(TransportConnectionFailed, TransportServerError):
    """The server answered `connection_init` with `connection_error`.

    `payload` is what it gave as the reason, decoded from JSON.
    """

    def __init__(
        self,
        message: str = "",
        *,
        payload: Any = None,
        host: str = "",
        code: int | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message, host=host, phase=Phase.INIT, code=code, reason=reason)
        self.payload = payload


class _PhaseTimeout(TransportConnectionFailed, TimeoutError):
    """A phase took longer than its limit (`limit`, in seconds)."""

    def __init__(
        self,
        message: str = "",
        *,
        limit: float = 0.0,
        host: str = "",
        phase: Phase | None = None,
    ) -> None:
        super().__init__(message, host=host, phase=phase)
        self.limit = limit


class ConnectTimeout(_PhaseTimeout):
    """No WebSocket connection within `connect_timeout`; `phase` is `connect` or `handshake`."""


class AckTimeout(_PhaseTimeout):
    """No `connection_ack` within `ack_timeout`."""


class CloseTimeout(_PhaseTimeout):
    """The server did not finish the close handshake within `close_timeout`.

    The socket was dropped all the same: nothing is left open.
    """


class KeepAliveTimeout(_PhaseTimeout, TransportServerError):
    """Nothing came from the server for longer than the keep-alive settings allow."""
