"""The limit of a round trip: picows by hand, one future for each.

`echo`: the server sends each message back, and nothing is decoded. `answer`: the server
answers as it answers gqlwire, and the answer is decoded to a dict; nothing is checked.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from typing import Any

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.contenders import gauges
from benchmarks.contenders.round_trips import measure

PAYLOAD = b'"payload":{"query":"query { trades { seq } }","variables":{"live":0}}'


class Echo(WSListener):
    """Answers come in the order of the questions."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._transport: WSTransport
        self._message = b'{"id":"1","type":"subscribe",%s}' % PAYLOAD

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, _transport: WSTransport, _frame: WSFrame) -> None:
        self._waiting.popleft().set_result(None)

    def ask(self) -> asyncio.Future[None]:
        answered = self._loop.create_future()
        self._waiting.append(answered)
        self._transport.send(WSMsgType.TEXT, self._message)
        return answered


class Answers(WSListener):
    """Answers have the id of their question, and are followed by a `complete`."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._asked = 0
        self._transport: WSTransport
        self._decode = msgspec.json.Decoder().decode

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.send(WSMsgType.TEXT, b'{"type":"connection_init"}')

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        message = self._decode(frame.get_payload_as_bytes())
        if message["type"] == "next":
            self._waiting.pop(message["id"]).set_result(message["payload"]["data"])

    def ask(self) -> asyncio.Future[Any]:
        self._asked += 1
        id = str(self._asked)
        answered = self._waiting[id] = self._loop.create_future()
        text = b'{"id":"%s","type":"subscribe",%s}' % (id.encode(), PAYLOAD)
        self._transport.send(WSMsgType.TEXT, text)
        return answered


async def main(url: str, mode: str, count: int, in_flight: int) -> None:
    is_echo = mode == "echo"
    headers = {} if is_echo else {"Sec-WebSocket-Protocol": "graphql-transport-ws"}
    listener: type[Echo | Answers] = Echo if is_echo else Answers
    transport, client = await ws_connect(listener, url, extra_headers=headers)
    assert isinstance(client, Echo | Answers)
    answer: Any = await client.ask()
    assert is_echo or answer["trades"]
    await measure(client.ask, count, in_flight)
    transport.disconnect()
    await transport.wait_disconnected()


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3])))
