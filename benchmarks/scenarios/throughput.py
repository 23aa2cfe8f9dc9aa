"""How many events per second reach the consumer, by their size."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers import Peers
from benchmarks.results import Case, Results
from benchmarks.scenarios.blasts import Command, blast, gqls, is_starved, module, nodes
from benchmarks.tables import Table, number, spread, thousands
from benchmarks.trials import Trial

NAME = "throughput"
EVENTS = {150: 200_000, 1_000: 30_000, 16_000: 2_500, 1_000_000: 50}
ROUNDS = {150: 1_000, 1_000: 3, 16_000: 3, 1_000_000: 3}
SIZES = {150: "150 B", 1_000: "1 kB", 16_000: "16 kB", 1_000_000: "1 MB"}
LARGEST = 1_000_000

CONTENDERS: dict[str, tuple[Command, str]] = {
    "gqlwire, dict": (module("ours.client"), "dict"),
    "gqlwire, typed": (module("ours.client"), "typed"),
    "gqlwire, batches of dict": (module("ours.client"), "batches"),
    "gqlwire, batches of typed": (module("ours.client"), "typed-batches"),
    "gql on websockets": (gqls("gql.client"), "websockets"),
    "gql on aiohttp": (gqls("gql.client"), "aiohttp"),
    "Node graphql-ws, iterate": (nodes("client"), "iterate"),
    "Node graphql-ws, sink": (nodes("client"), "sink"),
    "limit, dict": (module("limit.client"), "dict"),
    "limit, typed": (module("limit.client"), "typed"),
    "limit, frames": (module("limit.client"), "frames"),
}
NOTES = [
    (
        "The limit is written by hand on picows and msgspec, and decodes in the frame callback: no "
        "queue, no task, no `async for`, no checks. `frames` only counts the frames, and does not "
        "decode them."
    ),
    (
        "† The server worked for more than half of the time: it is the server that is too slow "
        "here, not the contender."
    ),
]


def trials(bench: Bench) -> list[Trial]:
    """Return what is to be measured."""
    found = []
    for size, events in EVENTS.items():
        order = {"events": bench.settings.count(events), "size": size}
        for name, (command, mode) in CONTENDERS.items():
            if "Node" in name and bench.peers.node is None:
                continue
            if size == 150 and name == "gql on websockets":
                found += variants(bench, order)
            measure = partial(blast, command=command, mode=mode, order=order)
            found.append(Trial(name, {"size": size}, measure, ROUNDS[size]))
    return found


def variants(bench: Bench, order: dict[str, int]) -> list[Trial]:
    """Return gqlwire on another loop, and on other Pythons."""
    case: Case = {"size": order["size"]}
    found = []
    for mode in ("dict", "typed"):
        on_loop = partial(
            blast, command=module("ours.client"), mode=mode, order=order, words=("uvloop",)
        )
        found.append(Trial(f"gqlwire on uvloop, {mode}", case, on_loop))
        for version, python in bench.peers.others.items():
            command: Command = partial(started_by, python)
            on_python = partial(blast, command=command, mode=mode, order=order)
            found.append(Trial(f"gqlwire on Python {version}, {mode}", case, on_python))
    return found


def started_by(python: Path, peers: Peers) -> list[str | Path]:
    """Return how to start gqlwire's contender on another Python."""
    return module("ours.client", lambda _: python)(peers)


def tables(results: Results) -> list[Table]:
    """Return what was measured: events per second by size, and what one costs."""
    sizes = results.cases(NAME, "size")
    rates = Table("Events per second", ["", *map(_heading, sizes)], notes=NOTES)
    costs = Table("CPU time of the client per event", ["", *(f"{SIZES[s]}, µs" for s in sizes)])
    for name in results.contenders(NAME):
        rate, cost = [name], [name]
        for size in sizes:
            values = results.values(NAME, name, "rate", size=size)
            rate.append(spread(values, number if size == LARGEST else thousands))
            rate[-1] += " †" * is_starved(results, NAME, name, size=size)
            cost.append(spread(results.values(NAME, name, "cpu_us", size=size)))
        rates.rows.append(rate)
        costs.rows.append(cost)
    return [rates, costs]


def _heading(size: int) -> str:
    return f"{SIZES[size]}, {'1/s' if size == LARGEST else 'k/s'}"
