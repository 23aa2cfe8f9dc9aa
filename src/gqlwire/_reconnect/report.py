"""Telling what happens to a connection that is kept alive: to hooks, watchers and the log.

It decides nothing, and knows no socket.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from gqlwire._operations.feed import Reconnected
from gqlwire._reconnect.hooks import Caller, Connected, Disconnected, Hooks
from gqlwire._reconnect.states import Change, Changes
from gqlwire.errors import Phase, TransportError
from gqlwire.retry import Attempt, Decision

_logger = logging.getLogger("gqlwire")

_MINUTES = (1, 5, 15, 60)
"""After so many without a connection a warning is logged; each attempt before is INFO."""


class Report:
    """Tells of one connection after the other, and counts them."""

    def __init__(self, hooks: Hooks, changes: Changes, caller: Caller) -> None:
        self.connections = 0
        self.retries = 0
        self._hooks = hooks
        self._changes = changes
        self._caller = caller
        self._loop = asyncio.get_running_loop()
        self._tries = 0
        self._begun = self._loop.time()
        self._lost: tuple[float, TransportError] | None = None
        self._warned = 0

    @property
    def tries(self) -> int:
        """How many attempts it took so far to get a connection."""
        return self._tries

    def connecting(self, attempt: Attempt) -> None:
        """An attempt begins."""
        self.retries += attempt.number > 1 or self.connections > 0
        if self._tries == 0:
            self._begun = self._loop.time()
        self._tries += 1
        self._changes.tell(Change(Phase.CONNECT, attempt.failure))
        self._caller.call(self._hooks.connecting, attempt)

    def connected(self, ack_payload: Any) -> None:
        """A connection is acknowledged."""
        was_retry = self.connections > 0 or self._tries > 1
        self.connections += 1
        self._changes.tell(Change(Phase.OPEN))
        self._caller.call(self._hooks.connected, Connected(ack_payload, was_retry))
        if self._lost is not None:
            since, failure = self._lost
            gap = self._loop.time() - since
            self._caller.call(self._hooks.reconnected, Reconnected(gap, self._tries, failure))
        self._lost = None
        self._tries = self._warned = 0

    def lost(self, failure: TransportError) -> None:
        """A connection ends, at this moment."""
        if self._lost is None:  # else it was made for nothing, as reconnect() was called meanwhile
            self._lost = (self._loop.time(), failure)
        self._changes.tell(Change(Phase.CLOSING, failure))

    def ended(self, failure: TransportError, decision: Decision) -> None:
        """A connection, or an attempt, is over, and this is done about it."""
        event = Disconnected(failure, decision.retry, decision.delay, decision.why)
        self._caller.call(self._hooks.disconnected, event)
        if decision.retry and decision.delay:
            self._log(failure, decision.delay)

    def waiting(self, failure: TransportError | None, delay: float) -> None:
        """The next attempt follows after `delay` seconds."""
        self._changes.tell(Change(Phase.WAITING, failure, delay))

    def resting(self) -> None:
        """No connection is needed."""
        self._lost = None
        self._changes.tell(Change(Phase.IDLE))

    def closed(self, failure: Exception) -> None:
        """There will be no other connection."""
        reason = failure if isinstance(failure, TransportError) else None
        self._changes.tell(Change(Phase.CLOSED, reason))

    def _log(self, failure: TransportError, delay: float) -> None:
        since = self._begun if self._lost is None else self._lost[0]
        minutes = (self._loop.time() - since) / 60
        passed = sum(minutes >= mark for mark in _MINUTES)
        if passed > self._warned:
            self._warned = passed
            _logger.warning("no connection for %.0f min: %s", minutes, failure)
        else:
            _logger.info("%s; the next attempt is in %.1f s", failure, delay)
