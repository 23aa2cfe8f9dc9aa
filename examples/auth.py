"""Send credentials in two ways, and see what a refusal looks like.

python auth.py [URL [TOKEN]]      (any schema)
"""

import asyncio
import sys

import gqlwire
from gqlwire.transport.exceptions import TransportConnectionFailed

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"
TOKEN = sys.argv[2] if len(sys.argv) > 2 else "secret"


async def main() -> None:
    # 1. In a header of the HTTP request that opens the WebSocket.
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with gqlwire.connect(URL, headers=headers) as session:
        print("by header:", await session.execute("{ __typename }"))

    # 2. In the payload of connection_init. Its shape depends on the server.
    async with gqlwire.connect(URL, init_payload={"token": TOKEN}) as session:
        print("by init payload:", await session.execute("{ __typename }"))

    try:
        async with gqlwire.connect(URL, init_payload={"token": "wrong"}):
            print("this server lets everybody in")
    except TransportConnectionFailed as refusal:
        # Which of these is set depends on how the server refuses.
        print(f"refused: {refusal}")
        print(f"code={refusal.code} reason={refusal.reason!r} status={refusal.status}")
        print(f"phase={refusal.phase}")


asyncio.run(main())
