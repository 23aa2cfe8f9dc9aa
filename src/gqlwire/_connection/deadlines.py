"""The time limits of the operations of one connection, for a dictionary entry each.

Most operations of a client have the same limit, so they expire in the order in which they began. Of
all that have one limit, only the first has to be looked at.
"""

from __future__ import annotations

from heapq import heappop, heappush

from gqlwire._connection.alarm import Alarm, Clock
from gqlwire._streams.reply import Reply


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
