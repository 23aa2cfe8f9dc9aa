"""When to connect again, as data. `should_retry` overrides the tables of `actions`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gqlwire._log import logger
from gqlwire._numbers import check_count, check_factor, check_seconds, is_seconds
from gqlwire.errors import TransportError
from gqlwire.retry.actions import Action, action_after_ack, action_for

HOUR = 3600.0
_TIMES = ("first_delay", "longest_delay", "stable_after", "later", "longest_retry_after", "spread")
_LIMITS = ("elapsed", "resubscribe_elapsed")
_COUNTS = ("attempts", "connects_per_hour", "resubscribe_attempts", "suspect_attempts")

ShouldRetry = Callable[[TransportError], "bool | float | Action | None"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to reconnect, how often, and after which delays. All times are in seconds.

    If many clients lose the same server, they must not all reconnect at the same time. So the delay
    before the n-th retry in a row is random, between 0 and `first_delay * growth ** (n - 1)`, and
    `longest_delay` at most ("full jitter").

    - `attempts`: how many attempts may fail in a row. None: no limit.
    - `elapsed`: for how long to retry after the first failure in a row. None: no limit.
    - `initial`: whether to retry the very first connection, or for how many seconds after
      `connect()`. By default it is not retried, because the usual causes (wrong URL, wrong
      credentials) do not go away. What `action_for` calls STOP is never retried before the first
      acknowledgement, nor are credentials that the server refuses twice.
    - `stable_after`: after a connection that stayed acknowledged for this time, a new row of
      failures begins: the delays, and the counts of `attempts` and `elapsed`, start again. A
      shorter connection does the same if it brought a result, or lasted longer than the delay
      before it; and in both cases at least `first_delay`, and 3 seconds.
    - `connects_per_hour`: how many attempts to make per hour, for servers with such a limit. None:
      no limit.
    - `later`: the shortest delay after a failure whose `Action` is LATER. The delay is random, up
      to twice as long.
    - `longest_retry_after`: a server that asks for a longer delay (`Retry-After`) gets this one,
      and the log a WARNING.
    - `resubscribe_elapsed`: for how long the server may refuse a subscription on new connections,
      with delays as above. Only time with a connection counts. None: no limit.
    - `resubscribe_attempts`: how often in a row it may do so. None: no limit.
    - `suspect_attempts`: how often a subscription is tried on a connection of its own that seems to
      be what the server ends connections for. None: no limit.
    - `spread`: resubscribe after a reconnect at random times within this time.
    - `should_retry`: overrides the tables. It is called with the failure, and returns True (retry
      after the usual delay), a number (retry after so many seconds), False (do not retry), an
      `Action`, or None (do what the tables say). Anything else, such as NaN, is ignored with a
      WARNING.

    Raises ValueError for times below 0, counts below 1, a `growth` below 1, and numbers that are
    not finite, or not whole for a count; TypeError for what is not a number.
    """

    first_delay: float = 1.0
    growth: float = 2.0
    longest_delay: float = 30.0
    attempts: int | None = None
    elapsed: float | None = None
    initial: bool | float = False
    stable_after: float = 30.0
    connects_per_hour: int | None = None
    later: float = 60.0
    longest_retry_after: float = HOUR
    resubscribe_elapsed: float | None = 900.0
    resubscribe_attempts: int | None = None
    suspect_attempts: int | None = 5
    spread: float = 0.0
    should_retry: ShouldRetry | None = None

    def __post_init__(self) -> None:
        for name in (*_TIMES, *_LIMITS):
            optional = name in _LIMITS
            check_seconds(f"{name} of RetryPolicy", getattr(self, name), optional=optional)
        if not isinstance(self.initial, bool):
            check_seconds("initial of RetryPolicy", self.initial, optional=False)
        check_factor("growth of RetryPolicy", self.growth)
        for name in _COUNTS:
            check_count(f"{name} of RetryPolicy", getattr(self, name), optional=True)

    def ceiling(self, attempt: int) -> float:
        """Return the longest delay before retry number `attempt`, counted from 1, in seconds."""
        try:
            return min(
                self.longest_delay, self.first_delay * self.growth ** min(attempt - 1, 1_000)
            )
        except OverflowError:
            return self.longest_delay if self.first_delay else 0.0

    def for_subscription(self) -> RetryPolicy:
        """Return the policy for a subscription that the server refused on a new connection."""
        return replace(
            self,
            attempts=self.resubscribe_attempts,
            elapsed=self.resubscribe_elapsed,
            connects_per_hour=None,
            initial=True,
        )

    def judge(
        self, failure: TransportError, *, was_acked: bool = False
    ) -> tuple[Action, float | None]:
        """Return what to do about a failure, and the delay that `should_retry` gave, or None.

        `was_acked`: whether the server has acknowledged a connection before.
        """
        said = None if self.should_retry is None else self.should_retry(failure)
        if isinstance(said, Action):
            return said, None
        if isinstance(said, bool):
            return (Action.RETRY if said else Action.STOP), None
        if said is not None and is_seconds(said):
            return Action.RETRY, float(said)
        if said is not None:
            logger.warning("should_retry returned %.60r; gqlwire ignores that", said)
        return (action_after_ack if was_acked else action_for)(failure), None
