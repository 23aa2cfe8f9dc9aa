"""How a session is: plain data, which `session.health()` returns, and what to conclude from it.

This module knows no connection.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gqlwire._numbers import check_seconds
from gqlwire.errors import Phase


class Failure(Struct, frozen=True, kw_only=True):
    """Why a connection, or an attempt to connect, ended.

    `type`: the name of the error's class. `message`: the first 500 characters of `str(error)`.
    `code`, `status`: those of the error, or None. `at`: when it was. `age`: how many seconds ago.
    """

    type: str
    message: str
    code: int | None
    status: int | None
    at: datetime
    age: float


class SubscriptionHealth(Struct, frozen=True, kw_only=True):
    """How one subscription is that has started, and is not over.

    - `name`: the name of the operation; None if it has none.
    - `id`: its id on the wire, another one on each connection.
    - `state`: `live`; `lost`, as it waits for a connection, or after a refusal; or `resubscribed`:
      it was sent again, and no result has come yet, as from a feed with few events.
    - `age`: seconds since its first step. `last_event_age`: since its last event, None before the
      first. `gap_age`: since its connection was lost, None unless it is in a gap.
    - `events`, `dropped`, `duplicates`: how many arrived, found no room, had come before.
    - `buffered_events`, `buffered_bytes`: what waits to be taken.
    """

    name: str | None
    id: str | None
    state: Literal["live", "lost", "resubscribed"]
    age: float
    last_event_age: float | None
    gap_age: float | None
    events: int
    dropped: int
    duplicates: int
    buffered_events: int
    buffered_bytes: int

    @property
    def title(self) -> str:
        """The name, or the id, for a message."""
        return self.name or f"with the id {self.id}"


class ConnectionHealth(Struct, frozen=True, kw_only=True):
    """How one connection is, or the next one in its place.

    - `host`: host and port of the server.
    - `protocol`: the subprotocol; None without a connection.
    - `is_separate`: whether it is one beside the main connection, for subscriptions that may be
      the cause of its ends.
    - `state`, `since`, `state_age`: its state, since when, and for how many seconds.
    - `outage_age`: for how many seconds there has been no connection; None if there is one, if
      none is needed, or if none follows.
    - `attempts`: how many attempts have begun since the last connection. `next_attempt_in`: in
      state `waiting`, the seconds until the next one, else None.
    - `last_failure`: what ended the last connection or attempt that your program did not end.
    - `last_frame_age`: seconds since something arrived on the connection, or on the last one.
    - `latency`: seconds that the last answered ping took, or None.
    - `subscriptions`: those on it, or that wait for it.
    """

    host: str
    protocol: str | None
    is_separate: bool
    state: Phase
    since: datetime | None
    state_age: float | None
    outage_age: float | None
    attempts: int
    next_attempt_in: float | None
    last_failure: Failure | None
    last_frame_age: float | None
    latency: float | None
    subscriptions: tuple[SubscriptionHealth, ...]


class Health(Struct, frozen=True, kw_only=True):
    """How a session is at one moment; `session.health()` returns it.

    - `at`: when that was.
    - `state`, `since`, `state_age`: the state of the session, since when, and for how many seconds.
      It is `session.state`, and `init` while the server has not acknowledged the connection yet.
      `since` and `state_age` are None before the first attempt to connect.
    - `live_operations`: how many queries and mutations run, or wait for a connection.
    - `live_subscriptions`, `buffered_events`, `buffered_bytes`: the sums over all connections.
    - `connections`: the main connection, and further ones.

    All times are in seconds, and all dates in UTC.
    """

    at: datetime
    state: Phase
    since: datetime | None
    state_age: float | None
    live_operations: int
    live_subscriptions: int
    buffered_events: int
    buffered_bytes: int
    connections: tuple[ConnectionHealth, ...]

    @property
    def is_alive(self) -> bool:
        """Whether the session can still be used: False if it was closed, or has ended for good.

        It is True while the server is down and gqlwire reconnects. So it tells whether a restart of
        the process can help.
        """
        return self.state is not Phase.CLOSED

    def problems(
        self,
        *,
        max_outage: float = 0.0,
        max_event_age: float | None = None,
        max_frame_age: float | None = None,
    ) -> list[str]:
        """Return what is wrong, in sentences; an empty list means that the session is ready.

        `max_outage`: for how many seconds a connection, or a subscription, may be lost.
        `max_event_age`: how many seconds ago the last event of each subscription may be, or its
        start. `max_frame_age`: how many seconds ago something has to have arrived on each
        connection. None checks nothing.

        Raises ValueError or TypeError for a limit that is no number of seconds.
        """
        check_seconds("max_outage", max_outage, optional=False)
        check_seconds("max_event_age", max_event_age)
        check_seconds("max_frame_age", max_frame_age)
        if not self.is_alive:
            return [f"the session is closed{_because(self.connections)}"]
        found: list[str] = []
        for connection in self.connections:
            found += _of_connection(connection, max_outage, max_frame_age)
            for subscription in connection.subscriptions:
                found += _of_subscription(subscription, connection, max_outage, max_event_age)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain objects for `json.dumps`; dates are strings (ISO 8601)."""
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return found


def _because(connections: tuple[ConnectionHealth, ...]) -> str:
    failures = [each.last_failure for each in connections if each.last_failure is not None]
    return f": {failures[0].message}" if failures else ""


def _of_connection(
    it: ConnectionHealth, max_outage: float, max_frame_age: float | None
) -> list[str]:
    if _is_out(it, max_outage):
        seconds = it.outage_age or 0.0
        return [f"there is no connection to {it.host} for {seconds:.1f} s{_because((it,))}"]
    if it.state is not Phase.OPEN or max_frame_age is None or it.last_frame_age is None:
        return []
    if it.last_frame_age <= max_frame_age:
        return []
    return [f"{it.host} has sent nothing for {it.last_frame_age:.1f} s"]


def _is_out(it: ConnectionHealth, max_outage: float) -> bool:
    return not it.is_separate and it.outage_age is not None and it.outage_age >= max_outage


def _of_subscription(
    it: SubscriptionHealth,
    connection: ConnectionHealth,
    max_outage: float,
    max_event_age: float | None,
) -> list[str]:
    seconds = it.age if it.last_event_age is None else it.last_event_age
    if max_event_age is not None and seconds > max_event_age:
        return [f"the subscription {it.title} has had no event for {seconds:.1f} s"]
    if it.state == "lost" and not _is_out(connection, max_outage):
        gap = it.gap_age or 0.0
        if gap >= max_outage:
            return [f"the subscription {it.title} is lost for {gap:.1f} s"]
    return []
