"""The order of measuring: round by round, all contenders of a case after each other.

So a change on the machine during the measurement affects all of them. Each round begins with
another contender.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from benchmarks.bench import Bench, ContenderFailed
from benchmarks.peers import say
from benchmarks.results import Case, Figures, Results, Run


@dataclass(frozen=True)
class Trial:
    """A contender in a case, and how to measure it once.

    `rounds` is how many are enough, where they are long or hardly differ; `often` is how many times
    as many as usual are wanted, where much depends on them.
    """

    contender: str
    case: Case
    measure: Callable[[Bench], Figures]
    rounds: int = 1_000
    often: int = 1

    def due(self, usual: int) -> int:
        """Return in how many rounds it is measured, where so many are usual."""
        return min(usual * self.often, self.rounds)


def run_all(scenario: str, trials: list[Trial], bench: Bench, results: Results) -> None:
    """Measure all rounds of a scenario, and add them to the results; failures, too."""
    usual = bench.settings.rounds
    rounds = max(trial.due(usual) for trial in trials)
    for round in range(rounds):
        say(f"{scenario}: round {round + 1} of {rounds}")
        for trial in ordered(trials, round, usual):
            try:
                figures = trial.measure(bench)
            except ContenderFailed as failure:
                text = f"{scenario}, {trial.contender}, {trial.case}: {failure}"
                results.failures.append(text)
                say(f"FAILED {text}")
                bench.stop()  # later output of the server belongs to no trial
                continue
            run = Run(scenario, trial.contender, trial.case, round, figures)
            results.runs.append(run)


def ordered(trials: list[Trial], round: int, usual: int) -> Iterator[Trial]:
    """Yield the trials of a round, case by case, each case begun by another contender.

    A round is one of as many as are `usual`.
    """
    for _, group in groupby(trials, key=lambda trial: trial.case):
        due = [trial for trial in group if round < trial.due(usual)]
        first = round % len(due) if due else 0
        yield from due[first:]
        yield from due[:first]
