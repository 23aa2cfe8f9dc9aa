"""What happens to a kept connection, reported to hooks, to watchers of its state, and to the log.

It counts as well. It decides nothing, and knows no socket.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from gqlwire._connection.connection import Connection
from gqlwire._operations.options import Reconnected
from gqlwire._reconnect.counters import Counters
from gqlwire._reconnect.hooks import Connected, Disconnected, Hooks
from gqlwire._reconnect.states import Change, Changes
from gqlwire.errors import Phase, TransportError
from gqlwire.retry import Attempt, Decision

_logger = logging.getLogger("gqlwire")

T = TypeVar("T")

_MINUTES = (1, 5, 15, 60)
"""After so many minutes without a connection, an attempt is logged as WARNING, not as INFO."""


class Report:
    """Reports one connection after the other, and adds up what they counted.

    `tries`: how many attempts were made since the last connection.
    """

    def __init__(self, hooks: Hooks, changes: Changes) -> None:
        self.tries: int = 0
        self._hooks = hooks
        self._changes = changes
        self._sum = Counters()
        self._begun = self._now()
        self._lost: tuple[float, TransportError] | None = None
        self._warned = 0
        # Of hooks that are coroutine functions; most clients have none.
        self._tasks: set[asyncio.Task[object]] | None = None

    # --- What happens -------------------------------------------------------------------------

    def connecting(self, attempt: Attempt) -> None:
        """An attempt begins."""
        self._sum.retries += attempt.number > 1 or self._sum.connections > 0
        if self.tries == 0:
            self._begun = self._now()
        self.tries += 1
        self._changes.tell(Change(Phase.CONNECT, attempt.failure))
        if self._hooks.connecting is not None:
            self.call(self._hooks.connecting, attempt)

    def connected(self, ack_payload: Any) -> None:
        """A connection is acknowledged."""
        was_retry = self._sum.connections > 0 or self.tries > 1
        lost, tries = self._lost, self.tries
        self._sum.connections += 1
        self._lost = None
        self.tries = self._warned = 0
        self._changes.tell(Change(Phase.OPEN))
        if self._hooks.connected is not None:
            self.call(self._hooks.connected, Connected(ack_payload, was_retry))
        if lost is not None and self._hooks.reconnected is not None:
            since, failure = lost
            self.call(self._hooks.reconnected, Reconnected(self._now() - since, tries, failure))

    def lost(self, connection: Connection, *, is_final: bool) -> None:
        """A connection ends, at this moment. `is_final`: it was reported as closed before."""
        self._sum = self._with(connection)
        failure = connection.reason
        if is_final or failure is None:
            return
        # If it is already set, `reconnect()` dropped this connection before it was used.
        if self._lost is None:
            self._lost = (self._now(), failure)
        self._changes.tell(Change(Phase.CLOSING, failure))

    def ended(self, failure: TransportError, decision: Decision) -> None:
        """A connection, or an attempt, is over, and `decision` follows from that."""
        if self._hooks.disconnected is not None:
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

    def _log(self, failure: TransportError, delay: float) -> None:
        since = self._begun if self._lost is None else self._lost[0]
        minutes = (self._now() - since) / 60
        passed = sum(minutes >= mark for mark in _MINUTES)
        if passed > self._warned:
            self._warned = passed
            _logger.warning("no connection for %.0f min: %s", minutes, failure)
        else:
            _logger.info("%s; the next attempt is in %.1f s", failure, delay)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # --- Counters -----------------------------------------------------------------------------

    def counters(self, live: Connection | None) -> Counters:
        """Return what all connections have counted, the `live` one included."""
        if live is not None:
            return self._with(live)
        return replace(self._sum, unknown_messages=dict(self._sum.unknown_messages))

    def _with(self, connection: Connection) -> Counters:
        past, telemetry = self._sum, connection.telemetry
        latency = connection.latency
        return replace(
            past,
            unknown_messages=dict(Counter(past.unknown_messages) + Counter(telemetry.strays)),
            bytes_received=past.bytes_received + telemetry.received_bytes,
            bytes_sent=past.bytes_sent + telemetry.sent_bytes,
            latency=past.latency if latency is None else latency,
        )

    # --- Functions of the user ----------------------------------------------------------------

    def call(self, hook: Callable[[T], object], event: T) -> None:
        """Call `hook` with `event` now. A coroutine runs as a task; what it raises is logged."""
        try:
            outcome = hook(event)
            if inspect.isawaitable(outcome):
                tasks = self._tasks = self._tasks or set()
                task = asyncio.ensure_future(_awaited(hook, outcome))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001  # a hook harms nothing
            # A CancelledError here is of something that the hook runs; nobody cancelled us.
            _log_fault(hook, fault)

    async def close(self) -> None:
        """Cancel the hooks that still run, and wait for their end."""
        # A hook may be the one that closes.
        tasks = (self._tasks or set()) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _awaited(hook: Callable[..., object], outcome: Any) -> None:
    try:
        await outcome
    except Exception as fault:  # noqa: BLE001  # a hook harms nothing
        _log_fault(hook, fault)


def _log_fault(hook: Callable[..., object], fault: BaseException) -> None:
    name = getattr(hook, "__qualname__", repr(hook))
    _logger.error("hook %s raised; gqlwire still calls it next time", name, exc_info=fault)
