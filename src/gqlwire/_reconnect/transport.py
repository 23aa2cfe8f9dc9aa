"""Keeps a connection: one task makes one connection after the other.

The task asks `retry` whether and when to connect again, whatever ended the last connection, and the
operations continue on the next one. This module knows no message, no operation id and no socket: a
`Dialer` makes the connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from msgspec import structs

from gqlwire import _loop
from gqlwire._clock import Moment
from gqlwire._connection.connection import Connection
from gqlwire._connection.dialer import Dialer
from gqlwire._operations.feed import Feed
from gqlwire._operations.link import Link
from gqlwire._reconnect.counters import Counters
from gqlwire._reconnect.dialing import Dialing
from gqlwire._reconnect.failover import Failover, Rotation
from gqlwire._reconnect.health import ConnectionHealth
from gqlwire._reconnect.idle import IdleTimeout
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.report import Report
from gqlwire._reconnect.resubscribe import Subscriptions
from gqlwire._reconnect.snapshot import never_connected, of_kept, of_separate
from gqlwire._reconnect.states import Changes
from gqlwire._streams.backpressure import ReadGate
from gqlwire.errors import (
    CloseTimeout,
    Phase,
    TransportAlreadyConnected,
    TransportError,
    reasons,
)
from gqlwire.retry import Attempt
from gqlwire.retry.attempts import Attempts, Decision

T = TypeVar("T")

OPENED_BY = "max_subscriptions_per_connection"
"""The option that opens connections beside the first."""


class ReconnectingTransport(Link):
    """Keeps one connection of `dialer`, as `options` say. Nothing runs before `connect()`.

    `changes`: the state, and the iterators over its changes.
    """

    def __init__(
        self,
        dialer: Dialer,
        options: ReconnectOptions | None = None,
        changes: Changes | None = None,
    ) -> None:
        super().__init__(dialer)
        self.changes: Changes = changes or Changes()
        self._options = options or ReconnectOptions()
        self._task: asyncio.Task[None] | None = None

    # --- For its user -------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect, and stay connected.

        Raises the failure of the first attempt, unless the policy has `initial`, which retries it.
        Cancelling leaves no connection behind.
        """
        if self._task is not None and not self._task.done():
            raise TransportAlreadyConnected(reasons.already(self.host, self.state))
        self.begin()
        try:
            await self.ready()
        except BaseException:  # cancellation as well: nobody else would end the task
            with contextlib.suppress(CloseTimeout):
                await self.close()
            raise

    def begin(self, beside: ReconnectingTransport | None = None) -> None:
        """Begin to connect; `ready` waits for the connection.

        `beside`: another one of the same session, which has been connected; so the server is known
        to acknowledge connections, and the first failure is retried.
        """
        options = self._options
        self.failure: Exception | None = None
        self.is_final: bool = False
        self.loop = asyncio.get_running_loop()
        attempts = Attempts(
            options.retry,
            options.chance,
            can_refresh=self.dialer.can_refresh,
            beside=None if beside is None else beside.attempts,
        )
        urls = self.dialer.urls
        self._failover: Failover = Failover(
            attempts,
            options,
            Rotation(urls) if beside is None else Rotation(urls, beside.url_index or 0),
            can_refresh=self.dialer.can_refresh,
        )
        self._report = Report(options.hooks, self.changes, options.connection)
        gate = ReadGate()
        self._subscriptions = Subscriptions(
            self, options, gate, on_found=attempts.begin_row, on_left=self._report.add
        )
        self._idle: IdleTimeout | None = None
        if options.idle_close_after is not None:
            option = "idle_close_after" if options.connection == 1 else OPENED_BY
            self._idle = IdleTimeout(options.idle_close_after, self, self._subscriptions, option)
            self.on_finished: Callable[[], None] | None = self._idle.restart
        # The attempt that is under way.
        self._dialing: Dialing | None = None
        # What tasks in `ready()` wait for, and what `_keep` waits for.
        self._arrival: asyncio.Future[None] | None = None
        self._alert: asyncio.Future[None] | None = None
        self._task = self.loop.create_task(self._keep(gate))
        self._task.add_done_callback(self._kept)

    async def close(self) -> None:
        """Close the connection, or stop making one; what runs raises TransportClosed immediately.

        Takes the transport's `close_timeout` at most, hooks included; see `cancel_and_wait`. Safe
        at any time, more than once. Raises CloseTimeout as the transport's `close` does, and
        RuntimeError in another event loop, unless its own one is closed. Cancelling drops the
        socket.
        """
        task, limit = self._task, self.dialer.close_timeout
        if task is None or self.loop is None:
            return
        if not _loop.check_open(self.loop):
            self.failure = reasons.closed_by_user(self.host, self.state)
            self.is_final, self.live, self.loop = True, None, None
            await self.dialer.close()
            return
        begin = self._now()
        task.cancel()
        self._report.cancel()
        connection = self.live
        if not self.is_final:
            closed = reasons.closed_by_user(self.host, self.state)
            if connection is not None:
                self._report.ended(closed, Decision(retry=False, why="close()"))
            self._end(closed)
        try:
            await asyncio.wait([task], timeout=limit)
        except asyncio.CancelledError:
            if connection is not None:  # nobody else would close it
                connection.drop(reasons.terminated(self.host, connection.phase), dead=True)
            raise
        else:
            await self.dialer.close()
            await self._subscriptions.separate.wait_closed()
            if task is self._task:
                self.loop = None  # nothing is left that belongs to it
        finally:
            left = None if limit is None else max(0.0, begin + limit - self._now())
            await self._report.close(left)

    async def reconnect(self, reason: str = "") -> None:
        """Replace the connection; functions that return credentials are called with `refresh=True`.

        Subscriptions continue on the new one; other operations are interrupted. Returns when the
        new connection is acknowledged. Raises the failure if there will be none. Cancelling does
        not stop it.

        The first call connects immediately. Further calls wait as long as the policy says, until a
        connection was good.
        """
        _loop.check(self.loop)
        self._raise_if_final()
        connection, dialing = self.live, self._dialing
        if connection is not None:
            self.attempts.is_wanted = True
            connection.drop(reasons.reconnecting(self.host, connection.phase, reason), dead=False)
        elif dialing is None:
            self.attempts.is_wanted = True
            if self.state is not Phase.WAITING:
                self._wake_task()
            elif self.attempts.may_skip_wait():
                self.attempts.wait_skipped()
                self._wake_task()
        # An attempt that asked for new credentials is what the caller wants, unless it hangs.
        elif not dialing.attempt.refresh or dialing.age >= self.attempts.drop_after():
            self.attempts.is_wanted = True
            dialing.give_up(reasons.reconnecting(self.host, self.state, reason))
        again = reasons.reconnecting(self.host, Phase.OPEN, reason)
        self._subscriptions.release(lambda apart: apart.drop(again, dead=False))
        await self.ready()

    def terminate(self) -> None:
        """Drop the socket immediately, without a close frame, and connect again.

        An attempt to connect is dropped as well, once there was a connection.
        """
        _loop.check(self.loop)
        connection = self.live
        if connection is not None:
            connection.drop(reasons.terminated(self.host, connection.phase), dead=True)
        elif self._dialing is not None and self.attempts.was_acked:
            self._dialing.give_up(reasons.terminated(self.host, self.state))
        if self._task is not None:
            dropped = reasons.terminated(self.host, Phase.OPEN)
            self._subscriptions.release(lambda apart: apart.drop(dropped, dead=True))

    @property
    def state(self) -> Phase:
        """How far the connection has come, or `waiting`, `idle`, `closed`."""
        return self.changes.state

    @property
    def counters(self) -> Counters:
        """A snapshot of what has been counted so far."""
        if self._task is None:
            return Counters()
        found = self._report.counters(self.live, self._subscriptions.separate.connections)
        self._subscriptions.count_into(found)
        return found

    def health(self, now: Moment) -> list[ConnectionHealth]:
        """Return how its connection is at the moment `now`, and those of suspects."""
        if self._task is None:
            return [never_connected(self.host)]
        subscriptions = self._subscriptions
        main = of_kept(self, self.changes, self._report, subscriptions.on_main, now)
        return [main, *of_separate(subscriptions.separate, self.host, now)]

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection, or will be."""
        return self._task is not None and not self.is_final

    @property
    def attempts(self) -> Attempts:
        """The attempts to connect; known once `begin` was called."""
        return self._failover.attempts

    @property
    def url_index(self) -> int | None:
        """Which URL is used, counted from 0; None if there is only one."""
        return self._failover.url_index

    @property
    def subscriptions(self) -> int:
        """How many subscriptions it has, or is about to have."""
        return self.starting + (0 if self._task is None else len(self._subscriptions))

    @property
    def connections(self) -> list[ReconnectingTransport]:
        """The kept connections of the session: this one. See `Pool.connections`."""
        return [self]

    def give_up(self, failure: Exception, why: str) -> None:
        """End all operations by `failure`, and connect no more; `close` closes the socket.

        `why`: what the hook `disconnected` gets as the rule that decided so.
        """
        if self._task is not None and not self.is_final:
            if self.live is not None and isinstance(failure, TransportError):
                self._report.ended(failure, Decision(retry=False, why=why))
            self._end(failure)  # the rule that decided so was logged for the other connection

    # --- Link: for operations -----------------------------------------------------------------

    @property
    def retry_queries(self) -> bool:
        """Whether an interrupted query is sent again."""
        return self._options.retry_queries

    async def ready(self) -> Connection:
        """Return an acknowledged connection, waiting for it.

        Raises the failure that is not retried.
        """
        _loop.check(self.loop)
        while (connection := self.live) is None:
            self._raise_if_final()
            if self.state is Phase.IDLE:
                self._wake_task()
            if self._arrival is None:
                self._arrival = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._arrival)
        return connection

    def _raise_if_final(self) -> None:
        if self._task is None:
            raise reasons.not_connected(self.host, "connect() first")
        if self.is_final and self.failure is not None:
            raise reasons.replica(self.failure)

    def join(self, feed: Feed) -> None:
        """Resubscribe `feed` on every further connection."""
        self._subscriptions.add(feed)

    def leave(self, feed: Feed) -> None:
        """Do nothing more with `feed`."""
        self._subscriptions.discard(feed)
        if self._idle is not None:
            self._idle.restart()

    def proceed(self, feed: Feed) -> None:
        """Resubscribe `feed`, which was stopped because its consumer was slow."""
        self._subscriptions.proceed(feed)

    def lost(self, feed: Feed, *, is_unheard: bool) -> None:
        """Note that the connection of `feed` is ending."""
        self._subscriptions.lost(feed, is_unheard=is_unheard)

    def refused(self, feed: Feed, failure: TransportError) -> bool:
        """Return whether `feed` is resubscribed again later, although the server refused it."""
        return self._subscriptions.refused(feed, failure)

    def forget_refusals(self, feed: Feed) -> None:
        """Forget the refusals of `feed`: results arrive again."""
        self._subscriptions.forget_refusals(feed)

    def gap_over(self, feed: Feed, seconds: float, *, continues: bool) -> None:
        """Note that the gap of `feed` is over; `continues`: as the server has sent something."""
        self._subscriptions.gap_over(feed, seconds, continues=continues)

    def call(self, hook: Callable[[T], object], event: T) -> None:
        """Call a function that the user gave; what it raises is logged."""
        self._report.call(hook, event)

    # --- The one task -------------------------------------------------------------------------

    async def _keep(self, gate: ReadGate) -> None:
        attempt, failure = Attempt(1), None
        while True:
            await self._until_allowed(failure)
            failure = self.failure = await self._run(self._renewed(attempt), gate)
            reasons.forget_frames(attempt.failure)
            is_wanted = self.attempts.is_wanted
            if not is_wanted and self._idle is not None and failure is self._idle.failure:
                self._report.ended(failure, Decision(retry=False, why=self._idle.option))
                await self._rest(failure)
                attempt = Attempt(1)
                continue
            if is_wanted:
                decision = self.attempts.replaced(self._now())
            else:
                decision = self._failover.failed(failure, self._now())
            self._report.ended(failure, decision)
            if not decision.retry:
                self._end(self._failover.told(failure), decision.why)
                return
            if decision.delay or not is_wanted:
                await self._wait(failure, decision.delay)
            reason = None if is_wanted else failure
            attempt = Attempt(decision.attempt + 1, reason, decision.refresh)

    def _renewed(self, attempt: Attempt) -> Attempt:
        """Return the attempt to make, with `refresh` if `reconnect()` was called."""
        refresh = attempt.refresh or self.attempts.is_wanted
        self.attempts.is_wanted = False
        return structs.replace(
            attempt,
            refresh=refresh,
            connection=self._options.connection,
            url_index=self.url_index,
        )

    async def _until_allowed(self, failure: TransportError | None) -> None:
        """Wait until `connects_per_hour` allows an attempt."""
        delay = self.attempts.until_allowed(self._now())
        if delay:
            self._report.waiting(failure, delay)
            await asyncio.sleep(delay)

    async def _run(self, attempt: Attempt, gate: ReadGate) -> TransportError:
        """Make one attempt; return why it, or the connection that it led to, ended."""
        self.attempts.connecting(self._now())
        self._report.connecting(attempt)
        self._dialing = Dialing(attempt)
        try:
            connection = await self._dialing.open(self.dialer, gate, self._drop)
        except TransportError as failure:
            return failure
        finally:
            self._dialing = None
        if connection.reason is None:
            self._arrive(connection)
        while connection.reason is None:
            await self._alerted()
        return connection.reason

    def _arrive(self, connection: Connection) -> None:
        self.attempts.acknowledged(self._now())
        self._failover.rotation.succeeded()
        self._subscriptions.start(connection, self._report.tries)
        self.live = connection
        self._report.connected(connection.payloads, self.host)
        self._wake_waiters()
        if self._idle is not None:
            self._idle.start()

    def _drop(self, connection: Connection) -> None:
        """Note the end of a connection, at the moment it ends."""
        self.live = None
        if connection.routes.has_results:
            self.attempts.delivered()
        self._subscriptions.stop()
        self._report.lost(connection, is_final=self.is_final)
        if connection.reason is not None:
            self._subscriptions.judge(connection, connection.reason)
        self._wake_task()

    async def _wait(self, failure: TransportError, delay: float) -> None:
        self._report.waiting(failure, delay)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._alerted()

    async def _rest(self, failure: TransportError) -> None:
        """Wait until an operation needs a connection."""
        self._report.resting(failure)
        if self._arrival is None:
            await self._alerted()

    async def _alerted(self) -> None:
        """Wait until something has happened that this task has to look at."""
        self._alert = asyncio.get_running_loop().create_future()
        try:
            await self._alert
        finally:
            self._alert = None

    def _wake_task(self) -> None:
        if self._alert is not None and not self._alert.done():
            self._alert.set_result(None)

    def _wake_waiters(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        self._arrival = None

    def _end(self, failure: Exception, why: str = "") -> None:
        """End for good: every operation raises `failure`. `why` is the rule that decided so."""
        self.failure = failure
        self.is_final = True
        self.live = None
        self._report.closed(failure, self.host, why)
        if self._idle is not None:
            self._idle.stop()
        self._subscriptions.end(failure)
        self._wake_waiters()

    def _kept(self, task: asyncio.Task[None]) -> None:
        # A fault of ours, or of a function of the user's in the policy, must not leave anybody
        # waiting. The same holds for a cancellation that comes out of such a function.
        fault: BaseException | None = reasons.given_up(self.host, self.state)
        if not task.cancelled():
            fault = task.exception()
        if fault is not None and not self.is_final:
            self._end(fault if isinstance(fault, Exception) else RuntimeError(repr(fault)))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
