"""Decides whether to connect again after a failure, and after how long.

The tables list what to do about each close code and HTTP status; no other module knows that.
`should_retry` overrides the tables. This module does not wait, and does not read a clock: the
caller passes the time and a source of random numbers, so tests need neither.

Sources: PROTOCOL.md of enisdenjo/graphql-ws; RFC 6455, section 7.4; what servers use the codes for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from msgspec import Struct

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

__all__ = ["BEFORE_ACK", "CLOSE_CODES", "STATUSES", "Action", "Attempt", "RetryPolicy"]


class Action(StrEnum):
    """What to do about a failure."""

    RETRY = "retry"
    """Connect again, after a delay that grows."""
    REFRESH = "refresh"
    """Get new credentials and connect once more. If the server refuses again, or if there is no
    function that returns credentials, do not retry."""
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

_HOUR = 3600.0
_APPLICATION_CODES = range(4000, 5000)  # RFC 6455, section 7.4.2
_FINAL = (TransportClosed, InvalidURL, TLSFailed)


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


ShouldRetry = Callable[[TransportError], "bool | float | Action | None"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to reconnect, how often, and after which delays. All times are in seconds.

    If many clients lose the same server, they must not all reconnect at the same time. So the delay
    before the n-th retry in a row is random, between 0 and `first_delay * growth ** (n - 1)`, and
    `longest_delay` at most ("full jitter").

    - `attempts`: how many attempts may fail in a row. None: no limit.
    - `elapsed`: for how long to retry after the first failure in a row. None: no limit.
    - `initial`: whether to retry the very first connection. By default it is not retried, because
      the usual causes (wrong URL, wrong credentials) do not go away.
    - `stable_after`: after a connection that stayed acknowledged for this time, the counts of
      `attempts` and `elapsed` start again at 0.
    - `connects_per_hour`: how many attempts to make per hour, for servers with such a limit. None:
      no limit.
    - `later`: the shortest delay after a failure whose `Action` is LATER. The delay is random, up
      to twice as long.
    - `resubscribe_attempts`: how often in a row the server may refuse a subscription on a new
      connection, with delays as above. None: no limit.
    - `spread`: resubscribe after a reconnect at random times within this time.
    - `should_retry`: overrides the tables. It is called with the failure, and returns True (retry
      after the usual delay), a number (retry after so many seconds), False (do not retry), an
      `Action`, or None (do what the tables say).

    Raises ValueError for times below 0, counts below 1, and a `growth` below 1.
    """

    first_delay: float = 1.0
    growth: float = 2.0
    longest_delay: float = 60.0
    attempts: int | None = None
    elapsed: float | None = None
    initial: bool = False
    stable_after: float = 30.0
    connects_per_hour: int | None = None
    later: float = 60.0
    resubscribe_attempts: int | None = 5
    spread: float = 0.0
    should_retry: ShouldRetry | None = None

    def __post_init__(self) -> None:
        times = (
            self.first_delay,
            self.longest_delay,
            self.stable_after,
            self.later,
            self.elapsed or 0,
            self.spread,
        )
        counts = (self.attempts, self.connects_per_hour, self.resubscribe_attempts)
        if min(times) < 0 or self.growth < 1:
            raise ValueError("the times of a RetryPolicy must be 0 or more, and growth 1 or more")
        if any(count is not None and count < 1 for count in counts):
            raise ValueError(
                "attempts, connects_per_hour and resubscribe_attempts must be 1 or more, or None"
            )

    def ceiling(self, attempt: int) -> float:
        """Return the longest delay before retry number `attempt`, counted from 1, in seconds."""
        # Without this limit, the power would be too large for a float.
        return min(self.longest_delay, self.first_delay * self.growth ** min(attempt - 1, 1_000))

    def for_subscription(self) -> RetryPolicy:
        """Return the policy for a subscription that the server refused on a new connection."""
        return replace(
            self, attempts=self.resubscribe_attempts, connects_per_hour=None, initial=True
        )

    def judge(self, failure: TransportError) -> tuple[Action, float | None]:
        """Return what to do about a failure, and the delay that `should_retry` gave, or None."""
        said = None if self.should_retry is None else self.should_retry(failure)
        if said is None:
            return action_for(failure), None
        if isinstance(said, Action):
            return said, None
        if isinstance(said, bool):
            return (Action.RETRY if said else Action.STOP), None
        return Action.RETRY, float(said)


class Decision(Struct, frozen=True):
    """What to do about one failure.

    `retry`: whether to connect again. `delay`: after how many seconds. `refresh`: whether to get
    new credentials first. `attempt`: how many attempts in a row have failed. `why`: if there is no
    retry, the reason.
    """

    retry: bool
    delay: float = 0.0
    refresh: bool = False
    attempt: int = 0
    why: str = ""


class Attempts:
    """Counts the attempts of one client, and decides about each failure by its policy.

    `chance` returns a random number from 0 to 1, as `random.random` does. `can_refresh`: whether
    the client has a function that returns credentials. Each `now` is in seconds, of a monotonic
    clock.
    """

    def __init__(
        self, policy: RetryPolicy, chance: Callable[[], float], *, can_refresh: bool = True
    ) -> None:
        self._policy = policy
        self._can_refresh = can_refresh
        self._chance = chance
        self._count = 0
        self._since: float | None = None
        self._acked_at: float | None = None
        self._was_ever_acked = False
        self._has_refreshed = False
        self._connects: list[float] = []  # a deque takes 0.7 kB, and there may be many clients

    @property
    def count(self) -> int:
        """How many attempts failed in a row."""
        return self._count

    def connecting(self, now: float) -> None:
        """Note that an attempt begins."""
        # Only those of the last hour count. The list is short, because each attempt takes time.
        self._connects = [at for at in self._connects if at > now - _HOUR]
        self._connects.append(now)

    def acknowledged(self, now: float) -> None:
        """Note that the connection is acknowledged."""
        self._acked_at = now
        self._was_ever_acked = True

    def failed(self, failure: TransportError, now: float) -> Decision:
        """Decide what to do after an attempt failed, or a connection ended."""
        self._forget_if_stable(now)
        if isinstance(failure, TransportConnectionFailed) and failure.phase is Phase.OPEN:
            self._was_ever_acked = True  # it may have ended before `acknowledged` was called
        if not self._was_ever_acked and not self._policy.initial:
            return Decision(retry=False, why="the first connection failed (initial=False)")
        action, delay = self._policy.judge(failure)
        refresh = action is Action.REFRESH
        why = self._spent(now, refresh=refresh, stops=action is Action.STOP)
        if why:
            return Decision(retry=False, why=why)
        self._count += 1
        # Only two refusals in a row are final. Another failure between them may last so long that
        # the credentials expire.
        self._has_refreshed = refresh
        if delay is None:
            delay = self._drawn(action, retry_after(failure))
        return Decision(True, max(delay, self.until_allowed(now)), refresh, self._count)

    def _forget_if_stable(self, now: float) -> None:
        acked_at, self._acked_at = self._acked_at, None
        if acked_at is not None and now - acked_at >= self._policy.stable_after:
            self._count, self._since, self._has_refreshed = 0, None, False
        if self._since is None:
            self._since = now

    def _spent(self, now: float, *, refresh: bool, stops: bool) -> str:
        policy, since = self._policy, now if self._since is None else self._since
        if stops:
            return "another attempt would fail again"
        if refresh and not self._can_refresh:
            return "the server refused the credentials, and there are no others"
        if refresh and self._has_refreshed:
            return "the server refused the new credentials, too"
        if policy.attempts is not None and self._count >= policy.attempts:
            return f"{self._count} attempts failed in a row (attempts)"
        if policy.elapsed is not None and now - since >= policy.elapsed:
            return f"all attempts failed for {now - since:g} seconds (elapsed)"
        return ""

    def _drawn(self, action: Action, asked_for: float) -> float:
        policy = self._policy
        if action is Action.REFRESH:
            return 0.0
        delay = self._chance() * policy.ceiling(self._count)
        if action is Action.LATER:
            delay = policy.later * (1 + self._chance())
        # A server may give many clients the same time. They must not all connect at that time.
        return max(delay, asked_for + self._chance() * policy.first_delay if asked_for else 0.0)

    def until_allowed(self, now: float) -> float:
        """Return the seconds until `connects_per_hour` allows another attempt."""
        limit = self._policy.connects_per_hour
        if limit is None or len(self._connects) < limit:
            return 0.0
        return max(0.0, self._connects[-limit] + _HOUR - now)


def retry_after(failure: TransportError) -> float:
    """Return how many seconds a refused upgrade asks to wait (`Retry-After`), or 0.

    The header holds a number of seconds, or a date (RFC 9110, section 10.2.3). A date is compared
    with the `Date` of the same response, because our clock may differ from the server's.
    """
    if not isinstance(failure, HandshakeRejected):
        return 0.0
    said = failure.headers.get("retry-after", "")
    if said.isascii() and said.isdigit():
        return float(said)
    from email.utils import parsedate_to_datetime  # slow to import, and rarely needed

    try:
        until = parsedate_to_datetime(said)
        seconds = (until - parsedate_to_datetime(failure.headers.get("date", ""))).total_seconds()
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, seconds)


class Attempt(Struct, frozen=True):
    """An attempt to connect; your functions `url`, `headers` and `init_payload` may take it.

    - `number`: 1 for the first attempt, then 1 more for each attempt in a row that failed. After a
      stable connection it is 1 again.
    - `failure`: why the last attempt or connection ended, or None.
    - `refresh`: True if the server refused the last credentials, so that it needs new ones.
    """

    number: int = 1
    failure: TransportError | None = None
    refresh: bool = False
