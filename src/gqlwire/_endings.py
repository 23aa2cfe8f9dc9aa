"""The sentences for the ways in which we end a connection, or an operation, ourselves.

How servers end them is in `_close_codes`. This file knows no socket and no policy.
"""

from __future__ import annotations

from typing import Any

from gqlwire.errors import (
    AckTimeout,
    CloseTimeout,
    ConnectionRejected,
    KeepAliveTimeout,
    OperationInterrupted,
    OperationTimeout,
    Phase,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
)


def closed_by_user(host: str, phase: Phase) -> TransportClosed:
    """Somebody called `close()`."""
    text = f"the connection to {host} was closed by close()"
    return TransportClosed(text, host=host, phase=phase)


def given_up(host: str, phase: Phase) -> TransportClosed:
    """The attempt to connect was cancelled, or came to nothing."""
    return TransportClosed(f"the connection to {host} was given up", host=host, phase=phase)


def not_acknowledged(host: str, limit: float) -> AckTimeout:
    """No `connection_ack` came within `limit` seconds."""
    text = f"{host} did not acknowledge connection_init within {limit:g} seconds (ack_timeout)"
    return AckTimeout(text, limit=limit, host=host, phase=Phase.INIT)


def refused(host: str, complaint: str, payload: Any) -> ConnectionRejected:
    """The server answered `connection_init` with `connection_error`."""
    text = f"{host} refused connection_init: {complaint}"
    return ConnectionRejected(text, payload=payload, host=host)


def silent(host: str, phase: Phase, limit: float, when: str) -> KeepAliveTimeout:
    """Nothing came from the server for `limit` seconds; `when` names the option."""
    text = f"{host} sent nothing for {limit:g} seconds {when}"
    return KeepAliveTimeout(text, limit=limit, host=host, phase=phase)


def late(host: str, kind: str, limit: float | None) -> OperationTimeout:
    """An operation of this kind had no answer within `limit` seconds."""
    limit = limit or 0.0
    text = f"{host} did not answer the {kind} within {limit:g} seconds (execute_timeout)"
    return OperationTimeout(text, limit=limit, host=host)


def unconnected(
    host: str, kind: str, limit: float | None, option: str, last: TransportError | None
) -> OperationTimeout:
    """An operation had no connection to run on within `limit` seconds; `option` names them."""
    limit = limit or 0.0
    text = (
        f"the {kind} was not sent: there was no connection to {host} within {limit:g} seconds "
        f"({option})"
    )
    if last is not None:
        text += f"; the last failure: {last}"
    return OperationTimeout(text, limit=limit, host=host)


def eventless(host: str, limit: float, option: str) -> OperationTimeout:
    """A subscription had no event within `limit` seconds; `option` names them."""
    text = f"{host} sent no event of the subscription within {limit:g} seconds ({option})"
    return OperationTimeout(text, limit=limit, host=host)


def interrupted(host: str, kind: str, lost: TransportError) -> OperationInterrupted:
    """The connection ended, by `lost`, while an operation of this kind ran."""
    article = "mutation, which the server may have run" if kind == "mutation" else kind
    known = lost if isinstance(lost, TransportConnectionFailed) else TransportConnectionFailed()
    return OperationInterrupted(
        f"the connection was lost amid the {article}: {lost}",
        host=host,
        phase=known.phase,
        code=known.code,
        reason=known.reason,
    )


def reconnecting(host: str, phase: Phase, reason: str) -> TransportClosed:
    """Somebody called `reconnect()`, for this reason."""
    text = f"the connection to {host} is made anew by reconnect()" + (
        f": {reason}" if reason else ""
    )
    return TransportClosed(text, host=host, phase=phase)


def terminated(host: str, phase: Phase) -> TransportConnectionFailed:
    """Somebody called `terminate()`."""
    text = f"the connection to {host} was dropped by terminate()"
    return TransportConnectionFailed(text, host=host, phase=phase)


def idle(host: str, limit: float) -> TransportClosed:
    """Nothing ran for `limit` seconds."""
    text = f"the connection to {host} was closed: nothing ran for {limit:g} s (idle_close_after)"
    return TransportClosed(text, host=host, phase=Phase.OPEN)


def not_answered(host: str, limit: float) -> CloseTimeout:
    """The close frame was not answered within `limit` seconds."""
    text = (
        f"{host} did not answer the close frame within {limit:g} seconds (close_timeout); "
        f"the socket was dropped"
    )
    return CloseTimeout(text, limit=limit, host=host, phase=Phase.CLOSING)
