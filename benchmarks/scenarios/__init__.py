"""What is measured, each in a module of its own: `NAME`, `trials(bench)`, `tables(results)`."""

from __future__ import annotations

from typing import Protocol

from benchmarks.bench import Bench
from benchmarks.results import Results
from benchmarks.scenarios import (
    connections,
    fan_out,
    pairs,
    round_trips,
    slow_consumer,
    start_up,
    throughput,
    wire,
)
from benchmarks.tables import Table
from benchmarks.trials import Trial


class Scenario(Protocol):
    """A module of this package."""

    NAME: str

    def trials(self, bench: Bench) -> list[Trial]:
        """Return what is to be measured, case by case."""
        ...

    def tables(self, results: Results) -> list[Table]:
        """Return what was measured."""
        ...


ALL: dict[str, Scenario] = {
    scenario.NAME: scenario
    for scenario in (
        pairs,
        throughput,
        round_trips,
        fan_out,
        connections,
        slow_consumer,
        start_up,
        wire,
    )
}
TITLES = {
    pairs.NAME: "Pairs",
    throughput.NAME: "Throughput",
    round_trips.NAME: "Round trips",
    fan_out.NAME: "Fan-out",
    connections.NAME: "Connections",
    slow_consumer.NAME: "Slow consumer",
    start_up.NAME: "Start-up",
    wire.NAME: "TLS and permessage-deflate",
}
