"""Detect quickly that a server is gone: by pings, or by silence.

python keep_alives.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import sys

import gqlwire
from gqlwire.transport.exceptions import KeepAliveTimeout

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"


async def main() -> None:
    # Ping every 0.1 s. The connection ends if nothing arrives within 5 s after a ping. This works
    # in both protocols: the older one has no ping message, so gqlwire sends ping frames there.
    for protocol in ("graphql-transport-ws", "graphql-ws"):
        async with gqlwire.connect(
            URL, subprotocols=[protocol], ping_interval=0.1, pong_timeout=5
        ) as session:
            await session.transport.pong_received.wait()
            latency = session.transport.latency
            print(f"{protocol}: answered within a second: {latency is not None and latency < 1}")

    # You can also send a ping yourself, at any time.
    async with gqlwire.connect(URL, subprotocols=["graphql-transport-ws"]) as session:
        await session.transport.send_ping({"hello": "there"})
        await session.transport.pong_received.wait()
        print(f"pong: {session.transport.payloads['pong']}")

    # Without pings: end the connection if the server sends nothing for 3 seconds. The loop raises
    # KeepAliveTimeout. With reconnection on, gqlwire would connect again instead.
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
