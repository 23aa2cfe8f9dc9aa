"""What a process has at one moment: memory, objects, threads, files, timers, tasks.

It must not know what the process does.
"""

import asyncio
import csv
import os
import threading
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from hardship import census, resident
from judge import Limit

LIMITS = {
    "resident": Limit(64 * 1024, "KiB", 1024, settling=8 * 2**20),
    "traced": Limit(48 * 1024, "KiB", 1024, settling=2**20),
    "objects": Limit(20),
    "sockets": Limit(1),
    "threads": Limit(0.1),
    "files": Limit(0.5),
    "timers": Limit(1),
    "tasks": Limit(0.5),
}
"""What each may grow in a minute. Each fault is a chance to leave something: there are about 100 in
a minute, and 1,000 subscriptions sent again, so something that each of them leaves is far over."""


BESIDE = "sockets"
"""Explains much of the others: each connection has objects, files, timers and tasks."""


@dataclass(frozen=True)
class Sample:
    """`seconds` since the beginning; bytes of the process; bytes that Python has; objects of ours.

    `sockets` are those of the proxies: two for each connection. `timers` are those of the loop that
    are not cancelled. `events` and what follows says what was going on, and is not judged.
    """

    seconds: float
    resident: int
    traced: int
    objects: int
    threads: int
    files: int
    timers: int
    tasks: int
    sockets: int
    events: int
    connections: int
    resubscriptions: int

    @classmethod
    def now(cls, begin: float, **going_on: int) -> Self:
        loop: Any = asyncio.get_running_loop()
        objects = census().total()
        return cls(
            seconds=time.monotonic() - begin,
            resident=resident(),
            traced=tracemalloc.get_traced_memory()[0],
            objects=objects,
            threads=threading.active_count(),
            files=len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
            timers=sum(not timer.cancelled() for timer in loop._scheduled),
            tasks=len(asyncio.all_tasks()),
            **going_on,
        )


def save(samples: Sequence[Sample], path: Path) -> None:
    """Write them as CSV, a line for each."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Sample)])
        writer.writeheader()
        writer.writerows({**asdict(each), "seconds": f"{each.seconds:.2f}"} for each in samples)


def columns(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """The same, a list for each column."""
    names = [each.name for each in fields(Sample)]
    return {name: [float(getattr(each, name)) for each in samples] for name in names}
