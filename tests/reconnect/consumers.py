"""The consumers in the storm: each has its own pace, and counts its events.

They keep no event, so that growing memory is not theirs.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hardship import PATIENCE, Place

import gqlwire
from gqlwire import AsyncClientSession, Reconnected, Subscription, gql
from gqlwire.errors import TransportError, TransportQueryError

CURSORS, WATCHERS, PASSERS_BY = 20, 4, 2

MERGED = 5
"""So many of those with a cursor are in one merger."""

FEED = gql(
    "subscription ($since: Float!, $every: Int!, $after: Int, $name: String) "
    "{ feed(since: $since, intervalMs: $every, after: $after, name: $name) { seq } }"
)

POISON = gql("subscription ($count: Int!, $end: String!) { poison(count: $count, end: $end) }")


class Tick(msgspec.Struct):
    """One event, as a type."""

    seq: int


class Feed(msgspec.Struct):
    """The data of an event, as a type."""

    feed: Tick


@dataclass
class Tally:
    """The events of one consumer. `lost` and `doubled` are numbers that no gap announced.

    `missed` are those that were announced to be missing, `repeated` the announcements that cannot
    be right: a gap is announced once, so an event is between two of them. `refusals`: how often the
    server refused to continue, by the announcements.
    """

    events: int = 0
    last: int = 0
    lost: int = 0
    doubled: int = 0
    announced: int = 0
    refusals: int = 0
    missed: int = 0
    repeated: list[str] = field(default_factory=list)

    def take(self, seq: int) -> None:
        """Note the next number, which should be the one after the last."""
        self.events += 1
        if seq > self.last:
            self.lost += seq - self.last - 1
            self.last = seq
        else:
            self.doubled += 1

    def take_after(self, seq: int) -> None:
        """Note the first number after a gap that was announced."""
        self.missed += max(0, seq - self.last - 1)
        self.last = max(self.last, seq - 1)
        self.take(seq)


class Consumers:
    """All that listen in one storm. The feed has a new number every `interval` seconds.

    `poisons` were subscribed, by how they end the connection, and `raised` are the failures that
    they got; a while of up to `poison_pause` seconds is between them. `refusals` are those of the
    seams of the others.
    """

    def __init__(
        self,
        session: AsyncClientSession,
        place: Place,
        seed: int,
        interval: float,
        *,
        cursors: int = CURSORS,
    ) -> None:
        self.cursors = [Tally() for _ in range(cursors)]
        self.watchers = [Tally() for _ in range(WATCHERS)]
        self.passers_by = [Tally() for _ in range(PASSERS_BY)]
        self.visits = 0
        self.goal: int | None = None
        self._since = time.time()
        self._interval = interval
        self._variables = {"since": self._since, "every": round(interval * 1_000)}
        self._chance = random.Random(seed)
        self._session = session
        self._is_hurried = False
        self._kinds = place.poisons
        self._is_poison_over = asyncio.Event()
        self.poison_pause = 10 * interval
        self.cancelled = 0
        self.refusals = 0
        self.poisons: Counter[str] = Counter()
        self.raised: Counter[str] = Counter()

    @property
    def head(self) -> int:
        """The number of the newest event."""
        return int((time.time() - self._since) / self._interval)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        for number, tally in enumerate(self.cursors[MERGED:]):
            follow = self._follow_typed if number % 2 else self._follow
            tasks.create_task(follow(tally, number % 5, f"cursor {number}"))
        tasks.create_task(self._follow_merged(self.cursors[:MERGED]))
        for number, tally in enumerate(self.watchers):
            tasks.create_task(self._watch(tally, f"watcher {number}"))
        for tally in self.passers_by:
            tasks.create_task(self._pass_by(tally))

    async def until_caught_up(self) -> None:
        """Wait until every consumer has the events so far; nobody is slow then."""
        head, self._is_hurried = self.head, True
        for number, tally in enumerate((*self.cursors, *self.watchers)):
            seen, patience = -1, PATIENCE
            while tally.last < head:
                patience = PATIENCE if tally.last > seen else patience - self._interval
                assert patience > 0, (
                    f"number {number} hangs at {seen}, and {head} is not the newest"
                )
                seen = tally.last
                await asyncio.sleep(self._interval)
        self._is_hurried = False

    # --- With a cursor ------------------------------------------------------------------------

    async def _follow(self, tally: Tally, pace: int, name: str) -> None:
        async with self._followed(0, lambda last: last["feed"]["seq"], name) as events:
            async for event in self._hasty(events):
                if await self._take(tally, pace, event["feed"]["seq"]):
                    return

    async def _follow_typed(self, tally: Tally, pace: int, name: str) -> None:
        def seq_of(event: Feed) -> int:
            return event.feed.seq

        async with self._followed(0, seq_of, name, result_type=Feed, buffer=16) as events:
            async for batch in self._hasty(events.batches(50)):
                for event in batch:
                    if await self._take(tally, pace, event.feed.seq):
                        return

    async def _follow_merged(self, tallies: list[Tally], name: str = "merged") -> None:
        """Several in one loop; each ends at the goal."""
        many = {
            self._followed(0, lambda last: last["feed"]["seq"], f"{name} {number}"): each
            for number, each in enumerate(tallies)
        }
        async with gqlwire.merge(many) as merged:
            async for subscription, event in self._hasty(merged):
                tally, seq = many[subscription], event["feed"]["seq"]
                tally.take(seq)
                if self._is_reached(seq):
                    await subscription.aclose()

    async def _hasty(self, events: Any) -> AsyncIterator[Any]:
        """Take steps, some of which are cancelled: by a time limit, or with a task of their own."""
        me, told = asyncio.current_task(), ""
        while True:
            # Some of these ways to cancel a step swallow the cancellation of this task.
            if me is not None and me.cancelling():
                raise asyncio.CancelledError
            limit = self._chance.choice((0, 0.001, 0.01, self._interval, 60))
            try:
                match self._chance.randrange(4):
                    case 0:
                        yield await events.next(timeout=limit)
                    case 1:
                        yield await asyncio.wait_for(anext(events), limit)
                    case 2:
                        yield await self._in_a_task(events, limit)
                    case _:
                        yield await anext(events)
            except StopAsyncIteration:
                assert self.goal is not None, f"a feed has ended by itself: {told}"
                return
            except TimeoutError as over:
                told = str(over)
                self.cancelled += 1

    async def _in_a_task(self, events: Any, limit: float) -> Any:
        step = asyncio.ensure_future(anext(events))
        try:
            await asyncio.wait([step], timeout=limit)
        finally:
            step.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await step
        raise TimeoutError

    def _followed(
        self, after: int, seq_of: Callable[[Any], int], name: str | None = None, **options: Any
    ) -> Subscription[Any]:
        subscription: Subscription[Any] = self._session.subscribe(
            FEED,
            variable_values={**self._variables, "after": after, "name": name},
            resume=lambda last, variables: {**variables, "after": seq_of(last)},
            on_reconnect=self._note_refusals,
            **options,
        )
        return subscription

    def _note_refusals(self, gap: Reconnected) -> None:
        self.refusals += gap.refusals

    async def _take(self, tally: Tally, pace: int, seq: int) -> bool:
        """Take a number, and a while; return whether it was the last."""
        tally.take(seq)
        if self.goal is None and not self._is_hurried:
            await self._dawdle(pace, seq)
        return self._is_reached(seq)

    async def _dawdle(self, pace: int, seq: int) -> None:
        """Be as quick as can be, or take a while for each, or some, or be slower than the feed."""
        if pace == 1:
            await asyncio.sleep(self._interval / 4)
        elif pace == 2 and seq % 20 == 0:
            await asyncio.sleep(self._interval * 15)
        elif pace == 3:
            await asyncio.sleep(self._interval * 1.2)
        elif pace == 4 and seq % 10 == 0:
            _work()

    def _is_reached(self, seq: int) -> bool:
        return self.goal is not None and seq >= self.goal

    async def _pass_by(self, tally: Tally) -> None:
        """Listen for a moment, leave in one way or another, and come again."""
        while self.goal is None:
            self.visits += 1
            tally.last = self.head
            events = self._followed(tally.last, lambda last: last["feed"]["seq"])
            with contextlib.suppress(TimeoutError):
                match self._chance.randrange(3):
                    case 0:
                        async with events:
                            await self._take_some(events, tally)
                    case 1:
                        await self._take_some(events, tally)
                    case _:
                        async with asyncio.timeout(self._chance.uniform(0, 0.3)):
                            await self._take_some(events, tally)
            del events

    async def _take_some(self, events: Subscription[Any], tally: Tally) -> None:
        enough = self._chance.randrange(1, 30)
        async for event in events:
            tally.take(event["feed"]["seq"])
            enough -= 1
            if not enough:
                break

    # --- Without ------------------------------------------------------------------------------

    async def _watch(self, tally: Tally, name: str) -> None:
        """Take events, and compare them with the announced gaps."""
        subscription = self._session.subscribe(
            FEED, variable_values={**self._variables, "name": name}, tell_reconnects=True
        )
        notice: Reconnected | None = None
        async with subscription as events:
            async for event in events:
                if isinstance(event, Reconnected):
                    tally.announced += 1
                    tally.refusals += event.refusals
                    if notice is not None:
                        tally.repeated.append(f"{notice.gap_seconds:.3f} s, then {event}")
                    notice = event
                    continue
                seq = event["feed"]["seq"]
                if tally.events == 0:
                    tally.last, notice = seq - 1, None
                if notice is None:
                    tally.take(seq)
                else:
                    tally.take_after(seq)
                notice = None
                if self._is_reached(seq):
                    return

    # --- Poison -------------------------------------------------------------------------------

    async def poison(self) -> None:
        """Subscribe now and then to what makes the server end the connection, until it raises."""
        while not self._is_poison_over.is_set():
            end, count = self._chance.choice(self._kinds), self._chance.choice((0, 0, 3, 30))
            self.poisons[end] += 1
            variables = {"count": count, "end": end}
            try:
                async for _ in self._session.subscribe(POISON, variable_values=variables):
                    pass
            except TransportQueryError:
                raise
            except TransportError as failure:
                self.raised[type(failure).__name__] += 1
            else:
                raise AssertionError(f"poison {variables} ended well")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._is_poison_over.wait(), self._chance.uniform(0, self.poison_pause)
                )

    async def until_poison_raised(self, patience: float = PATIENCE) -> None:
        """Wait until the last one has been found; there are no more."""
        self._is_poison_over.set()
        async with asyncio.timeout(patience):
            while self.raised.total() < self.poisons.total():
                await asyncio.sleep(self._interval)


def total(tallies: Iterable[Tally], name: str) -> int:
    """Add up one figure of many."""
    return sum(getattr(tally, name) for tally in tallies)


def _work() -> None:
    """Hold up the loop, as the code of a consumer may."""
    time.sleep(0.002)
