"""How long a query takes on a server with Nagle's algorithm on, with and without TCP_QUICKACK.

    python -m benchmarks.quick_ack [--queries N] [--pairs N]

The server is a process of its own. It answers a query with two messages, the result and the
`complete`, and writes each by itself, as servers on asyncio do. Its listening socket is made
without IPPROTO_TCP, so that asyncio does not turn Nagle's algorithm off (`uvicorn --workers N` does
the same: Kludex/uvicorn#3149). Another server has it off: it shows what TCP_QUICKACK costs where it
is of no use. Both also with TLS.

The runs with and without are in pairs, in turn, each on a connection of its own. What is printed
are the medians of the queries of all pairs, in microseconds, and the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.exceptions import ConnectionClosed

import gqlwire
from gqlwire._wire import quick_ack

CASES = {
    "Nagle on": ("nagle", False, False),
    "Nagle on, beside a feed": ("nagle", False, True),
    "Nagle on, TLS": ("nagle", True, False),
    "Nagle off": ("nodelay", False, False),
    "Nagle off, beside a feed": ("nodelay", False, True),
    "Nagle off, TLS": ("nodelay", True, False),
}


# --- The server -----------------------------------------------------------------------------------


async def answer(websocket) -> None:
    feeds = set()
    async for text in websocket:
        message = json.loads(text)
        if message["type"] == "connection_init":
            await websocket.send('{"type":"connection_ack"}')
        elif message["type"] == "subscribe" and "subscription" in message["payload"]["query"]:
            feeds.add(asyncio.create_task(feed(websocket, message["id"])))
        elif message["type"] == "subscribe":
            result = {"id": message["id"], "type": "next", "payload": {"data": {"hello": "world"}}}
            await websocket.send(json.dumps(result))
            await websocket.send(json.dumps({"id": message["id"], "type": "complete"}))


async def feed(websocket, id: str) -> None:
    event = json.dumps({"id": id, "type": "next", "payload": {"data": {"tick": "x" * 100}}})
    with contextlib.suppress(ConnectionClosed):
        while True:
            await websocket.send(event)
            await asyncio.sleep(0.003)


async def serve(how: str, pair: str | None) -> None:
    from websockets.asyncio.server import serve as start

    proto = socket.IPPROTO_TCP if how == "nodelay" else 0
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, proto)
    listener.bind(("127.0.0.1", 0))
    context = None
    if pair is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair)
    protocols = ["graphql-transport-ws"]
    async with start(answer, sock=listener, ssl=context, subprotocols=protocols, compression=None):
        print(listener.getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def server(how: str, pair: Path | None) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.quick_ack", "--serve", how]
    command += [] if pair is None else ["--certificate", str(pair)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


# --- The client -----------------------------------------------------------------------------------


async def measure(url: str, context: ssl.SSLContext | None, *, count: int, fed: bool) -> float:
    """Return the median time of a query, in microseconds."""
    times = []
    async with gqlwire.connect(url, ssl=context) as session:
        feeding = asyncio.create_task(take(session)) if fed else None
        for _ in range(20):
            await session.execute("{ hello }")
        for _ in range(count):
            begun = time.perf_counter()
            await session.execute("{ hello }")
            times.append(time.perf_counter() - begun)
        if feeding is not None:
            feeding.cancel()
    return statistics.median(times) * 1e6


async def take(session: gqlwire.AsyncClientSession) -> None:
    async for _ in session.subscribe("subscription { tick }"):
        pass


def compare(name: str, directory: Path, *, queries: int, pairs: int) -> None:
    how, is_secure, fed = CASES[name]
    pair, context = None, None
    if is_secure:
        pair, context = certificate(directory)
    found: dict[bool, list[float]] = {True: [], False: []}
    known = quick_ack.TCP_QUICKACK
    with server(how, pair) as port:
        url = f"{'wss' if is_secure else 'ws'}://127.0.0.1:{port}/"
        for turn in range(2 * pairs):
            on = turn % 4 in (0, 3)
            quick_ack.TCP_QUICKACK = known if on else None
            found[on].append(asyncio.run(measure(url, context, count=queries, fed=fed)))
    quick_ack.TCP_QUICKACK = known
    ratio = statistics.median(a / b for a, b in zip(found[True], found[False], strict=True))
    medians = f"{statistics.median(found[True]):.0f} | {statistics.median(found[False]):.0f}"
    print(f"| {name} | {medians} | {ratio:.3f} |", flush=True)


def certificate(directory: Path) -> tuple[Path, ssl.SSLContext]:
    import trustme

    authority = trustme.CA()
    pair = directory / "pair.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pair)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return pair, context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--only")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--certificate", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve, given.certificate))
        return
    print("| server | with | without | ratio |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as directory:
        for name in CASES:
            if given.only is None or given.only == name:
                compare(name, Path(directory), queries=given.queries, pairs=given.pairs)


if __name__ == "__main__":
    main()
