"""Measure gqlwire beside its peers, and write the results.

    python -m benchmarks [--quick] [--rounds N] [--only SCENARIO,..] [--output DIR]
    python -m benchmarks --report      tables and plots of the last measurement
    python -m benchmarks --docs        the same, and the tables of docs/benchmarks.md

The exit status is 1 if a contender failed, or if the server was too slow for a peer.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import comparisons, machine, peers, report, targets
from benchmarks.bench import ROOT, Bench, Settings
from benchmarks.peers import SetupFailed, say
from benchmarks.results import Results
from benchmarks.scenarios import ALL
from benchmarks.trials import run_all

QUICK = Settings(rounds=1, scale=0.15)


def main() -> int:
    """Run the command line."""
    chosen = arguments()
    try:
        if chosen.report or chosen.docs:
            return write_again(chosen.output, docs=chosen.docs)
        return measure(settings_of(chosen), chosen.only, chosen.output)
    except SetupFailed as failure:
        print(f"an environment could not be made: {failure}", file=sys.stderr)
        return 2


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, help="how often everything is measured (5)")
    parser.add_argument("--quick", action="store_true", help="one round of a part of it all")
    parser.add_argument("--scale", type=float, help="which share of the events is sent (1)")
    parser.add_argument("--only", type=listed, default=list(ALL), help=f"some of: {', '.join(ALL)}")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "benchmarks" / "results", help="a folder"
    )
    parser.add_argument("--report", action="store_true", help="only write the reports again")
    parser.add_argument("--docs", action="store_true", help="the same, and write the docs' page")
    chosen = parser.parse_args()
    chosen.output = chosen.output.resolve()
    return chosen


def listed(text: str) -> list[str]:
    """Read names of scenarios."""
    names = text.split(",")
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such scenario: {', '.join(unknown)}")
    return names


def settings_of(chosen: argparse.Namespace) -> Settings:
    """Return how much is to be measured."""
    base = QUICK if chosen.quick else Settings()
    return Settings(
        rounds=base.rounds if chosen.rounds is None else max(1, chosen.rounds),
        scale=base.scale if chosen.scale is None else chosen.scale,
    )


def measure(settings: Settings, names: list[str], output: Path) -> int:
    """Measure scenarios, and write the results. Return the exit status."""
    found = peers.set_up()
    results = Results(
        about=about(settings, names),
        machine=machine.facts(),
        versions=found.versions,
        notes=found.notes,
    )
    began = time.monotonic()
    with Bench(settings, found, peers.certificate(found)) as bench:
        for name in names:
            started = time.monotonic()
            run_all(name, ALL[name].trials(bench), bench, results)
            bench.stop()
            say(f"{name}: {time.monotonic() - started:.0f} seconds")
    results.about["minutes"] = round((time.monotonic() - began) / 60, 1)
    output.mkdir(parents=True, exist_ok=True)
    results.save(output / "results.json")
    return write(results, found.tools, output)


def about(settings: Settings, names: list[str]) -> dict[str, object]:
    """Return when and how it is measured."""
    only = "" if names == list(ALL) else f" --only {','.join(names)}"
    rounds = "" if settings.rounds == Settings().rounds else f" --rounds {settings.rounds}"
    scale = "" if settings.scale == Settings().scale else f" --scale {settings.scale:g}"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"python -m benchmarks{rounds}{scale}{only}",
        "rounds": settings.rounds,
        "scale": settings.scale,
    }


def write_again(output: Path, *, docs: bool) -> int:
    """Write tables and plots of results that are there."""
    results = Results.load(output / "results.json")
    if docs:
        page = report.PAGE.read_text("utf-8")
        report.PAGE.write_text(report.page_with(results, page), "utf-8")
    return write(results, peers.tools(), output)


def write(results: Results, tools: Path, output: Path) -> int:
    """Write tables and plots, print the targets; return the exit status."""
    (output / "results.md").write_text(report.markdown(results), "utf-8")
    # The plots are drawn where matplotlib is, which is not here.
    drawn = [str(tools), "-m", "benchmarks.plots", str(output / "results.json"), str(output)]
    subprocess.run(drawn, cwd=ROOT, check=True)
    print(targets.table(results).markdown())
    starved = comparisons.starved(results)
    for name in starved:
        say(f"the server was too slow for a peer: {name}")
    for failure in results.failures:
        say(f"FAILED {failure}")
    say(f"{output / 'results.md'}")
    return 1 if starved or results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
