"""How a contender opens many connections and weighs them. gql uses it, too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.contenders import gauges

AT_ONCE = 100


async def measure(
    open_one: Callable[[], Awaitable[Any]],
    close_one: Callable[[Any], Awaitable[Any]],
    count: int,
    idle: float,
) -> None:
    """Open `count` connections, some at a time, look at them for `idle` seconds, close them.

    Prints the seconds until the last was acknowledged, the CPU time of that, the growth of memory
    for each, and the share of a core that they take while nothing happens.
    """
    gauges.allow_many_sockets()
    # One for nothing, as the first of a process loads modules.
    await close_one(await open_one())
    turns = asyncio.Semaphore(AT_ONCE)

    async def open_in_turn() -> Any:
        async with turns:
            return await open_one()

    before = gauges.settled_rss()
    began, used = time.perf_counter(), time.process_time()
    opened = await asyncio.gather(*(open_in_turn() for _ in range(count)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    grown = gauges.settled_rss() - before
    share = await idle_share(idle) if idle else None
    await asyncio.gather(*(close_one(connection) for connection in opened))
    gauges.tell(
        connect_ms=seconds * 1e3,
        cpu_us=cpu / count * 1e6,
        # The grain of memory is too coarse for a few.
        bytes=grown / count if count >= AT_ONCE else None,
        idle_percent=share,
    )


async def idle_share(seconds: float) -> float:
    """Return the share of a core, in percent, that this process takes while it waits."""
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    return (time.process_time() - used) / (time.perf_counter() - began) * 100
