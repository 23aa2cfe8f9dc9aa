"""How a contender sleeps after its first event, and reports how much memory that took.

gql uses it, too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterable
from typing import Any

from benchmarks.contenders import gauges


async def sleep_after_first(events: AsyncIterable[Any]) -> None:
    """Take one event; sleep until standard input ends; print the growth of the peak of memory."""
    before = gauges.settled_rss()
    woken = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), woken.set)
    async for _ in events:
        await woken.wait()
        break
    gauges.tell(
        peak=gauges.peak_rss() - before,
        dropped=getattr(events, "dropped", None),
        buffered=getattr(events, "buffered", None),
    )
