"""Which of several URLs to connect to next. It decides by data, without URLs, sockets and a clock.

The URLs are tried in turn, in rounds. A *round* begins when a connection, or an attempt, fails. It
is over when each URL has failed once, or may not be used yet. `retry` decides about a round as it
does about an attempt to a single URL: when the next one follows, and how many there are.
"""

from __future__ import annotations

from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import MessageTooBig, TransportClosed, TransportError, reasons
from gqlwire.retry import Action
from gqlwire.retry.actions import action_after_ack, action_for, retry_after
from gqlwire.retry.attempts import Attempts, Decision

_RANKS = {Action.RETRY: 0, Action.REFRESH: 1, Action.LATER: 2, Action.STOP: 3}
"""The lower the rank of a failure is, the sooner another attempt may help."""


class Rotation:
    """The places of `count` URLs, from 0; `place` is that of the one in use.

    `failures`: the last one of each place since the last good connection, with its rank. Each `now`
    is in seconds, of a monotonic clock.
    """

    __slots__ = ("_not_before", "_tried", "count", "failures", "place")

    def __init__(self, count: int = 1, place: int = 0) -> None:
        self.count: int = count
        self.place: int = place
        self.failures: dict[int, tuple[int, TransportError]] = {}
        self._tried: set[int] = set()
        self._not_before: dict[int, float] = {}

    def begin(self) -> None:
        """Begin a new round, after a good connection."""
        self._tried.clear()
        self.failures.clear()

    def succeeded(self) -> None:
        """Note that the server at this URL is there."""
        self._not_before.pop(self.place, None)

    def failed(self, failure: TransportError, rank: int, not_before: float) -> None:
        """Note that this URL failed, and should not be used again before a time."""
        self.failures[self.place] = rank, failure
        self._tried.add(self.place)
        self._not_before[self.place] = not_before

    def move(self, now: float) -> bool:
        """Use the next URL; return False if that begins another round."""
        following = [(self.place + step) % self.count for step in range(1, self.count + 1)]
        usable = [place for place in following if self._not_before.get(place, now) <= now]
        untried = [place for place in usable if place not in self._tried]
        # If none may be used yet, the one that may be used first.
        first = min(following, key=lambda place: self._not_before.get(place, now))
        self.place = (untried or usable or [first])[0]
        if not untried:
            self._tried.clear()
        return bool(untried)

    @property
    def mildest(self) -> TransportError:
        """The failure after which another attempt may help soonest."""
        return min(self.failures.values(), key=lambda each: each[0])[1]


class Failover:
    """Decides about the failures of one kept connection, which may use several URLs.

    `attempts` decides about each round, by the failure after which another attempt may help
    soonest. Within a round, the next attempt follows after a random part of `first_delay`.
    """

    def __init__(
        self,
        attempts: Attempts,
        options: ReconnectOptions,
        rotation: Rotation,
        *,
        can_refresh: bool,
    ) -> None:
        self.rotation: Rotation = rotation
        self.attempts: Attempts = attempts
        self._policy = options.retry
        self._chance = options.chance
        self._can_refresh = can_refresh
        self._row = attempts.row

    @property
    def url_index(self) -> int | None:
        """Which URL to use, counted from 0; None if there is only one."""
        return self.rotation.place if self.rotation.count > 1 else None

    def failed(self, failure: TransportError, now: float) -> Decision:
        """Decide what to do after an attempt failed, or a connection ended."""
        attempts, rotation = self.attempts, self.rotation
        if rotation.count == 1:
            return attempts.failed(failure, now)
        attempts.ended(failure, now)
        if self._row != attempts.row:
            self._row = attempts.row
            rotation.begin()
        if self._stays(failure):
            return attempts.failed(failure, now)
        action = self._action(failure)
        # Those of credentials come here if there are no others, or if they were refused as well.
        asked = min(retry_after(failure), self._policy.longest_retry_after)
        pause = max(0.0 if action is Action.RETRY else self._policy.later, asked)
        rotation.failed(failure, _RANKS[action], now + pause)
        if rotation.move(now):
            delay = self._chance() * self._policy.first_delay
            return Decision(True, delay, attempt=attempts.count)
        return attempts.failed(rotation.mildest, now)

    def told(self, failure: TransportError) -> TransportError:
        """Return the final failure, whose message has those of the other URLs as well."""
        others = [each for _, each in self.rotation.failures.values() if each is not failure]
        return reasons.after(failure, others) if self.rotation.count > 1 else failure

    def _stays(self, failure: TransportError) -> bool:
        """Whether another URL would not help, or new credentials are to be tried at this one."""
        if isinstance(failure, TransportClosed | MessageTooBig):
            return True
        attempts = self.attempts
        may_refresh = self._can_refresh and not attempts.has_refreshed
        is_retried = attempts.was_acked or self._policy.initial
        return may_refresh and bool(is_retried) and self._action(failure) is Action.REFRESH

    def _action(self, failure: TransportError) -> Action:
        return (action_after_ack if self.attempts.was_acked else action_for)(failure)
