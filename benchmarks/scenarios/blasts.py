"""A subscription that is blasted with events: what all scenarios of throughput have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers import Peers
from benchmarks.results import Figures, Results

FED_WELL = 0.5
"""A client is no measure of itself if the server worked for more than this share of the time."""

SHORTEST = 0.05
"""Seconds below which the first chunk that the server writes is most of what it does."""

Command = Callable[[Peers], list[str | Path]]


def module(name: str, python: Callable[[Peers], Path] = lambda peers: peers.python) -> Command:
    """Return how to start a contender that is a Python module."""
    return lambda peers: [python(peers), "-m", f"benchmarks.contenders.{name}"]


def gqls(name: str) -> Command:
    """Return how to start a contender in gql's environment."""
    return module(name, lambda peers: peers.gql)


def nodes(name: str) -> Command:
    """Return how to start a contender on Node, which may collect its garbage when it likes."""
    return lambda peers: [peers.node or "node", "--expose-gc", peers.node_folder / f"{name}.mjs"]


def blast(
    bench: Bench,
    command: Command,
    mode: str,
    order: dict[str, int],
    words: tuple[str, ...] = (),
    tls: bool = False,
) -> Figures:
    """Run a contender once; return its rate and cost, and whether the server kept it busy.

    `fed` is the share of the contender's time in which the server had nothing to do: it waited
    for the contender to read, or had written everything; None if it was too short to tell.
    """
    blaster = bench.blaster(tls=tls)
    told = bench.run(*command(bench.peers), blaster.url, mode, json.dumps(order), *words)
    report = blaster.report()
    worked = report["seconds"] - report["waited"]
    return {
        "rate": told["events"] / told["seconds"],
        "cpu_us": told["cpu"] / told["events"] * 1e6,
        "fed": 1 - worked / told["seconds"] if told["seconds"] > SHORTEST else None,
    }


def is_starved(results: Results, scenario: str, contender: str, **case: int | str) -> bool:
    """Whether the server was slower than the contender, so that the server was measured."""
    fed = results.median(scenario, contender, "fed", **case)
    return fed is not None and fed < FED_WELL
