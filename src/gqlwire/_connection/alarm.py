"""One timer for many waits.

Setting a timer for each wait would cost more than most of the waits. An `Alarm` sets one and leaves
it alone while waits begin and end; when it rings, its owner looks whether anything is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


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
