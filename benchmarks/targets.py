"""The targets of gqlwire, and the figures of one run: medians of the rounds.

Where one contender is held against another, it is the median of the ratios of `pairs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.results import Results
from benchmarks.scenarios import fan_out, pairs, slow_consumer, start_up
from benchmarks.tables import ABSENT, Table, kilobytes, megabytes

Figure = Callable[[Results], float | None]


@dataclass(frozen=True)
class Target:
    """A figure that is to be `least` at the least, and `aim` if it goes well.

    `lower_is_better` says which way; `write` how it is shown.
    """

    name: str
    figure: Figure
    least: float
    aim: float | None
    lower_is_better: bool = False
    write: Callable[[float], str] = "{:.2f}".format

    def reaches(self, value: float, mark: float) -> bool:
        """Whether a value is as good as a mark."""
        return value <= mark if self.lower_is_better else value >= mark

    def verdict(self, value: float | None) -> str:
        """Return in a word whether the target was reached."""
        if value is None:
            return "not measured"
        if not self.reaches(value, self.least):
            return "**missed**"
        if self.aim is None or self.reaches(value, self.aim):
            return "aim" if self.aim is not None else "reached"
        return "at least"


@dataclass(frozen=True)
class Point:
    """The median of a figure of one contender."""

    scenario: str
    contender: str
    figure: str
    case: tuple[tuple[str, int | str], ...] = ()

    def of(self, results: Results) -> float | None:
        """Return it; None if it was not measured."""
        return results.median(self.scenario, self.contender, self.figure, **dict(self.case))


def point(scenario: str, contender: str, figure: str, **case: int | str) -> Point:
    """Return a point."""
    return Point(scenario, contender, figure, tuple(case.items()))


def value(wanted: Point, results: Results) -> float | None:
    """Return a median as it is."""
    return wanted.of(results)


def worst_peak(results: Results) -> float | None:
    """Return the highest peak of memory of any policy, with events of any size."""
    policies = [f"gqlwire, {policy}" for policy in slow_consumer.POLICIES]
    peaks = [results.values(slow_consumer.NAME, policy, "peak") for policy in policies]
    return max(map(max, peaks)) if all(peaks) else None


def import_ratio(program: str, results: Results) -> float | None:
    """Return the time of gqlwire's import by that of gql's, both without Python's own start."""
    points = [
        point("start_up", name, "ms").of(results)
        for name in (
            program,
            start_up.GQLWIRE_BARE,
            start_up.GQL,
            start_up.GQL_BARE,
        )
    ]
    ours, ours_bare, gqls, gqls_bare = points
    if ours is None or ours_bare is None or gqls is None or gqls_bare is None:
        return None
    return max(0.0, ours - ours_bare) / (gqls - gqls_bare)


TARGETS = (
    Target(
        "dict events vs Node `iterate`",
        pairs.DICT_BY_NODE.ratio,
        1.2,
        1.5,
    ),
    Target(
        "dict events vs gql (websockets)",
        pairs.DICT_BY_GQL.ratio,
        5.5,
        6.5,
    ),
    Target(
        "typed events vs Node callback sink",
        pairs.TYPED_BY_NODE.ratio,
        1.1,
        1.3,
    ),
    Target(
        "typed events vs the hand-written limit loop",
        pairs.TYPED_BY_LIMIT.ratio,
        0.85,
        0.95,
    ),
    Target(
        "p99 of one-at-a-time `execute` vs bare picows echo",
        pairs.P99_BY_ECHO.ratio,
        1.5,
        1.2,
        lower_is_better=True,
    ),
    Target(
        "`execute`, 100 in flight, vs gql (operations per second)",
        pairs.MANY_BY_GQL.ratio,
        6,
        10,
    ),
    Target(
        "cost per event, 10,000 live subscriptions in one loop (`merge`) vs 1 in the same loop",
        pairs.MERGED_BY_MERGED.ratio,
        1.3,
        1.1,
        lower_is_better=True,
    ),
    Target(
        "the same vs 1 in an `async for` of its own",
        pairs.MERGED_BY_ONE.ratio,
        1.3,
        1.1,
        lower_is_better=True,
    ),
    Target(
        "the same, a task for each vs 1",
        pairs.TASKS_BY_ONE.ratio,
        1.3,
        1.1,
        lower_is_better=True,
    ),
    Target(
        "memory of one idle subscription on a shared socket",
        partial(value, point("fan_out", fan_out.IDLE, "bytes", what="memory", live=10_000)),
        2_000,
        1_000,
        lower_is_better=True,
        write=lambda size: f"{kilobytes(size)} kB",
    ),
    Target(
        "memory of one idle connection",
        partial(value, point("connections", "gqlwire", "bytes", count=1_000)),
        60_000,
        30_000,
        lower_is_better=True,
        write=lambda size: f"{kilobytes(size)} kB",
    ),
    Target(
        "peak memory with a sleeping consumer, 1 GB sent, worst policy",
        worst_peak,
        64_000_000,
        None,
        lower_is_better=True,
        write=lambda size: f"{megabytes(size)} MB",
    ),
    Target(
        "`import gqlwire` vs `import gql` + its websocket transport",
        partial(import_ratio, start_up.GQLWIRE),
        0.4,
        0.25,
        lower_is_better=True,
    ),
    Target(
        "the same, with `Client`, `gql` and `WebsocketsTransport` of gqlwire loaded",
        pairs.IMPORT_BY_IMPORT.ratio,
        0.4,
        0.25,
        lower_is_better=True,
    ),
)


def table(results: Results) -> Table:
    """Return the targets, with the figures that were reached."""
    listed = Table("Targets", ["figure", "at least", "aim", "reached", ""])
    for target in TARGETS:
        reached = target.figure(results)
        listed.rows.append(
            [
                target.name,
                target.write(target.least),
                ABSENT if target.aim is None else target.write(target.aim),
                ABSENT if reached is None else target.write(reached),
                target.verdict(reached),
            ]
        )
    return listed
