"""The subscriptions of a kept connection, and how they are resubscribed on the next one.

Resubscriptions are spread over time. If the server refuses one, it is retried by a retry policy of
its own. This module knows no message and no socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from gqlwire._connection.connection import Connection
from gqlwire._operations.feed import Feed, Link
from gqlwire._reconnect.counters import Counters
from gqlwire.errors import TransportError
from gqlwire.retry import Attempts, RetryPolicy

_logger = logging.getLogger("gqlwire")


def _caused_by(fault: BaseException) -> RuntimeError:
    error = RuntimeError(f"a function of yours raised {fault!r} as a subscription was resubscribed")
    error.__cause__ = fault
    return error


class Subscriptions:
    """The subscriptions of a kept connection. `chance` returns a number from 0 to 1."""

    def __init__(self, link: Link, policy: RetryPolicy, chance: Callable[[], float]) -> None:
        self._link = link
        self._policy = policy.for_subscription()
        self._chance = chance
        # With the refusals of each, if the server has refused it since its last result.
        self._feeds: dict[Feed, Attempts | None] = {}
        self._alarms: dict[Feed, asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        self._tries = 1
        self._resubscriptions = 0
        # Of subscriptions that are over.
        self._events = self._dropped = self._duplicates = 0

    @property
    def is_busy(self) -> bool:
        """Whether there is a subscription that is not over."""
        return any(feed.stream is None or not feed.stream.over for feed in self._feeds)

    def add(self, feed: Feed) -> None:
        """Resubscribe `feed` on every further connection."""
        self._feeds.setdefault(feed, None)

    def discard(self, feed: Feed) -> None:
        """Do nothing more with `feed`."""
        if feed in self._feeds:
            self._count(feed)
            del self._feeds[feed]
        if self._alarms:
            alarm = self._alarms.pop(feed, None)
            if alarm is not None:
                alarm.cancel()

    def end(self, failure: Exception) -> None:
        """End all subscriptions by `failure`."""
        self.stop()
        feeds, self._feeds = self._feeds, {}
        for feed in feeds:
            self._count(feed)
            feed.fail(failure)

    # --- Resubscribing ------------------------------------------------------------------------

    def start(self, connection: Connection, tries: int) -> None:
        """Resubscribe those that wait for a connection; `tries`: the attempts that it took."""
        self._tries = tries
        lost = [feed for feed in self._feeds if feed.is_lost]
        if lost:
            self._task = asyncio.get_running_loop().create_task(self._spread(lost, connection))
            self._task.add_done_callback(partial(self._spread_ended, connection))

    def stop(self) -> None:
        """Resubscribe none: the connection is lost."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    async def _spread(self, feeds: list[Feed], connection: Connection) -> None:
        pause = self._policy.spread / len(feeds)
        for feed in feeds:
            if pause:
                # Evenly on average, but randomly, so that clients do not resubscribe in step.
                await asyncio.sleep(2 * self._chance() * pause)
            if connection.is_clogged:
                with contextlib.suppress(TransportError):  # the connection ended: `stop` follows
                    await connection.ready_to_send()
            self._resubscribe(feed, connection)

    def _spread_ended(self, connection: Connection, task: asyncio.Task[None]) -> None:
        # A fault of ours must not leave anybody waiting, nor must a `resume` that cancels its task.
        if task is self._task and (task.cancelled() or task.exception() is not None):
            self._task = None
            fault = None if task.cancelled() else task.exception()
            _logger.error("resubscribing was interrupted; it continues", exc_info=fault)
            for feed in [feed for feed in self._feeds if feed not in self._alarms]:
                self._resubscribe(feed, connection)

    def _resubscribe(self, feed: Feed, connection: Connection) -> None:
        if feed.is_lost and connection.reason is None:
            self._resubscriptions += 1
            try:
                feed.resubscribe(connection, self._tries)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as fault:  # noqa: BLE001  # the user's functions may raise anything
                # Even a CancelledError is not of this task: nothing was awaited.
                feed.fail(fault if isinstance(fault, Exception) else _caused_by(fault))

    # --- Refusals -----------------------------------------------------------------------------

    def proven(self, feed: Feed) -> None:
        """Forget the refusals of `feed`: results arrive again."""
        if feed in self._feeds:
            self._feeds[feed] = None

    def refused(self, feed: Feed, failure: TransportError) -> bool:
        """Return whether `feed` is resubscribed again later, although the server refused it."""
        if feed not in self._feeds:
            return False
        attempts = self._feeds[feed] or Attempts(self._policy, self._chance)
        self._feeds[feed] = attempts
        loop = asyncio.get_running_loop()
        try:
            decision = attempts.failed(failure, loop.time())
        except Exception as fault:  # noqa: BLE001  # the policy's functions may raise anything
            feed.fail(fault)
            return False
        if not decision.retry:
            return False
        _logger.warning(
            "%s refused a subscription on a new connection: %s; the next attempt is in %.1f s",
            self._link.host,
            failure,
            decision.delay,
        )
        self._alarms[feed] = loop.call_later(decision.delay, self._again, feed)
        return True

    def _again(self, feed: Feed) -> None:
        del self._alarms[feed]
        connection = self._link.live
        if connection is not None:  # else the next connection takes it
            self._resubscribe(feed, connection)

    # --- Counters -----------------------------------------------------------------------------

    def count_into(self, counters: Counters) -> None:
        """Set the counters of subscriptions, including those that are over."""
        live = [feed.stream for feed in self._feeds if feed.stream is not None]
        repeated = sum(feed.duplicates for feed in self._feeds)
        counters.resubscriptions = self._resubscriptions
        counters.events = self._events + sum(stream.events for stream in live)
        counters.dropped = self._dropped + sum(stream.dropped for stream in live)
        counters.duplicates = self._duplicates + repeated

    def _count(self, feed: Feed) -> None:
        if feed.stream is not None:
            self._events += feed.stream.events
            self._dropped += feed.stream.dropped
            self._duplicates += feed.duplicates
