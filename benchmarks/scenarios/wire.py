"""What TLS and permessage-deflate do to the number of events per second."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import Bench
from benchmarks.results import Results
from benchmarks.scenarios.blasts import Command, blast, gqls, is_starved, module, nodes
from benchmarks.tables import Table, spread, thousands
from benchmarks.trials import Trial

NAME = "wire"
EVENTS = {150: 60_000, 1_000: 20_000}
SIZES = {150: "150 B", 1_000: "1 kB"}
ROUNDS = 3

PLAIN, TLS, DEFLATE, BOTH = "plain", "TLS", "deflate", "TLS and deflate"
DEFLATED = (DEFLATE, BOTH)
SLOW_TO_INFLATE = {"Node graphql-ws, iterate": 20}
"""Of these only one event in so many is measured where they are deflated."""

CONTENDERS: dict[str, tuple[Command, str]] = {
    "gqlwire, dict": (module("ours.client"), "dict"),
    "gql on websockets": (gqls("gql.client"), "websockets"),
    "gql on aiohttp": (gqls("gql.client"), "aiohttp"),
    "Node graphql-ws, iterate": (nodes("client"), "iterate"),
    "limit, dict": (module("limit.client"), "dict"),
}


def trials(bench: Bench) -> list[Trial]:
    """Return what is to be measured; the limit knows no deflate."""
    found = []
    for size, events in EVENTS.items():
        for wire in (PLAIN, TLS, DEFLATE, BOTH):
            for name, (command, mode) in CONTENDERS.items():
                if not takes_part(name, wire, bench):
                    continue
                share = SLOW_TO_INFLATE.get(name, 1) if wire in DEFLATED else 1
                measure = partial(
                    blast,
                    command=command,
                    mode=mode,
                    order={"events": bench.settings.count(events // share), "size": size},
                    words=("deflate",) if wire in DEFLATED else (),
                    tls=wire in (TLS, BOTH),
                )
                found.append(Trial(name, {"size": size, "wire": wire}, measure, ROUNDS))
    return found


def takes_part(name: str, wire: str, bench: Bench) -> bool:
    """Tell whether a contender can be measured on a wire."""
    if "Node" in name:
        return bench.peers.node is not None
    return not (name.startswith("limit") and wire in DEFLATED)


def tables(results: Results) -> list[Table]:
    """Return what was measured: events per second."""
    found = []
    for size in results.cases(NAME, "size"):
        wires = results.cases(NAME, "wire")
        table = Table(f"Events of {SIZES[size]} per second (thousands)", ["", *wires])
        for name in results.contenders(NAME):
            row = [name]
            for wire in wires:
                values = results.values(NAME, name, "rate", size=size, wire=wire)
                row.append(spread(values, thousands))
                row[-1] += " †" * is_starved(results, NAME, name, size=size, wire=wire)
            table.rows.append(row)
        found.append(table)
    return found
