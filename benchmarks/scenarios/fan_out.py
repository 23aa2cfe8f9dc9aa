"""What an event costs when it goes to one of many live subscriptions, and what those weigh."""

from __future__ import annotations

import json
from functools import partial

from benchmarks.bench import Bench
from benchmarks.results import Case, Figures, Results, Run
from benchmarks.scenarios.blasts import Command, blast, gqls, is_starved, module, nodes
from benchmarks.tables import Table, number, spread
from benchmarks.trials import Trial

NAME = "fan_out"
EVENTS = 200_000
LIVE = (1, 100, 10_000, 100_000)
MOST_IN_PART = 10_000
ALL_ROUNDS, MANY_ROUNDS = 1_000, 2
"""100,000 subscriptions take their time, and memory hardly differs between rounds."""

GQLWIRE = "gqlwire, a task each"
MERGED = "gqlwire, one loop over all (merge)"
GQL = "gql on websockets, a task each"
SLOWER = 5
"""Of gql a fifth of the events are measured, as they take so much longer."""
IDLE = "gqlwire, live and idle, no task"
WITH_TASK = "gqlwire, with its task"

CONSUMERS: dict[str, tuple[Command, str, int]] = {
    GQLWIRE: (module("ours.fan_out"), "events", 100_000),
    MERGED: (module("ours.fan_out"), "merged", 100_000),
    GQL: (gqls("gql.fan_out"), "events", 10_000),
    "Node graphql-ws, sinks": (nodes("fan_out"), "events", 100_000),
    "limit, a task each": (module("limit.fan_out"), "events", 100_000),
}
IN_A_ROW = "gqlwire, a task each, 20 events in a row"
TO_ONE = "gqlwire, a task each, all events for one"
WEIGHED: dict[str, tuple[Command, str, int]] = {
    IDLE: (module("ours.fan_out"), "idle", 100_000),
    WITH_TASK: (module("ours.fan_out"), "tasks", 100_000),
    "a task that waits, alone": (module("ours.fan_out"), "bare-tasks", 100_000),
    "gql on websockets, with its task": (gqls("gql.fan_out"), "tasks", 10_000),
    "Node graphql-ws, sinks": (nodes("fan_out"), "idle", 100_000),
}


def trials(bench: Bench) -> list[Trial]:
    """Return what is to be measured."""
    found = []
    for live in (live for live in LIVE if live <= MOST_IN_PART or bench.settings.is_whole):
        case: Case = {"what": "cost", "live": live}
        rounds = MANY_ROUNDS if live > 10_000 else ALL_ROUNDS
        for name, (command, mode, most) in CONSUMERS.items():
            if live <= most and ("Node" not in name or bench.peers.node is not None):
                order = ordered(bench, live, SLOWER if name == GQL else 1)
                measure = partial(blast, command=command, mode=mode, order=order)
                found.append(Trial(name, case, measure, rounds))
        if live == 10_000:
            order = ordered(bench, live)
            events = order["events"]
            for name, burst in ((IN_A_ROW, min(20, events // live)), (TO_ONE, events)):
                bursts = order | {"burst": burst}
                command = module("ours.fan_out")
                measure = partial(blast, command=command, mode="events", order=bursts)
                found.append(Trial(name, case, measure, rounds))
    return found + weighings(bench)


def ordered(bench: Bench, live: int, share: int = 1) -> dict[str, int]:
    """Order a whole number of events for each subscription, and more than one."""
    each = max(2, bench.settings.count(EVENTS // share) // live)
    return {"events": each * live, "live": live}


def weighings(bench: Bench) -> list[Trial]:
    """Return what is to be measured of memory."""
    found = []
    for live in (10_000, 100_000) if bench.settings.is_whole else (10_000,):
        for name, (command, mode, most) in WEIGHED.items():
            if live <= most and ("Node" not in name or bench.peers.node is not None):
                weigh = partial(_weighed, command=command, mode=mode, live=live)
                rounds = MANY_ROUNDS if live == 10_000 else 1
                found.append(Trial(name, {"what": "memory", "live": live}, weigh, rounds))
    return found


def _weighed(bench: Bench, command: Command, mode: str, live: int) -> Figures:
    blaster = bench.blaster()
    told = bench.run(*command(bench.peers), blaster.url, mode, json.dumps({"live": live}))
    blaster.forget()  # the blast that shows that they were live
    return told


def tables(results: Results) -> list[Table]:
    """Return what was measured: the cost per event, and the memory per subscription."""
    counts = list(dict.fromkeys(run.case["live"] for run in _of(results, "cost")))
    costs = Table(
        "Cost per event, by live subscriptions on one socket (µs)",
        ["", *(f"{count:,}" for count in counts)],
        notes=[
            (
                "The total number of events is always the same. They go to one subscription after "
                "the other. The limit is written by hand on picows and msgspec: a dict of queues, "
                "and a task for each. A lone subscription finds its next event in its queue. With "
                "many, each event wakes up a task; `merge` wakes up one task for all events that "
                "arrived together."
            ),
        ],
    )
    for name in results.contenders(NAME, what="cost"):
        row = [name]
        for count in counts:
            values = results.values(NAME, name, "rate", what="cost", live=count)
            row.append(spread([1e6 / value for value in values], number))
            row[-1] += " †" * is_starved(results, NAME, name, what="cost", live=count)
        costs.rows.append(row)
    return [costs, _memory(results)]


def _memory(results: Results) -> Table:
    counts = list(dict.fromkeys(run.case["live"] for run in _of(results, "memory")))
    table = Table(
        "Memory of one live, idle subscription (bytes)",
        ["", *(f"of {count:,}" for count in counts)],
        notes=["The growth of the resident set after a garbage collection, for each of them."],
    )
    for name in results.contenders(NAME, what="memory"):
        values = partial(results.values, NAME, name, "bytes", what="memory")
        table.rows.append([name, *(spread(values(live=count)) for count in counts)])
    return table


def _of(results: Results, what: str) -> list[Run]:
    return list(results.matching(NAME, what=what))
