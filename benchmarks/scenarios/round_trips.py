"""How long `execute` takes, one at a time, and how many go with 100 in flight."""

from __future__ import annotations

import json
from functools import partial

from benchmarks.bench import Bench
from benchmarks.results import Figures, Results
from benchmarks.scenarios.blasts import Command, gqls, module
from benchmarks.tables import Table, spread, thousands
from benchmarks.trials import Trial

NAME = "round_trips"
COUNTS = {1: 10_000, 100: 20_000}
SLOWER = 3
"""Of gql a third of the round trips are measured, as they take so much longer."""

CONTENDERS: dict[str, tuple[Command, str]] = {
    "gqlwire": (module("ours.round_trips"), "dict"),
    "gqlwire, typed": (module("ours.round_trips"), "typed"),
    "gql on websockets": (gqls("gql.round_trips"), "websockets"),
    "gql on aiohttp": (gqls("gql.round_trips"), "aiohttp"),
    "limit, answer": (module("limit.round_trips"), "answer"),
    "limit, echo": (module("limit.round_trips"), "echo"),
}
NOTES = [
    (
        "The limit is written by hand on picows, with one future per round trip. `echo` gets its "
        "own message back and does not read it. `answer` asks the server the same as gqlwire, and "
        "decodes the answer with msgspec."
    ),
]


def trials(_: Bench) -> list[Trial]:
    """Return what is to be measured."""
    return [
        Trial(name, {"in_flight": count}, partial(measured, name=name, in_flight=count))
        for count in COUNTS
        for name in CONTENDERS
    ]


def measured(bench: Bench, name: str, in_flight: int) -> Figures:
    """Run a contender once."""
    command, mode = CONTENDERS[name]
    # One at a time all make the same number: percentiles of fewer would be others.
    share = SLOWER if in_flight > 1 and name.startswith("gql on") else 1
    count = bench.settings.count(COUNTS[in_flight] // share, least=1_000)
    blaster = bench.blaster()
    url = f"{blaster.base}/echo" if mode == "echo" else blaster.url
    wanted = json.dumps({"count": count, "in_flight": in_flight})
    return bench.run(*command(bench.peers), url, mode, wanted)


def tables(results: Results) -> list[Table]:
    """Return the results: percentiles, operations per second and their cost."""
    found = []
    for in_flight in results.cases(NAME, "in_flight"):
        how = "one at a time" if in_flight == 1 else f"{in_flight} in flight"
        table = Table(
            f"Round trips, {how}",
            ["", "p50, µs", "p99, µs", "p99.9, µs", "k/s", "client's CPU, µs"],
            notes=NOTES,
        )
        for name in results.contenders(NAME, in_flight=in_flight):
            values = partial(results.values, NAME, name, in_flight=in_flight)
            table.rows.append(
                [
                    name,
                    *(spread(values(figure)) for figure in ("p50_us", "p99_us", "p999_us")),
                    spread(values("rate"), thousands),
                    spread(values("cpu_us")),
                ]
            )
        found.append(table)
    return found
