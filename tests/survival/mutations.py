"""Mutations while everything fails: many at once, each counted by the server and by its caller.

The server's own count is a file that not even SIGKILL keeps from being right.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

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
    """What became of a run.

    By key: `answered` is what the server counted, when it answered; `interrupted` those that may
    have been executed, or not; `repeated` what it answered to those that may be sent again.
    `ledger` is how often each key was executed.
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
    ledger: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        return len(self.answered) + len(self.interrupted) + len(self.repeated) + self.queries

    @property
    def twice(self) -> list[str]:
        """The keys that were executed more than once, and were not to be."""
        return [key for key in (*self.answered, *self.interrupted) if self.ledger[key] > 1]

    def __str__(self) -> str:
        executed = sum(self.ledger[key] for key in self.interrupted)
        again = sum(self.ledger[key] > 1 for key in self.repeated)
        return f"""\
{self.place}, seed {self.seed}: {self.seconds:.1f} s
  faults         {self.faults.total()}: {listed(self.faults)}
  connections    {self.connections}
  ended by       {listed(self.ends)}
  mutations      {len(self.answered) + len(self.interrupted)}: {len(self.answered)} answered, \
{len(self.interrupted)} interrupted (of which the server executed {executed}), \
{len(self.twice)} executed twice
  idempotent     {len(self.repeated)}: all answered, {again} of them executed more than once
  queries        {self.queries}: all answered"""


async def mutate(place: Place, count: int, faults: int, ledger: Path, seed: int = SEED) -> Outcome:
    """Run so many operations, and so many faults meanwhile.

    Of ten, one is a query and one is idempotent. Raises what no operation should raise.
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
    """Run one operation after the other."""
    for number in numbers:
        key = f"{number}"
        if number % 10 == 0:
            answer = await here.session.execute(
                HELLO, variable_values={"name": key}, timeout=TIMEOUT
            )
            assert {"hello": f"Hello, {key}!"} == answer
            outcome.queries += 1
        elif number % 10 == 1:
            answer = await here.session.execute(
                RECORD, variable_values={"key": key}, timeout=TIMEOUT, idempotent=True
            )
            outcome.repeated[key] = answer["record"]
        else:
            try:
                answer = await here.session.execute(
                    RECORD, variable_values={"key": key}, timeout=TIMEOUT
                )
                outcome.answered[key] = answer["record"]
            except OperationInterrupted as interrupted:
                outcome.interrupted[key] = interrupted


async def _rage(here: Hardship, outcome: Outcome, count: int, faults: int, seed: int) -> None:
    """Strike each time that so many operations more are over: the storm keeps pace with them."""
    for number, blow in enumerate(blows(seed, faults)):
        while outcome.done < number * (count - AT_ONCE) // faults:
            await asyncio.sleep(0.001)
        await here.rage([blow])
