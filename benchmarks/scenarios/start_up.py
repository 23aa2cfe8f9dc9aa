"""How long it takes to import gqlwire, to ask one question, and to start its command."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from pathlib import Path

from benchmarks.bench import ROOT, Bench, ContenderFailed
from benchmarks.results import Figures, Results
from benchmarks.tables import Table, spread
from benchmarks.trials import Trial

NAME = "start_up"
REPEATS = 5
ROUNDS = 3

GQLWIRE, GQLWIRE_BARE = "import gqlwire", "python, gqlwire's environment"
GQLWIRE_NAMES = "import gqlwire's Client, gql and WebsocketsTransport"
GQL, GQL_BARE = "import gql and its WebsocketsTransport", "python, gql's environment"

IMPORT_GQLWIRE = "import gqlwire"
IMPORT_GQLWIRE_NAMES = """
from gqlwire import Client, gql
from gqlwire.transport.websockets import WebsocketsTransport
"""
IMPORT_GQL = "import gql; from gql.transport.websockets import WebsocketsTransport"
ASK_GQLWIRE = """
import asyncio, sys, gqlwire
async def main():
    async with gqlwire.connect(sys.argv[1]) as session:
        return await session.execute("{ trades { seq } }", variable_values={"live": 0})
assert asyncio.run(main())["trades"]
"""
ASK_GQL = """
import asyncio, sys, gql
from gql.transport.websockets import WebsocketsTransport
async def main():
    request = gql.gql("{ trades { seq } }")
    request.variable_values = {"live": 0}
    async with gql.Client(transport=WebsocketsTransport(sys.argv[1])) as session:
        return await session.execute(request)
assert asyncio.run(main())["trades"]
"""

Words = list[str | Path]


def trials(bench: Bench) -> list[Trial]:
    """Return what is to be measured."""
    gqlwire, gql = bench.peers.python, bench.peers.gql
    programs: dict[str, Words] = {
        GQLWIRE_BARE: [gqlwire, "-c", "pass"],
        GQL_BARE: [gql, "-c", "pass"],
        GQLWIRE: [gqlwire, "-c", IMPORT_GQLWIRE],
        GQLWIRE_NAMES: [gqlwire, "-c", IMPORT_GQLWIRE_NAMES],
        GQL: [gql, "-c", IMPORT_GQL],
        "gqlwire, one query": [gqlwire, "-c", ASK_GQLWIRE, "URL"],
        "gql on websockets, one query": [gql, "-c", ASK_GQL, "URL"],
    }
    commands: dict[str, Words] = {
        "gqlwire --version": [gqlwire.parent / "gqlwire", "--version"],
        "gql-cli --version": [gql.parent / "gql-cli", "--version"],
        "gqlwire query": [
            gqlwire.parent / "gqlwire",
            *("query", "--quiet", "-V", "live=0", "URL", "{ trades { seq } }"),
        ],
        "gql-cli, one query": [
            gql.parent / "gql-cli",
            *("URL", "--transport", "websockets", "-V", "live:0"),
        ],
    }
    return [
        Trial(name, {"what": what}, partial(_measured, words=words), ROUNDS)
        for what, listed in (("python", programs), ("command", commands))
        for name, words in listed.items()
    ]


def _measured(bench: Bench, words: Words) -> Figures:
    """Run a program some times; return the milliseconds of the quickest and of the middle."""
    url = bench.blaster().url
    command = [url if word == "URL" else str(word) for word in words]
    taken = sorted(
        seconds(command, bench.environment()) for _ in range(bench.settings.count(REPEATS, least=3))
    )
    return {"ms": taken[len(taken) // 2] * 1e3, "least_ms": taken[0] * 1e3}


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Run a program to its end; return how long that took. Raises ContenderFailed."""
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        input="query { trades { seq } }",
        capture_output=True,
        text=True,
        check=False,
    )
    taken = time.perf_counter() - began
    if done.returncode:
        raise ContenderFailed(f"ended with status {done.returncode}: {done.stderr[-600:]}")
    return taken


def bare_of(name: str) -> str:
    """Return the bare Python that a program is to be compared with."""
    return GQLWIRE_BARE if "gqlwire" in name else GQL_BARE


def beyond_python(results: Results, name: str) -> list[float]:
    """Return the milliseconds of a program without Python's own start, of each round."""
    start = results.median(NAME, bare_of(name), "ms")
    values = results.values(NAME, name, "ms")
    return [] if start is None else [value - start for value in values]


def tables(results: Results) -> list[Table]:
    """Return what was measured."""
    table = Table(
        "Start of a process, ms",
        ["", "whole process", "beyond python's own start"],
        notes=[
            (
                "Each round is the median of some processes that ran one after the other. `import "
                "gqlwire` alone imports next to nothing, because gqlwire imports its modules "
                "lazily. The import of the names is what compares with gql's."
            ),
        ],
    )
    for name in results.contenders(NAME):
        own = [] if name == bare_of(name) else beyond_python(results, name)
        table.rows.append([name, spread(results.values(NAME, name, "ms")), spread(own)])
    return [table]
