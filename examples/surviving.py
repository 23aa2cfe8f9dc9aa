"""A feed, a mutation and a process, each cut off, and what becomes of them.

python surviving.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import pathlib
import sys
import tempfile
from typing import Any

import gqlwire
from gqlwire import AsyncClientSession, FileCheckpoint, Hooks, Reconnected, RetryPolicy
from gqlwire.errors import OperationInterrupted

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"

TRADES = "subscription Trades($after: Int! = 0) { trades(after: $after) { seq symbol price } }"
ORDER = 'mutation { placeOrder(symbol: "AURA", side: BUY, size: 1) { status } }'

Event = dict[str, Any]


def go_on(last: Event, variables: Event) -> Event:
    """The variables to go on with, behind the newest trade that came."""
    return {**variables, "after": last["trades"]["seq"]}


async def feed(session: AsyncClientSession) -> None:
    """The socket is dropped, twice; no trade is missing, and none comes twice."""
    seqs: list[int] = []
    gaps = 0
    async with session.subscribe(TRADES, resume=go_on, tell_reconnects=True) as trades:
        async for event in trades:
            if isinstance(event, Reconnected):
                gaps += 1
                print(f"a gap: {event.failure}")
                continue
            seqs.append(event["trades"]["seq"])
            if len(seqs) in (10, 20):
                session.terminate()  # as if the network were gone
            if len(seqs) == 40:
                break
    print(f"{gaps} gaps; all trades in order: {seqs == list(range(seqs[0], seqs[0] + 40))}")


async def order(session: AsyncClientSession) -> None:
    """A mutation that was sent is not sent again: nobody knows whether it was run."""
    placing = asyncio.create_task(session.execute(ORDER))
    await asyncio.sleep(0)  # it is on its way
    session.terminate()
    try:
        await placing
    except OperationInterrupted as interrupted:
        print(f"interrupted; it may have been run: {interrupted.maybe_executed}")
    # What was not sent yet waits for the next connection.
    print(await session.execute('{ instrument(symbol: "AURA") { name } }'))


async def process(path: pathlib.Path) -> list[int]:
    """A program that takes five trades and ends; `path` is all that is left of it."""
    seqs: list[int] = []
    async with gqlwire.connect(URL) as session:
        checkpoint = FileCheckpoint(path)
        async with session.subscribe(TRADES, resume=go_on, checkpoint=checkpoint) as trades:
            async for event in trades:
                seqs.append(event["trades"]["seq"])
                if len(seqs) == 5:
                    break
    return seqs


async def main() -> None:
    # Not so patient as by default, for an example.
    retry = RetryPolicy(first_delay=0.1)
    hooks = Hooks(connected=lambda event: print("connected" + " again" * event.was_retry))
    async with gqlwire.connect(URL, retry=retry, hooks=hooks) as session:
        await feed(session)
        await order(session)
        print(f"{session.counters.connections} connections, state {session.state}")

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "trades.json")
        first, second = await process(path), await process(path)
    print(f"the second process begins behind the first: {second[0] == first[-1] + 1}")


asyncio.run(main())
