"""Takes the health of a session: reads what its connections and subscriptions know.

It asks nobody, changes nothing, and costs the connection nothing while nobody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from gqlwire._clock import Moment, age
from gqlwire._connection.connection import Connection
from gqlwire._operations.feed import Feed
from gqlwire._operations.link import Link
from gqlwire._payloads.request import name_of
from gqlwire._reconnect.health import ConnectionHealth, Failure, Health, SubscriptionHealth
from gqlwire._reconnect.report import Report
from gqlwire._reconnect.separate_connections import SeparateConnections
from gqlwire._reconnect.states import Changes
from gqlwire._streams.stream import EventStream
from gqlwire.errors import Phase, TransportClosed

_MESSAGE = 500
"""How many characters of the message of a failure are kept: a server may have written it."""


def whole(
    connections: Sequence[ConnectionHealth],
    running: int,
    now: Moment,
    state: Phase,
    since: Moment | None,
) -> Health:
    """Return the health of a session; `running`: its queries and mutations."""
    subscriptions = [each for connection in connections for each in connection.subscriptions]
    if state is Phase.CONNECT:
        state = next((each.state for each in connections if each.state is Phase.INIT), state)
    return Health(
        at=now.date,
        state=state,
        since=None if since is None else since.date,
        state_age=None if since is None else since.age(now),
        live_operations=running,
        live_subscriptions=len(subscriptions),
        buffered_events=sum(each.buffered_events for each in subscriptions),
        buffered_bytes=sum(each.buffered_bytes for each in subscriptions),
        connections=tuple(connections),
    )


def of_link(link: Link) -> Health:
    """Return the health of a session that does not reconnect."""
    now, connection = Moment.now(), link.live
    if connection is None:
        return whole([never_connected(link.host)], link.running, now, Phase.CLOSED, None)
    reason, since = connection.reason, connection.telemetry.since
    failure = None if isinstance(reason, TransportClosed) else reason
    owners = [stream.owner for stream in connection.routes.streams]
    feeds = [owner for owner in owners if isinstance(owner, Feed)]
    found = _connection(
        link.host,
        connection,
        connection.phase,
        since,
        now,
        last=None if failure is None else (failure, since),
        subscriptions=_subscriptions(feeds, now),
    )
    # Nothing can follow, even if the socket is not closed yet.
    state = connection.phase if reason is None else Phase.CLOSED
    return whole([found], link.running, now, state, since)


def never_connected(host: str) -> ConnectionHealth:
    """Return the health of a connection that nobody has asked for yet."""
    return _connection(host, None, Phase.CLOSED, None, Moment.now())


def of_kept(
    link: Link, changes: Changes, report: Report, feeds: Iterable[Feed], now: Moment
) -> ConnectionHealth:
    """Return the health of the main connection of `link`, with its subscriptions `feeds`."""
    state, since = changes.state, changes.since
    if state is Phase.CONNECT and link.dialer.phase is Phase.INIT:
        state = Phase.INIT
    due_at = changes.due_at
    is_missing = state not in (Phase.OPEN, Phase.IDLE, Phase.CLOSED)
    down_since = report.down_since if is_missing else None
    return _connection(
        link.host,
        link.live,
        state,
        since,
        now,
        last=report.last,
        heard_at=report.heard_at,
        outage_age=None if down_since is None else age(down_since, now),
        attempts=report.tries,
        next_attempt_in=None if due_at is None else max(0.0, round(due_at - now.loop, 3)),
        subscriptions=_subscriptions(feeds, now),
    )


def of_separate(separate: SeparateConnections, host: str, now: Moment) -> list[ConnectionHealth]:
    """Return the health of the connections that suspects have apart; `host`: of the main one."""
    return [
        _connection(
            host if each.dialer is None else each.dialer.host,
            each.connection,
            Phase.WAITING if each.dialer is None else each.dialer.phase,
            None if each.connection is None else each.connection.telemetry.since,
            now,
            is_separate=True,
            subscriptions=_subscriptions(each.feeds, now),
        )
        for each in separate.all
    ]


def _connection(
    host: str,
    connection: Connection | None,
    state: Phase,
    since: Moment | None,
    now: Moment,
    *,
    is_separate: bool = False,
    last: tuple[Exception, Moment] | None = None,
    heard_at: float | None = None,
    outage_age: float | None = None,
    attempts: int = 0,
    next_attempt_in: float | None = None,
    subscriptions: tuple[SubscriptionHealth, ...] = (),
) -> ConnectionHealth:
    if connection is not None:
        heard_at = connection.telemetry.heard_at
    return ConnectionHealth(
        host=host,
        protocol=None if connection is None else connection.subprotocol,
        is_separate=is_separate,
        state=state,
        since=None if since is None else since.date,
        state_age=None if since is None else since.age(now),
        outage_age=outage_age,
        attempts=attempts,
        next_attempt_in=next_attempt_in,
        last_failure=None if last is None else _failure(*last, now),
        last_frame_age=None if heard_at is None else age(heard_at, now),
        latency=None if connection is None else connection.latency,
        subscriptions=subscriptions,
    )


def _failure(failure: Exception, at: Moment, now: Moment) -> Failure:
    return Failure(
        type=type(failure).__name__,
        message=str(failure)[:_MESSAGE],
        code=getattr(failure, "code", None),
        status=getattr(failure, "status", None),
        at=at.date,
        age=at.age(now),
    )


def _subscriptions(feeds: Iterable[Feed], now: Moment) -> tuple[SubscriptionHealth, ...]:
    return tuple(
        _subscription(feed, feed.stream, now)
        for feed in feeds
        if feed.stream is not None and not feed.stream.over
    )


def _state(feed: Feed) -> Literal["live", "lost", "resubscribed"]:
    if feed.is_lost:
        return "lost"
    return "live" if feed.gap_since is None else "resubscribed"


def _subscription(feed: Feed, stream: EventStream, now: Moment) -> SubscriptionHealth:
    return SubscriptionHealth(
        name=name_of(feed.request),
        id=feed.id,
        state=_state(feed),
        age=age(feed.begun_at, now),
        last_event_age=None if stream.burst is None else age(stream.burst[0], now),
        gap_age=None if feed.gap_since is None else age(feed.gap_since, now),
        events=stream.events,
        dropped=stream.dropped,
        duplicates=feed.duplicates,
        buffered_events=stream.buffered,
        buffered_bytes=stream.buffered_size,
    )
