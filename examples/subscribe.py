"""Take events as they arrive, and end subscriptions.

python subscribe.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import sys

import gqlwire

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"

TRADES = """
    subscription Trades($symbols: [String!]) {
        trades(symbols: $symbols) { seq symbol side price size }
    }
"""


async def main() -> None:
    async with gqlwire.connect(URL) as session:
        # To end this subscription, break is enough: nothing else holds it.
        async for event in session.subscribe(TRADES):
            trade = event["trades"]
            print("{seq} {symbol} {side} {size} at {price}".format(**trade))
            break

        # A variable holds this one, so `async with` ends it.
        only_aura = {"symbols": ["AURA"]}
        async with session.subscribe(TRADES, variable_values=only_aura) as events:
            async for event in events:
                assert event["trades"]["symbol"] == "AURA"
                if events.delivered == 3:
                    break
        print(f"operation {events.id} is over after {events.delivered} events")

        # Either way, the server was told to stop.
        while (running := await session.execute("{ runningSubscriptions }")) != {
            "runningSubscriptions": 0
        }:
            print(f"the server has not heard yet: {running}")
        print("the server runs no subscription")


asyncio.run(main())
