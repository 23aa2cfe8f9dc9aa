"""When to connect again after a failure, and after how long: a policy, as data.

Law: nothing here waits, reads a clock or draws lots; the time and the chance are handed in. What a
close code or an HTTP status is worth stands in the tables, and nowhere else; `should_retry` has the
last word over them.

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
    """Connect again, after a wait that grows."""
    REFRESH = "refresh"
    """Ask for the credentials anew and connect once more; the same failure again is final, as it
    is at once where they cannot be asked for."""
    LATER = "later"
    """Connect again, after `RetryPolicy.later` seconds at least."""
    STOP = "stop"
    """Give up: it would fail again."""


CLOSE_CODES: Mapping[int, Action] = {
    1000: Action.RETRY,  # also said by servers that restart, while operations are alive
    1001: Action.RETRY,
    1002: Action.STOP,
    1003: Action.STOP,
    1005: Action.RETRY,
    1006: Action.RETRY,
    1007: Action.STOP,
    1008: Action.REFRESH,
    1009: Action.STOP,
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
"""By close code; what is not listed is worth a retry."""

BEFORE_ACK: Mapping[int, Action] = {
    1000: Action.REFRESH,  # Hasura refuses connection_init so, with the reason in the close frame
    4400: Action.REFRESH,  # newer Hasura
}
"""By close code, where it differs before `connection_ack`; 1000 only if there is a reason."""

STATUSES: Mapping[int, Action] = {
    401: Action.REFRESH,
    403: Action.REFRESH,
    408: Action.RETRY,
    425: Action.RETRY,
    429: Action.LATER,
}
"""By HTTP status of a refused upgrade; any other 5xx is worth a retry, anything else is not."""

_HOUR = 3600.0
_FINAL = (TransportClosed, InvalidURL, TLSFailed, MessageTooBig)


def action_for(failure: TransportError) -> Action:
    """Return what the tables say about a failure."""
    if isinstance(failure, _FINAL):
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
        return CLOSE_CODES.get(failure.code, Action.RETRY)
    return Action.RETRY


LastWord = Callable[[TransportError], "bool | float | Action | None"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How persistent a client is. All times in seconds.

    The wait before the n-th attempt in a row is drawn evenly between 0 and `first_delay *
    growth ** (n - 1)`, at most `longest_delay` ("full jitter"): clients that lost the same server
    do not come back all at once.

    `attempts`: how often in a row; `elapsed`: for how long since the first failure in a row; None
    is for ever. `initial`: whether the very first connection is retried, too; by default it fails
    at once, as it mostly is a wrong URL or credential.
    `stable_after`: how long a connection must have been acknowledged for its failure not to count
    as one more in a row.
    `connects_per_hour`: a ceiling, for servers that have one; None is none.
    `later`: the shortest wait after a failure whose `Action` is LATER; up to twice as long.
    `resubscribe_attempts`: how often in a row a server may refuse a subscription that is taken to a
    new connection; it waits in between as above. None is for ever.
    `spread`: seconds over which subscriptions are taken to a new connection, at random.
    `should_retry`: has the last word. It gets the failure, and returns True (wait and retry), a
    number (retry after so many seconds), False (give up), an `Action`, or None (as the tables say).

    Raises ValueError for times below 0 and counts below 1.
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
    should_retry: LastWord | None = None

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
            raise ValueError("the times of a RetryPolicy are 0 or more, and growth is 1 or more")
        if any(count is not None and count < 1 for count in counts):
            raise ValueError(
                "attempts, connects_per_hour and resubscribe_attempts are 1 or more, or None"
            )

    def ceiling(self, attempt: int) -> float:
        """Return the longest wait before the attempt with this number, counted from 1."""
        # So many doublings are beyond any ceiling, and beyond what a float can hold.
        return min(self.longest_delay, self.first_delay * self.growth ** min(attempt - 1, 1_000))

    def for_subscription(self) -> RetryPolicy:
        """Return the policy for one subscription that is refused on a new connection."""
        return replace(
            self, attempts=self.resubscribe_attempts, connects_per_hour=None, initial=True
        )

    def judge(self, failure: TransportError) -> tuple[Action, float | None]:
        """Return what to do about a failure, and after how long if `should_retry` says that."""
        said = None if self.should_retry is None else self.should_retry(failure)
        if said is None:
            return action_for(failure), None
        if isinstance(said, Action):
            return said, None
        if isinstance(said, bool):
            return (Action.RETRY if said else Action.STOP), None
        return Action.RETRY, float(said)


class Decision(Struct, frozen=True):
    """What is done about one failure.

    `retry`: whether to connect again, after `delay` seconds, and with `refresh` only after the
    credentials were asked for anew. `attempt`: its number in a row. `why`: the reason to give up.
    """

    retry: bool
    delay: float = 0.0
    refresh: bool = False
    attempt: int = 0
    why: str = ""


class Attempts:
    """Counts the attempts of one client, and decides by its policy.

    `chance` returns a number from 0 to 1, as `random.random`. `can_refresh`: whether there are
    credentials that can be asked for anew. Every `now` is in seconds, of a clock that does not go
    back.
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
        self._connects: list[float] = []  # a deque has 0.7 kB, and there may be many clients

    @property
    def count(self) -> int:
        """How many attempts failed in a row."""
        return self._count

    def connecting(self, now: float) -> None:
        """Note that an attempt begins."""
        # None counts any more that is an hour old; and few are here: each took a connection.
        self._connects = [at for at in self._connects if at > now - _HOUR]
        self._connects.append(now)

    def acknowledged(self, now: float) -> None:
        """Note that the connection is acknowledged."""
        self._acked_at = now
        self._was_ever_acked = True

    def failed(self, failure: TransportError, now: float) -> Decision:
        """Decide about a failure: of an attempt, or of the connection."""
        self._forget_if_stable(now)
        if isinstance(failure, TransportConnectionFailed) and failure.phase is Phase.OPEN:
            self._was_ever_acked = True  # even if it was over before anybody could be told
        if not self._was_ever_acked and not self._policy.initial:
            return Decision(retry=False, why="the first connection failed (initial=False)")
        action, delay = self._policy.judge(failure)
        refresh = action is Action.REFRESH
        why = self._spent(now, refresh=refresh, stops=action is Action.STOP)
        if why:
            return Decision(retry=False, why=why)
        self._count += 1
        # Whatever else fails between two refusals may last for as long as credentials do.
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
            return "it would fail again"
        if refresh and not self._can_refresh:
            return "it was refused, and there are no other credentials"
        if refresh and self._has_refreshed:
            return "it was refused again, with credentials that were asked for anew"
        if policy.attempts is not None and self._count >= policy.attempts:
            return f"{self._count} attempts failed in a row (attempts)"
        if policy.elapsed is not None and now - since >= policy.elapsed:
            return f"it has failed for {now - since:g} seconds (elapsed)"
        return ""

    def _drawn(self, action: Action, asked_for: float) -> float:
        policy = self._policy
        if action is Action.REFRESH:
            return 0.0
        delay = self._chance() * policy.ceiling(self._count)
        if action is Action.LATER:
            delay = policy.later * (1 + self._chance())
        # All who were told the same time shall not come at the same time.
        return max(delay, asked_for + self._chance() * policy.first_delay if asked_for else 0.0)

    def until_allowed(self, now: float) -> float:
        """Return the seconds until `connects_per_hour` allows another attempt."""
        limit = self._policy.connects_per_hour
        if limit is None or len(self._connects) < limit:
            return 0.0
        return max(0.0, self._connects[-limit] + _HOUR - now)


def retry_after(failure: TransportError) -> float:
    """Return the seconds that a refused upgrade asks us to wait; 0 if it does not.

    RFC 9110, section 10.2.3: a number, or a date, which is compared with the answer's own `Date`.
    """
    if not isinstance(failure, HandshakeRejected):
        return 0.0
    said = failure.headers.get("retry-after", "")
    if said.isascii() and said.isdigit():
        return float(said)
    from email.utils import parsedate_to_datetime  # takes long to load, and is hardly ever needed

    try:
        until = parsedate_to_datetime(said)
        seconds = (until - parsedate_to_datetime(failure.headers.get("date", ""))).total_seconds()
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, seconds)


class Attempt(Struct, frozen=True):
    """An attempt to connect, as it is told to a callable `url`, `headers` or `init_payload`.

    `number`: 1 for the first, and for the first after a connection that was stable. `failure`: why
    the last attempt or connection ended, or None. `refresh`: whether the server refused the
    credentials that it was given, so that they have to be new ones.
    """

    number: int = 1
    failure: TransportError | None = None
    refresh: bool = False
