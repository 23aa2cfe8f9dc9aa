"""What is told about a connection that is kept alive: to hooks, to credentials, to consumers.

Plain data. This module knows no asyncio, no socket and no protocol.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from gqlwire.errors import Phase, TransportError
from gqlwire.retry import RetryPolicy


class Attempt(Struct, frozen=True):
    """An attempt to connect, as it is told to a callable `url`, `headers` or `init_payload`.

    `number`: 1 for the first, and for the first after a connection that was stable. `failure`: why
    the last attempt or connection ended, or None. `refresh`: whether the server refused the
    credentials that it was given, so that they have to be new ones.
    """

    number: int = 1
    failure: TransportError | None = None
    refresh: bool = False


class Change(Struct, frozen=True):
    """A change of `session.state`.

    `failure`: why, if something failed. `delay`: in state `waiting`, the seconds until the next
    attempt.
    """

    state: Phase
    failure: TransportError | None = None
    delay: float | None = None


class Connected(Struct, frozen=True):
    """A connection was acknowledged. `ack_payload`: what the server said with it.

    `was_retry`: whether there was a connection, or an attempt, before.
    """

    ack_payload: Any
    was_retry: bool


class Disconnected(Struct, frozen=True):
    """A connection, or an attempt to connect, came to its end.

    `will_retry`: whether another attempt follows, after `delay` seconds; `why`: if none does, the
    rule that says so.
    """

    failure: TransportError
    will_retry: bool
    delay: float
    why: str = ""


class Reconnected(Struct, frozen=True):
    """A subscription goes on, on a new connection; what happened meanwhile may be missing.

    `gap_seconds`: for how long it had no connection. `attempts`: how many it took. `failure`: why
    the last connection ended.
    """

    gap_seconds: float
    attempts: int
    failure: TransportError


class Hooks(Struct):
    """Functions that are called when something happens to the connection.

    Each may be a coroutine function, too, which runs by itself. One that raises is logged, and
    harms nothing.

    `connecting`: before each attempt. `connected`: after each acknowledgement. `disconnected`:
    after the end of each. `reconnected`: after `connected`, if a connection was lost before.
    """

    connecting: Callable[[Attempt], object] | None = None
    connected: Callable[[Connected], object] | None = None
    disconnected: Callable[[Disconnected], object] | None = None
    reconnected: Callable[[Reconnected], object] | None = None


class Survival(Struct, frozen=True):
    """How a connection is kept: see `Client`, whose arguments these are.

    `chance` returns a number from 0 to 1, as `random.random`.
    """

    retry: RetryPolicy | None = None
    retry_queries: bool = False
    idle_close_after: float | None = None
    hooks: Hooks | None = None
    chance: Callable[[], float] = random.random


@dataclass(slots=True)
class Counters:
    """What has happened so far. `session.counters` returns a snapshot.

    `connections`: acknowledged ones. `retries`: attempts after the first. `resubscriptions`: how
    often a subscription was taken to a new connection. `events`: that came for subscriptions.
    `dropped`: of them, for want of room. `unknown_messages`: by type. `bytes_received`,
    `bytes_sent`: of messages, without frames and TLS. `latency`: seconds that the last answered
    ping took, or None.
    """

    connections: int = 0
    retries: int = 0
    resubscriptions: int = 0
    events: int = 0
    dropped: int = 0
    unknown_messages: dict[str, int] = field(default_factory=dict)
    bytes_received: int = 0
    bytes_sent: int = 0
    latency: float | None = None
