"""How far a subscription is: counted, put into words, and shown while it runs.

Times are in seconds and come in by the door; nothing here looks at a clock but `shown`.
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
"""How many looks back the rate is taken over: five seconds."""


class Tally:
    """What has come since `start`: `events`, and how many of them carried errors."""

    def __init__(self, start: float) -> None:
        self.events = 0
        self.faulty = 0
        self._start = start
        self._samples: deque[tuple[float, int]] = deque([(start, 0)], maxlen=SAMPLES)

    def count(self, *, faulty: bool) -> None:
        """Note one event."""
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
        """Return the sentence for the end, with the rate over all."""
        took = now - self._start
        return f"{self._counts()} in {duration(took)}, {per_second(self.events, took)}"

    def _counts(self) -> str:
        text = f"{self.events:,} event" + ("" if self.events == 1 else "s")
        return text + (f" ({self.faulty:,} with errors)" if self.faulty else "")


def per_second(events: int, seconds: float) -> str:
    """Put a rate into words."""
    rate = events / seconds if seconds > 0 else 0.0
    return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.1f}/s"


def duration(seconds: float) -> str:
    """Put a time into words."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"


@asynccontextmanager
async def shown(tally: Tally, console: Console) -> AsyncIterator[None]:
    """Show the progress while the context lasts, if anybody watches."""
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
