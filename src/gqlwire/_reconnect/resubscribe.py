"""Taking subscriptions to a new connection: all of them, not all at once, and each politely.

It knows no message and no socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from gqlwire._connection.connection import Connection
from gqlwire._operations.feed import Feed, Link
from gqlwire._reconnect.counters import Counters
from gqlwire.errors import TransportError
from gqlwire.retry import Attempts, RetryPolicy

_logger = logging.getLogger("gqlwire")


class Resubscribing:
    """The subscriptions of a connection that is kept alive.

    `count` is how often one was taken to a new connection.
    """

    def __init__(self, link: Link, policy: RetryPolicy, chance: Callable[[], float]) -> None:
        self.count = 0
        self._events = self._dropped = 0
        self._link = link
        self._policy = policy.for_subscription()
        self._chance = chance
        self._feeds: dict[Feed, Attempts | None] = {}
        self._alarms: dict[Feed, asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        self._tries = 1

    @property
    def is_busy(self) -> bool:
        """Whether there is any subscription."""
        return any(feed.stream is None or not feed.stream.over for feed in self._feeds)

    def add(self, feed: Feed) -> None:
        """Take `feed` along from now on."""
        self._feeds.setdefault(feed, None)

    def count_into(self, counters: Counters) -> None:
        """Put what is known of the subscriptions, those that are over included."""
        live = [feed.stream for feed in self._feeds if feed.stream is not None]
        counters.resubscriptions = self.count
        counters.events = self._events + sum(stream.events for stream in live)
        counters.dropped = self._dropped + sum(stream.dropped for stream in live)

    def _retire(self, feed: Feed) -> None:
        if feed.stream is not None:
            self._events += feed.stream.events
            self._dropped += feed.stream.dropped

    def discard(self, feed: Feed) -> None:
        """Leave `feed` alone."""
        if feed in self._feeds:
            self._retire(feed)
            del self._feeds[feed]
        alarm = self._alarms.pop(feed, None)
        if alarm is not None:
            alarm.cancel()

    def begin(self, connection: Connection, tries: int) -> None:
        """Take those that have none to `connection`, which came about at the so many-th attempt."""
        self._tries = tries
        lost = [feed for feed in self._feeds if feed.is_lost]
        if lost:
            self._task = asyncio.get_running_loop().create_task(self._take(lost, connection))

    def stop(self) -> None:
        """Cease: the connection is lost."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    def end(self, failure: Exception) -> None:
        """End all subscriptions by `failure`."""
        self.stop()
        feeds, self._feeds = self._feeds, {}
        for feed in feeds:
            self._retire(feed)
            feed.fail(failure)

    async def _take(self, feeds: list[Feed], connection: Connection) -> None:
        pause = self._policy.spread / len(feeds)
        for feed in feeds:
            if pause:
                # Evenly on average, and not in step with other clients.
                await asyncio.sleep(2 * self._chance() * pause)
            if connection.is_clogged:
                with contextlib.suppress(TransportError):  # it is over, which others tell
                    await connection.ready_to_send()
            self._resubscribe(feed, connection)

    def _resubscribe(self, feed: Feed, connection: Connection) -> None:
        if feed.is_lost and connection.reason is None:
            self.count += 1
            try:
                feed.resubscribe(connection, self._tries)
            except Exception as fault:  # noqa: BLE001  # the user's `resume` may raise anything
                feed.fail(fault)

    def proven(self, feed: Feed) -> None:
        """Forget the refusals of `feed`."""
        if feed in self._feeds:
            self._feeds[feed] = None

    def refused(self, feed: Feed, failure: TransportError) -> bool:
        """Say whether `feed` may try again after a refusal, and let it, after a while."""
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
            "%s refused a subscription on a new connection: %s; again in %.1f s",
            self._link.host,
            failure,
            decision.delay,
        )
        self._alarms[feed] = loop.call_later(decision.delay, self._again, feed)
        return True

    def _again(self, feed: Feed) -> None:
        del self._alarms[feed]
        connection = self._link.live
        if connection is not None:  # else the next one takes it along
            self._resubscribe(feed, connection)
