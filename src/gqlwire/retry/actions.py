"""What to do about each failure: by close code, by HTTP status, and what the server asks for.

No other module knows that.

Sources: PROTOCOL.md of enisdenjo/graphql-ws; RFC 6455, section 7.4; what servers use the codes for.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from gqlwire.errors import (
    ConnectionRejected,
    HandshakeRejected,
    InvalidURL,
    MessageTooBig,
    Phase,
    TLSFailed,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
)


class Action(StrEnum):
    """What to do about a failure."""

    RETRY = "retry"
    """Connect again, after a delay that grows."""
    REFRESH = "refresh"
    """Get new credentials and connect again immediately. If the server refuses again, or if there
    is no function that returns credentials: before the first acknowledgement do not retry, after it
    do what LATER says, with new credentials each time."""
    LATER = "later"
    """Connect again, after at least `RetryPolicy.later` seconds."""
    STOP = "stop"
    """Do not retry: another attempt would fail again."""


CLOSE_CODES: Mapping[int, Action] = {
    1000: Action.RETRY,  # servers that restart send it, even while operations run
    1001: Action.RETRY,
    1002: Action.STOP,
    1003: Action.STOP,
    1005: Action.RETRY,
    1006: Action.RETRY,
    1007: Action.STOP,
    1008: Action.REFRESH,
    1009: Action.RETRY,  # it has cost the operation that was too big; see `ask`
    1010: Action.STOP,
    1011: Action.RETRY,
    1012: Action.RETRY,
    1013: Action.LATER,
    1014: Action.RETRY,
    3008: Action.RETRY,
    4400: Action.STOP,
    4401: Action.REFRESH,
    4403: Action.REFRESH,
    4406: Action.STOP,
    4408: Action.RETRY,
    4409: Action.RETRY,
    4429: Action.LATER,
    4499: Action.RETRY,
    4500: Action.RETRY,
    4504: Action.RETRY,
}
"""What to do, by close code. For other codes: RETRY."""

BEFORE_ACK: Mapping[int, Action] = {
    1000: Action.REFRESH,  # Hasura refuses connection_init with it; the close frame has the reason
    1009: Action.STOP,  # connection_init is too big, and would be sent again
    3000: Action.REFRESH,  # registered as "Unauthorized"
    3003: Action.REFRESH,  # registered as "Forbidden"
    4400: Action.REFRESH,  # newer Hasura
    4408: Action.REFRESH,  # connection_init was sent immediately, and ignored (Directus)
    4500: Action.REFRESH,  # graphql-ws, if `onConnect` raises
}
"""Exceptions from `CLOSE_CODES` before `connection_ack`; 1000 only if the frame has a reason.

For other codes from 4000 to 4999 that are not in `CLOSE_CODES`, too: REFRESH.
"""

STATUSES: Mapping[int, Action] = {
    401: Action.REFRESH,
    403: Action.REFRESH,
    408: Action.RETRY,
    425: Action.RETRY,
    429: Action.LATER,
}
"""What to do, by HTTP status of a refused upgrade. For other 5xx: RETRY. For the rest: STOP."""

_LONGEST_DATE = 100
"""A date has 29 characters; other forms of it have a few more."""
_APPLICATION_CODES = range(4000, 5000)  # RFC 6455, section 7.4.2
_FINAL = (TransportClosed, InvalidURL, TLSFailed)
_ALWAYS_FINAL = (TransportClosed, MessageTooBig)


def action_for(failure: TransportError) -> Action:
    """Return what to do about `failure`, according to the tables."""
    if isinstance(failure, _FINAL):
        return Action.STOP
    if isinstance(failure, MessageTooBig) and failure.unsolicited:
        return Action.STOP
    if isinstance(failure, ConnectionRejected):
        return Action.REFRESH
    if isinstance(failure, HandshakeRejected):
        status = failure.status or 0
        return STATUSES.get(status, Action.RETRY if 500 <= status < 600 else Action.STOP)
    if isinstance(failure, TransportConnectionFailed) and failure.code is not None:
        is_refusal = failure.code != 1000 or failure.reason
        if failure.phase is Phase.INIT and is_refusal and failure.code in BEFORE_ACK:
            return BEFORE_ACK[failure.code]
        is_early = failure.phase is Phase.INIT and failure.code in _APPLICATION_CODES
        return CLOSE_CODES.get(failure.code, Action.REFRESH if is_early else Action.RETRY)
    return Action.RETRY


def action_after_ack(failure: TransportError) -> Action:
    """Return what to do about `failure` once the server has acknowledged a connection.

    Then URL and credentials were right, so most failures pass: a balancer answers 404 during a
    deployment, or another server has an old certificate. So only what we end ourselves is final.
    """
    action = action_for(failure)
    if action is not Action.STOP or isinstance(failure, _ALWAYS_FINAL):
        return action
    if isinstance(failure, HandshakeRejected | TLSFailed):
        return Action.LATER
    return Action.RETRY


def retry_after(failure: TransportError) -> float:
    """Return how many seconds a refused upgrade asks to wait (`Retry-After`), or 0.

    The header holds a number of seconds, or a date (RFC 9110, section 10.2.3). A date is compared
    with the `Date` of the same response, because our clock may differ from the server's.
    """
    if not isinstance(failure, HandshakeRejected):
        return 0.0
    said, date = failure.headers.get("retry-after", ""), failure.headers.get("date", "")
    if not said:
        return 0.0
    if said.isascii() and said.isdigit():
        return float(said)  # infinity, for hundreds of digits
    if max(len(said), len(date)) > _LONGEST_DATE:
        return 0.0
    from email.utils import parsedate_to_datetime  # slow to import, and rarely needed

    try:
        seconds = (parsedate_to_datetime(said) - parsedate_to_datetime(date)).total_seconds()
    except Exception:  # noqa: BLE001  # the parser of dates was not made for any text whatever
        return 0.0
    return max(0.0, seconds)
