"""A transport that lives on when its connection is lost.

One task makes the connections, one after the other, whatever told of the end of the last; it asks
`retry` whether and when, and takes the operations along. It knows no message, no operation id and
no socket: connections are made by the transport that it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from msgspec import Raw

from gqlwire._connection.connection import Connection
from gqlwire._operations.feed import USUAL_SEAM, USUAL_TERMS, Seam, Terms
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.result import ExecutionResult, decode_result
from gqlwire._reconnect import lasting
from gqlwire._reconnect.counters import Counters, Past
from gqlwire._reconnect.hooks import Caller, Hooks
from gqlwire._reconnect.idle import Idleness
from gqlwire._reconnect.lasting import LastingFeed
from gqlwire._reconnect.options import Survival
from gqlwire._reconnect.report import Report
from gqlwire._reconnect.resubscribe import Resubscribing
from gqlwire._reconnect.states import Changes
from gqlwire._streams.backpressure import ReadGate
from gqlwire.errors import (
    CloseTimeout,
    Phase,
    TransportAlreadyConnected,
    TransportClosed,
    TransportError,
    reasons,
)
from gqlwire.errors.reasons import replica
from gqlwire.retry import Attempt, Attempts, Decision, RetryPolicy
from gqlwire.transport.websockets import WebsocketsTransport

_logger = logging.getLogger("gqlwire")

T = TypeVar("T")


class ReconnectingTransport:
    """Keeps one connection of `transport`, as `survival` says. Nothing runs before `connect()`."""

    def __init__(self, transport: WebsocketsTransport, survival: Survival | None = None) -> None:
        survival = survival or Survival()
        self.transport = transport
        self.policy: RetryPolicy = survival.retry or RetryPolicy()
        self._retry_queries = survival.retry_queries
        self._hooks = survival.hooks or Hooks()
        self._chance = survival.chance
        self._task: asyncio.Task[None] | None = None
        self._failure: TransportError | None = None
        self._final: Exception | None = None
        self._changes = Changes()
        self._asking = 0
        self._idleness = Idleness(survival.idle_close_after, self._is_busy, self._close_idle)

    # --- For its user -------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect, and stay so. Raises what the first attempt fails of, unless `policy.initial`.

        Cancelling leaves nothing behind.
        """
        if self._task is not None and not self._task.done():
            raise TransportAlreadyConnected(f"the transport to {self.host} is {self.state} already")
        self._begin()
        try:
            await self.ready()
        except BaseException:  # a cancellation, too: nobody else would end it
            with contextlib.suppress(CloseTimeout):
                await self.close()
            raise

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._attempts = Attempts(self.policy, self._chance, can_refresh=self.transport.can_refresh)
        self._final = self._failure = None
        self._wanted: Attempt | None = None
        self._awaited: asyncio.Future[None] | None = None
        self._dropped: asyncio.Future[None] | None = None
        self._roused: asyncio.Event | None = None
        self._past = Past()
        self._idling: TransportError | None = None
        self._caller = Caller()
        self._report = Report(self._hooks, self._changes, self._caller)
        self._resubscribing = Resubscribing(self, self.policy, self._chance)
        self.transport.gate = ReadGate()
        self.transport.on_drop = self._drop
        self._task = loop.create_task(self._keep())
        self._task.add_done_callback(self._kept)

    async def close(self) -> None:
        """Close the connection, or give up making one; what runs gets TransportClosed at once.

        Takes the transport's `close_timeout` at most. Safe at any time, more than once. Raises
        CloseTimeout as the transport's `close` does. Cancelling drops the socket.
        """
        task = self._task
        if task is None:
            return
        task.cancel()
        if self._final is None:
            closed = reasons.closed_by_user(self.host, self.state)
            if self.live is not None:
                self._report.ended(closed, Decision(retry=False, why="close()"))
            self._give_up(closed)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            self.terminate()  # nobody would close it any more
            raise
        else:
            await self.transport.close()
        finally:
            await self._caller.close()

    async def reconnect(self, reason: str = "") -> None:
        """Make the connection anew, with credentials that are asked for with `refresh=True`.

        Subscriptions go on on the new one; what runs besides is interrupted. Returns when that is
        acknowledged. Raises the failure if there will be none. Cancelling does not stop it.
        """
        self._check_open()
        self._wanted = Attempt(1, refresh=True)
        connection = self.transport.connection
        if connection is not None and connection.reason is None:
            failure = reasons.reconnecting(self.host, connection.phase, reason)
            connection.drop(failure, dead=False)
        self._rouse()
        await self.ready()

    def terminate(self) -> None:
        """Drop the socket at once, without a word, as one that hangs; then connect again."""
        connection = self.transport.connection
        if connection is not None and connection.reason is None:
            failure = reasons.terminated(self.host, connection.phase)
            connection.drop(failure, dead=True)

    @property
    def changes(self) -> Changes:
        """Its state, and who watches it."""
        return self._changes

    @property
    def state(self) -> Phase:
        """How far the connection has come, or `waiting`, `idle`, `closed`."""
        return self._changes.state

    @property
    def counters(self) -> Counters:
        """What has happened so far, at this moment."""
        if self._task is None:
            return Counters()
        found = self._past.with_connection(self.live)
        self._resubscribing.count_into(found)
        found.connections, found.retries = self._report.connections, self._report.retries
        return found

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection, or will be."""
        return self._task is not None and self._final is None

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return self.transport.host

    # --- Operations ---------------------------------------------------------------------------

    async def execute(
        self, request: GraphQLRequest, *, timeout: float | None = None
    ) -> ExecutionResult:
        """Run an operation and return its first result, errors and all; see `ask`."""
        return decode_result(await self.ask(request, timeout=timeout))

    def ask(
        self,
        request: GraphQLRequest,
        *,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Coroutine[Any, Any, Raw]:
        """Run an operation and return the payload of its first result, in JSON.

        It waits for a connection, and is repeated if that is lost meanwhile, if it is a query and
        `retry_queries` is on, or `idempotent`. Else that raises OperationInterrupted.
        """
        kind = request.kind
        is_repeatable = idempotent or (self._retry_queries and kind != "mutation")
        return lasting.ask(self, request.encode(), kind, timeout, is_repeatable=is_repeatable)

    def feed(
        self, request: GraphQLRequest, *, terms: Terms | None = None, seam: Seam | None = None
    ) -> LastingFeed:
        """Return the undecoded results of an operation, over all connections."""
        _ = request.kind
        return LastingFeed(self, request.encode(), terms or USUAL_TERMS, seam or USUAL_SEAM)

    # --- Link: what operations want of it -----------------------------------------------------

    @property
    def failure(self) -> TransportError | None:
        """Why the last attempt, or connection, ended."""
        return self._failure

    @property
    def live(self) -> Connection | None:
        """The connection that is acknowledged, if there is one now."""
        connection = self.transport.connection
        if connection is None or connection.reason is not None:
            return None
        return connection if self._changes.state is Phase.OPEN else None

    async def ready(self) -> Connection:
        """Return a connection that is acknowledged, waiting for it. Raises the final failure."""
        while (connection := self.live) is None:
            self._check_open()
            if self.state is Phase.IDLE:
                self._rouse()
            if self._awaited is None:
                self._awaited = self._loop.create_future()
            await asyncio.shield(self._awaited)
        return connection

    def _check_open(self) -> None:
        if self._final is not None:
            raise replica(self._final)
        if self._task is None:
            raise TransportClosed(f"the transport to {self.host} is not connected", host=self.host)

    def join(self, feed: LastingFeed) -> None:
        """Take `feed` along to every further connection."""
        self._resubscribing.add(feed)

    def leave(self, feed: LastingFeed) -> None:
        """Leave `feed` alone."""
        self._resubscribing.discard(feed)
        self._idleness.ended()

    def refused(self, feed: LastingFeed, failure: TransportError) -> bool:
        """Say whether `feed` may try again, and let it, after a while."""
        return self._resubscribing.refused(feed, failure)

    def proven(self, feed: LastingFeed) -> None:
        """Forget the refusals of `feed`: it brings results."""
        self._resubscribing.proven(feed)

    @property
    def is_over(self) -> bool:
        """Whether there will be no other connection."""
        return self._final is not None

    def asking(self, change: int) -> None:
        """Note that an operation with one result begins (+1) or is over (-1)."""
        self._asking += change
        if change < 0:
            self._idleness.ended()

    def call(self, hook: Callable[[T], object] | None, event: T) -> None:
        """Call what a user gave us to call."""
        self._caller.call(hook, event)

    # --- The one task -------------------------------------------------------------------------

    async def _keep(self) -> None:
        attempt = Attempt(1)
        while True:
            failure = await self._run(await self._allowed(attempt))
            self._failure = failure
            wanted, self._wanted = self._wanted, None
            if wanted is not None:
                self._report.ended(failure, Decision(retry=True, why="reconnect()"))
                attempt = wanted
            elif failure is self._idling:
                self._report.ended(failure, Decision(retry=False, why="idle_close_after"))
                await self._rest()
                attempt = Attempt(1)
            else:
                decision = self._attempts.failed(failure, self._loop.time())
                self._report.ended(failure, decision)
                if not decision.retry:
                    self._give_up(failure)
                    return
                attempt = await self._wait(failure, decision)

    async def _allowed(self, attempt: Attempt) -> Attempt:
        """Return what is wanted when `connects_per_hour` allows it, whoever wants it."""
        delay = self._attempts.until_allowed(self._loop.time())
        if delay:
            self._report.waiting(self._failure, delay)
            await asyncio.sleep(delay)
        wanted, self._wanted = self._wanted, None
        return wanted or attempt

    async def _run(self, attempt: Attempt) -> TransportError:
        """Make one attempt; return why it, or the connection that came of it, ended."""
        self._attempts.connecting(self._loop.time())
        self._report.connecting(attempt)
        try:
            await self.transport.connect(attempt)
        except TransportError as failure:
            return failure
        connection = self.transport.connection
        if connection is None:
            raise AssertionError("a transport that is connected has a connection")
        self._dropped = self._loop.create_future()
        if self._wanted is not None:
            connection.drop(reasons.reconnecting(self.host, connection.phase, ""), dead=False)
        if connection.reason is None:
            self._arrive(connection)
            await self._dropped
        return connection.reason or reasons.given_up(self.host, connection.phase)

    def _arrive(self, connection: Connection) -> None:
        self._attempts.acknowledged(self._loop.time())
        self._resubscribing.begin(connection, self._report.tries)
        self._report.connected(self.transport.payloads.get("connection_ack"))
        self._wake()
        self._idleness.start()

    def _drop(self, connection: Connection) -> None:
        """Note the end of a connection, at the moment it ends."""
        self._past.add(connection)
        self._resubscribing.stop()
        if self._final is None and connection.reason is not None:
            self._report.lost(connection.reason)
        if self._dropped is not None and not self._dropped.done():
            self._dropped.set_result(None)

    async def _wait(self, failure: TransportError, decision: Decision) -> Attempt:
        self._report.waiting(failure, decision.delay)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(decision.delay):
                await self._until_roused()
        return Attempt(decision.attempt + 1, failure, decision.refresh)

    async def _until_roused(self) -> None:
        self._roused = asyncio.Event()
        try:
            await self._roused.wait()
        finally:
            self._roused = None

    def _rouse(self) -> None:
        """Have `_keep` connect now, if it waits before it does."""
        if self._roused is not None:
            self._roused.set()

    def _give_up(self, failure: Exception) -> None:
        """End for good: whoever waits, and whatever runs, gets `failure`."""
        self._final = failure
        self._report.closed(failure)
        self._idleness.stop()
        self._resubscribing.end(failure)
        self._wake()

    def _wake(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)
        self._awaited = None

    def _kept(self, task: asyncio.Task[None]) -> None:
        # A fault of ours, or of a function of the user's in the policy, shall not leave anybody
        # waiting; nor shall a cancellation that such a function let out of something of its own.
        fault: BaseException | None = reasons.given_up(self.host, self.state)
        if not task.cancelled():
            fault = task.exception()
        if fault is not None and self._final is None:
            self._give_up(fault if isinstance(fault, Exception) else RuntimeError(repr(fault)))

    # --- Idleness -----------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        return bool(self.live is None or self._asking or self._resubscribing.is_busy)

    def _close_idle(self) -> None:
        connection = self.live
        if connection is not None:
            self._idling = reasons.idle(self.host, self._idleness.limit or 0.0)
            connection.drop(self._idling, dead=False)

    async def _rest(self) -> None:
        self._report.resting()
        if self._awaited is None:
            await self._until_roused()
