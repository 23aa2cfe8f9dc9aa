"""Every exception of gqlwire, in one tree.

    TransportError
    ├── InvalidURL                      (also a ValueError)
    ├── TransportAlreadyConnected
    ├── TransportProtocolError          the server sent something unreadable
    ├── TransportQueryError             GraphQL errors of one operation, or of one event
    ├── ResultMismatch                  `data` does not fit the `result_type`
    ├── IncompleteResult                one part of a result (`@defer`, `@stream`), not all of it
    ├── TransportServerError
    │   ├── ConnectionRejected          `connection_error`     (also TransportConnectionFailed)
    │   └── KeepAliveTimeout            the server went silent (also TransportConnectionFailed)
    ├── SlowConsumer                    the buffer of a subscription overflowed
    ├── InvalidCheckpoint               what a checkpoint holds cannot be read (also a ValueError)
    ├── OperationTimeout                (also a TimeoutError)
    └── TransportConnectionFailed       carries `code`, `reason`, `status`, `phase`, `host`
        ├── NameNotResolved
        ├── ConnectionRefused
        ├── ProxyFailed
        ├── TLSFailed
        ├── HandshakeRejected           the server answered the upgrade with a status other than 101
        ├── ConnectionClosed            the server closed the connection, or it was lost
        ├── MessageTooBig
        ├── TransportClosed             closed by you
        ├── CredentialsFailed           your function for them failed, or took too long
        ├── OperationInterrupted        the connection was lost during a query or mutation
        ├── ConnectTimeout              (also a TimeoutError)
        ├── AckTimeout                  (also a TimeoutError)
        └── CloseTimeout                (also a TimeoutError)

The names that begin with `Transport` are those of `gql.transport.exceptions`, so code that catches
them continues to work. This module imports neither asyncio nor any socket code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from gqlwire.errors.text import cut, escaped

__all__ = [
    "AckTimeout",
    "CloseTimeout",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionRefused",
    "ConnectionRejected",
    "CredentialsFailed",
    "HandshakeRejected",
    "IncompleteResult",
    "InvalidCheckpoint",
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
    """How far a connection has come. An error has the phase in which it happened."""

    CONNECT = "connect"
    """Looking up the name, reaching the address, getting through the proxy."""
    HANDSHAKE = "handshake"
    """TLS and the HTTP upgrade (RFC 6455, section 4)."""
    INIT = "init"
    """`connection_init` was sent, `connection_ack` has not arrived yet."""
    OPEN = "open"
    """The server has acknowledged the connection; operations run."""
    CLOSING = "closing"
    """gqlwire sent its close frame; the server's has not arrived yet."""
    WAITING = "waiting"
    """The connection was lost, or could not be made; the next attempt comes after a delay."""
    IDLE = "idle"
    """Closed because nothing ran (`idle_close_after`); the next operation connects again."""
    CLOSED = "closed"
    """Closed. Nothing is sent or received any more."""


class TransportError(Exception):
    """Base of every error that gqlwire raises about a server or a connection.

    `maybe_executed`: whether the server may have executed the operation that raised this error.
    True as soon as gqlwire has passed the operation to a socket, even once of several times, and
    whatever became of it then. False means for sure that no server has seen it.

    Every error has the attributes of `TransportConnectionFailed`, so that a function for all
    failures, such as `RetryPolicy.should_retry`, can read them. Where there is nothing to say, they
    are None or "".

    What is not printable is escaped in `str(error)`: a server cannot forge lines of a log with it.
    It is cut to some 4,000 characters. The other attributes are as the server sent them.
    """

    maybe_executed: bool = False
    host: str = ""
    phase: Phase | None = None
    code: int | None = None
    reason: str = ""
    status: int | None = None

    def __init__(self, *args: object) -> None:
        super().__init__(*map(escaped, args))


class InvalidURL(TransportError, ValueError):
    """The URL is not that of a WebSocket server; the message says why."""


class TransportAlreadyConnected(TransportError):
    """`connect()` was called on a transport that is connected or connecting."""


class TransportProtocolError(TransportError):
    """The server sent something that gqlwire cannot read; the message shows an excerpt.

    It ends the connection: text that is not a JSON object and does not show which operation it is
    for, a binary message, or a violation of RFC 6455. A result that cannot be read, because it is
    no JSON or is nested too deeply, fails only its own query or mutation, or its own step of a
    subscription; the next step continues.
    """


class TransportServerError(TransportError):
    """The server rejected the connection, or stopped answering.

    gqlwire raises only the two subclasses. `code` is the close code, or None.
    """

    def __init__(self, message: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class TransportQueryError(TransportError):
    """GraphQL errors: the server refused the operation, or a result has `errors`.

    - `errors`: the list of error objects, as the server sent them.
    - `data`: the `data` of the same result, or None.
    - `extensions`: the `extensions` of the same result, or None.
    - `query_id`: the id of the operation if the server ended it with an `error` message, else None.
    """

    maybe_executed: bool = True

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
        """Build an error whose message is the first GraphQL error and the number of others."""
        return cls(_summary(errors), query_id, errors, data, extensions)


# A server decides how long these are. `errors` has all of it.
_SAID_SHOWN = 2000
_PATH_SHOWN = 200
_STEPS_SHOWN = 50


def _summary(errors: Sequence[Any]) -> str:
    try:
        return _sentence(errors)
    except RecursionError:
        return "the server reported an error that is nested too deeply to be shown"


def _sentence(errors: Sequence[Any]) -> str:
    if not errors:
        return "the server reported an error without details"
    first = errors[0]
    said = first.get("message", first) if isinstance(first, Mapping) else first
    text = cut(str(said), _SAID_SHOWN)
    path = first.get("path") if isinstance(first, Mapping) else None
    if isinstance(path, list) and path:
        steps = ".".join(cut(str(step), _PATH_SHOWN) for step in path[:_STEPS_SHOWN])
        text += f" (at {cut(steps, _PATH_SHOWN)})"
    if len(errors) > 1:
        text += f" (and {len(errors) - 1} more)"
    return text


class ResultMismatch(TransportError):
    """The `data` of a result does not fit the `result_type`, or the schema with `parse_results`.

    A subscription continues with its next event.

    - `path`: where in `data` the mismatch is, such as `$.trade.price`.
    - `data`: all of `data`, as plain objects.
    - `extensions`, `errors`: those of the same result, or None.
    """

    maybe_executed: bool = True

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


class IncompleteResult(TransportError):
    """The server sends a result in parts (`@defer`, `@stream`), and this is only one of them.

    `execute` raises it, as it returns one result, and tells the server to stop. So does a step of a
    subscription without `get_execution_result=True`; the next step continues with the next part.

    - `result`: the `ExecutionResult` with everything that arrived.
    - `data`, `errors`, `extensions`: those of `result`.
    """

    maybe_executed: bool = True

    def __init__(
        self,
        message: str = "",
        *,
        result: Any = None,
        data: Any = None,
        errors: Sequence[Any] | None = None,
        extensions: Any = None,
    ) -> None:
        super().__init__(message)
        self.result = result
        self.data = data
        self.errors = errors
        self.extensions = extensions


class SlowConsumer(TransportError):
    """Events arrived faster than they were taken, and the buffer overflowed.

    The consumer gets the buffered events first, then this error. Nothing was dropped before it.
    `events` (a count) and `size` (bytes) are what the buffer held when it overflowed.
    """

    def __init__(self, message: str = "", *, events: int = 0, size: int = 0) -> None:
        super().__init__(message)
        self.events = events
        self.size = size


class InvalidCheckpoint(TransportError, ValueError):
    """What a `checkpoint` holds is no event, or does not fit the `result_type`.

    The message says what to do. The `__cause__` is the error of the reader, if there is one.
    """


class OperationTimeout(TransportError, TimeoutError):
    """An operation got no result within its time limit.

    If the operation was sent (`maybe_executed`), gqlwire told the server to stop it; other
    operations continue. `limit` is in seconds. `host` is the server's host and port.
    """

    def __init__(self, message: str = "", *, limit: float = 0.0, host: str = "") -> None:
        super().__init__(message)
        self.limit = limit
        self.host = host


class TransportConnectionFailed(TransportError):
    """There is no connection: it could not be made, or it was lost.

    `str(error)` says in one sentence what happened. The attributes:

    - `host`: host and port of the server.
    - `phase`: how far the connection had come, a `Phase` (which is a str).
    - `code`, `reason`: those of the close frame (RFC 6455, section 7.4); None and "" without one.
    - `status`: the HTTP status of a refused upgrade, else None.
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
    """Nothing listens at the address, or there is no route to it."""


class ProxyFailed(TransportConnectionFailed):
    """The proxy cannot be reached, refuses to connect, or its URL is invalid."""


class TLSFailed(TransportConnectionFailed):
    """The TLS handshake failed; the message says which check failed."""


class HandshakeRejected(TransportConnectionFailed):
    """The server did not answer the upgrade with a valid 101 Switching Protocols.

    - `status`: the HTTP status; None if the answer was not HTTP.
    - `headers`: the headers of the answer, with lower-case names.
    - `body`: the first 4,096 bytes of the body.
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
    """The server closed the connection, or the connection was lost (`code` 1006)."""


class MessageTooBig(TransportConnectionFailed):
    """A message was longer than `limit` bytes; gqlwire closed the connection with code 1009.

    `beginning`: the first bytes of the message, b"" if they are not known. `unsolicited`: True if
    no operation was running that the message can have been for. Then gqlwire does not reconnect.
    """

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
        self.beginning = b""
        self.unsolicited = True


class TransportClosed(TransportConnectionFailed):
    """`close()` was called before or during the operation, or nothing was connected yet.

    `reconnect()` and `idle_close_after` end a connection with this error, too.
    """


class CredentialsFailed(TransportConnectionFailed):
    """Your function for `url`, `headers` or `init_payload` raised, or took too long.

    Its time limit is `connect_timeout`. The exception that it raised is the `__cause__`.
    """


class OperationInterrupted(TransportConnectionFailed):
    """The connection was lost during a query or a mutation, and gqlwire did not repeat it.

    The operation was sent, so `maybe_executed` is True; there is no way to find out. The
    `__cause__` is the error that ended the connection; `code`, `reason` and `phase` are copied from
    it.
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

    `payload` is the payload of that message, decoded from JSON.
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
    """A phase took longer than `limit` seconds."""

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
    """There was no open WebSocket within `connect_timeout`.

    `phase` is `connect` or `handshake`. `limit` is in seconds.
    """


class AckTimeout(_PhaseTimeout):
    """The server sent no `connection_ack` within `ack_timeout` (`limit`, in seconds)."""


class CloseTimeout(_PhaseTimeout):
    """The server did not answer the close frame within `close_timeout` (`limit`, in seconds).

    The socket is closed all the same. Only `close()` raises this error.
    """


class KeepAliveTimeout(_PhaseTimeout, TransportServerError):
    """The server sent nothing for `limit` seconds, longer than the keep-alive options allow.

    The options are `keep_alive_timeout`, and `pong_timeout` after a ping.
    """
