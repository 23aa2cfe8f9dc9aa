"""When something happened, by the clock of the event loop and by the clock on the wall.

Ages are counted by the loop's clock, which nobody sets. The wall's clock is for people.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from msgspec import Struct


class Moment(Struct, frozen=True):
    """A moment: `loop` by the loop's clock, `wall` in seconds since 1970."""

    loop: float
    wall: float

    @classmethod
    def now(cls) -> Moment:
        """Return this moment. Outside of an event loop, the clock of most loops counts."""
        try:
            loop = asyncio.get_running_loop().time()
        except RuntimeError:
            loop = time.monotonic()
        return cls(loop, time.time())

    def age(self, now: Moment) -> float:
        """Return how many seconds ago it was, in whole milliseconds."""
        return age(self.loop, now)

    @property
    def date(self) -> datetime:
        """The date and the time in UTC, in whole milliseconds."""
        return datetime.fromtimestamp(round(self.wall, 3), UTC)


def age(since: float, now: Moment) -> float:
    """Return the seconds from `since`, by the loop's clock, in whole milliseconds."""
    return max(0.0, round(now.loop - since, 3))
