"""What happens to a kept connection, reported to hooks, to watchers of its state, and to the log.

It counts as well. It decides nothing, and knows no socket.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from gqlwire._clock import Moment
from gqlwire._connection.connection import Connection
from gqlwire._connection.telemetry import add_strays
from gqlwire._connection.user_tasks import cancel, cancel_and_wait
from gqlwire._operations.options import Reconnected
from gqlwire._reconnect.counters import Counters
from gqlwire._reconnect.hooks import Connected, Disconnected, Hooks
from gqlwire._reconnect.states import Change, Changes
from gqlwire.errors import ConnectionClosed, Phase, TransportClosed, TransportError
from gqlwire.retry import Attempt
from gqlwire.retry.attempts import Decision

_logger = logging.getLogger("gqlwire")

T = TypeVar("T")

_MINUTES = (1, 5, 15)
_HOUR = 60.0
"""After so many minutes without a connection, and after each hour, a failed attempt is logged as
WARNING, not as INFO."""
_CAUSES = 50
"""How many causes of reconnects are counted by name."""
_DROPS, _WHILE = 3, 600.0
"""So many connections that are lost within so many seconds are worth a WARNING."""


class Report:
    """Reports one connection after the other, and adds up what they counted.

    `tries`: how many attempts were made since the last connection. `last`: the last failure that
    the program did not cause itself, and when it was. `heard_at`: when something arrived on the
    last connection that is over, by the loop's clock. `connection`: which one it is of those that
    the session has, counted from 1.
    """

    def __init__(self, hooks: Hooks, changes: Changes, connection: int = 1) -> None:
        self.tries: int = 0
        self.last: tuple[Exception, Moment] | None = None
        self.heard_at: float | None = None
        self._connection = connection
        self._attempt = 0  # the number of the current attempt
        self._hooks = hooks
        self._changes = changes
        self._sum = Counters()
        self._begun = self._now()
        self._lost: tuple[float, TransportError] | None = None
        self._warned = 0
        # When connections were lost lately, and when the log warned of that.
        self._drops: list[float] = []
        self._flapped = -_WHILE
        # Of hooks that are coroutine functions; most clients have none.
        self._tasks: set[asyncio.Task[object]] | None = None

    # --- What happens -------------------------------------------------------------------------

    def connecting(self, attempt: Attempt) -> None:
        """An attempt begins."""
        self._sum.retries += attempt.number > 1 or self._sum.connections > 0 or self.tries > 0
        if self.tries == 0:
            self._begun = self._now()
        self.tries += 1
        self._attempt = attempt.number
        self._changes.tell(Change(Phase.CONNECT, attempt.failure))
        if self._hooks.connecting is not None:
            self.call(self._hooks.connecting, attempt)

    def connected(self, payloads: Mapping[str, Any], host: str) -> None:
        """A connection is acknowledged; `payloads` are those of the connection."""
        was_retry = self._sum.connections > 0 or self.tries > 1
        lost, tries = self._lost, self.tries
        if self._warned or (tries > 1 and not self._sum.connections):
            seconds = self._minutes() * 60
            _logger.info("connected to %s after %.0f s and %d attempts", host, seconds, tries)
        self._sum.connections += 1
        if lost is not None:
            self._count_reconnect(lost[1])
        self._lost = None
        self.tries = self._warned = 0
        self._changes.tell(Change(Phase.OPEN))
        if self._hooks.connected is not None:
            ack_payload = payloads.get("connection_ack")  # decoded here
            event = Connected(ack_payload, was_retry, self._connection, host)
            self.call(self._hooks.connected, event)
        if lost is not None and self._hooks.reconnected is not None:
            since, failure = lost
            self.call(self._hooks.reconnected, Reconnected(self._now() - since, tries, failure))

    def lost(self, connection: Connection, *, is_final: bool) -> None:
        """A connection ends, at this moment. `is_final`: it was reported as closed before."""
        self._sum = _with(self._sum, connection)
        self.heard_at = connection.telemetry.heard_at
        failure = connection.reason
        if is_final or failure is None:
            return
        self._note(failure)
        # If it is already set, `reconnect()` dropped this connection before it was used.
        if self._lost is None:
            self._lost = (self._now(), failure)
        self._changes.tell(Change(Phase.CLOSING, failure))

    def ended(self, failure: TransportError, decision: Decision) -> None:
        """A connection, or an attempt, is over, and `decision` follows from that."""
        self._note(failure)
        if self._hooks.disconnected is not None:
            event = Disconnected(
                failure, decision.retry, decision.delay, decision.why, self._connection
            )
            self.call(self._hooks.disconnected, event)
        if decision.retry:
            self._log(failure, decision)

    def waiting(self, failure: TransportError | None, delay: float) -> None:
        """The next attempt follows after `delay` seconds."""
        self._changes.tell(Change(Phase.WAITING, failure, delay))

    def resting(self, failure: TransportError) -> None:
        """No connection is needed: it was closed by `failure`."""
        _logger.info("%s", failure)
        self._lost = None
        self._changes.tell(Change(Phase.IDLE))

    def closed(self, failure: Exception, host: str, why: str = "") -> None:
        """There will be no other connection; `why` is the rule that decided so.

        An empty `why` means that the user closed it, or a fault, if `failure` is no TransportError.
        """
        self._note(failure)
        if isinstance(failure, TransportClosed):
            self.last = None  # an earlier failure has nothing to do with this end
        self._log_end(failure, host, why)
        reason = failure if isinstance(failure, TransportError) else None
        self._changes.tell(Change(Phase.CLOSED, reason))

    # --- Log ----------------------------------------------------------------------------------

    def _log(self, failure: TransportError, decision: Decision) -> None:
        """Log an end that another attempt follows, in one line."""
        if decision.asked_for:
            _logger.warning(
                "%s; the server asks to wait for %g s (Retry-After); the next attempt is in %.1f s "
                "(longest_retry_after)",
                failure,
                decision.asked_for,
                decision.delay,
            )
            return
        flaps, minutes = self._count_drop(failure), self._minutes()
        passed = marks(minutes * 60)
        if flaps:
            _logger.warning(
                "%d connections were lost within 10 minutes: %s; the next attempt is in %.1f s",
                flaps,
                failure,
                decision.delay,
            )
        elif passed > self._warned:
            self._warned = passed
            _logger.warning(
                "no connection for %.0f min: %s; the next attempt is in %.1f s",
                minutes,
                failure,
                decision.delay,
            )
        else:
            level = logging.WARNING if decision.is_warning else logging.INFO
            _logger.log(level, "%s; the next attempt is in %.1f s", failure, decision.delay)

    def _count_drop(self, failure: TransportError) -> int:
        """Return how many connections were lost lately, if that is worth a WARNING now, else 0."""
        # Since an attempt has begun, its end is not that of a connection. What the user does with
        # `reconnect()` does not count.
        if self.tries or isinstance(failure, TransportClosed):
            return 0
        now = self._now()
        self._drops = [time for time in self._drops if time > now - _WHILE]
        self._drops.append(now)
        if len(self._drops) < _DROPS or now < self._flapped + _WHILE:
            return 0
        self._flapped = now
        return len(self._drops)

    def _log_end(self, failure: Exception, host: str, why: str) -> None:
        if not self._sum.connections and self._attempt < 2:
            return  # the first attempt has failed, at each URL: `connect` raises it
        if isinstance(failure, TransportError):
            if why:
                _logger.error("gqlwire does not connect to %s again: %s; %s", host, failure, why)
            else:
                _logger.info("disconnected from %s: %s", host, failure)
        else:
            _logger.error("gqlwire does not connect to %s again: %r was raised", host, failure)

    def _minutes(self) -> float:
        """How long there has been no connection."""
        since = self._begun if self._lost is None else self._lost[0]
        return (self._now() - since) / 60

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _note(self, failure: Exception) -> None:
        is_known = self.last is not None and self.last[0] is failure
        if not is_known and not isinstance(failure, TransportClosed):
            self.last = failure, Moment.now()

    @property
    def down_since(self) -> float | None:
        """Since when there is no connection, by the loop's clock; None if one is not missing."""
        if self._lost is not None:
            return self._lost[0]
        return self._begun if self.tries else None

    # --- Counters -----------------------------------------------------------------------------

    def _count_reconnect(self, failure: TransportError) -> None:
        is_close = isinstance(failure, ConnectionClosed) and failure.code is not None
        cause = str(failure.code) if is_close else type(failure).__name__
        counts = self._sum.reconnects
        if cause not in counts and len(counts) >= _CAUSES:  # a server may make up codes
            cause = "others"
        counts[cause] = counts.get(cause, 0) + 1

    def counters(self, live: Connection | None, apart: Iterable[Connection]) -> Counters:
        """Return what all connections have counted, those that live included.

        `apart`: those that suspects have.
        """
        found = replace(
            self._sum,
            unknown_messages=dict(self._sum.unknown_messages),
            reconnects=dict(self._sum.reconnects),
        )
        if live is not None:
            found = _with(found, live)
        for connection in apart:
            found = _with(found, connection)
            found.connections += 1
        return found

    def add(self, connection: Connection) -> None:
        """Count a connection that a suspect had, and that is over."""
        self._sum = _with(self._sum, connection)
        self._sum.connections += 1

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
                if inspect.iscoroutine(outcome):
                    # Python warns of one that was cancelled before it began.
                    task.add_done_callback(lambda _: outcome.close())
        except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001  # a hook harms nothing
            # A CancelledError here is of something that the hook runs; nobody cancelled us.
            _log_fault(hook, fault)

    def cancel(self) -> None:
        """Cancel the hooks that run."""
        cancel(self._tasks or ())

    async def close(self, limit: float | None) -> None:
        """Cancel the hooks that run, and wait for their end, `limit` seconds at most."""
        await cancel_and_wait(self._tasks or (), limit)


def marks(seconds: float) -> int:
    """Return how many times are past, after so many seconds, that are each worth a WARNING."""
    minutes = seconds / 60
    return sum(minutes >= mark for mark in _MINUTES) + int(minutes // _HOUR)


def _with(past: Counters, connection: Connection) -> Counters:
    telemetry, latency = connection.telemetry, connection.latency
    strays = dict(past.unknown_messages)
    for name, count in telemetry.strays.items():
        add_strays(strays, name, count)
    return replace(
        past,
        unknown_messages=strays,
        bytes_received=past.bytes_received + telemetry.received_bytes,
        bytes_sent=past.bytes_sent + telemetry.sent_bytes,
        latency=past.latency if latency is None else latency,
    )


async def _awaited(hook: Callable[..., object], outcome: Any) -> None:
    try:
        await outcome
    except Exception as fault:  # noqa: BLE001  # a hook harms nothing
        _log_fault(hook, fault)


def _log_fault(hook: Callable[..., object], fault: BaseException) -> None:
    name = getattr(hook, "__qualname__", repr(hook))
    _logger.error("hook %s raised; gqlwire still calls it next time", name, exc_info=fault)
