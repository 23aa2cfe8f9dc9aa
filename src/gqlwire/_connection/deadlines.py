"""One timer for many waits, and the time limits of the operations of one connection.

Setting a timer for each wait would cost more than most of the waits. An `Alarm` sets one and leaves
it alone while waits begin and end; when it rings, its owner looks whether anything is due.

Most operations of a client have the same limit, so they expire in the order in which they began. Of
all that have one limit, `Deadlines` has to look at the first only.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from gqlwire._streams.reply import Reply


class Timer(Protocol):
    """A call that a clock will make."""

    def when(self) -> float:
        """Return the time of the call."""
        ...

    def cancel(self) -> None:
        """Do not make the call."""
        ...


class Clock(Protocol):
    """Tells the time, in seconds, and calls at a given time. An asyncio loop is one."""

    def time(self) -> float:
        """Return the time."""
        ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Call `callback` at `when`."""
        ...


class Owner(Protocol):
    """Has an alarm."""

    def look(self) -> float | None:
        """Do what is due, and return when to look again; None if nothing will be due."""
        ...


class Alarm:
    """Rings by the earliest of many deadlines. Then its owner looks what is due."""

    __slots__ = ("_clock", "_owner", "_timer")

    def __init__(self, clock: Clock, owner: Owner) -> None:
        self._clock = clock
        # An object, as a bound method would take 64 bytes for each connection.
        self._owner = owner
        self._timer: Timer | None = None

    def ring_by(self, deadline: float) -> None:
        """Ring at `deadline` at the latest. Does nothing if it rings before that anyway."""
        timer = self._timer
        if timer is not None:
            if timer.when() <= deadline:
                return
            timer.cancel()
        self._timer = self._clock.call_at(deadline, self._ring)

    def stop(self) -> None:
        """Do not ring, until the next `ring_by`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        again = self._owner.look()
        if again is not None:
            self.ring_by(again)


class Deadlines:
    """Expires the replies that are not removed within their time."""

    __slots__ = ("_alarm", "_clock", "_firsts", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alarm = Alarm(clock, self)
        self._waiting: dict[float, dict[Reply, float]] = {}  # by limit
        # When to look at those that have a limit, with that limit: a heap.
        self._firsts: list[tuple[float, float]] = []

    def add(self, reply: Reply, seconds: float) -> None:
        """Expire `reply` after so many seconds."""
        deadline = self._clock.time() + seconds
        waiting = self._waiting.get(seconds)
        if waiting is None:
            waiting = self._waiting[seconds] = {}
            heappush(self._firsts, (deadline, seconds))
            self._alarm.ring_by(deadline)
        waiting[reply] = deadline

    def remove(self, reply: Reply, seconds: float) -> None:
        """Do not expire `reply`. Does nothing if it has expired."""
        # The alarm stays as it is: the next operation will need one.
        waiting = self._waiting.get(seconds)
        if waiting is not None:
            waiting.pop(reply, None)

    def stop(self) -> None:
        """Do not expire any of them."""
        self._alarm.stop()
        self._waiting.clear()
        self._firsts.clear()

    def look(self) -> float | None:
        """Expire what is due, and return when to look again; the alarm calls this."""
        now = self._clock.time()
        while self._firsts and self._firsts[0][0] <= now:
            _, seconds = heappop(self._firsts)
            first = self._expire(self._waiting[seconds], now)
            if first is None:
                del self._waiting[seconds]
            else:
                heappush(self._firsts, (first, seconds))
        return self._firsts[0][0] if self._firsts else None

    @staticmethod
    def _expire(waiting: dict[Reply, float], now: float) -> float | None:
        """Expire what is due; return the deadline of the first that is not."""
        while waiting:
            reply, deadline = next(iter(waiting.items()))
            if deadline > now:
                return deadline
            del waiting[reply]
            reply.expire()
        return None
