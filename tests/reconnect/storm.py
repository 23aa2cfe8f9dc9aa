"""The long storm: 20 subscriptions with a cursor, and some without, while everything fails.

    python tests/reconnect/storm.py --faults 300 --seed 20241 --protocol graphql-ws
    python tests/reconnect/storm.py --mutations 10000

runs it, or the one for mutations, and prints the outcome. `test_storm` and `test_mutations` run
the same, shorter, and judge it.
"""

import argparse
import asyncio
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parents[1]))

from consumers import CURSORS, WATCHERS, Consumers, total
from hardship import (
    NEWER,
    OLDER,
    PLACES,
    SEED,
    Blows,
    Hardship,
    Memory,
    Place,
    assert_gone,
    blows,
    census,
    hardship,
    listed,
)
from mutations import Outcome, mutate

from servers.faults import Strike
from support import leaves_nothing

RESTS = 4
ALARMS = 32 * 1024
"""Bytes. A loop keeps about a hundred alarms that were cancelled."""


@dataclass
class Figures:
    """The outcome of a storm.

    `gaps` were announced to those without a cursor, with `missed` events in them; `unannounced` is
    how many they missed without an announcement. `grown` is how many objects of ours more there
    were after two thirds of the faults than before them, with the same subscriptions. `early` and
    `late` are the memory before and after these two thirds, while nobody listened and nothing was
    under way; `resubscribed` is how often somebody was resubscribed between the two.
    `cancelled` is how many steps were. `poisons` are the subscriptions that made the server end the
    connection, and `raised` what they got for it. `refusals`: how often the server refused to
    continue, by what the subscriptions were told.
    """

    place: str
    seed: int
    seconds: float
    faults: Counter[Blows]
    ends: Counter[str]
    connections: int
    resubscriptions: int
    tokens: int
    events: int
    lost: int
    doubled: int
    visits: int
    watched: int
    gaps: int
    missed: int
    unannounced: int
    doubts: list[str]
    grown: Counter[str]
    early: Memory
    late: Memory
    resubscribed: int
    cancelled: int
    poisons: Counter[str]
    raised: Counter[str]
    refusals: int

    def judge(self) -> Self:
        """Compare them with the promises. Raises AssertionError."""
        # With a cursor: each number exactly once, in order.
        assert (0, 0) == (self.lost, self.doubled), str(self)
        # Without: what is missing was announced, and it is what came while nobody listened.
        assert (0, []) == (self.unannounced, self.doubts), str(self)
        assert self.missed >= self.gaps > 0, str(self)
        assert self.cancelled > self.faults.total(), str(self)
        # Each poison is found. Nobody else raises: the storm would have ended.
        assert self.raised.total() == self.poisons.total() > 0, str(self)
        assert self.refusals > 0, str(self)
        # Nothing has grown: half an object that each resubscription leaves in its subscription, or
        # a tenth of one, or 200 bytes, that it leaves anywhere else, would be over these bounds.
        assert self.grown.total() < self.resubscribed / 2, str(self)
        left = self.late.objects - self.early.objects
        assert left.total() < self.resubscribed / 10, f"{self}\n{left}"
        grown = self.late.traced - self.early.traced
        assert grown < ALARMS + 64 * self.resubscribed, str(self)
        return self

    def __str__(self) -> str:
        return f"""\
{self.place}, seed {self.seed}: {self.seconds:.1f} s
  faults         {self.faults.total()}: {listed(self.faults)}
  connections    {self.connections}, {self.tokens} times a new token
  ended by       {listed(self.ends)}
  with a cursor  {CURSORS} subscriptions, and {self.visits} for a moment: \
{self.events} events, {self.lost} lost, {self.doubled} doubled, {self.cancelled} steps cancelled
  without one    {WATCHERS} subscriptions: \
{self.watched} events, {self.gaps} gaps announced, {self.missed} events missing in them, \
{self.unannounced} elsewhere
  poison         {self.poisons.total()} subscriptions: {listed(self.poisons)}; \
{self.raised.total()} raised: {listed(self.raised)}
  refused        {self.refusals} times at the seam
  resubscribed   {self.resubscriptions} times, {self.resubscribed} of them in the later two thirds
  memory         after a third of the faults {self.early}
                 at the end {self.late}"""


async def storm(place: Place, faults: int, seed: int = SEED, *, interval: float = 0.1) -> Figures:
    """Run one, with an event of each subscription every `interval` seconds.

    Raises AssertionError if anything hangs, or is left.
    """
    tracemalloc.start()
    try:
        async with hardship(place) as here:
            # Those who come later are made now, so that they are not taken for what has grown.
            first, second = (Consumers(here.session, place, seed, interval) for _ in range(2))
            return await _weathered(here, first, second, list(blows(seed, faults)), seed)
    finally:
        tracemalloc.stop()


async def _weathered(
    here: Hardship,
    first: Consumers,
    second: Consumers,
    weather: list[Strike[Blows]],
    seed: int,
) -> Figures:
    start, third = time.perf_counter(), len(weather) // 3
    await _listen(here, first, weather[:third])
    early, before = await _at_rest(here), here.session.counters.resubscriptions
    grown = await _listen(here, second, weather[third:])
    late, counters = await _at_rest(here), here.session.counters
    seconds = time.perf_counter() - start
    with_cursor = [*first.cursors, *first.passers_by, *second.cursors, *second.passers_by]
    watchers = [*first.watchers, *second.watchers]
    return Figures(
        place=str(here.place),
        seed=seed,
        seconds=seconds,
        faults=here.blows,
        ends=here.ends,
        connections=counters.connections,
        resubscriptions=counters.resubscriptions,
        tokens=here.tokens.refreshed,
        events=total(with_cursor, "events"),
        lost=total(with_cursor, "lost"),
        doubled=total((*with_cursor, *watchers), "doubled"),
        visits=first.visits + second.visits,
        watched=total(watchers, "events"),
        gaps=total(watchers, "announced"),
        missed=total(watchers, "missed"),
        unannounced=total(watchers, "lost"),
        doubts=[told for tally in watchers for told in tally.repeated],
        grown=grown,
        early=early,
        late=late,
        resubscribed=counters.resubscriptions - before,
        cancelled=first.cancelled + second.cancelled,
        poisons=first.poisons + second.poisons,
        raised=first.raised + second.raised,
        refusals=first.refusals + second.refusals + total(watchers, "refusals"),
    )


async def _listen(
    here: Hardship, consumers: Consumers, weather: list[Strike[Blows]]
) -> Counter[str]:
    """Have them listen in this weather, to the end; by how much our objects have grown in it."""
    async with asyncio.TaskGroup() as tasks:
        consumers.start(tasks)
        await consumers.until_caught_up()
        before = census()
        tasks.create_task(consumers.poison())
        await here.rage(weather)
        await consumers.until_poison_raised()
        # Those that got connections apart return to one, as before.
        await here.session.reconnect("to come together")
        await consumers.until_caught_up()
        grown = census() - before
        consumers.goal = consumers.head + 5
    # The server knows of stopped subscriptions while the connection is still there.
    await here.until_server_says("{ active }", {"active": 0})
    assert {consumers.goal} == {tally.last for tally in consumers.cursors}
    return grown


async def _at_rest(here: Hardship) -> Memory:
    """What there is when nobody listens, on a connection that has carried nothing yet.

    So there is nothing that depends on how busy the machine was: no event is under way, and no
    connection has a buffer that grew as much came at once. It looks some times, and takes the
    least: the proxy is in this process, and has buffers, too. What has leaked is there each time.
    """
    rests = []
    for _ in range(RESTS):
        await here.session.reconnect("to begin with a new connection")
        await here.proxy.until(lambda: here.proxy.sockets == 2)
        rests.append(Memory.now())
    return min(rests, key=lambda rest: rest.traced)


async def mutations(place: Place, count: int, faults: int, seed: int) -> Outcome:
    """Run the storm for mutations."""
    with TemporaryDirectory() as directory:
        return await mutate(place, count, faults, Path(directory, "ledger"), seed)


async def _judged(storming: Coroutine[Any, Any, Figures | Outcome]) -> Figures | Outcome:
    async with asynccontextmanager(leaves_nothing)():
        return (await storming).judge()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--mutations", type=int, default=0, help="run so many of them instead")
    parser.add_argument("--seed", type=int, default=SEED, help="says when which fault comes")
    parser.add_argument("--protocol", choices=(NEWER, OLDER), help="by default one after the other")
    parser.add_argument("--server", choices=("node", "strawberry"), help="by default both")
    parser.add_argument("--interval", type=float, default=0.05, help="seconds between events")
    options = parser.parse_args(arguments)
    for place in PLACES:
        if options.protocol in (None, place.protocol) and options.server in (None, place.name):
            if not options.mutations:
                storming: Coroutine[Any, Any, Figures | Outcome] = storm(
                    place, options.faults, options.seed, interval=options.interval
                )
            elif place.answers_queries:
                storming = mutations(place, options.mutations, options.faults, options.seed)
            else:
                continue
            before = census()
            print(asyncio.run(_judged(storming)), flush=True)
            assert_gone(before)


if __name__ == "__main__":
    main()
