"""Counts the attempts of a client, and decides about each failure by its policy.

This module does not wait, and does not read a clock: the caller passes the time and a source of
random numbers, so tests need neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec import Struct

from gqlwire.errors import (
    HandshakeRejected,
    Phase,
    TLSFailed,
    TransportConnectionFailed,
    TransportError,
)
from gqlwire.retry.actions import Action, action_for, retry_after
from gqlwire.retry.policy import HOUR, RetryPolicy

_LEAST_SECONDS = 3.0
"""A connection that lives shorter never begins a new row of failures, unless `stable_after` does.
Otherwise a server that sends one event and closes would be asked again without a pause."""


class Decision(Struct, frozen=True):
    """What to do about one failure.

    `retry`: whether to connect again. `delay`: after how many seconds. `refresh`: whether to get
    new credentials first. `attempt`: how many attempts in a row have failed. `why`: if there is no
    retry, the reason. `is_warning`: whether the user should know of the failure, although it is
    retried. `asked_for`: how many seconds the server asked to wait (`Retry-After`), if that is more
    than the policy allows; else 0.
    """

    retry: bool
    delay: float = 0.0
    refresh: bool = False
    attempt: int = 0
    why: str = ""
    is_warning: bool = False
    asked_for: float = 0.0


class _Life(Struct):
    """The current connection: when it was acknowledged, and whether it brought a result."""

    since: float
    has_delivered: bool = False


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
        self._life: _Life | None = None  # of the current connection
        # Of the client.
        self._begun: float | None = None
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
        if self._begun is None:
            self._begun = now
        # Only those of the last hour count. The list is short, because each attempt takes time.
        self._connects[:] = [at for at in self._connects if at > now - HOUR]
        self._connects.append(now)

    def acknowledged(self, now: float) -> None:
        """Note that the connection is acknowledged."""
        self._life = _Life(now)
        self._was_ever_acked = True

    def delivered(self) -> None:
        """Note that the connection brought a result of an operation."""
        if self._life is not None:
            self._life.has_delivered = True

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
        asked = retry_after(failure) if delay is None else 0.0
        longest = self._policy.longest_retry_after
        if delay is None:
            delay = self._drawn(action, min(asked, longest))
        self._waited = max(delay, self.until_allowed(now))
        if self._waited > self._initial_left(now):
            if action is not Action.RETRY or asked or self.until_allowed(now):
                return Decision(
                    retry=False, why="the next attempt may not be made in time (initial)"
                )
            self._waited = self._initial_left(now)
        too_long = asked if asked > longest else 0.0
        return Decision(True, self._waited, refresh, self._count, "", is_warning, too_long)

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
        life, self._life = self._life, None
        if life is not None and self._was_good(now - life.since, has_delivered=life.has_delivered):
            self.begin_row()
        if self._since is None:
            self._since = now

    def _was_good(self, lived: float, *, has_delivered: bool) -> bool:
        policy = self._policy
        if lived >= policy.stable_after:
            return True
        is_useful = has_delivered or lived >= self._waited
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
        if self._initial_left(now) <= 0:
            return f"the first connection failed for {policy.initial:g} seconds (initial)"
        if policy.attempts is not None and self._count >= policy.attempts:
            return f"{self._count} attempts failed in a row (attempts)"
        if policy.elapsed is not None and now - since >= policy.elapsed:
            return f"all attempts failed for {now - since:g} seconds (elapsed)"
        return ""

    def _initial_left(self, now: float) -> float:
        """Return for how many seconds the first connection may still be retried."""
        initial = self._policy.initial
        if self._was_ever_acked or isinstance(initial, bool):
            return math.inf
        return (now if self._begun is None else self._begun) + initial - now

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
        return max(0.0, self._connects[-limit] + HOUR - now)


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
