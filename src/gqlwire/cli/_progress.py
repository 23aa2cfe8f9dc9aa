"""The progress of a subscription: counted, formatted, and shown while it runs.

Times are in seconds, and are passed as arguments; only `shown` uses a clock.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gqlwire.cli._console import Console

FIRST_AFTER = 1.0
EACH = 0.2
SAMPLES = 25
"""The rate is that of the last so many updates: five seconds."""


class Tally:
    """Counts since `start`: `events`, and how many of them had errors (`faulty`)."""

    def __init__(self, start: float) -> None:
        self.events = 0
        self.faulty = 0
        self._start = start
        self._samples: deque[tuple[float, int]] = deque([(start, 0)], maxlen=SAMPLES)

    def count(self, *, faulty: bool) -> None:
        """Count one event."""
        self.events += 1
        self.faulty += faulty

    def progress(self, now: float, width: int) -> str:
        """Return one line, with the rate of the last seconds, that fits into `width`."""
        then, before = self._samples[0]
        self._samples.append((now, self.events))
        rate = per_second(self.events - before, now - then)
        line = f"{self._counts()} · {rate} · {duration(now - self._start)}"
        return line[: max(0, width - 1)]

    def summary(self, now: float) -> str:
        """Return the sentence to print at the end, with the average rate."""
        took = now - self._start
        return f"{self._counts()} in {duration(took)}, {per_second(self.events, took)}"

    def _counts(self) -> str:
        text = f"{self.events:,} event" + ("" if self.events == 1 else "s")
        return text + (f" ({self.faulty:,} with errors)" if self.faulty else "")


def per_second(events: int, seconds: float) -> str:
    """Format a rate."""
    rate = events / seconds if seconds > 0 else 0.0
    return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.1f}/s"


def duration(seconds: float) -> str:
    """Format a time."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"


@asynccontextmanager
async def shown(tally: Tally, console: Console) -> AsyncIterator[None]:
    """Show the progress during the context, on a terminal."""
    if not console.is_live:
        yield
        return
    showing = asyncio.create_task(_show(tally, console))
    try:
        yield
    finally:
        showing.cancel()
        console.clear()
        console.note(tally.summary(time.monotonic()))


async def _show(tally: Tally, console: Console) -> None:
    await asyncio.sleep(FIRST_AFTER)
    while True:
        console.show(tally.progress(time.monotonic(), shutil.get_terminal_size().columns))
        await asyncio.sleep(EACH)
