"""Two at a time, one right after the other, many times: what the targets are judged by.

A shared machine is faster for some seconds and slower for others. That changes both contenders of
a pair, and not their ratio.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.results import Figures, Results
from benchmarks.scenarios import fan_out, round_trips, start_up, throughput
from benchmarks.scenarios.blasts import blast
from benchmarks.tables import Table, number, spread
from benchmarks.trials import Trial

NAME = "pairs"
OFTEN = 3
"""Three times as many rounds as of all else."""
IMPORTS = 5

Measure = Callable[[Bench], Figures]


@dataclass(frozen=True)
class Pair:
    """A ratio: `figure` of the first contender divided by that of the second.

    A contender is how it is called, and how it is measured. With `inverse` the second is divided
    by the first: of two rates that is what one costs by the other.
    """

    name: str
    figure: str
    first: tuple[str, Measure]
    second: tuple[str, Measure]
    inverse: bool = False

    def ratios(self, results: Results) -> list[float]:
        """Return the ratio of each round; empty if it was not measured."""
        above, below = self._of(results, self.first), self._of(results, self.second)
        if self.inverse:
            above, below = below, above
        return [above[round] / below[round] for round in above if round in below]

    def ratio(self, results: Results) -> float | None:
        """Return the median of the ratios; None if it was not measured."""
        ratios = self.ratios(results)
        return statistics.median(ratios) if ratios else None

    def _of(self, results: Results, contender: tuple[str, Measure]) -> dict[int, float]:
        name, _ = contender
        runs = results.matching(NAME, pair=self.name)
        return {run.round: float(run.figures[self.figure]) for run in runs if run.contender == name}


def blasted(name: str) -> tuple[str, Measure]:
    """Return a contender of `throughput`, with events of 150 B."""
    command, mode = throughput.CONTENDERS[name]

    def measure(bench: Bench) -> Figures:
        order = {"events": bench.settings.count(throughput.EVENTS[150]), "size": 150}
        return blast(bench, command, mode, order)

    return name, measure


def asking(name: str, in_flight: int) -> tuple[str, Measure]:
    """Return a contender of `round_trips`."""
    return name, partial(round_trips.measured, name=name, in_flight=in_flight)


def dealt(name: str, live: int) -> tuple[str, Measure]:
    """Return a contender of `fan_out`, with so many live subscriptions."""
    command, mode, _ = fan_out.CONSUMERS[name]

    def measure(bench: Bench) -> Figures:
        return blast(bench, command, mode, fan_out.ordered(bench, live))

    return f"{name}, of {live:,}", measure


def importing(name: str, program: str, python: Callable[[Bench], Path]) -> tuple[str, Measure]:
    """Return a contender that loads modules: how long that takes beyond Python's own start."""

    def measure(bench: Bench) -> Figures:
        words = [[str(python(bench)), "-c", code] for code in ("pass", program)]
        # One after the other, some times: the least of each is its time without disturbance.
        bare, whole = (
            min(start_up.seconds(command, bench.environment()) for _ in range(IMPORTS))
            for command in words
        )
        return {"ms": (whole - bare) * 1e3}

    return name, measure


DICT_BY_NODE = Pair(
    "dict events by Node `iterate`",
    "rate",
    blasted("gqlwire, dict"),
    blasted("Node graphql-ws, iterate"),
)
DICT_BY_GQL = Pair(
    "dict events by gql (websockets)",
    "rate",
    blasted("gqlwire, dict"),
    blasted("gql on websockets"),
)
TYPED_BY_NODE = Pair(
    "typed events by Node callback sink",
    "rate",
    blasted("gqlwire, typed"),
    blasted("Node graphql-ws, sink"),
)
TYPED_BY_LIMIT = Pair(
    "typed events by the hand-written limit loop",
    "rate",
    blasted("gqlwire, typed"),
    blasted("limit, typed"),
)
P99_BY_ECHO = Pair(
    "p99 of one-at-a-time `execute` by bare picows echo",
    "p99_us",
    asking("gqlwire", 1),
    asking("limit, echo", 1),
)
MANY_BY_GQL = Pair(
    "`execute`, 100 in flight, by gql",
    "rate",
    asking("gqlwire", 100),
    asking("gql on websockets", 100),
)
MERGED_BY_ONE = Pair(
    "cost per event, 10,000 in one loop (`merge`) by 1 in `async for`",
    "rate",
    dealt(fan_out.MERGED, 10_000),
    dealt(fan_out.GQLWIRE, 1),
    inverse=True,
)
MERGED_BY_MERGED = Pair(
    "cost per event, 10,000 in one loop (`merge`) by 1 in the same loop",
    "rate",
    dealt(fan_out.MERGED, 10_000),
    dealt(fan_out.MERGED, 1),
    inverse=True,
)
TASKS_BY_ONE = Pair(
    "cost per event, 10,000 with a task each by 1",
    "rate",
    dealt(fan_out.GQLWIRE, 10_000),
    dealt(fan_out.GQLWIRE, 1),
    inverse=True,
)
IMPORT_BY_IMPORT = Pair(
    "import of `Client`, `gql` and `WebsocketsTransport` by that of gql and its transport",
    "ms",
    importing("gqlwire's", start_up.IMPORT_GQLWIRE_NAMES, lambda bench: bench.peers.python),
    importing("gql's", start_up.IMPORT_GQL, lambda bench: bench.peers.gql),
)
PAIRS = (
    DICT_BY_NODE,
    DICT_BY_GQL,
    TYPED_BY_NODE,
    TYPED_BY_LIMIT,
    P99_BY_ECHO,
    MANY_BY_GQL,
    MERGED_BY_ONE,
    MERGED_BY_MERGED,
    TASKS_BY_ONE,
    IMPORT_BY_IMPORT,
)


def trials(bench: Bench) -> list[Trial]:
    """Return what is to be measured: the two of each pair next to each other."""
    found = []
    for pair in PAIRS:
        contenders = (pair.first, pair.second)
        if bench.peers.node is None and any("Node" in name for name, _ in contenders):
            continue
        for name, measure in contenders:
            found.append(Trial(name, {"pair": pair.name}, measure, often=OFTEN))
    return found


def tables(results: Results) -> list[Table]:
    """Return the ratios."""
    table = Table("Ratios of pairs", ["", "ratio", "rounds"])
    for pair in PAIRS:
        if ratios := pair.ratios(results):
            table.rows.append([pair.name, spread(ratios, number), str(len(ratios))])
    return [table]
