"""Run several subscriptions, queries and mutations at the same time, on one socket.

python concurrent_operations.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import sys

import gqlwire
from gqlwire import AsyncClientSession, GraphQLRequest

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"

BUY = GraphQLRequest("""
    mutation Buy($symbol: String!, $size: Int!) {
        placeOrder(symbol: $symbol, side: BUY, size: $size) { id symbol size status }
    }
""")


async def watch(session: AsyncClientSession, document: str, count: int) -> None:
    async with session.subscribe(document) as events:
        async for event in events:
            if events.delivered == count:
                print(f"{count} events of {', '.join(event)}")
                return


async def buy(session: AsyncClientSession, symbol: str) -> None:
    answer = await session.execute(BUY, variable_values={"symbol": symbol, "size": 10})
    print("{status} {size} {symbol}".format(**answer["placeOrder"]))


async def main() -> None:
    async with gqlwire.connect(URL) as session:
        async with asyncio.TaskGroup() as group:
            group.create_task(watch(session, "subscription { trades { seq } }", 20))
            group.create_task(watch(session, "subscription { prices { symbol price } }", 3))
            group.create_task(
                watch(session, "subscription { heartbeat(intervalMs: 100) { beat } }", 5)
            )
            for symbol in ("AURA", "BOLT", "DUNE"):
                group.create_task(buy(session, symbol))
        print(await session.execute("{ positions { symbol size } }"))


asyncio.run(main())
