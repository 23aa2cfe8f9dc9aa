"""How much memory a consumer costs that sleeps while the server sends a gigabyte."""

from __future__ import annotations

import json
import os
import subprocess
import time
from functools import partial
from pathlib import Path

from benchmarks.bench import ROOT, Bench, Blaster, ContenderFailed, told
from benchmarks.results import Figures, Results
from benchmarks.scenarios.blasts import Command, gqls, module
from benchmarks.tables import Table, megabytes, number, spread
from benchmarks.trials import Trial

NAME = "slow_consumer"
SENT = 1_000_000_000
SIZES = {16_000: "16 kB", 150: "150 B"}
ROUNDS = {16_000: 2, 150: 1}
MOST = 3_000_000_000
"""A contender that holds more bytes than this is ended."""
PATIENCE = 1.0
"""Seconds without a byte taken after which the server counts as stopped."""
LIMIT_SECONDS = 120.0
GLANCE = 0.05
"""Seconds between two looks at a contender; one that used no CPU between them is through."""

PAGE = os.sysconf("SC_PAGE_SIZE")

POLICIES = ("block", "drop_oldest", "latest", "error")
CONTENDERS: dict[str, tuple[Command, str]] = {
    **{f"gqlwire, {policy}": (module("ours.slow"), policy) for policy in POLICIES},
    "gql on websockets": (gqls("gql.slow"), "websockets"),
    "gql on aiohttp": (gqls("gql.slow"), "aiohttp"),
}
GQL_SIZES = {"gql on websockets": (16_000,), "gql on aiohttp": (16_000,)}
"""Small events take gql minutes to reach the limit."""


def trials(bench: Bench) -> list[Trial]:
    """Return what is to be measured."""
    found = []
    for size in SIZES:
        events = bench.settings.count(SENT // size, least=5_000)
        order = {"events": events, "size": size, "patience": PATIENCE}
        for name, (command, mode) in CONTENDERS.items():
            if size not in GQL_SIZES.get(name, SIZES):
                continue
            measure = partial(_measured, command=command, mode=mode, order=order)
            rounds = 1 if name in GQL_SIZES else ROUNDS[size]
            found.append(Trial(name, {"size": size}, measure, rounds))
    return found


def _measured(bench: Bench, command: Command, mode: str, order: dict[str, float]) -> Figures:
    blaster = Blaster(bench.peers.python)
    process = subprocess.Popen(
        [str(word) for word in (*command(bench.peers), blaster.url, mode, json.dumps(order))],
        cwd=ROOT,
        env=bench.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        report = _watched(process, blaster)
        if report is None:
            return {"over": MOST}
        stdout, stderr = process.communicate()
        return told(stdout, stderr, process.returncode) | {"sent": report["bytes"]}
    finally:
        process.kill()
        process.communicate()
        blaster.stop()


def _watched(process: subprocess.Popen[str], blaster: Blaster) -> dict[str, float] | None:
    """Wait until the server has sent all, or cannot, and the contender has nothing left to do.

    Return what the server says; None if the contender holds too much.
    """
    report = None
    ticks = -1
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        report = report or blaster.heard(GLANCE)
        if process.poll() is not None:
            raise ContenderFailed(f"ended by itself: {process.communicate()[1][-600:]}")
        if _rss(process.pid) > MOST:
            return None
        if report is not None:
            before, (state, ticks) = ticks, _state(process.pid)
            if state == "S" and before == ticks:
                return report
            time.sleep(GLANCE)
    raise ContenderFailed(f"not done after {LIMIT_SECONDS:g} seconds")


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def _state(pid: int) -> tuple[str, int]:
    """Return whether a process sleeps (S), and its CPU time (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])


def tables(results: Results) -> list[Table]:
    """Return what was measured."""
    sizes = [size for size in SIZES if size in results.cases(NAME, "size")]
    table = Table(
        "Peak of memory over the start, MB, with a consumer that sleeps after its first event",
        ["", *(f"events of {SIZES[size]}" for size in sizes), "sent, MB", "dropped"],
        notes=[
            (
                "The server continues after the client has told it to stop (`error`). With "
                "`block` it cannot send everything; what it has sent is in the buffers of the two "
                f"sockets. A client that needs more than {megabytes(MOST)} MB is killed."
            ),
        ],
    )
    for name in results.contenders(NAME):
        cells = [name]
        for size in sizes:
            over = results.median(NAME, name, "over", size=size)
            values = results.values(NAME, name, "peak", size=size)
            cells.append(spread(values, megabytes) if over is None else f"over {megabytes(over)}")
        cells.append(spread(results.values(NAME, name, "sent", size=sizes[0])[:1], megabytes))
        cells.append(spread(results.values(NAME, name, "dropped", size=sizes[0])[:1], number))
        table.rows.append(cells)
    return [table]
