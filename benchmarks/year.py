"""A simulated year of many clients, with gqlwire 0.1 and with this version.

    python -m benchmarks.year [--clients 1000] [--days 365] [--seed 2026] [--processes 2]
    python -m benchmarks.year --draw     draws docs/year.svg (needs matplotlib)

It writes `benchmarks/results/year.json`, and prints the table of `docs/policy.md`. A client takes a
quarter of a second or more for each version. The source of 0.1 comes from git.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "year.json"
PLOT = ROOT / "docs" / "year.svg"
BEFORE = "1c44624"
"""The last commit of 0.1."""

Client = dict[str, Any]
Figures = dict[str, float]


def figures(clients: list[Client]) -> Figures:
    """Return the figures of the table: medians over the clients, or over all gaps."""
    away = percentiles([sum(client["gaps"]) for client in clients])
    gaps = percentiles([gap for client in clients for gap in client["gaps"]])
    found = {"clients": len(clients), "away": away[49], "away_p99": away[98]}
    found |= {"gap": gaps[49], "gap_p99": gaps[98]}
    for name in ("connections", "attempts", "ended", "warnings", "errors"):
        found[name] = mean(client[name] for client in clients)
    return {name: round(value, 2) for name, value in found.items()}


def percentiles(values: list[float]) -> list[float]:
    return quantiles(values, n=100, method="inclusive")


ROWS = (
    ("attempts to connect per client", "attempts", 0),
    ("connections per client", "connections", 0),
    ("minutes without events in the year, median", "away", 60),
    ("… of the worst client in a hundred", "away_p99", 60),
    ("seconds of a gap, median", "gap", 1),
    ("… of the longest gap in a hundred", "gap_p99", 1),
    ("subscriptions that ended, per client", "ended", 1),
    ("WARNINGs per client", "warnings", 0),
)


def table(results: dict[str, Figures]) -> str:
    """Return the table of the docs."""
    lines = ["| | 0.1 | now |", "|---|---:|---:|"]
    for title, name, unit in ROWS:
        cells = [results[version][name] / (unit or 1) for version in ("before", "now")]
        shown = [f"{cell:,.{1 if unit else 0}f}" for cell in cells]
        lines.append(f"| {title} | {' | '.join(shown)} |")
    return "\n".join(lines)


def run(source: Path, clients: int, days: int, seed: int, processes: int) -> list[Client]:
    """Simulate the clients with the `src` of a version, in several processes."""
    path = os.pathsep.join(map(str, (source, ROOT / "tests", ROOT)))
    shares = [clients // processes + (n < clients % processes) for n in range(processes)]
    started = []
    for place, share in enumerate(shares):
        arguments = map(str, (sum(shares[:place]), share, days, seed))
        command = [sys.executable, "-m", "benchmarks.year_clients", *arguments]
        environment = {**os.environ, "PYTHONPATH": path}
        started.append(
            subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        )
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit("a process failed")
    return [json.loads(line) for output in outputs for line in output.splitlines()]


def run_before(clients: int, days: int, seed: int, processes: int) -> list[Client]:
    """Simulate them with 0.1, whose source is taken from git."""
    command = ["git", "archive", BEFORE, "src"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        return run(Path(folder) / "src", clients, days, seed, processes)


def curves(clients: list[Client]) -> dict[str, list[float]]:
    """Return what is drawn: percentiles of the time without events, and of the gaps."""
    return {
        "minutes": [
            round(value / 60, 1) for value in percentiles([sum(c["gaps"]) for c in clients])
        ],
        "gaps": [round(v, 2) for v in percentiles([g for c in clients for g in c["gaps"]])],
    }


def draw(curves_of: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Draw the share of clients and of gaps below each time."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "gqlwire", "font.size": 9, "figure.facecolor": "white"})
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    share = range(1, 100)
    looks = (("before", "0.1", "#D55E00", "--"), ("now", "now", "#0072B2", "-"))
    for version, label, colour, style in looks:
        for axes, name in ((left, "minutes"), (right, "gaps")):
            axes.plot(curves_of[version][name], share, style, color=colour, label=label)
    left.set(xlabel="minutes without events in a year", ylabel="% below", title="clients")
    right.set(xlabel="seconds of a gap", xscale="log", title="gaps")
    left.set_xlim(left=0)
    for axes in (left, right):
        axes.grid(color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="center left" if axes is left else "lower right")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("clients", 1_000), ("days", 365), ("seed", 2026), ("processes", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--draw", action="store_true")
    chosen = parser.parse_args()
    if chosen.draw:
        draw(json.loads(RESULTS.read_text("utf-8"))["curves"], PLOT)
        return
    how = (chosen.clients, chosen.days, chosen.seed, chosen.processes)
    write({"before": run_before(*how), "now": run(ROOT / "src", *how)})


def write(clients: dict[str, list[Client]]) -> None:
    """Save what is drawn and shown, and print the table."""
    found = {version: figures(those) for version, those in clients.items()}
    drawn = {version: curves(those) for version, those in clients.items()}
    RESULTS.write_text(json.dumps({"figures": found, "curves": drawn}, indent=1) + "\n", "utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
