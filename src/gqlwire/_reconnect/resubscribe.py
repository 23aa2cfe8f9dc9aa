"""The subscriptions of a kept connection, and how they are resubscribed on the next one.

Resubscriptions are spread over time. If the server refuses one, it is sent again later. If one
seems to be the cause that connections end, it gets a connection of its own, and in the end it is
the one that fails. This module knows no message and no socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from gqlwire._connection.connection import Connection
from gqlwire._operations.feed import Feed
from gqlwire._operations.link import Link
from gqlwire._operations.resubscription import resubscribe
from gqlwire._reconnect.counters import Counters
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.refusals import Refusals
from gqlwire._reconnect.separate_connections import SeparateConnection, SeparateConnections
from gqlwire._reconnect.suspicion import FRESH, SOON, End, Suspicion, Trace, Verdict
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.stream import EventStream
from gqlwire.errors import TransportError, reasons

_logger = logging.getLogger("gqlwire")


class Subscriptions:
    """The subscriptions of a kept connection.

    `on_found` is called when one has been found to be the cause that connections ended. `on_left`
    is called with each connection of a suspect that is over.
    """

    def __init__(
        self,
        link: Link,
        options: ReconnectOptions,
        gate: ReadGate,
        *,
        on_found: Callable[[], None],
        on_left: Callable[[Connection], None],
    ) -> None:
        policy = options.retry
        self._link = link
        self._policy = policy
        self._chance = options.chance
        self._on_found = on_found
        self.separate: SeparateConnections = SeparateConnections(
            link.dialer,
            gate,
            self._resubscribe_apart,
            self._lost_apart,
            on_left,
            beside=options.connection,
        )
        self._suspicion: Suspicion[Feed] = Suspicion(policy.suspect_attempts)
        self._refusals = Refusals(policy.for_subscription(), options.chance)
        # Suspects that are sent so many seconds after the next main connection is acknowledged.
        self._held: dict[Feed, float] = {}
        # Those of a connection that is ending now, and whether nothing has come for them by it.
        self._losing: dict[Feed, bool] = {}
        self._feeds: dict[Feed, None] = {}  # in the order in which they were started
        self._alarms: dict[Feed, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tries, self._began = 1, 0.0  # of the main connection
        # Of subscriptions that are over.
        self._past = Counters()

    def __len__(self) -> int:
        """How many there are, including those whose end was not taken yet."""
        return len(self._feeds)

    @property
    def on_main(self) -> list[Feed]:
        """Those on the main connection, or that wait for it."""
        return [feed for feed in self._feeds if feed not in self.separate]

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
            self._count(feed, self._past)
            del self._feeds[feed]
            self._forget(feed)

    def _forget(self, feed: Feed) -> None:
        self.separate.discard(feed)
        self._suspicion.discard(feed)
        self._refusals.forget(feed)
        self._held.pop(feed, None)
        alarm = self._alarms.pop(feed, None)
        if alarm is not None:
            alarm.cancel()

    def end(self, failure: Exception) -> None:
        """End all subscriptions by `failure`."""
        self.stop()
        for feed in [*self._feeds]:  # they stay: what is left in their buffers is yet to be counted
            self._forget(feed)
            feed.fail(failure)

    # --- Resubscribing ------------------------------------------------------------------------

    def start(self, connection: Connection, tries: int) -> None:
        """Resubscribe those that wait for a connection; `tries`: the attempts that it took."""
        self._tries, self._began = tries, self._now()
        self._refusals.connected(self._began)
        loop = asyncio.get_running_loop()
        for feed, delay in self._held.items():
            self._alarms[feed] = loop.call_later(delay, self._again, feed)
        self._held.clear()
        self._resubscribe_all(connection, self._feeds)
        self.separate.start()

    def stop(self) -> None:
        """Resubscribe none: the main connection is lost."""
        self._refusals.disconnected(self._now())
        self.separate.pause()
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        for feed in [*self._alarms]:
            if feed not in self.separate:
                self._alarms.pop(feed).cancel()

    def _resubscribe_all(self, connection: Connection, feeds: Iterable[Feed]) -> None:
        lost = [
            feed
            for feed in feeds
            if feed.is_waiting and feed not in self.separate and feed not in self._alarms
        ]
        if lost:
            task = asyncio.get_running_loop().create_task(self._spread(lost, connection))
            self._tasks.add(task)
            task.add_done_callback(partial(self._spread_ended, connection))

    async def _spread(self, feeds: list[Feed], connection: Connection) -> None:
        begin, pause = self._now(), self._policy.spread / len(feeds)
        for place, feed in enumerate(feeds):
            # Evenly on average, but randomly, so that clients do not resubscribe in step. A timer
            # is up to a millisecond late, so those that are due by now are sent without another.
            wait = begin + (place + self._chance()) * pause - self._now() if pause else 0.0
            if wait > 0:
                await asyncio.sleep(wait)
            if connection.is_clogged:
                with contextlib.suppress(TransportError):  # the connection ended: `stop` follows
                    await connection.ready_to_send()
            self._resubscribe(feed, connection, self._tries)

    def _spread_ended(self, connection: Connection, task: asyncio.Task[None]) -> None:
        # A fault of ours must not leave anybody waiting, nor must a `resume` that cancels its task.
        is_current = task in self._tasks
        self._tasks.discard(task)
        if is_current and (task.cancelled() or task.exception() is not None):
            fault = None if task.cancelled() else task.exception()
            _logger.error("resubscribing was interrupted; it continues", exc_info=fault)
            for feed in [*self._feeds]:
                if feed not in self._alarms and feed not in self.separate:
                    self._resubscribe(feed, connection, self._tries)

    def _resubscribe_apart(self, feed: Feed, connection: Connection) -> None:
        self._resubscribe(feed, connection, tries=1)

    def _resubscribe(self, feed: Feed, connection: Connection, tries: int) -> None:
        if feed.is_waiting and connection.reason is None:
            if feed.is_in_gap:
                self._past.resubscriptions += 1
            resubscribe(feed, connection, tries)

    # --- Suspects -----------------------------------------------------------------------------

    def lost(self, feed: Feed, *, is_unheard: bool) -> None:
        """Note that the connection of `feed` is ending; `is_unheard`: no event came on it."""
        self._losing[feed] = is_unheard

    def judge(self, connection: Connection, failure: TransportError) -> None:
        """Look for the cause among the subscriptions of the main connection, which has ended."""
        places = 0 if self._policy.connects_per_hour is not None else self.separate.places
        has_control = self.separate.has_older(self._began)
        end = self._end_of(connection, failure, self._began, places, has_control=has_control)
        self._do(self._suspicion.ended(end), failure, end.life)

    def _lost_apart(self, separate: SeparateConnection, failure: Exception) -> None:
        """Look for the cause among those of a connection apart, which has ended."""
        main = self._link.live
        if separate.connection is not None and isinstance(failure, TransportError):
            has_control = main is not None and self._began <= separate.began
            places = self.separate.places
            end = self._end_of(
                separate.connection, failure, separate.began, places, has_control=has_control
            )
            self._do(self._suspicion.ended_apart(end), failure, end.life)
        if main is not None:
            self._resubscribe_all(main, separate.feeds)

    def _end_of(
        self,
        connection: Connection,
        failure: TransportError,
        began: float,
        places: int,
        *,
        has_control: bool,
    ) -> End[Feed]:
        traces = self._taken(connection.routes.latest)
        sent_at = max((trace.key.sent_at for trace in traces), default=began)
        life = self._now() - sent_at
        queries = connection.routes.has_interrupted
        return End(failure, traces, life, sent_at - began, has_control, places, queries)

    def _taken(self, latest: EventStream | None) -> list[Trace[Feed]]:
        losing, self._losing = self._losing, {}
        now = self._now()
        return [
            Trace(
                feed,
                is_first=feed.stream is not None and not feed.stream.events,
                is_unheard=is_unheard,
                is_fresh=now - feed.sent_at < FRESH,
                was_last=feed.stream is latest,
            )
            for feed, is_unheard in losing.items()
            if feed in self._feeds
        ]

    def _do(self, verdict: Verdict[Feed], failure: TransportError, life: float) -> None:
        delay = self._delay(verdict.count)
        if verdict.blamed is not None:
            self._blame(verdict.blamed, failure, verdict.count)
        if verdict.held is not None:
            # Long enough to see whether the connection lasts without it.
            self._held[verdict.held] = min(max(delay, 2 * life), SOON)
        for group in verdict.apart:
            _logger.warning(
                "%s ended the connection%s: %s; "
                "%d of the subscriptions may be the cause, and get a connection of their own",
                self._link.host,
                " in the same way again" if verdict.count else "",
                failure,
                len(group),
            )
            self.separate.take(group, delay, failure)

    def _blame(self, feed: Feed, failure: TransportError, count: int) -> None:
        blame = reasons.blamed(failure, count)
        _logger.warning("%s: a subscription ends: %s", self._link.host, blame)
        feed.fail(blame)
        self._on_found()

    def _delay(self, count: int) -> float:
        return self._chance() * self._policy.ceiling(count) if count else 0.0

    def release(self, drop: Callable[[Connection], None]) -> None:
        """End the connections apart by `drop`; their subscriptions go to the main connection."""
        waiting = self.separate.release(drop)
        if self._link.live is not None:
            self._resubscribe_all(self._link.live, waiting)

    # --- Refusals -----------------------------------------------------------------------------

    def forget_refusals(self, feed: Feed) -> None:
        """Forget the refusals of `feed`: results arrive again."""
        self._refusals.forget(feed)

    def gap_over(self, feed: Feed, seconds: float, *, continues: bool) -> None:
        """Note that the gap of `feed` is over; `continues`: as the server has sent something."""
        if feed in self._feeds:
            self._past.gap_seconds += seconds
            self._past.recoveries += continues

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def refused(self, feed: Feed, failure: TransportError) -> bool:
        """Return whether `feed` is resubscribed again later, although the server refused it."""
        if feed not in self._feeds:
            return False
        self._past.refusals += 1
        try:
            delay = self._refusals.delay(feed, failure, self._now())
        except Exception as fault:  # noqa: BLE001  # the policy's functions may raise anything
            feed.fail(fault)
            return False
        if delay is None:
            return False
        self._alarms[feed] = asyncio.get_running_loop().call_later(delay, self._again, feed)
        return True

    def _again(self, feed: Feed) -> None:
        del self._alarms[feed]
        self._resubscribe_now(feed, tries=0)

    def proceed(self, feed: Feed) -> None:
        """Resubscribe `feed`, which was stopped because its consumer was slow."""
        self._resubscribe_now(feed, 1 if feed in self.separate else self._tries)

    def _resubscribe_now(self, feed: Feed, tries: int) -> None:
        apart = feed in self.separate
        connection = self.separate.connection_of(feed) if apart else self._link.live
        if connection is not None:  # else the next connection takes it
            self._resubscribe(feed, connection, tries)

    # --- Counters -----------------------------------------------------------------------------

    def count_into(self, counters: Counters) -> None:
        """Set the counters of subscriptions, including those that are over."""
        past = self._past
        counters.resubscriptions, counters.recoveries = past.resubscriptions, past.recoveries
        counters.refusals = past.refusals
        sums = replace(past)
        for feed in self._feeds:
            self._count(feed, sums)
        counters.events, counters.dropped = sums.events, sums.dropped
        counters.duplicates, counters.gap_seconds = sums.duplicates, sums.gap_seconds
        counters.pauses = sums.pauses

    def _count(self, feed: Feed, sums: Counters) -> None:
        if feed.stream is not None:
            sums.events += feed.stream.events
            sums.dropped += feed.stream.dropped
            sums.duplicates += feed.duplicates
            sums.pauses += feed.pauses
        if feed.gap_since is not None:
            sums.gap_seconds += self._now() - feed.gap_since
