"""The limit: picows and msgspec by hand, nothing of ours and nothing checked.

`dict` decodes each message in the frame callback, `typed` straight into a struct, `frames` only
counts them. These libraries cannot be faster than the first two, and not faster than the third
even without JSON. There is no queue, no task, no `async for`: those cost extra.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.contenders import gauges
from benchmarks.contenders.trades import Data


class Payload(msgspec.Struct):
    data: Data


class Message(msgspec.Struct):
    """Any message: cheaper to read than a union of them, whose tag has to be sought first."""

    type: str
    id: str = ""
    payload: Payload | None = None


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "dict": msgspec.json.Decoder().decode,
    "typed": msgspec.json.Decoder(Message).decode,
    "frames": len,
}


class Client(WSListener):
    """Counts messages, and notes the time."""

    def __init__(self, mode: str, order: dict[str, int]) -> None:
        super().__init__()
        self._order = order
        self._events = order["events"]
        self._decode = DECODERS[mode]
        self._count = -1  # the acknowledgement is no event
        self._began = self._used = 0.0
        self._last: Any = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b'{"type":"connection_init"}')
        request = {"query": "subscription { trades { seq } }", "variables": self._order}
        message = {"id": "1", "type": "subscribe", "payload": request}
        transport.send(WSMsgType.TEXT, json.dumps(message).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._last = self._decode(frame.get_payload_as_bytes())
        self._count += 1
        if self._count == 1:
            self._began, self._used = time.perf_counter(), time.process_time()
        elif self._count == self._events:
            gauges.tell(
                events=self._count - 1,
                seconds=time.perf_counter() - self._began,
                cpu=time.process_time() - self._used,
            )
            self._check()
            transport.disconnect()

    def _check(self) -> None:
        if isinstance(self._last, dict):
            assert self._last["payload"]["data"]["trades"][0]["seq"] >= 1_000_000
        elif isinstance(self._last, Message):
            assert self._last.payload is not None
            assert self._last.payload.data.trades[0].seq >= 1_000_000


async def main(url: str, mode: str, order: dict[str, int]) -> None:
    transport, _ = await ws_connect(
        lambda: Client(mode, order),
        url,
        extra_headers={"Sec-WebSocket-Protocol": "graphql-transport-ws"},
        max_frame_size=64 * 1024 * 1024,
    )
    await transport.wait_disconnected()


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
