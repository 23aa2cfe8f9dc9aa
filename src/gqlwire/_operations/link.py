"""What operations run on: a connection, or one after the other.

This module knows no protocol and no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from gqlwire import _loop
from gqlwire._connection.connection import Connection
from gqlwire._connection.dialer import Dialer
from gqlwire._operations.resubscription import resubscribe
from gqlwire.errors import TransportError
from gqlwire.errors.reasons import not_connected, unsent

if TYPE_CHECKING:
    from gqlwire._operations.feed import Feed

T = TypeVar("T")


class Link:
    """What operations run on. This class has one connection of `dialer`, and no other follows.

    `ReconnectingTransport` is a link that makes further connections.

    `live`: the connection to use; None if there is none now. `is_final`: whether no other
    connection will follow. `failure`: why the last connection, or attempt to connect, ended; if
    that is final, what operations raise. `running`: how many operations with one result run;
    `on_finished` is called when one is over. `starting`: how many subscriptions are about to start.
    `choose`: returns the link that a subscription is to start on; None means this one.
    `was_capped`: whether the server has refused a subscription because there were too many. `loop`:
    the event loop in which it was connected, and in which alone it can be used; None while it is
    not connected.
    """

    __slots__ = (
        "choose",
        "dialer",
        "failure",
        "is_final",
        "live",
        "loop",
        "on_finished",
        "running",
        "starting",
        "was_capped",
    )

    def __init__(self, dialer: Dialer) -> None:
        self.dialer: Dialer = dialer
        self.live: Connection | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.failure: Exception | None = None
        self.is_final: bool = True
        self.running: int = 0
        self.starting: int = 0
        self.was_capped: bool = False
        self.choose: Callable[[], Link] | None = None
        self.on_finished: Callable[[], None] | None = None

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return self.dialer.host

    @property
    def retry_queries(self) -> bool:
        """Whether an interrupted query is sent again."""
        return False

    async def ready(self) -> Connection:
        """Return an acknowledged connection, waiting for it if one is being made.

        Raises TransportClosed, or the failure that is not retried.
        """
        _loop.check(self.loop)
        if self.live is None:
            raise not_connected(self.host, "connect() first, or use `async with`")
        return self.live

    async def roomy(self) -> Connection:
        """Return an acknowledged connection that takes data. Raises what `ready` raises."""
        while True:
            connection = await self.ready()
            try:
                await connection.ready_to_send()
            except TransportError:
                if self.is_final:
                    raise
            else:
                return connection

    def join(self, feed: Feed) -> None:
        """Resubscribe `feed` on every further connection."""

    def leave(self, feed: Feed) -> None:
        """Do nothing more with `feed`."""

    def proceed(self, feed: Feed) -> None:
        """Resubscribe `feed`, which was stopped because its consumer was slow."""
        if self.live is not None:
            resubscribe(feed, self.live, 0)

    def lost(self, feed: Feed, *, is_unheard: bool) -> None:
        """Note that the connection of `feed` is lost; `is_unheard`: no event came on it."""

    def refused(self, feed: Feed, failure: TransportError) -> bool:
        """Return whether `feed` is resubscribed again later, although the server refused it."""
        del feed, failure
        return False

    def forget_refusals(self, feed: Feed) -> None:
        """Forget the refusals of `feed`: results arrive again."""

    def gap_over(self, feed: Feed, seconds: float, *, continues: bool) -> None:
        """Note that the gap of `feed` is over; `continues`: as the server has sent something."""

    def call(self, hook: Callable[[T], object], event: T) -> None:
        """Call a function that the user gave."""


async def roomy(
    link: Link,
    kind: str,
    deadline: float | None,
    limit: float | None,
    option: str,
    *,
    was_sent: bool = False,
) -> Connection:
    """Return what `link.roomy()` returns, if it does so before `deadline`, by the loop's clock.

    Raises OperationTimeout after `deadline`; its message names the `limit` in seconds and the
    `option` that sets it. `was_sent`: whether the operation was sent on an earlier connection.
    """
    scope = asyncio.timeout_at(deadline)
    try:
        async with scope:
            return await link.roomy()
    except TimeoutError:
        if not scope.expired():
            raise
        raise unsent(
            link.host,
            kind,
            limit,
            option,
            is_connected=link.live is not None,
            was_sent=was_sent,
            last=link.failure,
        ) from None
