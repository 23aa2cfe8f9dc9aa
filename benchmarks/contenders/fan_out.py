"""How a contender counts the events of many subscriptions. gql uses it, too."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterable, Collection, Hashable, Iterable
from typing import Any

from benchmarks.contenders import gauges


class Tally:
    """Counts the events of all subscriptions, and notes what they took together."""

    def __init__(self, total: int) -> None:
        self._last = total - 1
        self._numbers = itertools.count()
        self._began = self._used = 0.0

    async def consume(self, events: AsyncIterable[Any]) -> int:
        """Take all events of one subscription; return how many there were."""
        count = 0
        numbers, last = self._numbers, self._last
        async for _ in events:
            count += 1
            number = next(numbers)
            if number == 0:
                self._began, self._used = time.perf_counter(), time.process_time()
            elif number == last:
                self._tell()
        return count

    async def consume_pairs(
        self, pairs: AsyncIterable[tuple[Hashable, Any]], sources: Collection[Hashable]
    ) -> list[int]:
        """Take all events of many subscriptions, each with its own; return how many of each."""
        counts = dict.fromkeys(sources, 0)
        numbers, last = self._numbers, self._last
        async for source, _ in pairs:
            counts[source] += 1
            number = next(numbers)
            if number == 0:
                self._began, self._used = time.perf_counter(), time.process_time()
            elif number == last:
                self._tell()
        return list(counts.values())

    def _tell(self) -> None:
        gauges.tell(
            events=self._last,
            seconds=time.perf_counter() - self._began,
            cpu=time.process_time() - self._used,
        )


async def take_all(subscriptions: Iterable[AsyncIterable[Any]], order: dict[str, int]) -> None:
    """Consume the subscriptions, each in a task of its own, to their ends."""
    tally = Tally(order["events"])
    tasks = [asyncio.create_task(tally.consume(events)) for events in subscriptions]
    check(await asyncio.gather(*tasks), order)


async def take_all_pairs(
    pairs: AsyncIterable[tuple[Hashable, Any]],
    subscriptions: Collection[Hashable],
    order: dict[str, int],
) -> None:
    """Consume the subscriptions in one loop, which brings pairs, to their ends."""
    check(await Tally(order["events"]).consume_pairs(pairs, subscriptions), order)


def check(counts: list[int], order: dict[str, int]) -> None:
    """Fail unless each subscription has got the events that were ordered for it."""
    # The server deals out `burst` events to each in turn.
    turns, rest = divmod(order["events"], order.get("burst", 1))
    assert not rest
    expected = [0] * order["live"]
    for turn in range(turns):
        expected[turn % order["live"]] += order.get("burst", 1)
    assert expected == counts, counts[:10]


def tell_growth(before: int, count: int) -> None:
    """Print by how much memory has grown since it was `before`, for each of `count`."""
    gauges.tell(bytes=(gauges.settled_rss() - before) / count)
