"""How long a subscription may wait for an event.

This module knows no socket and no protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gqlwire._streams.stream import EventStream


class Patience:
    """Calls `on_expire` with the limit and its name when a step has waited too long for an event.

    `first` counts from `since` to the first event, `idle` from the beginning of any later wait;
    seconds, or None for ever. What a consumer spends between its steps does not
    count.
    """

    def __init__(
        self,
        first: float | None,
        idle: float | None,
        since: float,
        on_expire: Callable[[float, str], None],
    ) -> None:
        self._first = first
        self._idle = idle
        self._on_expire = on_expire
        self._loop = asyncio.get_running_loop()
        self._since = since
        self._alarm: asyncio.TimerHandle | None = None
        self._stream: EventStream

    def watch(self, stream: EventStream) -> None:
        """Begin."""
        self._stream = stream
        stream.on_waiting = self._begin

    def stop(self) -> None:
        """Cease."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _begin(self) -> None:
        # One alarm goes on through many waits, and looks for itself when it rings: to set it for
        # each would cost more than the event.
        if self._stream.events:
            self._since = self._loop.time()
        limit, _ = self._limit()
        if limit is None:
            return
        deadline = self._since + limit
        if self._alarm is not None and self._alarm.when() > deadline:
            self.stop()
        if self._alarm is None:
            self._alarm = self._loop.call_at(deadline, self._ring)

    def _limit(self) -> tuple[float | None, str]:
        if self._stream.events:
            return self._idle, "idle_timeout"
        return self._first, "first_event_timeout"

    def _ring(self) -> None:
        self._alarm = None
        limit, option = self._limit()
        if self._stream.over or limit is None:
            return
        if not self._stream.is_awaited:
            self._stream.step_out()
            return  # the next wait sets it again
        if self._since + limit <= self._loop.time():
            self._on_expire(limit, option)
        else:
            self._alarm = self._loop.call_at(self._since + limit, self._ring)
