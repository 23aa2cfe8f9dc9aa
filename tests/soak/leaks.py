"""Faults that a run is given on purpose, to see that it finds them."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from consumers import FEED, Tally

from gqlwire import AsyncClientSession


class Leak(NamedTuple):
    """So much of it in a minute. `lost` and `doubled` are events, `memory` is bytes."""

    what: str
    rate: float

    @classmethod
    def parse(cls, text: str) -> "Leak":
        """From `objects=100`. Raises ValueError."""
        what, _, rate = text.partition("=")
        if what not in LEAKS:
            raise ValueError(f"{what} is none of {', '.join(LEAKS)}")
        return cls(what, float(rate))


class Bed:
    """What the leaks are planted in; it keeps them until the end of the run."""

    def __init__(self, session: AsyncClientSession, tallies: Sequence[Tally]) -> None:
        self.session = session
        self.tallies = tallies
        self.kept: list[Any] = []
        self.stack = ExitStack()
        self._over = threading.Event()

    def object(self) -> None:
        """A subscription that was never started, and what belongs to it."""
        self.kept.append(self.session.subscribe(FEED))

    def memory(self) -> None:
        self.kept.append(bytearray(MEMORY))

    def thread(self) -> None:
        thread = threading.Thread(target=self._over.wait)
        thread.start()
        self.stack.callback(thread.join)
        self.stack.callback(self._over.set)

    def file(self) -> None:
        self.stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))

    def timer(self) -> None:
        timer = asyncio.get_running_loop().call_later(1e6, print)
        self.stack.callback(timer.cancel)

    def task(self) -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        self.stack.callback(task.cancel)

    def lose(self) -> None:
        self.tallies[0].last -= 1

    def double(self) -> None:
        self.tallies[1].last += 1


MEMORY = 1024
"""Bytes at a time."""

LEAKS: dict[str, Callable[[Bed], None]] = {
    "objects": Bed.object,
    "memory": Bed.memory,
    "threads": Bed.thread,
    "files": Bed.file,
    "timers": Bed.timer,
    "tasks": Bed.task,
    "lost": Bed.lose,
    "doubled": Bed.double,
}


async def plant(leak: Leak, bed: Bed, end: float) -> None:
    """Leak until `end`, at an even rate."""
    begin, done = time.monotonic(), 0
    each = MEMORY if leak.what == "memory" else 1
    while (now := time.monotonic()) < end:
        while done * each < leak.rate * (now - begin) / 60:
            LEAKS[leak.what](bed)
            done += 1
        await asyncio.sleep(0.1)
