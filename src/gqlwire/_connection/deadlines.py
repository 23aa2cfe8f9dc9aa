"""One timer for many deadlines, and the time limits of the operations on one connection.

A timer for each wait would cost more than most waits take. So an `Alarm` sets one timer, and does
not change it while waits start and end. When the alarm rings, its owner checks what is due.

Most operations of a client have the same limit, so they expire in the order in which they started.
`Deadlines` groups operations by limit, and checks only the first one of each group. It keeps a few
empty groups, for the next operations with the same limits, and drops all others.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Protocol

from gqlwire._streams.reply import Reply

_SPARE = 8
"""With more groups than this, empty ones are dropped."""


class Timer(Protocol):
    """A scheduled call, such as an asyncio.TimerHandle."""

    def when(self) -> float:
        """Return the time of the call."""
        ...

    def cancel(self) -> None:
        """Cancel the call."""
        ...


class Clock(Protocol):
    """Tells the time, in seconds, and schedules calls. An asyncio event loop is one."""

    def time(self) -> float:
        """Return the current time."""
        ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Call `callback` at `when`."""
        ...


class Owner(Protocol):
    """The object that an alarm calls when it rings."""

    def look(self) -> float | None:
        """Do what is due, and return when to look again; None if nothing will be due."""
        ...


class Alarm:
    """Rings at the earliest of many deadlines, or before it. Then its owner does what is due."""

    __slots__ = ("_clock", "_owner", "_timer")

    def __init__(self, clock: Clock, owner: Owner) -> None:
        self._clock = clock
        # Not a bound method, which would take 64 bytes for each connection.
        self._owner = owner
        self._timer: Timer | None = None

    def ring_by(self, deadline: float) -> None:
        """Ring at `deadline` at the latest; does nothing if the alarm rings before that anyway."""
        timer = self._timer
        if timer is not None:
            if timer.when() <= deadline:
                return
            timer.cancel()
        self._timer = self._clock.call_at(deadline, self._ring)

    def stop(self) -> None:
        """Stop the alarm until the next `ring_by`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        again = self._owner.look()
        if again is not None:
            self.ring_by(again)


class Deadlines:
    """Expires each reply that is not removed within its time limit."""

    __slots__ = ("_alarm", "_clock", "_dues", "_firsts", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alarm = Alarm(clock, self)
        self._waiting: dict[float, dict[Reply, float]] = {}  # by limit
        # When to look at the replies with a limit, and a heap of the same, as (time, limit). The
        # heap alone has those of groups that were dropped.
        self._dues: dict[float, float] = {}
        self._firsts: list[tuple[float, float]] = []

    def add(self, reply: Reply, seconds: float) -> None:
        """Expire `reply` after `seconds`; now, if there is no time left."""
        if seconds <= 0:
            # By the next turn of the loop, an answer might have arrived, or might not.
            reply.expire()
            return
        deadline = self._clock.time() + seconds
        waiting = self._waiting.get(seconds)
        if waiting is None:
            waiting = self._waiting[seconds] = {}
            self._look_at(seconds, deadline)
            self._alarm.ring_by(deadline)
        waiting[reply] = deadline

    def remove(self, reply: Reply, seconds: float) -> None:
        """Do not expire `reply`; does nothing if it has expired."""
        # The alarm keeps running, because the next operation will need it.
        waiting = self._waiting.get(seconds)
        if waiting is not None:
            waiting.pop(reply, None)
            if not waiting and len(self._waiting) > _SPARE:
                self._drop(seconds)

    def _look_at(self, seconds: float, when: float) -> None:
        self._dues[seconds] = when
        heappush(self._firsts, (when, seconds))

    def _drop(self, seconds: float) -> None:
        del self._waiting[seconds]
        self._dues.pop(seconds, None)
        # Rarely, so that it costs next to nothing for each group that is dropped.
        if len(self._firsts) > 2 * (len(self._dues) + _SPARE):
            self._firsts = [(when, limit) for limit, when in self._dues.items()]
            heapify(self._firsts)

    def stop(self) -> None:
        """Remove all replies."""
        self._alarm.stop()
        self._waiting.clear()
        self._dues.clear()
        self._firsts.clear()

    def look(self) -> float | None:
        """Expire what is due, and return when to look again; the alarm calls this."""
        now = self._clock.time()
        while self._firsts and self._firsts[0][0] <= now:
            when, seconds = heappop(self._firsts)
            if self._dues.get(seconds) != when:
                continue
            first = self._expire(self._waiting[seconds], now)
            if first is None:
                del self._waiting[seconds], self._dues[seconds]
            else:
                self._look_at(seconds, first)
        return self._firsts[0][0] if self._firsts else None

    @staticmethod
    def _expire(waiting: dict[Reply, float], now: float) -> float | None:
        """Expire the replies that are due; return the next deadline, or None."""
        while waiting:
            reply, deadline = next(iter(waiting.items()))
            if deadline > now:
                return deadline
            del waiting[reply]
            reply.expire()
        return None
