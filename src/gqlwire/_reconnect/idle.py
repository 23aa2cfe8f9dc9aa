"""Noticing that nothing has run for a while. It knows no connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gqlwire.errors import TransportError


class Idleness:
    """Calls `on_idle` once `is_busy` was false for `limit` seconds; None is never.

    It is told of ends, and looks for itself whether anything runs: one alarm goes on through many
    operations, as to set one for each would cost more than they do.
    """

    def __init__(
        self, limit: float | None, is_busy: Callable[[], bool], on_idle: Callable[[], None]
    ) -> None:
        self.limit = limit
        # Why the last connection that was idle was closed.
        self.failure: TransportError | None = None
        self._is_busy = is_busy
        self._on_idle = on_idle
        self._since = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch: there is something that could be idle."""
        self.stop()
        self.ended()
        self._set_alarm()

    def stop(self) -> None:
        """Cease to watch."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def ended(self) -> None:
        """Note that something has run until now."""
        if self.limit is not None:
            self._since = asyncio.get_running_loop().time()

    def _set_alarm(self) -> None:
        if self.limit is not None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_at(self._since + self.limit, self._ring, self.limit)

    def _ring(self, limit: float) -> None:
        self._alarm = None
        if self._is_busy():
            self.ended()
        if asyncio.get_running_loop().time() < self._since + limit:
            self._set_alarm()
        else:
            self._on_idle()
