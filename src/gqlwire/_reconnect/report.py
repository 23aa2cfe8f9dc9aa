"""Telling what happens to a connection that is kept alive: to hooks, watchers and the log.

It decides nothing, and knows no socket.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from gqlwire._connection.connection import Connection
from gqlwire._operations.options import Reconnected
from gqlwire._reconnect.counters import Counters, Past
from gqlwire._reconnect.hooks import Caller, Connected, Disconnected, Hooks
from gqlwire._reconnect.states import Change, Changes
from gqlwire.errors import Phase, TransportError
from gqlwire.retry import Attempt, Decision

_logger = logging.getLogger("gqlwire")

_MINUTES = (1, 5, 15, 60)
"""After so many without a connection a warning is logged; each attempt before is INFO."""


class Report:
    """Reports one connection after the other, and counts them.

    `call` calls a function that the user gave; what it raises is logged.
    """

    def __init__(self, hooks: Hooks, changes: Changes) -> None:
        self._past = Past()
        self._connections = self._retries = 0
        self._hooks = hooks
        self._changes = changes
        self._caller = Caller()
        self.call = self._caller.call
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
        self._retries += attempt.number > 1 or self._connections > 0
        if self._tries == 0:
            self._begun = self._loop.time()
        self._tries += 1
        self._changes.tell(Change(Phase.CONNECT, attempt.failure))
        self.call(self._hooks.connecting, attempt)

    def connected(self, ack_payload: Any) -> None:
        """A connection is acknowledged."""
        was_retry = self._connections > 0 or self._tries > 1
        self._connections += 1
        self._changes.tell(Change(Phase.OPEN))
        self.call(self._hooks.connected, Connected(ack_payload, was_retry))
        if self._lost is not None:
            since, failure = self._lost
            gap = self._loop.time() - since
            self.call(self._hooks.reconnected, Reconnected(gap, self._tries, failure))
        self._lost = None
        self._tries = self._warned = 0

    def lost(self, connection: Connection, *, is_final: bool) -> None:
        """A connection ends, at this moment. If `is_final`, that is known already."""
        self._past.add(connection)
        failure = connection.reason
        if is_final or failure is None:
            return
        # If it is set already, `reconnect()` dropped this connection before it was of any use.
        if self._lost is None:
            self._lost = (self._loop.time(), failure)
        self._changes.tell(Change(Phase.CLOSING, failure))

    def ended(self, failure: TransportError, decision: Decision) -> None:
        """A connection, or an attempt, is over, and this is done about it."""
        event = Disconnected(failure, decision.retry, decision.delay, decision.why)
        self.call(self._hooks.disconnected, event)
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

    def counters(self, live: Connection | None) -> Counters:
        """Return what the connections have counted, that which lives included."""
        found = self._past.with_connection(live)
        found.connections, found.retries = self._connections, self._retries
        return found

    async def close(self) -> None:
        """Cancel the hooks that still run, and wait for their end."""
        await self._caller.close()

    def _log(self, failure: TransportError, delay: float) -> None:
        since = self._begun if self._lost is None else self._lost[0]
        minutes = (self._loop.time() - since) / 60
        passed = sum(minutes >= mark for mark in _MINUTES)
        if passed > self._warned:
            self._warned = passed
            _logger.warning("no connection for %.0f min: %s", minutes, failure)
        else:
            _logger.info("%s; the next attempt is in %.1f s", failure, delay)
