"""The feeds of an endurance run: those of the storm, and more ways to listen.

All have a cursor but for the watchers, who compare what is missing with the announced gaps.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from consumers import Consumers, Feed, Tally
from hardship import Place

from gqlwire import AsyncClientSession, FileCheckpoint, Subscription

OWN_LOOPS, MERGED, KEYED, TIMED, CHECKPOINTED = 18, 14, 4, 4, 4
"""With four watchers and two that come and go, these are the 50 feeds of one place."""

LIMIT = 600.0
"""Seconds. A suspect that is held back in the weather may wait for more than a minute."""

OVERLAP = 5
"""So many events that are known come again behind each gap of those with a key."""


class Feeds(Consumers):
    """50 feeds of one place. Checkpoints are files in `directory`.

    `is_hasty`: whether the consumers cancel some of their steps, which makes a step three times as
    dear.
    """

    def __init__(
        self,
        session: AsyncClientSession,
        place: Place,
        seed: int,
        interval: float,
        directory: Path,
        *,
        is_hasty: bool,
    ) -> None:
        count = OWN_LOOPS + MERGED + KEYED + TIMED + CHECKPOINTED
        super().__init__(session, place, seed, interval, cursors=count)
        self.poison_pause = 20.0
        self.restarts = 0
        self._directory = directory
        self._is_hasty = is_hasty

    @property
    def count(self) -> int:
        return len(self.cursors) + len(self.watchers) + len(self.passers_by)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        rest = iter(self.cursors)
        for number in range(OWN_LOOPS):
            follow = self._follow_typed if number % 2 else self._follow
            tasks.create_task(follow(next(rest), number % 5, f"cursor {number}"))
        for number in range(2):
            tallies = [next(rest) for _ in range(MERGED // 2)]
            tasks.create_task(self._follow_merged(tallies, f"merged {number}"))
        for number in range(KEYED):
            tasks.create_task(self._follow_keyed(next(rest), f"keyed {number}"))
        for number in range(TIMED):
            tasks.create_task(self._follow_timed(next(rest), f"timed {number}"))
        for number in range(CHECKPOINTED):
            tasks.create_task(self._follow_from_file(next(rest), number))
        for number, tally in enumerate(self.watchers):
            tasks.create_task(self._watch(tally, f"watcher {number}"))
        for tally in self.passers_by:
            tasks.create_task(self._pass_by(tally))

    async def _hasty(self, events: Any) -> AsyncIterator[Any]:
        async for event in super()._hasty(events) if self._is_hasty else events:
            yield event

    async def _dawdle(self, pace: int, seq: int) -> None:
        """As in the storm, but nobody is slower than the feed for ever.

        What waits for such a one would be a leak of the program's own.
        """
        if pace == 3 and seq // 50 % 2:
            pace = 0
        await super()._dawdle(pace, seq)

    async def _follow_keyed(self, tally: Tally, name: str) -> None:
        """The server sends some events again; their keys are known."""
        events = self._followed(0, _behind, name, key=lambda event: event["feed"]["seq"])
        async with events:
            async for event in self._hasty(events):
                if await self._take(tally, 1, event["feed"]["seq"]):
                    return

    async def _follow_timed(self, tally: Tally, name: str) -> None:
        """Each step has time limits, which nobody here should reach."""
        limits: dict[str, Any] = {"first_event_timeout": LIMIT, "idle_timeout": LIMIT}
        options = {"result_type": Feed, **limits}
        async with self._followed(0, lambda event: event.feed.seq, name, **options) as events:
            async for event in self._hasty(events):
                if await self._take(tally, 0, event.feed.seq):
                    return

    async def _follow_from_file(self, tally: Tally, number: int) -> None:
        """Leave now and then, as a process that ends, and continue from the file."""
        file = FileCheckpoint(self._directory / f"{number}.json")
        chance = random.Random(number)
        every = (1, 10, 0.5, 2.0)[number]
        while True:
            # Without a name: a subscription that the server refuses at its start would end.
            options: dict[str, Any] = {"checkpoint": file, "checkpoint_every": every}
            events = self._followed(0, lambda last: last["feed"]["seq"], **options)
            if await self._take_until_restart(events, tally, chance.randrange(20, 200)):
                return
            self.restarts += 1

    async def _take_until_restart(
        self, events: Subscription[Any], tally: Tally, enough: int
    ) -> bool:
        """Take so many; return whether the last of all was among them."""
        async with events:
            async for event in events:
                if await self._take(tally, 0, event["feed"]["seq"]):
                    return True
                enough -= 1
                if not enough:
                    break
        return False


def _behind(last: dict[str, Any]) -> int:
    seq: int = last["feed"]["seq"]
    return max(0, seq - OVERLAP)
