"""One endurance run: starts what belongs to it, samples it, ends it, and counts."""

import asyncio
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from typing import Any

from consumers import total
from feeds import Feeds
from hardship import PATIENCE, PLACES, Hardship, Place, assert_gone, census, hardship
from judge import judge
from kinds import Kind
from leaks import Bed, Leak, plant
from outcome import Outcome
from samples import BESIDE, LIMITS, Sample, columns
from traffic import Traffic
from weather import be_hostile, strikes
from witness import Witness, said

from support import leaves_nothing

THREADS = 8
"""Of the pool: for files, and for servers that are killed and started."""

FIND_POISON = 300.0
"""Seconds. It takes several connections for each, and on a busy machine each takes its time."""

WARM_UP = 0.2
"""This part of a run is not judged: caches fill, and each feed has its first gaps."""


@dataclass
class Stand:
    """One place in the run: its session, its feeds, and what is beside them."""

    here: Hardship
    feeds: Feeds
    traffic: Traffic
    ledger: Path


class Run:
    """One run of so many seconds, with a sample each `every` seconds."""

    def __init__(self, kind: Kind, seconds: float, every: float, seed: int) -> None:
        self.samples: list[Sample] = []
        self._kind = kind
        self._seconds = seconds
        self._every = every
        self._seed = seed
        self._hostile: Counter[str] = Counter()
        self._witness = Witness(kind.warnings)
        self._begin = 0.0
        self._told_every = max(1, round(60 / every))

    async def endure(self, leaks: Sequence[Leak]) -> Outcome:
        """Run it. Raises AssertionError if anything hangs, or is left at the end."""
        before = census()
        async with asynccontextmanager(leaves_nothing)():
            with TemporaryDirectory() as name, self._witness.listening():
                await _start_threads()
                async with AsyncExitStack() as stack:
                    stands = [
                        await stack.enter_async_context(self._stand(number, place, Path(name)))
                        for number, place in enumerate(PLACES)
                    ]
                    await self._listen(stands, leaks)
                    outcome = self._outcome(stands)
                    del stands
        outcome.faults += self._heard()
        assert_gone(before)
        return outcome

    @property
    def _end(self) -> float:
        return self._begin + self._seconds

    @asynccontextmanager
    async def _stand(self, number: int, place: Place, directory: Path) -> AsyncIterator[Stand]:
        own = directory / str(number)
        own.mkdir()
        ledger, seed = own / "ledger", self._seed + number
        options = {"retry_queries": True, **self._kind.options}
        async with hardship(place, ledger=ledger, **options) as here:
            here.tokens.expire(10 * self._seconds + 3_600)
            feeds = Feeds(
                here.session, place, seed, self._kind.interval, own, is_hasty=self._kind.is_rough
            )
            yield Stand(here, feeds, Traffic(here, self._kind.pause, seed), ledger)

    # --- While it runs ------------------------------------------------------------------------

    async def _listen(self, stands: list[Stand], leaks: Sequence[Leak]) -> None:
        self._begin = time.monotonic()
        bed = Bed(stands[0].here.session, stands[0].feeds.cursors)
        try:
            async with OutspokenGroup() as tasks:
                for number, stand in enumerate(stands):
                    stand.feeds.start(tasks)
                    tasks.create_task(self._accompany(stand, number))
                for leak in leaks:
                    tasks.create_task(plant(leak, bed, self._end))
                tasks.create_task(self._sample(stands))
        finally:
            bed.stack.close()

    async def _accompany(self, stand: Stand, number: int) -> None:
        """Have what is beside the feeds until the end; then have the feeds reach their goal."""
        async with OutspokenGroup() as asides:
            if stand.here.place.answers_queries:
                asides.create_task(stand.traffic.mutate(self._end))
                asides.create_task(stand.traffic.ask(self._end))
            if self._kind.is_rough:
                seed = self._seed + number
                asides.create_task(stand.here.rage(strikes(seed, self._end)))
                asides.create_task(be_hostile(stand.here, seed, self._end, self._hostile))
                asides.create_task(stand.feeds.poison())
            await asyncio.sleep(self._seconds)
            if self._kind.is_rough:
                await stand.feeds.until_poison_raised(FIND_POISON)
        await _finish(stand)

    async def _sample(self, stands: list[Stand]) -> None:
        """Take samples at an even pace, however long each takes."""
        for number in range(1, 1 + int(self._seconds / self._every)):
            await asyncio.sleep(self._begin + number * self._every - time.monotonic())
            if number % self._told_every == 0:
                print(f"{self._kind.name}: {number * self._every / 60:.0f} min", flush=True)
            counters = [stand.here.session.counters for stand in stands]
            self.samples.append(
                Sample.now(
                    self._begin,
                    sockets=total((stand.here.proxy for stand in stands), "sockets"),
                    events=total((t for s in stands for t in s.feeds.cursors), "events"),
                    connections=total(counters, "connections"),
                    resubscriptions=total(counters, "resubscriptions"),
                )
            )

    # --- After it -----------------------------------------------------------------------------

    def _outcome(self, stands: list[Stand]) -> Outcome:
        judged = [each for each in self.samples if each.seconds >= WARM_UP * self._seconds]
        minutes = [each.seconds / 60 for each in judged]
        outcome = Outcome(self._kind.name, self._seed, self._seconds / 60)
        outcome.verdicts = judge(minutes, columns(judged), LIMITS, BESIDE)
        outcome.samples = len(judged)
        outcome.hostile, outcome.warnings = self._hostile, self._witness.counts
        for stand in stands:
            _count(outcome, stand)
            for line in said(stand.here.server.stderr):
                outcome.said[line[:80]] += 1
                if not re.match(self._kind.stderr, line):
                    outcome.faults.append(f"{stand.here.place} wrote: {line}")
        return outcome

    def _heard(self) -> list[str]:
        logged = [f"the log has: {line}" for line in self._witness.unexpected]
        return logged + self._witness.complaints


class OutspokenGroup(asyncio.TaskGroup):
    """A group that tells of a failure when it happens, and not when all others have ended."""

    def create_task(self, *arguments: Any, **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(*arguments, **options)
        task.add_done_callback(self._tell)
        return task

    @staticmethod
    def _tell(task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            print(f"{task.get_coro()} failed:", file=sys.stderr)
            traceback.print_exception(error)


def _count(outcome: Outcome, stand: Stand) -> None:
    """Add what one place has."""
    here, feeds, counters = stand.here, stand.feeds, stand.here.session.counters
    tallies = [*feeds.cursors, *feeds.passers_by]
    states, faults = stand.traffic.compared(stand.ledger)
    outcome.feeds += feeds.count
    outcome.events += total(tallies, "events")
    outcome.lost += total(tallies, "lost")
    outcome.doubled += total([*tallies, *feeds.watchers], "doubled")
    outcome.gaps += total(feeds.watchers, "announced")
    outcome.missed += total(feeds.watchers, "missed")
    outcome.unannounced += total(feeds.watchers, "lost")
    outcome.restarts += feeds.restarts
    outcome.visits += feeds.visits
    outcome.cancelled += feeds.cancelled
    outcome.connections += counters.connections
    outcome.resubscriptions += counters.resubscriptions
    outcome.queries += stand.traffic.queries
    outcome.blows += here.blows
    outcome.ends += here.ends
    outcome.poisons += feeds.poisons.total()
    outcome.mutations += states
    outcome.failed += stand.traffic.failed
    outcome.faults += [f"{here.place}: mutation {fault}" for fault in faults]
    outcome.faults += [line for tally in feeds.watchers for line in tally.repeated]


async def _finish(stand: Stand) -> None:
    """Wait until all feeds have all events, and end them there."""
    feeds = stand.feeds
    await feeds.until_caught_up()
    feeds.goal = feeds.head + 5


async def _start_threads() -> None:
    """Have a pool whose threads are all there from the beginning."""
    pool, met = ThreadPoolExecutor(THREADS), Barrier(THREADS)
    asyncio.get_running_loop().set_default_executor(pool)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(asyncio.to_thread(met.wait) for _ in range(THREADS)))
