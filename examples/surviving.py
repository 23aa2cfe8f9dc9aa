"""A feed, a mutation and a process survive lost connections and a restart.

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


def after_last(last: Event, variables: Event) -> Event:
    """Return the variables for the next subscription: it starts after the newest trade."""
    return {**variables, "after": last["trades"]["seq"]}


async def feed(session: AsyncClientSession) -> None:
    """Drop the socket twice. No trade is lost, and none arrives twice."""
    seqs: list[int] = []
    gaps = 0
    async with session.subscribe(TRADES, resume=after_last, tell_reconnects=True) as trades:
        async for event in trades:
            if isinstance(event, Reconnected):
                gaps += 1
                print(f"a gap: {event.failure}")
                continue
            seqs.append(event["trades"]["seq"])
            if len(seqs) in (10, 20):
                session.terminate()  # as if the network had failed
            if len(seqs) == 40:
                break
    print(f"{gaps} gaps; all trades in order: {seqs == list(range(seqs[0], seqs[0] + 40))}")


async def order(session: AsyncClientSession) -> None:
    """Interrupt a mutation. It is not sent again: nobody knows whether the server ran it."""
    placing = asyncio.create_task(session.execute(ORDER))
    await asyncio.sleep(0)  # now it is sent
    session.terminate()
    try:
        await placing
    except OperationInterrupted as interrupted:
        print(f"interrupted; it may have been run: {interrupted.maybe_executed}")
    # An operation that was not sent yet waits for the next connection.
    print(await session.execute('{ instrument(symbol: "AURA") { name } }'))


async def process(path: pathlib.Path) -> list[int]:
    """Take five trades, as a program does before it ends. Only the file at `path` remains."""
    seqs: list[int] = []
    async with gqlwire.connect(URL) as session:
        checkpoint = FileCheckpoint(path)
        async with session.subscribe(TRADES, resume=after_last, checkpoint=checkpoint) as trades:
            async for event in trades:
                seqs.append(event["trades"]["seq"])
                if len(seqs) == 5:
                    break
    return seqs


async def main() -> None:
    # The default waits are longer; an example should be quick.
    retry = RetryPolicy(first_delay=0.1)
    hooks = Hooks(connected=lambda event: print("connected" + " again" * event.was_retry))
    async with gqlwire.connect(URL, retry=retry, hooks=hooks) as session:
        await feed(session)
        await order(session)
        print(f"{session.counters.connections} connections, state {session.state}")

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "trades.json")
        first, second = await process(path), await process(path)
    print(f"the second process continues after the first: {second[0] == first[-1] + 1}")


asyncio.run(main())
