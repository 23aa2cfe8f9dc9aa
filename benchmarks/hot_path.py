"""Where the time of an event goes: by function, and beside an earlier revision.

    python -m benchmarks.hot_path [--before REVISION] [--events N]

Samples the contender `ours` (150 B events into `async for`, as dicts) with py-spy, from outside of
its process, and writes `benchmarks/results/hot_path.md`: nanoseconds per event that were spent in
each function itself, C functions that it calls included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Blaster, plain_environment
from benchmarks.peers import HERE, PINS, ROOT, environment

RATE = 200
ROWS = 16
LOOP = "BaseEventLoop.run_until_complete"
LOADING = "importlib._bootstrap"


@dataclass(frozen=True)
class Profile:
    """`spent`: nanoseconds per event by function."""

    spent: dict[str, float]

    @property
    def total(self) -> float:
        """Return all of it."""
        return sum(self.spent.values())


def main() -> None:
    """Profile the working tree, and another revision."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--before", metavar="REVISION")
    parser.add_argument("--events", type=int, default=2_000_000)
    chosen = parser.parse_args()
    python = environment("gqlwire", sys.executable, [PINS / "loop.txt"], gqlwire=True)
    spy = environment("profile", sys.executable, [PINS / "profile.txt"]).parent / "py-spy"
    blaster = Blaster(python)
    try:
        profiles = {}
        if chosen.before:
            with checkout(chosen.before) as source:
                profiles[f"before ({chosen.before})"] = record(
                    [str(spy), str(python)], source, blaster.url, chosen.events
                )
        profiles["now"] = record([str(spy), str(python)], ROOT, blaster.url, chosen.events)
    finally:
        blaster.stop()
    path = HERE / "results" / "hot_path.md"
    path.write_text(report(profiles, chosen.events), "utf-8")
    print(path.relative_to(ROOT))


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Have the files of a revision, for as long as it takes."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", revision, "src"], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


def record(programs: list[str], source: Path, url: str, events: int) -> Profile:
    """Run the contender on the package below `source`, and sample it."""
    spy, python = programs
    order = json.dumps({"events": events, "size": 150, "live": 1})
    with tempfile.NamedTemporaryFile() as samples:
        sampled = [spy, "record", "--rate", str(RATE), "--format", "raw", "--nolineno"]
        contender = [python, "-m", "benchmarks.contenders.ours.client", url, "dict", order]
        done = subprocess.run(
            [*sampled, "--output", samples.name, "--", *contender],
            cwd=ROOT,
            env=plain_environment() | {"PYTHONPATH": str(source / "src")},
            check=True,
            capture_output=True,
            text=True,
        )
        stacks = Path(samples.name).read_text("utf-8")
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    cost = told["cpu"] / told["events"] * 1e9
    spent = {name: share * cost for name, share in shares(stacks).items()}
    return Profile(spent)


def shares(stacks: str) -> dict[str, float]:
    """Return the share of the samples by function, of py-spy's collapsed stacks."""
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        # What is loaded before, and other threads, are not of the path.
        if LOOP in stack and LOADING not in stack:
            counts[stack.rpartition(";")[2]] += int(count)
    whole = counts.total()
    return {name: count / whole for name, count in counts.most_common()}


def report(profiles: dict[str, Profile], events: int) -> str:
    """Return the tables, in Markdown."""
    text = [
        "# The hot path",
        "",
        f"CPU time in nanoseconds per event, of {events:,} events of 150 B, by the function that",
        f"was running: {RATE} samples a second by py-spy, which slows it down a little. Made by",
        "`python -m benchmarks.hot_path`.",
    ]
    for name, profile in profiles.items():
        text += ["", f"## {name}: {profile.total:,.0f} ns", ""]
        text += ["| function | ns | share |", "|---|---:|---:|"]
        for function, spent in list(profile.spent.items())[:ROWS]:
            text.append(f"| `{function}` | {spent:,.0f} | {spent / profile.total:.0%} |")
        rest = sum(list(profile.spent.values())[ROWS:])
        text.append(f"| the rest | {rest:,.0f} | {rest / profile.total:.0%} |")
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    main()
