"""What a consumer that is too slow costs, and for how long `overflow="block"` holds.

    python -m benchmarks.slow_consumers [--seconds N]

The server is a process of its own. It sends numbered events of about 300 bytes as fast as the
client takes them, or 2,000 in a second. Two tables are printed:

- without `resume`: what is read for a consumer that never takes a second event, until the
  subscription ends with SlowConsumer;
- with `resume`: what a consumer gets that takes 1,800 events in a second of a feed of 2,000, or
  all of a feed that is as fast as possible; how often the server had to start an operation; and the
  most events and bytes that waited.

The neighbour is a subscription that waits for an event in another task.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

import gqlwire
from gqlwire import Buffer
from gqlwire.errors import SlowConsumer

PROTOCOLS = ("graphql-transport-ws", "graphql-ws")
PAD = "x" * 200
FEED = "subscription Feed($after: Int, $rate: Int) { n(after: $after, rate: $rate) { n pad } }"
QUIET = "subscription Quiet { quiet }"
RATE = 2_000
MEGABYTE = 1e6

# --- The server -----------------------------------------------------------------------------------


async def feed(websocket: ServerConnection, start: dict[str, Any], word: str) -> None:
    """Send the numbers after the cursor, `rate` in a second; 0 means as fast as possible."""
    variables = start["payload"].get("variables") or {}
    number, rate, begin = variables.get("after") or 0, variables.get("rate"), time.monotonic()
    first = number
    while rate is not None:
        number += 1
        payload = {"data": {"n": {"n": number, "pad": PAD}}}
        with contextlib.suppress(ConnectionClosed):
            await websocket.send(json.dumps({"id": start["id"], "type": word, "payload": payload}))
        due = begin + (number - first) / rate if rate else 0
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def answer(websocket: ServerConnection) -> None:
    feeds: dict[str, asyncio.Task[None]] = {}
    word = "next" if websocket.subprotocol == PROTOCOLS[0] else "data"
    async for text in websocket:
        said = json.loads(text)
        if said["type"] == "connection_init":
            await websocket.send('{"type":"connection_ack"}')
        elif said["type"] in ("subscribe", "start"):
            feeds[said["id"]] = asyncio.create_task(feed(websocket, said, word))
        elif said["type"] in ("complete", "stop"):
            feeds.pop(said["id"]).cancel()
        elif said["type"] == "ping":
            await websocket.send('{"type":"pong"}')
    for task in feeds.values():
        task.cancel()


async def run_server() -> None:
    async with serve(
        answer, "127.0.0.1", 0, subprotocols=PROTOCOLS, compression=None, ping_interval=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.close()


@contextmanager
def running_server() -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.slow_consumers", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"ws://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


# --- The client -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def neighbour(session: Any, *, is_there: bool) -> Any:
    task = asyncio.ensure_future(anext(session.subscribe(QUIET))) if is_there else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


async def stall(url: str, protocol: str, ping: float | None, *, beside: bool, limit: float) -> str:
    """Take one event, and no more; return what was read until the end, or until `limit`."""
    client = gqlwire.connect(url, subprotocols=[protocol], ping_interval=ping)
    async with client as session, neighbour(session, is_there=beside):
        events = session.subscribe(FEED, variable_values={"rate": 0})
        await anext(events)
        begin = time.monotonic()
        reads, last, is_new = [0.0], 0, False
        while time.monotonic() < begin + limit and events.stream.over is None:
            await asyncio.sleep(0.05)
            read = session.counters.bytes_received
            if read == last:
                is_new = True  # what comes now is another read
                continue
            if is_new:
                reads.append(0.0)
                is_new = False
            reads[-1] += (read - last) / MEGABYTE
            last = read
        seconds, held = time.monotonic() - begin, events.buffered_size
        end = events.stream.over
        is_over = end is not None and isinstance(end.failure, SlowConsumer)
        await events.aclose()
    how = f"SlowConsumer after {seconds:.1f} s" if is_over else f"lives after {seconds:.0f} s"
    amounts = ", ".join(f"{amount:.1f}" for amount in reads)
    return f"{how}; {held / MEGABYTE:.0f} MB wait; MB that were read, without a break: {amounts}"


async def trail(
    url: str, protocol: str, rate: int, buffer: Buffer, seconds: float, *, beside: bool
) -> str:
    """Consume a bit slower than the events come; return rates, and what waited at most."""
    starts = 0

    def resume(last: Any, given: dict[str, Any]) -> dict[str, Any]:
        nonlocal starts
        starts += 1
        return {**given, "after": last["n"]["n"]}

    client = gqlwire.connect(url, subprotocols=[protocol])
    async with client as session, neighbour(session, is_there=beside):
        events = session.subscribe(
            FEED, variable_values={"rate": rate}, buffer=buffer, resume=resume
        )
        begin, taken, most, size = time.monotonic(), 0, 0, 0
        async for event in events:
            taken += 1
            assert taken == event["n"]["n"], "an event was lost, or came twice"
            if taken % 18 == 0:  # 1,800 in a second, if it is that slow
                most = max(most, events.buffered)
                size = max(size, events.buffered_size)
                due = begin + taken / (0.9 * rate) if rate else 0.0
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() > begin + seconds:
                break
        took, read = time.monotonic() - begin, session.counters.bytes_received
        await events.aclose()
    return (
        f"{taken / took:,.0f} events/s, {starts / took:.2f} starts/s, at most {most:,} events "
        f"({size / MEGABYTE:.2f} MB); {read / taken:,.0f} bytes read per event"
    )


async def measure(url: str, seconds: float) -> None:
    print("without resume: a consumer that stalls, a default Buffer")
    for protocol in PROTOCOLS:
        for ping in (None, 2.0):
            for beside in (False, True):
                said = await stall(url, protocol, ping, beside=beside, limit=4 * seconds)
                print(f"  {protocol:20} {_pings(ping):12} {_beside(beside):10} {said}")
    print("with resume: a consumer that is a bit slower than the feed")
    for protocol in PROTOCOLS:
        for rate in (RATE, 0):
            for events in (10, 100, 1_000):
                for beside in (False, True):
                    said = await trail(url, protocol, rate, Buffer(events), seconds, beside=beside)
                    feed = f"{rate:,}/s" if rate else "full speed"
                    print(
                        f"  {protocol:20} {feed:10} buffer={events:<5} {_beside(beside):10} {said}"
                    )


def _pings(interval: float | None) -> str:
    return "no pings" if interval is None else f"ping each {interval:.0f} s"


def _beside(is_there: bool) -> str:
    return "neighbour" if is_there else "alone"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true", help="be the server")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each case runs")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(run_server())
        return
    with running_server() as url:
        asyncio.run(measure(url, arguments.seconds))


if __name__ == "__main__":
    main()
