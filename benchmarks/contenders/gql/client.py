"""gql: a subscription into `async for`. Modes: `websockets`, `aiohttp`, the library below it.

It stands alone: it is run in gql's own environment.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import gql
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.websockets import WebsocketsTransport


def client_for(url: str, mode: str, *, deflate: bool = False) -> gql.Client:
    """Return a client that does nothing else: no limit of size, no pings of the socket."""
    if mode == "websockets":
        arguments: dict[str, Any] = {
            "max_size": None,
            "ping_interval": None,
            "compression": "deflate" if deflate else None,
        }
        return gql.Client(
            transport=WebsocketsTransport(url, connect_args=arguments, ssl=url.startswith("wss:"))
        )
    arguments = {"max_msg_size": 0, "compress": 15 if deflate else 0}
    return gql.Client(transport=AIOHTTPWebsocketsTransport(url, connect_args=arguments))


async def main(url: str, mode: str, order: dict[str, int]) -> None:
    request = gql.gql("subscription { trades { seq } }")
    request.variable_values = order
    async with client_for(url, mode, deflate="deflate" in sys.argv) as session:
        count = 0
        events = session.subscribe(request)
        async for _ in events:
            count += 1
            break
        last: dict[str, Any] = {}
        began, used = time.perf_counter(), time.process_time()
        async for data in events:
            count += 1
            last = data
        seconds, used = time.perf_counter() - began, time.process_time() - used
    assert last["trades"]
    assert count == order["events"], count
    print(json.dumps({"events": count - 1, "seconds": seconds, "cpu": used}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
