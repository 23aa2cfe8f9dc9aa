"""Where gqlwire is not ahead of a peer, found by comparing all that can be compared.

The limit is no peer: it does less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.results import Results
from benchmarks.scenarios import blasts, fan_out, start_up, throughput
from benchmarks.tables import Table, kilobytes, number
from benchmarks.targets import Point, point

GQLS = ("gql on websockets", "gql on aiohttp")
CONNECTION_FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "bytes": ("memory of one, kB", kilobytes),
    "connect_ms": ("until all are open, ms", number),
    "cpu_us": ("CPU to open one, µs", number),
    "idle_percent": ("CPU while idle, % of a core", number),
}


@dataclass(frozen=True)
class Comparison:
    """One figure of ours beside that of peers."""

    name: str
    ours: Point
    peers: tuple[Point, ...]
    lower_is_better: bool = False
    write: Callable[[float], str] = number

    def behind(self, results: Results) -> list[str] | None:
        """Return a row of a table if a peer is as good or better; the best of them is named."""
        ours = self.ours.of(results)
        found = [(peer.of(results), peer.contender) for peer in self.peers]
        measured = [(figure, name) for figure, name in found if figure is not None]
        if ours is None or not measured:
            return None
        best, name = min(measured) if self.lower_is_better else max(measured)
        if ours < best if self.lower_is_better else ours > best:
            return None
        return [self.name, self.write(ours), self.write(best), name]


def behind(results: Results) -> Table:
    """Return where a peer is as good or better."""
    found = (comparison.behind(results) for comparison in comparisons())
    rows = [row for row in found if row is not None]
    return Table("", ["", "gqlwire", "best peer", "which"], rows)


def starved(results: Results) -> list[str]:
    """Return the peers that the server did not feed fast enough to be measured."""
    return [
        f"{scenario}, {run.contender}, {run.case}"
        for scenario in ("pairs", "throughput", "wire")
        for run in results.matching(scenario)
        if run.round == 0
        and run.contender.startswith(("gql on", "Node"))
        and blasts.is_starved(results, scenario, run.contender, **run.case)
    ]


def comparisons() -> Iterator[Comparison]:
    """Yield everything that can be compared, whether it was measured or not."""
    yield from events()
    yield from trips()
    yield from subscriptions()
    yield from connections()
    yield from starts()


def events() -> Iterator[Comparison]:
    """Yield the comparisons of throughput, on all wires."""
    pairs = (
        ("gqlwire, dict", ("Node graphql-ws, iterate", *GQLS)),
        ("gqlwire, typed", ("Node graphql-ws, sink",)),
    )
    for ours, theirs in pairs:
        for size, written in throughput.SIZES.items():
            yield Comparison(
                f"events of {written} per second ({ours.partition(', ')[2]})",
                point("throughput", ours, "rate", size=size),
                tuple(point("throughput", peer, "rate", size=size) for peer in theirs),
            )
    ours, theirs = pairs[0]
    for size in (150, 1_000):
        for wire in ("TLS", "deflate", "TLS and deflate"):
            yield Comparison(
                f"events of {throughput.SIZES[size]} per second with {wire}",
                point("wire", ours, "rate", size=size, wire=wire),
                tuple(point("wire", peer, "rate", size=size, wire=wire) for peer in theirs),
            )


def trips() -> Iterator[Comparison]:
    """Yield the comparisons of round trips."""
    for in_flight, how in ((1, "one at a time"), (100, "100 in flight")):
        for figure in ("p50_us", "p99_us", "p999_us", "rate"):
            yield Comparison(
                f"round trips, {how}, {figure.replace('_us', ' in µs')}",
                point("round_trips", "gqlwire", figure, in_flight=in_flight),
                tuple(point("round_trips", peer, figure, in_flight=in_flight) for peer in GQLS),
                lower_is_better=figure != "rate",
            )


def subscriptions() -> Iterator[Comparison]:
    """Yield the comparisons of many subscriptions on one socket."""
    theirs: tuple[str, ...] = (fan_out.GQL, "Node graphql-ws, sinks")
    for live in fan_out.LIVE:
        for ours in (fan_out.GQLWIRE, fan_out.MERGED):
            yield Comparison(
                f"events per second to {live:,} live subscriptions ({ours.partition(', ')[2]})",
                point("fan_out", ours, "rate", what="cost", live=live),
                tuple(point("fan_out", peer, "rate", what="cost", live=live) for peer in theirs),
            )
    pairs = (
        (fan_out.IDLE, "Node graphql-ws, sinks"),
        (fan_out.WITH_TASK, "gql on websockets, with its task"),
    )
    for live in (10_000, 100_000):
        for ours, peer in pairs:
            yield Comparison(
                f"memory of one of {live:,} subscriptions, bytes ({ours.partition(', ')[2]})",
                point("fan_out", ours, "bytes", what="memory", live=live),
                (point("fan_out", peer, "bytes", what="memory", live=live),),
                lower_is_better=True,
            )


def connections() -> Iterator[Comparison]:
    """Yield the comparisons of many connections."""
    for count in (1, 100, 1_000, 5_000):
        for figure, (name, write) in CONNECTION_FIGURES.items():
            yield Comparison(
                f"{count:,} connections, {name}",
                point("connections", "gqlwire", figure, count=count),
                tuple(
                    point("connections", peer, figure, count=count)
                    for peer in (*GQLS, "Node graphql-ws")
                ),
                lower_is_better=True,
                write=write,
            )


def starts() -> Iterator[Comparison]:
    """Yield the comparisons of starting."""
    pairs = (
        (start_up.GQLWIRE_NAMES, start_up.GQL),
        ("gqlwire, one query", "gql on websockets, one query"),
        ("gqlwire --version", "gql-cli --version"),
        ("gqlwire query", "gql-cli, one query"),
    )
    for ours, theirs in pairs:
        yield Comparison(
            f"{ours}, ms of the whole process",
            point("start_up", ours, "ms"),
            (point("start_up", theirs, "ms"),),
            lower_is_better=True,
        )
