"""The outcome of an endurance run: what is printed, and what it is judged by."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hardship import Blows, listed
from judge import Verdict, table
from traffic import State


@dataclass
class Outcome:
    """`lost` and `doubled` are events of feeds with a cursor; `unannounced` those that others miss.

    `warnings` are counted by row of docs/logging.md, `said` is what servers wrote to stderr.
    `faults` are sentences, each of which fails the run: what nobody expected to read, or to hear.
    """

    kind: str
    seed: int
    minutes: float
    verdicts: Sequence[Verdict] = ()
    samples: int = 0
    feeds: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    gaps: int = 0
    missed: int = 0
    unannounced: int = 0
    restarts: int = 0
    visits: int = 0
    cancelled: int = 0
    connections: int = 0
    resubscriptions: int = 0
    queries: int = 0
    blows: Counter[Blows] = field(default_factory=Counter)
    hostile: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    poisons: int = 0
    mutations: Counter[State] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """Why the run has failed; empty if it has not."""
        found = [
            f"{count} events {what}"
            for what, count in (
                ("of feeds with a cursor were lost", self.lost),
                ("came twice", self.doubled),
                ("are missing, and no gap said so", self.unannounced),
            )
            if count
        ]
        found += [
            f"{each.name} grows by {each.slope} a minute: over {each.limit.growth:.4g}"
            for each in self.verdicts
            if each.grows
        ]
        return found + self.faults[:50]

    def __str__(self) -> str:
        done = self.mutations.total()
        failures = "".join(f"\n  FAILED: {each}" for each in self.failures)
        return f"""\
{self.kind}, {self.minutes:g} minutes, seed {self.seed}
  faults         {self.blows.total()}: {listed(self.blows) or "none"}
  hostile        {self.hostile.total()}: {listed(self.hostile) or "none"}
  poison         {self.poisons} subscriptions
  connections    {self.connections}, ended by {listed(self.ends)}
  feeds          {self.feeds}, resubscribed {self.resubscriptions} times; {self.restarts} restarts \
from a file, {self.visits} short visits, {self.cancelled} steps cancelled
  with a cursor  {self.events} events, {self.lost} lost, {self.doubled} doubled
  without        {self.gaps} gaps announced, {self.missed} events missing in them, \
{self.unannounced} elsewhere
  mutations      {done}: {self.mutations[State.ANSWERED]} answered, \
{self.mutations[State.MAYBE]} may have run, {self.mutations[State.UNSENT]} were not sent
  queries        {self.queries}; failed, with the mutations: {listed(self.failed) or "none"}
  warnings       {_counted(self.warnings)}
  servers wrote  {_counted(self.said)}
{self.samples} samples after the warm-up:
{table(self.verdicts)}{failures}"""


def _counted(lines: Counter[str]) -> str:
    """How many there are, and how many of each, one a line."""
    each = "".join(f"\n{count:8} x {line}" for line, count in lines.most_common())
    return f"{lines.total()}{each}"
