"""Mutations and queries beside the feeds, each of them checked, in memory that does not grow.

The server counts the mutations in a file; `mutations.py` of the storm says why that is right.
"""

import asyncio
import random
import time
from collections import Counter
from enum import IntEnum
from pathlib import Path

from hardship import PATIENCE, Hardship
from mutations import HELLO, executed, recorded

from gqlwire.errors import TransportError


class State(IntEnum):
    """What the caller of a mutation knows of it."""

    NEVER = 0
    ANSWERED = 1
    MAYBE = 2
    UNSENT = 3


class Traffic:
    """One mutation and one query after the other, about `pause` seconds between them.

    `failed` has the failures of queries and mutations, by class.
    """

    def __init__(self, here: Hardship, pause: float, seed: int) -> None:
        self.queries = 0
        self.failed: Counter[str] = Counter()
        self._here = here
        self._pause = pause
        self._chance = random.Random(seed)
        self._states = bytearray()
        self._count = 0

    async def mutate(self, end: float) -> None:
        """Until `end`. Some have so little time that their answer comes too late."""
        # As long as it can get: what grows in a run would be a leak of its own.
        self._states = bytearray(1 + int((end - time.monotonic()) / (self._pause * 0.5)))
        while time.monotonic() < end and self._count < len(self._states):
            number, self._count = self._count, self._count + 1
            limit = self._chance.choice((PATIENCE, PATIENCE, 0.01))
            try:
                times = await recorded(self._here, str(number), limit)
            except TransportError as failure:
                self.failed[type(failure).__name__] += 1
                self._states[number] = State.MAYBE if failure.maybe_executed else State.UNSENT
            else:
                assert times == 1, f"the server has run mutation {number} {times} times"
                self._states[number] = State.ANSWERED
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * self._pause)

    async def ask(self, end: float) -> None:
        """Until `end`. A lost connection is weather, and a wrong answer fails the run."""
        while time.monotonic() < end:
            name = str(self.queries)
            try:
                answer = await self._here.session.execute(
                    HELLO, variable_values={"name": name}, timeout=PATIENCE
                )
            except TransportError as failure:
                self.failed[type(failure).__name__] += 1
            else:
                assert answer == {"hello": f"Hello, {name}!"}
            self.queries += 1
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * self._pause)

    def compared(self, ledger: Path) -> tuple[Counter[State], list[str]]:
        """How many mutations ended how, and where the server's own count says otherwise."""
        ran = executed(ledger)
        states = [State(state) for state in self._states[: self._count]]
        faults = [f"{key}: ran {times} times" for key, times in ran.items() if times > 1]
        for number, state in enumerate(states):
            if (state is State.ANSWERED) > ran[str(number)]:
                faults.append(f"{number}: answered, and never ran")
            if state is State.UNSENT and ran[str(number)]:
                faults.append(f"{number}: said to be unsent, and ran")
        return Counter(states), faults
