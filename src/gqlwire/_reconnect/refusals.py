"""When a subscription is sent again that the server refused on a new connection.

Each has a row of refusals of its own, by the policy's `for_subscription()`. This module knows no
connection, and does not wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import Struct

from gqlwire._operations.feed import Feed
from gqlwire._reconnect.report import marks
from gqlwire.errors import MessageTooBig, TransportError
from gqlwire.retry import RetryPolicy
from gqlwire.retry.attempts import Attempts, Decision

_logger = logging.getLogger("gqlwire")


class _Row(Struct):
    """The refusals of one subscription in a row.

    `since`: when the first one was. `drops`: how many of them ended the connection.
    """

    attempts: Attempts
    since: float
    drops: int = 0
    warned: int = -1


class Refusals:
    """The refusals of all subscriptions of a session.

    Only time with a connection counts: during an outage no subscription is refused, so an outage
    does not use up the policy's patience with a server that has just come back.
    """

    def __init__(self, policy: RetryPolicy, chance: Callable[[], float]) -> None:
        self._policy = policy
        self._chance = chance
        self._rows: dict[Feed, _Row] = {}
        self._before = 0.0  # seconds with a connection, without the current one
        self._since: float | None = None  # when that was acknowledged

    def connected(self, now: float) -> None:
        """Note that there is a connection."""
        self._since = now

    def disconnected(self, now: float) -> None:
        """Note that there is none."""
        self._before, self._since = self._spent(now), None

    def forget(self, feed: Feed) -> None:
        """Forget those of `feed`: results arrive again, or it is over."""
        self._rows.pop(feed, None)

    def delay(self, feed: Feed, failure: TransportError, now: float) -> float | None:
        """Return after how many seconds `feed` is sent again; None if it is not.

        Raises what the `should_retry` of the policy raises.
        """
        spent = self._spent(now)
        row = self._rows.get(feed)
        if row is None:
            row = self._rows[feed] = _Row(Attempts(self._policy, self._chance), spent)
            row.attempts.acknowledged(spent)  # the connection is, so no refusal is a first failure
        decision = row.attempts.failed(failure, spent)
        why = self._end_of(row, failure, decision)
        if why:
            _logger.warning(
                "%s refused to continue a subscription: %s; it ends: %s",
                feed.host,
                failure,
                why,
            )
            return None
        passed = marks(spent - row.since)
        level = logging.WARNING if passed > row.warned else logging.INFO
        row.warned = passed
        _logger.log(
            level,
            "%s refused to continue a subscription: %s; the next attempt is in %.1f s",
            feed.host,
            failure,
            decision.delay,
        )
        return decision.delay

    def _end_of(self, row: _Row, failure: TransportError, decision: Decision) -> str:
        """Return why the subscription ends, or an empty string."""
        # A result that is too large ends the connection, for all others as well.
        row.drops += isinstance(failure, MessageTooBig)
        limit = self._policy.suspect_attempts
        if limit is not None and row.drops > limit:
            return f"it ended {row.drops} connections (suspect_attempts)"
        return decision.why.replace("(", "(resubscribe_")  # what these limits are called here

    def _spent(self, now: float) -> float:
        return self._before + (0.0 if self._since is None else now - self._since)
