"""Mutations while everything fails: many at once, each counted by the server and by its caller.

The server's own count is a file that not even SIGKILL keeps from being right.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hardship import SEED, Blows, Hardship, Place, blows, hardship, listed

from gqlwire import gql
from gqlwire.errors import CloseTimeout, OperationInterrupted, TransportError

AT_ONCE = 50
TIMEOUT = 60.0
"""Seconds; longer than it takes until there is a connection again, whatever happens."""

RECORD = gql("mutation ($key: String!) { record(key: $key) }")
HELLO = gql("query ($name: String!) { hello(name: $name) }")


@dataclass
class Outcome:
    """The outcome of a run.

    By key: `answered` is what the server counted, when it answered; `failed` the errors of others,
    and `maybe` what they say of whether they may have been executed; `repeated` those that may be
    sent again. `ledger` is how often each key was executed; `news` is set when one is over.
    """

    place: str
    seed: int
    seconds: float = 0.0
    faults: Counter[Blows] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    failed: dict[str, BaseException] = field(default_factory=dict)
    maybe: dict[str, bool] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)
    queries: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ledger: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """How many mutations are over, but for those that may be repeated."""
        return len({*self.answered, *self.failed} - self.repeated)

    @property
    def twice(self) -> list[str]:
        """The keys that were executed more than once, and were not to be."""
        keys = {*self.answered, *self.failed} - self.repeated
        return [key for key in keys if self.ledger[key] > 1]

    @property
    def lies(self) -> list[str]:
        """Of those that the server executed, the errors that say that they were not sent."""
        return [
            f"{key}: {self.failed[key]!r}"
            for key, maybe in self.maybe.items()
            if self.ledger[key] and not maybe
        ]

    @property
    def interrupted(self) -> dict[str, OperationInterrupted]:
        """Those that were sent, and lost their connection."""
        return {
            key: told for key, told in self.failed.items() if isinstance(told, OperationInterrupted)
        }

    def judge(self) -> Self:
        """Compare the callers' results with the server's own count. Raises AssertionError."""
        assert self.twice == [], str(self)
        assert self.lies == [], f"{self}\n{self.lies}"
        # Those that were answered were executed, and the server knew it for the first time.
        assert {1} == {self.answered[key] for key in self.answered.keys() - self.repeated}, str(
            self
        )
        assert all(self.ledger[key] >= 1 for key in self.answered), str(self)
        # Others were interrupted, and said to have run perhaps. Some have, and some have not.
        assert all(self.maybe[key] for key in self.interrupted), str(self)
        assert all(told.__cause__ is not None for told in self.interrupted.values()), str(self)
        assert {0, 1} == {self.ledger[key] for key in self.interrupted}, str(self)
        # The sentences say what the attribute says. It is not the same for all.
        for key, told in self.failed.items():
            is_unsent = "not sent" in _said(told)
            assert isinstance(told, asyncio.CancelledError) or self.maybe[key] is not is_unsent
        assert {True, False} == set(self.maybe.values()), str(self)
        assert self.ledger.keys() <= {*self.answered, *self.failed}, str(self)
        return self

    def __str__(self) -> str:
        ran = sum(self.ledger[key] for key in self.failed.keys() - self.repeated)
        again = sum(self.ledger[key] > 1 for key in self.repeated)
        kinds = Counter(type(end).__name__ for end in self.failed.values())
        return f"""\
{self.place}, seed {self.seed}: {self.seconds:.1f} s
  faults         {self.faults.total()}: {listed(self.faults)}
  connections    {self.connections}
  ended by       {listed(self.ends)}
  mutations      {self.done}: {len(self.answered.keys() - self.repeated)} answered, \
{len(self.failed.keys() - self.repeated)} failed (of which the server executed {ran}), \
{len(self.twice)} executed twice
  failed         {listed(kinds)}; {sum(self.maybe.values())} may have run, \
{list(self.maybe.values()).count(False)} were not sent, of which {len(self.lies)} had run
  idempotent     {len(self.repeated)}: {again} of them executed more than once
  queries        {self.queries}: all answered"""


async def mutate(place: Place, count: int, faults: int, ledger: Path, seed: int = SEED) -> Outcome:
    """Run so many mutations, and a tenth of it in idempotent ones and in queries; and the faults.

    Some have little time, some are cancelled, and the session is closed while the last ones run.
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
        outcome.connections = here.session.counters.connections
        await _close_amid(here, outcome)
        outcome.seconds = time.perf_counter() - start
        outcome.faults, outcome.ends = here.blows, here.ends
    outcome.ledger = executed(ledger)
    return outcome


async def _close_amid(here: Hardship, outcome: Outcome) -> None:
    """Close the session while as many mutations run as ran at the same time before."""
    await here.session.wait_ready()
    last = [
        asyncio.create_task(_mutate(here, f"last {number}", outcome)) for number in range(AT_ONCE)
    ]
    await asyncio.sleep(0)  # they are on their way
    late = asyncio.create_task(here.client.close_async())
    await asyncio.sleep(0)
    last += [
        asyncio.create_task(_mutate(here, f"late {number}", outcome)) for number in range(AT_ONCE)
    ]
    await asyncio.gather(*last)
    with contextlib.suppress(CloseTimeout):
        await late


def executed(ledger: Path) -> Counter[str]:
    """How often the server has executed each key, by its own count."""
    return Counter(ledger.read_text().splitlines() if ledger.exists() else [])


async def _work(here: Hardship, numbers: Iterator[int], outcome: Outcome) -> None:
    """Run one mutation after the other; now and then one that may be repeated, and a query."""
    for number in numbers:
        await _mutate(here, f"{number}", outcome, **_haste(number))
        outcome.news.set()
        if number % 10 == 0:
            again = f"{number} again"
            outcome.repeated.add(again)
            haste = {} if number % 20 else {"timeout": 0.05}
            await _mutate(here, again, outcome, idempotent=True, **haste)
        if number % 10 == 5:
            variables = {"name": f"{number}"}
            answer = await here.session.execute(HELLO, variable_values=variables, timeout=TIMEOUT)
            assert {"hello": f"Hello, {number}!"} == answer
            outcome.queries += 1


def _haste(number: int) -> dict[str, float]:
    """Two of seven mutations are in a hurry: one has a time limit, the other one is cancelled."""
    seconds = number % 10 / 100
    return {2: {"timeout": seconds}, 5: {"cancelled": seconds}}.get(number % 7, {})


async def _mutate(
    here: Hardship,
    key: str,
    outcome: Outcome,
    *,
    timeout: float = TIMEOUT,
    cancelled: float | None = None,
    idempotent: bool = False,
) -> None:
    """Run one mutation, cancelled after so many seconds; note how it ends."""
    running = asyncio.create_task(recorded(here, key, timeout, idempotent=idempotent))
    await asyncio.wait([running], timeout=cancelled)
    running.cancel()
    try:
        outcome.answered[key] = await running
    except TransportError as told:
        outcome.failed[key] = told
        outcome.maybe[key] = told.maybe_executed
    except asyncio.CancelledError as cancellation:
        # One that was cancelled before it began has no note.
        outcome.failed[key] = cancellation
        outcome.maybe[key] = "was sent" in _said(cancellation)


def _said(end: BaseException) -> str:
    return "\n".join([str(end), *getattr(end, "__notes__", [])])


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
