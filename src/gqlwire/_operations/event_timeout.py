"""How long a subscription may wait for an event.

This module knows no socket and no protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gqlwire._connection.deadlines import Alarm
from gqlwire._streams.stream import EventStream


class EventTimeout:
    """Calls `on_expire` with the limit and its name when a consumer has waited too long.

    `first` limits the time from `since` to the first event; `idle` limits each later wait. Both are
    in seconds; None means no limit. What the consumer does between two events takes its own time.
    A wait that was cancelled continues with the next step.
    """

    __slots__ = (
        "_alarm",
        "_clock",
        "_first",
        "_idle",
        "_on_expire",
        "_seen",
        "_since",
        "_stream",
        "_waited",
    )

    def __init__(
        self,
        first: float | None,
        idle: float | None,
        since: float,
        on_expire: Callable[[float, str], None],
    ) -> None:
        self._first = first
        self._idle = idle
        self._since = since
        self._on_expire = on_expire
        self._clock = asyncio.get_running_loop()
        self._alarm = Alarm(self._clock, self)
        self._stream: EventStream
        # How long cancelled steps have waited since there were so many events.
        self._waited, self._seen = 0.0, 0

    def start(self, stream: EventStream) -> None:
        """Limit the waits for events of `stream`."""
        self._stream = stream
        stream.timing = self

    def stop(self) -> None:
        """Stop: `on_expire` is not called any more."""
        self._alarm.stop()

    def wait_begins(self) -> None:
        """Count from now, or go on counting for a wait that was cancelled."""
        # The alarm serves many waits: setting a timer for each would cost more than the event.
        if self._stream.events:
            waited = self._waited if self._seen == self._stream.events else 0.0
            self._waited = 0.0
            self._since = self._clock.time() - waited
        limit, _ = self._limit()
        if limit is not None:
            self._alarm.ring_by(self._since + limit)

    def wait_is_cancelled(self) -> None:
        """Keep how long the wait took: the next one continues it."""
        self._waited = self._clock.time() - self._since
        self._seen = self._stream.events

    def _limit(self) -> tuple[float | None, str]:
        if self._stream.events:
            return self._idle, "idle_timeout"
        return self._first, "first_event_timeout"

    def look(self) -> float | None:
        """Expire if it is time, and return when to look again; the alarm calls this."""
        limit, option = self._limit()
        if self._stream.over or limit is None:
            return None
        if not self._stream.is_awaited:
            self._stream.step_out()
            return None  # the next wait sets the alarm again
        deadline = self._since + limit
        if deadline > self._clock.time():
            return deadline
        self._on_expire(limit, option)
        return None
