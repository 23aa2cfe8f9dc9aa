"""How long `spread=2` takes with 10,000 subscriptions, over a real socket.

    python -m benchmarks.spread [SUBSCRIPTIONS] [SECONDS]

Client and server share one process and one event loop, so the time includes the server's work.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from time import monotonic

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

import gqlwire
from gqlwire import RetryPolicy


class Server:
    """Acknowledges connections, and notes when subscriptions start."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.starts: list[float] = []
        self.complete = asyncio.Event()
        self.socket: ServerConnection | None = None

    async def __call__(self, socket: ServerConnection) -> None:
        self.socket = socket
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                if json.loads(text)["type"] == "connection_init":
                    await socket.send('{"type":"connection_ack"}')
                else:
                    self.starts.append(monotonic())
                if len(self.starts) == self.count:
                    self.complete.set()

    async def hang_up(self) -> None:
        self.starts.clear()
        self.complete.clear()
        assert self.socket is not None
        await self.socket.close(1012)


async def measure(count: int, spread: float) -> float:
    """Return the seconds from the first subscription to the last after a reconnect."""
    server = Server(count)
    protocol = "graphql-transport-ws"
    async with serve(server, "127.0.0.1", 0, subprotocols=[protocol]) as listening:  # type: ignore[list-item]
        port = listening.sockets[0].getsockname()[1]
        client = gqlwire.connect(f"ws://127.0.0.1:{port}", retry=RetryPolicy(spread=spread))
        async with client as session:
            events = [session.subscribe("subscription { n }") for _ in range(count)]
            steps = [asyncio.ensure_future(anext(each)) for each in events]
            await server.complete.wait()
            await server.hang_up()
            await server.complete.wait()
            seconds = server.starts[-1] - server.starts[0]
            for step in steps:
                step.cancel()
            await asyncio.gather(*steps, return_exceptions=True)
    return seconds


def main(arguments: list[str]) -> None:
    count, spread = int((arguments or ["10000"])[0]), float((arguments[1:] or ["2"])[0])
    seconds = asyncio.run(measure(count, spread))
    print(f"{count:,} subscriptions, spread={spread:g}: sent again within {seconds:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
