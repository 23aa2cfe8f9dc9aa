"""The plots of the results, as SVG: `python -m benchmarks.plots RESULTS.json FOLDER`.

Run where matplotlib is. The same results give the same files, byte by byte. They are drawn on
white, so that they can be read on a dark page, too.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.results import Results
from benchmarks.scenarios import (
    connections,
    fan_out,
    pairs,
    round_trips,
    slow_consumer,
    start_up,
    wire,
)
from benchmarks.scenarios import throughput as events

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "gqlwire",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.titlesize": 10,
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "legend.frameon": False,
    }
)

# Of Okabe and Ito: to be told apart by everybody.
OURS, GQL, NODE, LIMIT = "#0072B2", "#D55E00", "#009E73", "#999999"
FAMILIES = (OURS, GQL, NODE, LIMIT)
STYLES = ("o-", "s--", "^:", "v-.", "D-", "x--")


def colour(name: str) -> str:
    """Return the colour of a contender's family."""
    if name.startswith(("gql on", "gql-cli", "import gql and", "python, gql's")):
        return GQL
    if name.startswith("Node"):
        return NODE
    return OURS if "gqlwire" in name else LIMIT


Rows = list[tuple[str, list[float]]]


def rows_of(results: Results, scenario: str, figure: str, **case: int | str) -> Rows:
    """Return a figure of all contenders that have it, family by family."""
    names = sorted(
        results.contenders(scenario, **case), key=lambda name: FAMILIES.index(colour(name))
    )
    found = [(name, results.values(scenario, name, figure, **case)) for name in names]
    return [(name, values) for name, values in found if values]


def bars(axes: Axes, rows: Rows, unit: str, *, by: float = 1.0) -> None:
    """Draw a bar for each row: its median, and a line from the least to the most."""
    scaled = [(name, [value / by for value in values]) for name, values in rows]
    middles = [statistics.median(values) for _, values in scaled]
    below = [middle - min(row[1]) for middle, row in zip(middles, scaled, strict=True)]
    above = [max(row[1]) - middle for middle, row in zip(middles, scaled, strict=True)]
    names = [name for name, _ in rows]
    axes.barh(
        names,
        middles,
        xerr=[below, above],
        color=[colour(name) for name in names],
        error_kw={"elinewidth": 1, "ecolor": "#333333"},
    )
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.grid(axis="x", color="#dddddd")


def lines(axes: Axes, results: Results, scenario: str, key: str, **wanted: Any) -> None:
    """Draw a line for each contender over the values of a case; both axes are logarithmic."""
    figure, case, shown = wanted["figure"], wanted.get("case", {}), wanted["shown"]
    for name in results.contenders(scenario, **case):
        points = [
            (at, results.median(scenario, name, figure, **case, **{key: at}))
            for at in results.cases(scenario, key)
        ]
        known = [(at, shown(middle)) for at, middle in points if middle is not None]
        if len(known) > 1:
            style = STYLES[sum(colour(line.get_label()) == colour(name) for line in axes.lines)]
            axes.plot(*zip(*known, strict=True), style, label=name, color=colour(name))
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis, 1, 2, 5)
    axes.grid(color="#dddddd")


def plain_numbers(axis: Axis, *steps: float) -> None:
    """Write plain numbers on a logarithmic axis, at `steps` of each decade."""
    axis.set_major_locator(LogLocator(subs=steps or (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_pairs(results: Results) -> Figure:
    """Draw the ratio of each round as a dot, and the medians as lines."""
    measured = [(pair, ratios) for pair in pairs.PAIRS if (ratios := pair.ratios(results))]
    figure = Figure(figsize=(11, 0.4 * len(measured) + 0.9))
    axes = figure.subplots()
    for at, (_, ratios) in enumerate(reversed(measured)):
        axes.plot(ratios, [at] * len(ratios), "o", alpha=0.4, color=OURS)
        axes.plot(statistics.median(ratios), at, "|", markersize=20, color="black")
    axes.set_yticks(range(len(measured)), [pair.name for pair, _ in reversed(measured)])
    axes.set_xscale("log")
    plain_numbers(axes.xaxis, 1, 2, 5)
    axes.set_xlabel("ratio: a dot for each round, a line for the median")
    axes.grid(axis="x", color="#dddddd")
    figure.tight_layout()
    return figure


def draw_throughput(results: Results) -> Figure:
    """Draw events per second, a panel for each size."""
    sizes = results.cases(events.NAME, "size")
    figure = Figure(figsize=(11, 3.6 * ((len(sizes) + 1) // 2) + 0.6))
    for at, size in enumerate(sizes):
        axes = figure.add_subplot((len(sizes) + 1) // 2, 2, at + 1)
        rows = rows_of(results, events.NAME, "rate", size=size)
        if size > 150:
            # Counting without reading grows out of the picture; the table has it.
            rows = [row for row in rows if row[0] != "limit, frames"]
        is_large = size == events.LARGEST
        unit = "events per second" if is_large else "thousand events per second"
        bars(axes, rows, unit, by=1 if is_large else 1e3)
        axes.set_title(f"events of {events.SIZES[size]}")
    return figure


def draw_round_trips(results: Results) -> Figure:
    """Draw percentiles, and operations per second."""
    figure = Figure(figsize=(11, 6.4))
    for at, in_flight in enumerate(results.cases(round_trips.NAME, "in_flight")):
        how = "one at a time" if in_flight == 1 else f"{in_flight} in flight"
        axes = figure.add_subplot(2, 2, 2 * at + 1)
        for percentile, marker in (("p999", "|"), ("p99", "D"), ("p50", "o")):
            rows = rows_of(results, round_trips.NAME, f"{percentile}_us", in_flight=in_flight)
            names = [name for name, _ in rows]
            axes.scatter(
                [statistics.median(values) for _, values in rows],
                names,
                marker=marker,
                s=120 if marker == "|" else 30,
                color=[colour(name) for name in names],
            )
        axes.set_xscale("log")
        plain_numbers(axes.xaxis, 1, 2, 5)
        axes.invert_yaxis()
        axes.grid(axis="x", color="#dddddd")
        axes.set_title(f"round trips, {how}: p50 ●  p99 ◆  p99.9 |")
        axes.set_xlabel("microseconds")
        axes = figure.add_subplot(2, 2, 2 * at + 2)
        rows = rows_of(results, round_trips.NAME, "rate", in_flight=in_flight)
        bars(axes, rows, "thousand round trips per second", by=1e3)
        axes.set_title(how)
    return figure


def draw_fan_out(results: Results) -> Figure:
    """Draw the cost per event by the number of subscriptions, and the memory of one."""
    figure = Figure(figsize=(11, 4.6))
    axes = figure.add_subplot(1, 2, 1)
    wanted = {"figure": "rate", "case": {"what": "cost"}, "shown": lambda rate: 1e6 / rate}
    lines(axes, results, fan_out.NAME, "live", **wanted)
    axes.set_xlabel("live subscriptions on one socket")
    axes.set_ylabel("microseconds per event")
    axes.legend(loc="upper left", fontsize=8)
    axes.set_ylim(top=axes.get_ylim()[1] * 4)  # room for the legend
    axes = figure.add_subplot(1, 2, 2)
    rows = rows_of(results, fan_out.NAME, "bytes", what="memory", live=10_000)
    bars(axes, rows, "kB per subscription, of 10,000", by=1e3)
    axes.set_title("memory of one live, idle subscription")
    return figure


def draw_connections(results: Results) -> Figure:
    """Draw the costs of connections."""
    figure = Figure(figsize=(11, 7.2))
    axes = figure.add_subplot(2, 2, 1)
    rows = rows_of(results, connections.NAME, "bytes", count=1_000)
    bars(axes, rows, "kB per connection, of 1,000", by=1e3)
    axes.set_title("memory")
    axes = figure.add_subplot(2, 2, 2)
    lines(
        axes, results, connections.NAME, "count", figure="connect_ms", shown=lambda middle: middle
    )
    axes.set_xlabel("connections, opened 100 at a time")
    axes.set_ylabel("milliseconds until all are open")
    axes.legend(loc="upper left", fontsize=8)
    axes = figure.add_subplot(2, 2, 3)
    rows = rows_of(results, connections.NAME, "idle_percent", count=1_000)
    bars(axes, rows, "percent of a core, with 1,000 connections")
    axes.set_title("CPU while nothing happens")
    axes = figure.add_subplot(2, 2, 4)
    rows = rows_of(results, connections.NAME, "cpu_us", count=1_000)
    bars(axes, rows, "microseconds per connection, of 1,000")
    axes.set_title("CPU to open one")
    return figure


def draw_slow_consumer(results: Results) -> Figure:
    """Draw peaks of memory; one that was ended has a hatched bar."""
    sizes = results.cases(slow_consumer.NAME, "size")
    figure = Figure(figsize=(11, 3.2))
    for at, size in enumerate(sizes):
        axes = figure.add_subplot(1, len(sizes), at + 1)
        ended = [name for name, _ in rows_of(results, slow_consumer.NAME, "over", size=size)]
        rows = [
            (
                name,
                results.values(slow_consumer.NAME, name, "peak", size=size)
                or [float(slow_consumer.MOST)],
            )
            for name in results.contenders(slow_consumer.NAME, size=size)
        ]
        bars(axes, rows, "MB over the start (logarithmic)", by=1e6)
        for (name, _), bar in zip(rows, axes.patches, strict=True):
            bar.set_hatch("//" if name in ended else "")
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
        over = ", hatched: ended there" if ended else ""
        axes.set_title(f"events of {slow_consumer.SIZES[size]}{over}")
    return figure


def draw_start_up(results: Results) -> Figure:
    """Draw the time that processes take."""
    figure = Figure(figsize=(11, 3.8))
    axes = figure.add_subplot()
    bars(axes, rows_of(results, start_up.NAME, "ms"), "milliseconds, of the whole process")
    return figure


def draw_wire(results: Results) -> Figure:
    """Draw events per second by what is done to them on the way, a panel for each size."""
    sizes, wires = results.cases(wire.NAME, "size"), results.cases(wire.NAME, "wire")
    figure = Figure(figsize=(11, 2.2 * len(wires) + 0.8))
    for row, how in enumerate(wires):
        for column, size in enumerate(sizes):
            axes = figure.add_subplot(len(wires), len(sizes), row * len(sizes) + column + 1)
            rows = rows_of(results, wire.NAME, "rate", size=size, wire=how)
            bars(axes, rows, "thousand events per second", by=1e3)
            axes.set_title(f"events of {wire.SIZES[size]}, {how}")
    return figure


DRAWINGS: dict[str, Callable[[Results], Figure]] = {
    pairs.NAME: draw_pairs,
    events.NAME: draw_throughput,
    round_trips.NAME: draw_round_trips,
    fan_out.NAME: draw_fan_out,
    connections.NAME: draw_connections,
    slow_consumer.NAME: draw_slow_consumer,
    start_up.NAME: draw_start_up,
    wire.NAME: draw_wire,
}


def main(source: Path, folder: Path) -> None:
    """Draw everything that was measured."""
    results = Results.load(source)
    for name, draw in DRAWINGS.items():
        if any(results.matching(name)):
            figure = draw(results)
            figure.set_layout_engine("constrained")
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
