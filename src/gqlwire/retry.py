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

from gqlwire._log import logger
from gqlwire._numbers import check_count, check_factor, check_seconds, is_seconds
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

_HOUR = 3600.0
_APPLICATION_CODES = range(4000, 5000)  # RFC 6455, section 7.4.2
_FINAL = (TransportClosed, InvalidURL, TLSFailed)
_ALWAYS_FINAL = (TransportClosed, MessageTooBig)
_LEAST_SECONDS = 3.0
"""A connection that lives shorter never begins a new row of failures, unless `stable_after` does.
Otherwise a server that sends one event and closes would be asked again without a pause."""


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
    - `stable_after`: after a connection that stayed acknowledged for this time, a new row of
      failures begins: the delays, and the counts of `attempts` and `elapsed`, start again. A
      shorter connection does the same if it brought a result, or lasted longer than the delay
      before it; and in both cases at least `first_delay`, and 3 seconds.
    - `connects_per_hour`: how many attempts to make per hour, for servers with such a limit. None:
      no limit.
    - `later`: the shortest delay after a failure whose `Action` is LATER. The delay is random, up
      to twice as long.
    - `resubscribe_attempts`: how often in a row the server may refuse a subscription on a new
      connection, with delays as above. None: no limit.
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
        for name in ("first_delay", "longest_delay", "stable_after", "later", "spread", "elapsed"):
            optional = name == "elapsed"
            check_seconds(f"{name} of RetryPolicy", getattr(self, name), optional=optional)
        check_factor("growth of RetryPolicy", self.growth)
        for name in ("attempts", "connects_per_hour", "resubscribe_attempts"):
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
            self, attempts=self.resubscribe_attempts, connects_per_hour=None, initial=True
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


class Decision(Struct, frozen=True):
    """What to do about one failure.

    `retry`: whether to connect again. `delay`: after how many seconds. `refresh`: whether to get
    new credentials first. `attempt`: how many attempts in a row have failed. `why`: if there is no
    retry, the reason. `is_warning`: whether the user should know of the failure, although it is
    retried.
    """

    retry: bool
    delay: float = 0.0
    refresh: bool = False
    attempt: int = 0
    why: str = ""
    is_warning: bool = False


class Attempts:
    """Counts the attempts of one client, and decides about each failure by its policy.

    Failures without a good connection between them are a row; the delays grow along it.

    `chance` returns a random number from 0 to 1, as `random.random` does. `can_refresh`: whether
    the client has a function that returns credentials. Each `now` is in seconds, of a monotonic
    clock.

    `beside`: those of another connection of the client, which was acknowledged; `connects_per_hour`
    holds for both together.

    `is_wanted`: whether the user asked for another connection; False again when an attempt for it
    begins. `row`: the number of this row of failures.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        chance: Callable[[], float],
        *,
        can_refresh: bool = True,
        beside: Attempts | None = None,
    ) -> None:
        self._policy = policy
        self._can_refresh = can_refresh
        self._chance = chance
        self.is_wanted: bool = False
        # Of this row of failures.
        self.row: int = 1
        self._count = 0
        self._since: float | None = None
        self._waited = 0.0
        self._has_refreshed = False
        self._replaced = 0
        # Of the current connection.
        self._acked_at: float | None = None
        self._has_delivered = False
        # Of the client.
        self._was_ever_acked = beside is not None
        self._last_kind: object = None
        # A deque takes 0.7 kB, and there may be many clients.
        self._connects: list[float] = [] if beside is None else beside.connects

    @property
    def count(self) -> int:
        """How many attempts failed in a row."""
        return self._count

    @property
    def connects(self) -> list[float]:
        """When the attempts of the last hour began."""
        return self._connects

    @property
    def was_acked(self) -> bool:
        """Whether the server has ever acknowledged a connection."""
        return self._was_ever_acked

    def connecting(self, now: float) -> None:
        """Note that an attempt begins."""
        # Only those of the last hour count. The list is short, because each attempt takes time.
        self._connects[:] = [at for at in self._connects if at > now - _HOUR]
        self._connects.append(now)

    def acknowledged(self, now: float) -> None:
        """Note that the connection is acknowledged."""
        self._acked_at = now
        self._was_ever_acked = True

    def delivered(self) -> None:
        """Note that the connection brought a result of an operation."""
        self._has_delivered = True

    def failed(self, failure: TransportError, now: float) -> Decision:
        """Decide what to do after an attempt failed, or a connection ended."""
        self.ended(failure, now)
        if not self._was_ever_acked and not self._policy.initial:
            return Decision(retry=False, why="the first connection failed (initial=False)")
        action, delay = self._policy.judge(failure, was_acked=self._was_ever_acked)
        refresh = action is Action.REFRESH
        why = self._spent(now, refresh=refresh, stops=action is Action.STOP)
        if why:
            return Decision(retry=False, why=why)
        is_warning = self._is_repeated(failure)
        if refresh and (self._has_refreshed or not self._can_refresh):
            action, is_warning = Action.LATER, True
        self._count += 1
        # Only refusals in a row are postponed. Another failure between them may last so long that
        # the credentials expire.
        self._has_refreshed = refresh
        if delay is None:
            delay = self._drawn(action, retry_after(failure))
        self._waited = max(delay, self.until_allowed(now))
        return Decision(True, self._waited, refresh, self._count, is_warning=is_warning)

    @property
    def has_refreshed(self) -> bool:
        """Whether the last failure was that the server refused the credentials."""
        return self._has_refreshed

    def ended(self, failure: TransportError, now: float) -> None:
        """Note that an attempt failed, or that a connection ended; `failed` does so as well."""
        self._end_connection(now)
        if isinstance(failure, TransportConnectionFailed) and failure.phase is Phase.OPEN:
            self._was_ever_acked = True  # it may have ended before `acknowledged` was called

    def begin_row(self) -> None:
        """Begin a new row: the cause of the failures so far is gone."""
        self.row += 1
        self._count, self._since, self._waited = 0, None, 0.0
        self._has_refreshed, self._replaced = False, 0

    def replaced(self, now: float) -> Decision:
        """Decide when to connect again after the user had the connection, or an attempt, dropped.

        Immediately, but only once in a row: a program that calls `reconnect()` in a loop waits as
        long as after failures. It does not count as one.
        """
        self._end_connection(now)
        delay = 0.0 if self.may_skip_wait() else self._drawn(Action.RETRY, 0.0, self._replaced)
        self._replaced += 1
        self._waited = max(delay, self.until_allowed(now))
        return Decision(True, self._waited, True, self._count, "reconnect()")

    def may_skip_wait(self) -> bool:
        """Return whether `reconnect()` may connect before the wait is over, once in a row."""
        return self._replaced == 0

    def wait_skipped(self) -> None:
        """Note that `reconnect()` has connected before the wait was over."""
        self._replaced += 1

    def drop_after(self) -> float:
        """Return the seconds after which `reconnect()` may drop an attempt that it began."""
        return self._policy.ceiling(self._count + self._replaced + 1)

    def _end_connection(self, now: float) -> None:
        acked_at, self._acked_at = self._acked_at, None
        if acked_at is not None and self._was_good(now - acked_at):
            self.begin_row()
        self._has_delivered = False
        if self._since is None:
            self._since = now

    def _was_good(self, lived: float) -> bool:
        policy = self._policy
        if lived >= policy.stable_after:
            return True
        is_useful = self._has_delivered or lived >= self._waited
        return is_useful and lived >= max(policy.first_delay, _LEAST_SECONDS)

    def _is_repeated(self, failure: TransportError) -> bool:
        """Whether the last failure was of the same kind, and this is one that may never pass."""
        kind = (type(failure), failure.code, failure.status)
        is_repeated, self._last_kind = kind == self._last_kind, kind
        if action_for(failure) is not Action.STOP:
            return False
        return is_repeated or isinstance(failure, HandshakeRejected | TLSFailed)

    def _spent(self, now: float, *, refresh: bool, stops: bool) -> str:
        policy, since = self._policy, now if self._since is None else self._since
        if stops:
            return "another attempt would fail again"
        if refresh and not self._was_ever_acked and not self._can_refresh:
            return "the server refused the credentials, and there are no others"
        if refresh and not self._was_ever_acked and self._has_refreshed:
            return "the server refused the new credentials, too"
        if policy.attempts is not None and self._count >= policy.attempts:
            return f"{self._count} attempts failed in a row (attempts)"
        if policy.elapsed is not None and now - since >= policy.elapsed:
            return f"all attempts failed for {now - since:g} seconds (elapsed)"
        return ""

    def _drawn(self, action: Action, asked_for: float, more: int = 0) -> float:
        policy = self._policy
        if action is Action.REFRESH:
            return 0.0
        delay = self._chance() * policy.ceiling(self._count + more)
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
      good connection, and after `reconnect()`, it is 1 again. If `url` is a list, it counts rounds.
    - `failure`: why the last attempt or connection ended, or None.
    - `refresh`: True if the server refused the last credentials, so that it needs new ones.
    - `connection`: which one it is of those that the session has, counted from 1; see
      `max_subscriptions_per_connection`.
    - `url_index`: which URL it is for if `url` is a list, counted from 0; else None.
    """

    number: int = 1
    failure: TransportError | None = None
    refresh: bool = False
    connection: int = 1
    url_index: int | None = None
