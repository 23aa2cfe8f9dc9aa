"""What many connections in one process cost: to open, to hold, and to do nothing with."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from benchmarks.bench import Bench
from benchmarks.results import Figures, Results
from benchmarks.scenarios.blasts import Command, gqls, module, nodes
from benchmarks.tables import Table, kilobytes, number, spread
from benchmarks.trials import Trial

NAME = "connections"
COUNTS = (1, 100, 1_000, 5_000)
IDLE_SECONDS = 2.0
ROUNDS = {1: 5, 100: 5, 1_000: 3, 5_000: 2}
PINGS = "`pinging`: each connection sends a ping of the protocol per second. The others send none."
KEPT = "`not kept alive`: with `reconnecting=False`, like the peers."

CONTENDERS: dict[str, tuple[Command, str, tuple[int, ...]]] = {
    "gqlwire": (module("ours.connections"), "quiet", COUNTS),
    "gqlwire, not kept alive": (module("ours.connections"), "once", (1_000,)),
    "gqlwire, pinging": (module("ours.connections"), "pings", (1_000,)),
    "gql on websockets": (gqls("gql.connections"), "websockets", COUNTS[:3]),
    "gql on websockets, pinging": (
        gqls("gql.connections"),
        "websockets-pings",
        (1_000,),
    ),
    "gql on aiohttp": (gqls("gql.connections"), "aiohttp", COUNTS[:3]),
    "Node graphql-ws": (nodes("connections"), "quiet", COUNTS),
}


def trials(bench: Bench) -> list[Trial]:
    """Return what is to be measured."""
    found = []
    for count in COUNTS if bench.settings.is_whole else COUNTS[:-1]:
        for name, (command, mode, counts) in CONTENDERS.items():
            if count not in counts or ("Node" in name and bench.peers.node is None):
                continue
            idle = bench.settings.seconds(IDLE_SECONDS) if count >= 1_000 else 0.0
            measure = partial(_measured, command=command, mode=mode, count=count, idle=idle)
            found.append(Trial(name, {"count": count}, measure, ROUNDS[count]))
    return found


def _measured(bench: Bench, command: Command, mode: str, count: int, idle: float) -> Figures:
    wanted = json.dumps({"count": count, "idle": idle})
    return bench.run(*command(bench.peers), bench.blaster().url, mode, wanted)


def tables(results: Results) -> list[Table]:
    """Return what was measured."""
    counts = results.cases(NAME, "count")
    return [
        _table(results, "Memory of one connection (kB)", "bytes", counts, kilobytes, note=KEPT),
        _table(results, "Until all are acknowledged, 100 at a time (ms)", "connect_ms", counts),
        _table(results, "CPU time of the client to open one (µs)", "cpu_us", counts),
        _table(
            results, "CPU while nothing happens (% of a core)", "idle_percent", counts, note=PINGS
        ),
    ]


def _table(
    results: Results,
    title: str,
    figure: str,
    counts: list[int],
    write: Callable[[float], str] = number,
    note: str = "",
) -> Table:
    """Return a table of one figure; a column, and a row, of nothing is left out."""
    cells = {
        (name, count): results.values(NAME, name, figure, count=count)
        for name in results.contenders(NAME)
        for count in counts
    }
    used = [count for count in counts if any(cells[key] for key in cells if key[1] == count)]
    table = Table(title, ["", *(f"{count:,}" for count in used)], notes=[note] if note else [])
    for name in results.contenders(NAME):
        row = [cells[name, count] for count in used]
        if any(row):
            table.rows.append([name, *(spread(values, write) for values in row)])
    return table
