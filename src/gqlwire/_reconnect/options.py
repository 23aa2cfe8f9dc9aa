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
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    retry_queries: bool = False
    idle_close_after: float | None = None
    hooks: Hooks = field(default_factory=Hooks)
    chance: Callable[[], float] = random.random
