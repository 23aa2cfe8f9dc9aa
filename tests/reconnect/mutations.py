"""Mutations while everything fails: many at once, each counted by the server and by its caller.

The server's own count is a file that not even SIGKILL keeps from being right.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hardship import SEED, Blows, Hardship, Place, blows, hardship, listed

from gqlwire import gql
from gqlwire.errors import OperationInterrupted

AT_ONCE = 50
TIMEOUT = 60.0
"""Seconds; longer than it takes until there is a connection again, whatever happens."""

RECORD = gql("mutation ($key: String!) { record(key: $key) }")
HELLO = gql("query ($name: String!) { hello(name: $name) }")


@dataclass
class Outcome:
    """The outcome of a run.

    By key: `answered` is what the server counted, when it answered; `interrupted` those that may
    have been executed, or not; `repeated` what it answered to those that may be sent again.
    `ledger` is how often each key was executed; `news` is set when an operation is over.
    """

    place: str
    seed: int
    seconds: float = 0.0
    faults: Counter[Blows] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    interrupted: dict[str, OperationInterrupted] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    queries: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ledger: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """How many mutations are over, but for the idempotent ones."""
        return len(self.answered) + len(self.interrupted)

    @property
    def twice(self) -> list[str]:
        """The keys that were executed more than once, and were not to be."""
        return [key for key in (*self.answered, *self.interrupted) if self.ledger[key] > 1]

    def judge(self) -> Self:
        """Compare the callers' results with the server's own count. Raises AssertionError."""
        assert self.twice == [], str(self)
        # Those that were answered were executed, and the server knew it for the first time.
        assert {1} == set(self.answered.values()), str(self)
        assert {1} == {self.ledger[key] for key in self.answered}, str(self)
        # The others were interrupted, and said to have run perhaps. Some have, and some have not.
        assert all(told.maybe_executed for told in self.interrupted.values()), str(self)
        assert all(told.__cause__ is not None for told in self.interrupted.values()), str(self)
        assert {0, 1} == {self.ledger[key] for key in self.interrupted}, str(self)
        # Repeatable operations were executed at least once.
        assert all(self.ledger[key] >= 1 for key in self.repeated), str(self)
        assert self.ledger.keys() <= {*self.answered, *self.interrupted, *self.repeated}, str(self)
        return self

    def __str__(self) -> str:
        ran = sum(self.ledger[key] for key in self.interrupted)
        again = sum(self.ledger[key] > 1 for key in self.repeated)
        return f"""\
{self.place}, seed {self.seed}: {self.seconds:.1f} s
  faults         {self.faults.total()}: {listed(self.faults)}
  connections    {self.connections}
  ended by       {listed(self.ends)}
  mutations      {self.done}: {len(self.answered)} answered, \
{len(self.interrupted)} interrupted (of which the server executed {ran}), \
{len(self.twice)} executed twice
  idempotent     {len(self.repeated)}: all answered, {again} of them executed more than once
  queries        {self.queries}: all answered"""


async def mutate(place: Place, count: int, faults: int, ledger: Path, seed: int = SEED) -> Outcome:
    """Run so many mutations, and a tenth of it in idempotent ones and in queries; and the faults.

    Raises an error that no operation should raise.
    """
    start = time.perf_counter()
    outcome = Outcome(str(place), seed)
    async with hardship(place, ledger=ledger, retry_queries=True) as here:
        async with asyncio.TaskGroup() as tasks:
            numbers = iter(range(count))
            for _ in range(AT_ONCE):
                tasks.create_task(_work(here, numbers, outcome))
            tasks.create_task(_rage(here, outcome, count, faults, seed))
        outcome.seconds = time.perf_counter() - start
        outcome.connections = here.session.counters.connections
        outcome.faults, outcome.ends = here.blows, here.ends
    outcome.ledger = executed(ledger)
    return outcome


def executed(ledger: Path) -> Counter[str]:
    """How often the server has executed each key, by its own count."""
    return Counter(ledger.read_text().splitlines() if ledger.exists() else [])


async def _work(here: Hardship, numbers: Iterator[int], outcome: Outcome) -> None:
    """Run one mutation after the other; now and then one that may be repeated, and a query."""
    for number in numbers:
        key = f"{number}"
        try:
            outcome.answered[key] = await recorded(here, key)
        except OperationInterrupted as interrupted:
            outcome.interrupted[key] = interrupted
        outcome.news.set()
        if number % 10 == 0:
            again = f"{number} again"
            outcome.repeated[again] = await recorded(here, again, idempotent=True)
        if number % 10 == 5:
            variables = {"name": key}
            answer = await here.session.execute(HELLO, variable_values=variables, timeout=TIMEOUT)
            assert {"hello": f"Hello, {key}!"} == answer
            outcome.queries += 1


async def recorded(
    here: Hardship, key: str, timeout: float = TIMEOUT, *, idempotent: bool = False
) -> int:
    """Have the server record a key; return how often it has, by its own count."""
    answer = await here.session.execute(
        RECORD, variable_values={"key": key}, timeout=timeout, idempotent=idempotent
    )
    count: int = answer["record"]
    return count


async def _rage(here: Hardship, outcome: Outcome, count: int, faults: int, seed: int) -> None:
    """Strike each time that so many operations more are over: the storm keeps pace with them."""
    for number, blow in enumerate(blows(seed, faults)):
        while outcome.done < number * (count - AT_ONCE) // faults:
            outcome.news.clear()
            await outcome.news.wait()
        await here.rage([blow])
