"""Several kept connections of one session, for servers that limit the subscriptions of each.

Each is a `ReconnectingTransport`: it has its own policy, suspects and back-pressure. This module
decides on which one a subscription starts, opens further ones, and does to all of them what the
session is asked to do. It knows no message and no socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import structs

from gqlwire._connection.dialer import Dialer
from gqlwire._operations.link import Link
from gqlwire._reconnect.counters import Counters, total
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.states import Change, Changes
from gqlwire._reconnect.transport import OPENED_BY, ReconnectingTransport
from gqlwire.errors import CloseTimeout, Phase

_logger = logging.getLogger("gqlwire")

_IDLE = 10.0
"""A further connection is closed when it has had no subscription for so many seconds."""
_SPARE = 10
"""One in so many places of the first connection is left for queries and mutations."""

_RANKS = {Phase.WAITING: 0, Phase.CLOSING: 1, Phase.CONNECT: 2, Phase.OPEN: 3, Phase.IDLE: 4}
"""The state of the session is that of the connection with the lowest rank."""


class Part(Changes):
    """The state of one of several connections; `on_change` is called with each change.

    `counts`: whether it counts for the state of the session. A further connection does not while it
    is made for the first time: the session is as good as it was before.
    """

    def __init__(self, on_change: Callable[[Part, Change], None], *, counts: bool) -> None:
        super().__init__()
        self.counts: bool = counts
        self._on_change = on_change

    def tell(self, change: Change) -> None:
        """Change the state, and pass the change to all who want to know it."""
        super().tell(change)
        self._on_change(self, change)


class Pool:
    """The kept connections of one session, each with `most` subscriptions at most.

    Queries and mutations go to the `first`. It has a tenth fewer places, because servers count
    those as well. A subscription starts on the first connection with room, and stays there: its
    back-pressure, its gaps and its refusals are those of this connection. A connection that has no
    subscription left is closed after a while.

    When no other attempt for the first connection follows, the session is over. When none follows
    for a further one, its subscriptions fail, and the next subscription opens another one.

    `changes`: the state of all together.
    """

    def __init__(self, dialer: Dialer, options: ReconnectOptions, most: int) -> None:
        self.changes: Changes = Changes()
        self.first: ReconnectingTransport = ReconnectingTransport(
            dialer, options, Part(self._changed, counts=True)
        )
        self.first.choose = self._choose
        self._options = options
        self._most = most
        self._others: list[ReconnectingTransport] = []
        self._past = Counters()  # of further connections that are over
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> list[ReconnectingTransport]:
        """The first connection, and the others in the order of their numbers."""
        return [self.first, *self._others]

    @property
    def is_alive(self) -> bool:
        """Whether there is a first connection, or will be."""
        return self.first.is_alive

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which it was connected; None while it is not connected."""
        return self.first.loop

    @property
    def state(self) -> Phase:
        """How far the connection has come that is least far; see `session.state`."""
        return self.changes.state

    @property
    def counters(self) -> Counters:
        """A snapshot of what has been counted so far, on all connections together."""
        return total([*(kept.counters for kept in self.connections), self._past])

    # --- For the client and its session -------------------------------------------------------

    async def connect(self) -> None:
        """Make the first connection. Raises what `ReconnectingTransport.connect` raises."""
        if not self.first.is_alive:
            self._others.clear()
            self._past = Counters()
        await self.first.connect()

    async def close(self) -> None:
        """Close all connections at the same time; see `ReconnectingTransport.close`."""
        # The first one comes last: its end would be the end of the others.
        all_kept = [*self._others, self.first]
        await _all(*(kept.close() for kept in all_kept))
        if self._closing:
            await asyncio.wait(self._closing)

    async def ready(self) -> None:
        """Wait until each connection that is needed is acknowledged.

        Raises the failure that is not retried.
        """
        await _all(*(_ready(kept) for kept in self._needed()))

    async def reconnect(self, reason: str = "") -> None:
        """Replace all connections; see `ReconnectingTransport.reconnect`."""
        await _all(*(kept.reconnect(reason) for kept in self._needed()))

    def terminate(self) -> None:
        """Drop all sockets immediately, and connect again."""
        for kept in self.connections:
            kept.terminate()

    def _needed(self) -> list[ReconnectingTransport]:
        others = [other for other in self._others if other.is_alive and other.subscriptions]
        return [self.first, *others]

    # --- Places -------------------------------------------------------------------------------

    def _choose(self) -> Link:
        """Return the connection for a subscription that starts now; open one if all are full."""
        first = self.first
        if not first.is_alive or first.subscriptions < self._most - max(1, self._most // _SPARE):
            return first
        for place, other in enumerate(self._others):
            if not other.is_alive:
                self._past = total([self._past, other.counters])
                self._close_later(other)
                self._others[place] = self._another(place + 2)
                return self._others[place]
            if other.subscriptions < self._most:
                return other
        self._others.append(self._another(len(self._others) + 2))
        return self._others[-1]

    def _another(self, number: int) -> ReconnectingTransport:
        limit = self._options.idle_close_after
        options = structs.replace(
            self._options,
            connection=number,
            idle_close_after=_IDLE if limit is None else min(limit, _IDLE),
        )
        part = Part(self._changed, counts=False)
        other = ReconnectingTransport(self.first.dialer.another(), options, part)
        other.begin(beside=self.first)
        return other

    def _close_later(self, other: ReconnectingTransport) -> None:
        task = asyncio.get_running_loop().create_task(_close(other))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # --- State --------------------------------------------------------------------------------

    def _changed(self, part: Part, change: Change) -> None:
        """Note that the state of one connection has changed."""
        if self.first.state is Phase.CLOSED:  # which is the end of the others as well
            if part is self.first.changes:
                self._end(change)
            return
        was_counted = part.counts
        if part is not self.first.changes:
            self._note(part, change)
        state = min((each.state for each in self._counting()), key=_RANKS.__getitem__)
        if state is not self.state:
            self.changes.tell(change if state is change.state else Change(state))
        elif state is change.state and was_counted:
            self.changes.tell(change)

    def _note(self, part: Part, change: Change) -> None:
        """Note whether a further connection counts from now on."""
        if change.state is Phase.WAITING and not part.counts:
            self._warn(part, change)
        if change.state in (Phase.OPEN, Phase.WAITING):
            part.counts = True
        elif change.state is Phase.IDLE:
            part.counts = False

    def _counting(self) -> list[Changes]:
        parts = [other.changes for other in self._others]
        return [self.first.changes] + [
            part
            for part in parts
            if isinstance(part, Part) and part.counts and part.state in _RANKS
        ]

    def _warn(self, part: Part, change: Change) -> None:
        """Say that a further connection cannot be had: the server may limit those as well."""
        if change.failure is None or self.first.live is None:
            return
        number = [other.changes for other in self._others].index(part)
        _logger.warning(
            "connection %d to %s could not be made beside others (%s): %s; "
            "%d subscriptions wait for it",
            number + 2,
            self.first.host,
            OPENED_BY,
            change.failure,
            self._others[number].subscriptions,
        )

    def _end(self, change: Change) -> None:
        """End all connections, as no other one follows the first."""
        failure = self.first.failure
        for other in self._others:
            if other.is_alive and failure is not None:
                other.give_up(failure, "the first connection of the session is over")
                self._close_later(other)
        self.changes.tell(change)


async def _ready(kept: ReconnectingTransport) -> None:
    await kept.ready()


async def _close(kept: ReconnectingTransport) -> None:
    try:
        await kept.close()
    except CloseTimeout as late:
        _logger.warning("%s", late)


async def _all(*steps: Coroutine[Any, Any, None]) -> None:
    """Take these steps at the same time, and wait for all of them. Raises the first failure."""
    if len(steps) == 1:
        await steps[0]
        return
    for outcome in await asyncio.gather(*steps, return_exceptions=True):
        if outcome is not None:
            raise outcome
