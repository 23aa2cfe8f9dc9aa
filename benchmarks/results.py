"""What was measured: every round of everything, and the medians of it.

It knows no scenario: a run is a contender, a case of it, and named figures.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Case = dict[str, int | str]
Figures = dict[str, float | str | None]


@dataclass(frozen=True)
class Run:
    """One round of one contender in one case."""

    scenario: str
    contender: str
    case: Case
    round: int
    figures: Figures


@dataclass
class Results:
    """Everything that one call of `python -m benchmarks` measured.

    `about` says when and how, `machine` where, `versions` which releases. `notes` say what was left
    out and why, `failures` what broke.
    """

    about: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a file that `save` wrote."""
        read = json.loads(path.read_text("utf-8"))
        return cls(**{**read, "runs": [Run(**run) for run in read["runs"]]})

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        path.write_text(text + "\n", "utf-8")

    def matching(self, scenario: str, **case: int | str) -> Iterator[Run]:
        """Yield the runs of a scenario, in a case where one is given."""
        for run in self.runs:
            if run.scenario == scenario and case.items() <= run.case.items():
                yield run

    def contenders(self, scenario: str, **case: int | str) -> list[str]:
        """Return the contenders, in order of appearance."""
        return list(dict.fromkeys(run.contender for run in self.matching(scenario, **case)))

    def cases(self, scenario: str, key: str) -> list[Any]:
        """Return the values that a key of the cases took, in order of appearance."""
        found = (run.case[key] for run in self.matching(scenario) if key in run.case)
        return list(dict.fromkeys(found))

    def values(self, scenario: str, contender: str, figure: str, **case: int | str) -> list[float]:
        """Return a figure of all rounds; empty if it was not measured."""
        runs = self.matching(scenario, **case)
        found = (run.figures.get(figure) for run in runs if run.contender == contender)
        return [float(value) for value in found if isinstance(value, int | float)]

    def median(self, scenario: str, contender: str, figure: str, **case: int | str) -> float | None:
        """Return the median of a figure over the rounds; None if it was not measured."""
        values = self.values(scenario, contender, figure, **case)
        return statistics.median(values) if values else None
