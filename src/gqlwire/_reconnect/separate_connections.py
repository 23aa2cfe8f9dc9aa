"""Connections apart from the main one, for subscriptions that may be the cause of its ends.

This module opens them and reports their ends. It does not decide who comes here, and knows no
message and no socket: a `Dialer` makes the connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from functools import partial

from gqlwire._connection.connection import Connection
from gqlwire._connection.dialer import Dialer
from gqlwire._operations.feed import Feed
from gqlwire._streams.backpressure import ReadGate
from gqlwire.errors import CloseTimeout, TransportError, reasons
from gqlwire.retry import Attempt

MOST_CONNECTIONS = 16
"""How many connections there may be apart from the main one."""
_MOST_FAILURES = 3
"""After attempts have failed beside so many main connections in a row, no more are made …"""
_AGAIN = 16
"""… beside so many others: something else than a limit of the server may have been the cause."""


class SeparateConnection:
    """One connection apart; `feeds` are the subscriptions on it, or that wait for it.

    `failure`: why they are here. `delay`: how many seconds to wait before it is made. `dialer` is
    None until then, `connection` until it is acknowledged. `began`: when it was, by the loop's
    clock.
    """

    __slots__ = ("began", "connection", "delay", "dialer", "failure", "feeds", "task", "timer")

    def __init__(self, feeds: Iterable[Feed], delay: float, failure: TransportError) -> None:
        self.dialer: Dialer | None = None
        self.feeds: set[Feed] = set(feeds)
        self.delay: float = delay
        self.failure: TransportError = failure
        self.connection: Connection | None = None
        self.began: float = 0.0
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class SeparateConnections:
    """The connections apart of one session.

    They are made while there is a main connection: what happens to both is compared.

    `resubscribe` is called for each subscription when its connection is acknowledged. `on_end` is
    called at the end of each connection, and when one could not be made: with the
    SeparateConnection, which is over, and the failure. `on_left` is called with each connection
    that is over. `beside`: which connection of the session the main one is, counted from 1.
    """

    def __init__(
        self,
        dialer: Dialer,
        gate: ReadGate,
        resubscribe: Callable[[Feed, Connection], None],
        on_end: Callable[[SeparateConnection, Exception], None],
        on_left: Callable[[Connection], None],
        beside: int = 1,
    ) -> None:
        self._dialer = dialer
        self._beside = beside
        self._gate = gate
        self._resubscribe = resubscribe
        self._on_end = on_end
        self._on_left = on_left
        self._all: list[SeparateConnection] = []
        self._of: dict[Feed, SeparateConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()
        # Beside how many main connections in a row; how many there were since, with this one.
        self._failed_dials, self._since_failure = 0, 0
        self._is_open = False  # whether there is a main connection

    def __contains__(self, feed: Feed) -> bool:
        """Whether a subscription is on a connection apart, or waits for one."""
        return feed in self._of

    @property
    def is_possible(self) -> bool:
        """Whether the server seems to allow more than one connection."""
        return self._failed_dials < _MOST_FAILURES or self._since_failure > _AGAIN

    @property
    def places(self) -> int:
        """How many more connections may be opened."""
        return max(0, MOST_CONNECTIONS - len(self._all)) if self.is_possible else 0

    def has_older(self, than: float) -> bool:
        """Whether a connection lives that was made before `than`."""
        return any(
            separate.connection is not None and separate.began < than for separate in self._all
        )

    @property
    def all(self) -> list[SeparateConnection]:
        """Those that are acknowledged, and those that are yet to be."""
        return [*self._all]

    @property
    def connections(self) -> list[Connection]:
        """Those that are acknowledged."""
        return [separate.connection for separate in self._all if separate.connection is not None]

    def connection_of(self, feed: Feed) -> Connection | None:
        """Return the connection of a subscription that is apart, or None."""
        separate = self._of.get(feed)
        return None if separate is None else separate.connection

    def take(self, feeds: Iterable[Feed], delay: float, failure: TransportError) -> None:
        """Open a connection for `feeds` after `delay` seconds; `failure` is why they are here."""
        separate = SeparateConnection(feeds, delay, failure)
        self._all.append(separate)
        self._of.update(dict.fromkeys(separate.feeds, separate))
        if self._is_open:
            self._wait(separate)

    def start(self) -> None:
        """Make the connections that are to be made: there is a main connection."""
        self._is_open = True
        self._since_failure += 1
        for separate in self._all:
            if separate.task is None:
                self._wait(separate)

    def pause(self) -> None:
        """Make no connection until the next `start`: the main connection is lost."""
        self._is_open = False
        for separate in self._all:
            if separate.timer is not None:
                separate.timer.cancel()

    def discard(self, feed: Feed) -> None:
        """Forget a subscription that is over; close its connection if it was the last one there."""
        separate = self._of.pop(feed, None)
        if separate is not None:
            separate.feeds.discard(feed)
            if not separate.feeds:
                self._leave(separate)

    def release(self, drop: Callable[[Connection], None]) -> list[Feed]:
        """End all connections by `drop`, and return the subscriptions of those not yet made."""
        waiting: list[Feed] = []
        for separate in [*self._all]:
            if separate.connection is not None:
                drop(separate.connection)  # which ends it, in `_ended`
            else:
                waiting += separate.feeds
                self._leave(separate)
        return waiting

    async def wait_closed(self) -> None:
        """Wait until all connections are closed, for the `close_timeout` of the dialer at most."""
        if self._closing:
            await asyncio.wait(self._closing)

    def _wait(self, separate: SeparateConnection) -> None:
        separate.timer = asyncio.get_running_loop().call_later(separate.delay, self._open, separate)

    def _open(self, separate: SeparateConnection) -> None:
        # Only now, as it has to go to the same server as the main connection.
        dialer = separate.dialer = self._dialer.another()
        separate.task = asyncio.get_running_loop().create_task(self._dial(separate, dialer))

    async def _dial(self, separate: SeparateConnection, dialer: Dialer) -> None:
        attempt = Attempt(1, separate.failure, connection=self._beside)
        on_end = partial(self._ended, separate)
        try:
            connection = await dialer.dial(attempt, self._gate, on_end)
        except Exception as failure:  # noqa: BLE001  # whatever it is, nobody may wait for ever
            reasons.forget_frames(separate.failure)
            self._note_failure(separate)
            self._over(separate, failure)
            return
        self._failed_dials = 0
        separate.began = asyncio.get_running_loop().time()
        separate.connection = connection
        for feed in [*separate.feeds]:
            self._resubscribe(feed, connection)
        if connection.reason is not None:  # before it could be told
            self._over(separate, connection.reason)

    def _note_failure(self, separate: SeparateConnection) -> None:
        """Count an attempt that failed, unless it was stopped or the main connection is lost, too.

        Several that fail beside the same main connection count once: the server may be restarting.
        """
        if separate in self._all and self._is_open and self._since_failure:
            self._failed_dials += 1
            self._since_failure = 0

    def _ended(self, separate: SeparateConnection, connection: Connection) -> None:
        if connection is separate.connection and connection.reason is not None:
            self._over(separate, connection.reason)

    def _over(self, separate: SeparateConnection, failure: Exception) -> None:
        if separate in self._all:
            self._leave(separate)
            self._on_end(separate, failure)

    def _leave(self, separate: SeparateConnection) -> None:
        """Forget a connection, and close it, or stop making it."""
        if separate not in self._all:
            return
        self._all.remove(separate)
        for feed in separate.feeds:
            self._of.pop(feed, None)
        if separate.timer is not None:
            separate.timer.cancel()
        if separate.connection is not None:
            self._on_left(separate.connection)
        if separate.dialer is not None:
            task = asyncio.get_running_loop().create_task(_close(separate.dialer))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _close(dialer: Dialer) -> None:
    with contextlib.suppress(CloseTimeout):
        await dialer.close()
