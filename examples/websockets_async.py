"""A query, a mutation and a subscription over one WebSocket.

python websockets_async.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import logging
import sys

from gqlwire import Client, gql
from gqlwire.transport.websockets import WebsocketsTransport

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"

logging.basicConfig(level=logging.INFO)


async def main() -> None:
    transport = WebsocketsTransport(url=URL)

    # Entering the client connects its transport; the session runs operations on that connection.
    async with Client(transport=transport, fetch_schema_from_transport=True) as session:
        query = gql("""
            query Instruments($symbols: [String!]) {
                instruments(symbols: $symbols) { symbol name price }
            }
        """)
        result = await session.execute(query, variable_values={"symbols": ["AURA", "DUNE"]})
        print(result)

        mutation = gql('mutation { placeOrder(symbol: "AURA", side: BUY, size: 100) { status } }')
        result = await session.execute(mutation)
        print(result)

        subscription = gql("subscription { trades { seq symbol price } }")
        async for result in session.subscribe(subscription):
            print(result)
            if result["trades"]["seq"] % 10 == 0:
                break


asyncio.run(main())
