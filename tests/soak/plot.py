"""Draws the samples of endurance runs: a column for each run, a row for each figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from samples import LIMITS, Sample, columns

UNJUDGED = {"events": "events per second", "resubscriptions": "resubscribed per second"}


def draw(runs: Mapping[str, Sequence[Sample]], warm_up: float, path: Path) -> None:
    """Write an SVG or a PNG. `warm_up` is the part of each run that is not judged."""
    mpl.use("svg" if path.suffix == ".svg" else "agg")
    mpl.rcParams.update({"font.size": 8, "svg.hashsalt": "gqlwire", "axes.axisbelow": True})
    names = [*LIMITS, *UNJUDGED]
    figure = Figure(figsize=(5 * len(runs), 1.2 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), len(runs), sharex="col", squeeze=False)
    for column, (run, samples) in enumerate(runs.items()):
        figures = columns(samples)
        minutes = [seconds / 60 for seconds in figures["seconds"]]
        for row, name in enumerate(names):
            axes = grid[row][column]
            axes.axvspan(0, warm_up * minutes[-1], color="#eeeeee")
            axes.grid(color="#dddddd")
            if name in UNJUDGED:
                axes.plot(minutes, _rates(minutes, figures[name]), color="#666666", linewidth=0.8)
                axes.set_ylabel(UNJUDGED[name].replace(" per", "\nper"))
            else:
                limit = LIMITS[name]
                scaled = [value / limit.scale for value in figures[name]]
                axes.plot(minutes, scaled, color="#0072B2", linewidth=0.8)
                axes.set_ylabel(f"{name}\n{limit.unit}".rstrip())
            axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
            axes.spines[["top", "right"]].set_visible(False)
        grid[0][column].set_title(f"{run} (grey: warm-up)")
        grid[-1][column].set_xlabel("minutes")
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def _rates(minutes: Sequence[float], totals: Sequence[float]) -> list[float]:
    times = [0.0, *minutes]
    counts = [0.0, *totals]
    return [
        (b - a) / (end - begin) / 60
        for a, b, begin, end in zip(counts, counts[1:], times, times[1:], strict=False)
    ]
