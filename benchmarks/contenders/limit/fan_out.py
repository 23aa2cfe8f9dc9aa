"""The limit of fan-out: picows and msgspec by hand, a task and a queue for each subscription.

Each message is decoded to a dict in the frame callback and queued by its id; nothing is checked.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.contenders import gauges
from benchmarks.contenders.fan_out import take_all


class Events:
    """The queue of one subscription."""

    __slots__ = ("_arrival", "_loop", "_queue", "over")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[Any] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self.over = False

    def put(self, event: Any) -> None:
        self._queue.append(event)
        self.wake()

    def wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set_result(None)
            self._arrival = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._queue:
            if self.over:
                raise StopAsyncIteration
            self._arrival = self._loop.create_future()
            await self._arrival
        return self._queue.popleft()


class Client(WSListener):
    """Deals out messages."""

    def __init__(self) -> None:
        super().__init__()
        self._decode = msgspec.json.Decoder().decode
        self._events: dict[str, Events] = {}
        self._transport: WSTransport
        self._loop = asyncio.get_running_loop()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.send(WSMsgType.TEXT, b'{"type":"connection_init"}')

    def subscribe(self, order: bytes) -> Events:
        id = str(len(self._events) + 1)
        events = self._events[id] = Events(self._loop)
        query = b'"payload":{"query":"subscription { trades { seq } }","variables":%s}' % order
        text = b'{"id":"%s","type":"subscribe",%s}' % (id.encode(), query)
        self._transport.send(WSMsgType.TEXT, text)
        return events

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        message = self._decode(frame.get_payload_as_bytes())
        type = message["type"]
        if type == "next":
            self._events[message["id"]].put(message["payload"]["data"])
        elif type == "complete":
            events = self._events[message["id"]]
            events.over = True
            events.wake()


async def main(url: str, order: dict[str, int]) -> None:
    headers = {"Sec-WebSocket-Protocol": "graphql-transport-ws"}
    transport, client = await ws_connect(Client, url, extra_headers=headers)
    assert isinstance(client, Client)
    text = json.dumps(order).encode()
    await take_all([client.subscribe(text) for _ in range(order["live"])], order)
    transport.disconnect()
    await transport.wait_disconnected()


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], json.loads(sys.argv[3])))
