"""The events of many subscriptions in one loop.

python many_subscriptions.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import sys
from collections import Counter

import gqlwire
from gqlwire import AsyncClientSession
from gqlwire.transport.exceptions import TransportQueryError

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"

PRICES = """
    subscription Prices($symbols: [String!]!) {
        prices(symbols: $symbols, intervalMs: 10) { symbol price }
    }
"""


async def one_for_each(session: AsyncClientSession) -> None:
    """Run fifteen subscriptions, three for each instrument, until each has ten events."""
    answer = await session.execute("{ instruments { symbol } }")
    symbols = [instrument["symbol"] for instrument in answer["instruments"]]
    # A subscription can be the key of a dict, so that you know whose event it is.
    watched = {
        session.subscribe(PRICES, variable_values={"symbols": [symbol]}): symbol
        for symbol in symbols * 3
    }
    taken: Counter[str] = Counter()
    async with gqlwire.merge(watched) as merged:
        print(len(merged), "subscriptions in one loop")
        async for subscription, event in merged:
            (instrument,) = event["prices"]
            assert instrument["symbol"] == watched[subscription]
            taken[watched[subscription]] += 1
            if subscription.delivered == 10:
                # This one is done. The others continue.
                await subscription.aclose()
    print(dict(sorted(taken.items())))


async def some_that_fail(session: AsyncClientSession) -> None:
    """Merge a subscription that the server refuses, and add one later."""
    beats = session.subscribe("subscription { heartbeat(intervalMs: 10) { beat } }")
    refused = session.subscribe("subscription { trades(after: -1) { seq } }")
    merged = gqlwire.merge([beats, refused])
    while len(merged):
        try:
            async for subscription, event in merged:
                if subscription is not beats:
                    print("added later:", list(event))
                    await subscription.aclose()
                    await beats.aclose()
                elif beats.delivered == 3:
                    merged.add(session.subscribe("subscription { trades { seq } }"))
        except TransportQueryError as error:
            print(merged.current is refused, error)


async def of_two_connections(one: AsyncClientSession, other: AsyncClientSession) -> None:
    """Merge subscriptions of two clients in one loop."""
    names = {
        session.subscribe("subscription { heartbeat(intervalMs: 10) { beat } }"): name
        for name, session in (("one", one), ("other", other))
    }
    async with gqlwire.merge(names) as merged:
        heard = {names[(await anext(merged))[0]] for _ in range(10)}
    print(sorted(heard))


async def main() -> None:
    async with gqlwire.connect(URL) as session:
        await one_for_each(session)
        await some_that_fail(session)
        async with gqlwire.connect(URL) as other:
            await of_two_connections(session, other)

        # However a subscription ended, the server was told to stop it.
        while (await session.execute("{ runningSubscriptions }"))["runningSubscriptions"]:
            pass
        print("the server runs no subscription")


asyncio.run(main())
