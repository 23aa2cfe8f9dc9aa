"""The time limits of many operations at once, for little more than a dictionary entry each.

Operations of one client mostly have the same limit, so they run out in the order in which they
began; one alarm for the first of them is enough. This file knows no operation and no socket.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Expiring(Protocol):
    """What has a time limit."""

    def expire(self) -> None:
        """Its time is over."""
        ...


class Deadlines:
    """Expires what is not removed within its time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[float, dict[Expiring, float]] = {}
        self._alarms: dict[float, asyncio.TimerHandle] = {}

    def add(self, waiter: Expiring, seconds: float) -> None:
        """Expire `waiter` in so many seconds."""
        deadline = self._loop.time() + seconds
        waiting = self._waiting.get(seconds)
        if waiting is None:
            waiting = self._waiting[seconds] = {}
            self._alarms[seconds] = self._loop.call_at(deadline, self._ring, seconds)
        waiting[waiter] = deadline

    def remove(self, waiter: Expiring, seconds: float) -> None:
        """Let `waiter` be; harmless if it has expired."""
        # The alarm stays as it is: the next operation will want one.
        waiting = self._waiting.get(seconds)
        if waiting is not None:
            waiting.pop(waiter, None)

    def stop(self) -> None:
        """Expire nothing any more."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()
        self._waiting.clear()

    def _ring(self, seconds: float) -> None:
        del self._alarms[seconds]
        waiting, now = self._waiting[seconds], self._loop.time()
        while waiting:
            waiter, deadline = next(iter(waiting.items()))
            if deadline > now:
                self._alarms[seconds] = self._loop.call_at(deadline, self._ring, seconds)
                return
            del waiting[waiter]
            waiter.expire()
        del self._waiting[seconds]
