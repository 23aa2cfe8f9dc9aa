"""How a connection is kept: the arguments of `Client` for it."""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct, field

from gqlwire._reconnect.hooks import Hooks
from gqlwire.retry import RetryPolicy


class ReconnectOptions(Struct, frozen=True):
    """How a connection is kept; see `Client`, whose arguments these are.

    `idle_close_after` is in seconds. `chance` returns a number from 0 to 1, as `random.random`.
    `max_subscriptions_per_connection`: see `Pool`. `connection`: which one it is of those that the
    session has, counted from 1.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retry_queries: bool = False
    idle_close_after: float | None = None
    hooks: Hooks = field(default_factory=Hooks)
    max_subscriptions_per_connection: int | None = None
    chance: Callable[[], float] = random.random
    connection: int = 1
