"""How a contender measures its round trips. On the standard library alone: gql uses it, too."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable

from benchmarks.contenders import gauges

WARM_UP = 200


async def measure(ask: Callable[[], Awaitable[object]], count: int, in_flight: int) -> None:
    """Make `count` round trips, `in_flight` at a time, and print their times.

    `ask` makes one. A task that is done with one makes the next. Seconds per round trip are
    percentiles; garbage is collected when Python likes.
    """
    for _ in range(WARM_UP):
        await ask()
    taken = array("d")
    left = iter(range(count))

    async def worker() -> None:
        clock = time.perf_counter
        for _ in left:
            began = clock()
            await ask()
            taken.append(clock() - began)

    began, used = time.perf_counter(), time.process_time()
    if in_flight == 1:
        await worker()
    else:
        await asyncio.gather(*(worker() for _ in range(in_flight)))
    seconds, used = time.perf_counter() - began, time.process_time() - used
    assert len(taken) == count
    ordered = sorted(taken)
    gauges.tell(
        rate=count / seconds,
        cpu_us=used / count * 1e6,
        p50_us=ordered[count // 2] * 1e6,
        p99_us=ordered[count * 99 // 100] * 1e6,
        p999_us=ordered[count * 999 // 1000] * 1e6,
    )
