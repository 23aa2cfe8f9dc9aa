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
from gqlwire.errors import CloseTimeout, TransportError
from gqlwire.retry import Attempt

PLACES = 16
"""How many connections there may be apart from the main one."""
_DIALS = 3
"""After attempts have failed beside so many main connections in a row, no more are made …"""
_AGAIN = 600.0
"""… for so many seconds: other things than a server's limit may have been the cause."""


class Ward:
    """One connection apart; `feeds` are the subscriptions on it, or that wait for it.

    `failure`: why they are here. `delay`: how many seconds to wait before it is made. `connection`
    is None until it is acknowledged. `began`: when it was, by the loop's clock.
    """

    __slots__ = ("began", "connection", "delay", "dialer", "failure", "feeds", "task", "timer")

    def __init__(
        self, dialer: Dialer, feeds: Iterable[Feed], delay: float, failure: TransportError
    ) -> None:
        self.dialer: Dialer = dialer
        self.feeds: set[Feed] = set(feeds)
        self.delay: float = delay
        self.failure: TransportError = failure
        self.connection: Connection | None = None
        self.began: float = 0.0
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class Quarantine:
    """The connections apart of one session.

    They are made while there is a main connection: what happens to both is compared.

    `resubscribe` is called for each subscription when its connection is acknowledged. `on_end` is
    called at the end of each connection, and when one could not be made: with the ward, which is
    over, and the failure.
    """

    def __init__(
        self,
        dialer: Dialer,
        gate: ReadGate,
        resubscribe: Callable[[Feed, Connection], None],
        on_end: Callable[[Ward, Exception], None],
    ) -> None:
        self._dialer = dialer
        self._gate = gate
        self._resubscribe = resubscribe
        self._on_end = on_end
        self._wards: list[Ward] = []
        self._of: dict[Feed, Ward] = {}
        self._closing: set[asyncio.Task[None]] = set()
        # Beside how many main connections in a row, and when; and whether beside this one.
        self._failed_dials, self._failed_at, self._has_failed = 0, 0.0, False
        self._is_open = False  # whether there is a main connection

    def __contains__(self, feed: Feed) -> bool:
        """Whether a subscription is on a connection apart, or waits for one."""
        return feed in self._of

    @property
    def is_possible(self) -> bool:
        """Whether the server seems to allow more than one connection."""
        is_old = asyncio.get_running_loop().time() - self._failed_at > _AGAIN
        return self._failed_dials < _DIALS or is_old

    @property
    def places(self) -> int:
        """How many more connections may be opened."""
        return max(0, PLACES - len(self._wards)) if self.is_possible else 0

    def has_older(self, than: float) -> bool:
        """Whether a connection lives that was made before `than`."""
        return any(ward.connection is not None and ward.began < than for ward in self._wards)

    @property
    def connections(self) -> list[Connection]:
        """Those that are acknowledged."""
        return [ward.connection for ward in self._wards if ward.connection is not None]

    def connection_of(self, feed: Feed) -> Connection | None:
        """Return the connection of a subscription that is apart, or None."""
        ward = self._of.get(feed)
        return None if ward is None else ward.connection

    def take(self, feeds: Iterable[Feed], delay: float, failure: TransportError) -> None:
        """Open a connection for `feeds` after `delay` seconds; `failure` is why they are here."""
        ward = Ward(self._dialer.another(), feeds, delay, failure)
        self._wards.append(ward)
        self._of.update(dict.fromkeys(ward.feeds, ward))
        if self._is_open:
            self._wait(ward)

    def start(self) -> None:
        """Make the connections that are to be made: there is a main connection."""
        self._is_open, self._has_failed = True, False
        for ward in self._wards:
            if ward.task is None:
                self._wait(ward)

    def pause(self) -> None:
        """Make no connection until the next `start`: the main connection is lost."""
        self._is_open = False
        for ward in self._wards:
            if ward.timer is not None:
                ward.timer.cancel()

    def discard(self, feed: Feed) -> None:
        """Forget a subscription that is over; close its connection if it was the last one there."""
        ward = self._of.pop(feed, None)
        if ward is not None:
            ward.feeds.discard(feed)
            if not ward.feeds:
                self._leave(ward)

    def release(self, drop: Callable[[Connection], None]) -> list[Feed]:
        """End all connections by `drop`, and return the subscriptions of those not yet made."""
        waiting: list[Feed] = []
        for ward in [*self._wards]:
            if ward.connection is not None:
                drop(ward.connection)  # which ends the ward, in `_ended`
            else:
                waiting += ward.feeds
                self._leave(ward)
        return waiting

    def stop(self) -> None:
        """Close all connections, and make no more; `wait_closed` waits for that."""
        self._is_open = False
        for ward in [*self._wards]:
            self._leave(ward)

    async def wait_closed(self) -> None:
        """Wait until all connections are closed, for the `close_timeout` of the dialer at most."""
        if self._closing:
            await asyncio.wait(self._closing)

    def _wait(self, ward: Ward) -> None:
        ward.timer = asyncio.get_running_loop().call_later(ward.delay, self._open, ward)

    def _open(self, ward: Ward) -> None:
        ward.task = asyncio.get_running_loop().create_task(self._dial(ward))

    async def _dial(self, ward: Ward) -> None:
        attempt = Attempt(1, ward.failure)
        on_end = partial(self._ended, ward)
        try:
            connection = await ward.dialer.dial(attempt, self._gate, on_end)
        except TransportError as refusal:
            self._note_failure(ward)
            self._over(ward, refusal)
            return
        self._failed_dials = 0
        ward.began = asyncio.get_running_loop().time()
        ward.connection = connection
        for feed in [*ward.feeds]:
            self._resubscribe(feed, connection)
        if connection.reason is not None and ward in self._wards:  # before it could be told
            self._over(ward, connection.reason)

    def _note_failure(self, ward: Ward) -> None:
        """Count an attempt that failed, unless it was stopped or the main connection is lost, too.

        Several that fail beside the same main connection count once: the server may be restarting.
        """
        if ward in self._wards and self._is_open and not self._has_failed:
            self._has_failed = True
            self._failed_dials += 1
            self._failed_at = asyncio.get_running_loop().time()

    def _ended(self, ward: Ward, connection: Connection) -> None:
        if connection is ward.connection and connection.reason is not None:
            self._over(ward, connection.reason)

    def _over(self, ward: Ward, failure: Exception) -> None:
        self._leave(ward)
        self._on_end(ward, failure)

    def _leave(self, ward: Ward) -> None:
        """Take a ward out, and close its connection, or stop making it."""
        if ward not in self._wards:
            return
        self._wards.remove(ward)
        for feed in ward.feeds:
            self._of.pop(feed, None)
        if ward.timer is not None:
            ward.timer.cancel()
        task = asyncio.get_running_loop().create_task(_close(ward.dialer))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _close(dialer: Dialer) -> None:
    with contextlib.suppress(CloseTimeout):
        await dialer.close()
