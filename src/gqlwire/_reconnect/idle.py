"""Closing a connection that nobody needs. This module knows no protocol and no socket."""

from __future__ import annotations

import asyncio

from gqlwire._connection.deadlines import Alarm
from gqlwire._operations.link import Link
from gqlwire._reconnect.resubscribe import Subscriptions
from gqlwire.errors import TransportError, reasons


class IdleTimeout:
    """Closes the connection of `link` when nothing has run for `limit` seconds.

    `option`: the option that says so. `failure`: what it closed the last connection with.
    """

    __slots__ = (
        "_alarm",
        "_clock",
        "_limit",
        "_link",
        "_since",
        "_subscriptions",
        "failure",
        "option",
    )

    def __init__(
        self,
        limit: float,
        link: Link,
        subscriptions: Subscriptions,
        option: str = "idle_close_after",
    ) -> None:
        self.failure: TransportError | None = None
        self.option: str = option
        self._limit = limit
        self._link = link
        self._subscriptions = subscriptions
        self._clock = asyncio.get_running_loop()
        self._alarm = Alarm(self._clock, self)
        self._since = 0.0

    def start(self) -> None:
        """Start: there is a connection, on which nothing has run yet."""
        self.restart()
        self._alarm.ring_by(self._since + self._limit)

    def stop(self) -> None:
        """Stop: the connection is not closed, until the next `start`."""
        self._alarm.stop()

    def restart(self) -> None:
        """Count from now: something has run until now."""
        # The alarm stays as it is: setting it for each operation would cost more than they do.
        self._since = self._clock.time()

    def look(self) -> float | None:
        """Close the connection if it is time, and return when to look again; the alarm calls this.

        Without a connection there is nothing to look for: the next one calls `start`.
        """
        connection, limit = self._link.live, self._limit
        if connection is None:
            return None
        link = self._link
        if link.running or link.starting or self._subscriptions.is_busy:
            self.restart()
        if self._clock.time() < self._since + limit:
            return self._since + limit
        self.failure = reasons.idle(link.host, limit, self.option)
        connection.drop(self.failure, dead=False)
        return None
