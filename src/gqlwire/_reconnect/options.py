"""How a connection is kept: what a client says of it."""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct

from gqlwire._reconnect.hooks import Hooks
from gqlwire.retry import RetryPolicy


class Survival(Struct, frozen=True):
    """How a connection is kept: see `Client`, whose arguments these are.

    `chance` returns a number from 0 to 1, as `random.random`.
    """

    retry: RetryPolicy | None = None
    retry_queries: bool = False
    idle_close_after: float | None = None
    hooks: Hooks | None = None
    chance: Callable[[], float] = random.random
