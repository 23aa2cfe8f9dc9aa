"""Finding out soon that a server is gone: pings, their answers, and silence.

python keep_alives.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import sys

import gqlwire
from gqlwire.transport.exceptions import KeepAliveTimeout

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"


async def main() -> None:
    # A ping every 0.1 s; the connection ends if nothing comes within 5 s after one. In both
    # protocols: the older one has no ping message, so ping frames are sent there.
    for protocol in ("graphql-transport-ws", "graphql-ws"):
        async with gqlwire.connect(
            URL, subprotocols=[protocol], ping_interval=0.1, pong_timeout=5
        ) as session:
            await session.transport.pong_received.wait()
            latency = session.transport.latency
            print(f"{protocol}: answered within a second: {latency is not None and latency < 1}")

    # A ping at any other moment.
    async with gqlwire.connect(URL, subprotocols=["graphql-transport-ws"]) as session:
        await session.transport.send_ping({"hello": "there"})
        await session.transport.pong_received.wait()
        print(f"pong: {session.transport.payloads['pong']}")

    # The other way round: end it if the server says nothing for 3 seconds. Who says nothing for
    # longer is taken for dead; whoever waits for an event is told, unless the connection is to be
    # made again.
    async with gqlwire.connect(
        URL,
        subprotocols=["graphql-transport-ws"],
        keep_alive_timeout=3,
        reconnecting=False,
    ) as session:
        try:
            async for event in session.subscribe(
                "subscription { heartbeat(intervalMs: 60000) { beat } }"
            ):
                print(event)
        except KeepAliveTimeout as silence:
            print(f"{type(silence).__name__} after {silence.limit} s")


asyncio.run(main())
