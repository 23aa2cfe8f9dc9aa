"""How many processor instructions an event or an operation takes: a busy machine changes no count.

    python -m benchmarks.instructions [--before REVISION]

Needs valgrind. Runs contenders of the benchmark under its tool cachegrind, each with fewer and with
more events or operations, and writes `benchmarks/results/instructions.md`: by how many instructions
the two differ, for each event or operation more. So what a process does once is not in it, nor is
the kernel; and what waits for the cache, or for another process, does not show.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Blaster, plain_environment
from benchmarks.hot_path import checkout
from benchmarks.peers import HERE, PINS, ROOT, environment, say
from benchmarks.scenarios.start_up import IMPORT_GQL, IMPORT_GQLWIRE_NAMES

Order = dict[str, int]


def events(count: int, live: int = 1) -> Order:
    """Return the order of so many events to so many subscriptions."""
    return {"events": count, "size": 150, "live": live}


@dataclass(frozen=True)
class Case:
    """A contender, in a mode, and its order for a number; `echoes` says where."""

    contender: str
    mode: str
    order: Callable[[int], Order]
    counts: tuple[int, int]
    echoes: bool = False


TRIPS, MANY_TRIPS, EVENTS = (500, 2_500), (1_000, 5_000), (20_000, 60_000)
CASES = {
    "an event, into `async for`": Case("ours.client", "dict", events, EVENTS),
    "the same, typed": Case("ours.client", "typed", events, EVENTS),
    "an event of 1 subscription, into a loop over all": Case(
        "ours.fan_out", "merged", events, EVENTS
    ),
    "an event of 10,000 subscriptions, into a loop over all": Case(
        "ours.fan_out", "merged", lambda count: events(count, 10_000), EVENTS
    ),
    "an event of 10,000 subscriptions, with a task each": Case(
        "ours.fan_out", "events", lambda count: events(count, 10_000), EVENTS
    ),
    "`execute`, one at a time": Case(
        "ours.round_trips", "dict", lambda count: {"count": count, "in_flight": 1}, TRIPS
    ),
    "`execute`, 100 in flight": Case(
        "ours.round_trips", "dict", lambda count: {"count": count, "in_flight": 100}, MANY_TRIPS
    ),
    "limit: an event, to a dict": Case("limit.client", "dict", events, EVENTS),
    "limit: `answer`, one at a time": Case(
        "limit.round_trips", "answer", lambda count: {"count": count, "in_flight": 1}, TRIPS
    ),
    "limit: `answer`, 100 in flight": Case(
        "limit.round_trips", "answer", lambda count: {"count": count, "in_flight": 100}, MANY_TRIPS
    ),
    "limit: `echo`, one at a time": Case(
        "limit.round_trips",
        "echo",
        lambda count: {"count": count, "in_flight": 1},
        TRIPS,
        echoes=True,
    ),
}


LOADS = {
    "asyncio": "import asyncio",
    "asyncio and msgspec": "import asyncio, msgspec",
    "asyncio, msgspec and picows": "import asyncio, msgspec, picows",
    "asyncio and graphql-core": "import asyncio, graphql",
    "gqlwire's `Client`, `gql` and `WebsocketsTransport`": IMPORT_GQLWIRE_NAMES,
}
GQLS = "gql and its `WebsocketsTransport`"


def main() -> None:
    """Count in the working tree, and in another revision."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--before", metavar="REVISION")
    chosen = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not here: without it no instructions can be counted")
    python = environment("gqlwire", sys.executable, [PINS / "loop.txt"], gqlwire=True)
    blaster = Blaster(python)
    try:
        counted = {}
        if chosen.before:
            with checkout(chosen.before) as source:
                counted[f"before ({chosen.before})"] = count_all(python, source, blaster)
        counted["now"] = count_all(python, ROOT, blaster)
    finally:
        blaster.stop()
    loads = count_loads(python, environment("gql", sys.executable, [PINS / "gql.txt"]))
    path = HERE / "results" / "instructions.md"
    path.write_text(report(counted) + loads_report(loads), "utf-8")
    print(path.read_text("utf-8"))


def count_all(python: Path, source: Path, blaster: Blaster) -> dict[str, float]:
    """Return the instructions of each case, for one event or operation."""
    found = {}
    # Whichever runs first compiles what it loads.
    run(CASES["`execute`, one at a time"], 1, python, source, blaster)
    for name, case in CASES.items():
        say(f"instructions: {name}")
        found[name] = count(
            case, lambda number, case=case: run(case, number, python, source, blaster)
        )
    return found


def count(case: Case, run: Callable[[int], int]) -> float:
    """Return by how much the instructions grow for one more."""
    fewer, more = case.counts
    return (run(more) - run(fewer)) / (more - fewer)


def run(case: Case, number: int, python: Path, source: Path, blaster: Blaster) -> int:
    """Run a case once, on the package below `source`, and return its instructions."""
    url = f"{blaster.base}/echo" if case.echoes else blaster.url
    contender = [python, "-m", f"benchmarks.contenders.{case.contender}", url, case.mode]
    return instructions([*contender, json.dumps(case.order(number))], source)


def count_loads(python: Path, gql: Path) -> dict[str, float]:
    """Return the instructions to load modules, without Python's own start."""
    programs = {name: (python, code) for name, code in LOADS.items()}
    programs[GQLS] = (gql, IMPORT_GQL)
    found = {}
    for name, (interpreter, code) in programs.items():
        say(f"instructions: loading {name}")
        # Once for nothing, as Python compiles what it loads for the first time.
        _, whole = (instructions([interpreter, "-c", code], ROOT) for _ in range(2))
        found[name] = whole - instructions([interpreter, "-c", "pass"], ROOT)
    return found


def instructions(command: Sequence[str | Path], source: Path) -> int:
    """Run a program on the package below `source`, and return its instructions."""
    counting = ("--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    done = subprocess.run(
        ["valgrind", *counting, *command],
        cwd=ROOT,
        # The same order of everything that is hashed.
        env=plain_environment() | {"PYTHONPATH": str(source / "src"), "PYTHONHASHSEED": "0"},
        check=True,
        capture_output=True,
        text=True,
    )
    return instructions_of(done.stderr)


def instructions_of(said: str) -> int:
    """Return how many instructions cachegrind says there were."""
    (found,) = re.findall(r"I\s+refs:\s+([\d,]+)", said)
    return int(found.replace(",", ""))


def report(counted: dict[str, dict[str, float]]) -> str:
    """Return the table, in Markdown."""
    text = [
        "# Instructions",
        "",
        "Thousands of instructions in the client's process for each event of 150 B, or each",
        "operation, the kernel's not counted. Made by `python -m benchmarks.instructions`.",
        "",
        "| | " + " | ".join(counted) + " |",
        "|---|" + "---:|" * len(counted),
    ]
    for name in CASES:
        cells = [f"{each[name] / 1_000:.1f}" for each in counted.values()]
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def loads_report(loads: dict[str, float]) -> str:
    """Return the table of the instructions to load modules, in Markdown."""
    text = [
        "",
        "Millions of instructions to load modules, without those of Python's own start:",
        "",
        "| | |",
        "|---|---:|",
        *(f"| {name} | {found / 1e6:.0f} |" for name, found in loads.items()),
    ]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    main()
