"""The server under every measurement: prebuilt frames, written as fast as the client takes them.

It runs in a process of its own (`python -m benchmarks.blaster`), so that the client is what is
measured. The operation's variables say what it does (see `Order`). Frames are built when
the blast begins, some hundred kilobytes of them, and then written again and again. It speaks
graphql-transport-ws. A client that offers no subprotocol, or asks for `/echo`, gets its own
messages back.

Each blast ends with a line on standard output, and a `complete` per operation. The line says for
how many seconds the server waited for the client to read (`waited`): this shows that no client was
starved.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import ssl
import struct
import time
import zlib
from collections.abc import Iterator

import msgspec
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

CHUNK = 512 * 1024
ENVELOPE_SIZE = 57
TRADE_SIZE = 93.26
BUFFERED_AT_MOST = 2 * CHUNK


class Order(msgspec.Struct):
    """What one operation asks the server to send.

    `events` results of about `size` bytes each, written once `live` operations of the connection
    are waiting: `burst` results to each of them in turn. 0 events: nothing ever. `live` 0 means a
    single result, immediately. A client that has taken nothing for `patience` seconds is reported
    on standard output; with 0 it is not.
    """

    events: int = 0
    size: int = 150
    live: int = 1
    burst: int = 1
    patience: float = 0


class _Request(msgspec.Struct):
    variables: Order = msgspec.field(default_factory=Order)


class _Message(msgspec.Struct):
    type: str
    id: str = ""
    payload: _Request | None = None


_decode = msgspec.json.Decoder(_Message).decode


def data_of(size: int, seed: int) -> bytes:
    """Return the `data` of one event, such that its message has about `size` bytes."""
    count = max(1, round((size - ENVELOPE_SIZE) / TRADE_SIZE))
    return json.dumps(
        {
            "trades": [
                {
                    "symbol": "BTC-EUR:KRAKEN:SPOT",
                    "price": 60_000 + (seed * 7 + n) % 997 / 8,
                    "amount": (seed + n) % 89 / 4 + 0.125,
                    "seq": 1_000_000 + seed + n,
                    "side": "buy" if (seed + n) % 2 else "sell",
                }
                for n in range(count)
            ]
        },
        separators=(",", ":"),
    ).encode()


def frame(text: bytes, *, deflated: bool) -> bytes:
    """Return a server's text frame (RFC 6455, section 5.2; RFC 7692 without context takeover)."""
    first = 0x81
    if deflated:
        squeeze = zlib.compressobj(1, zlib.DEFLATED, -15)
        text = squeeze.compress(text) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        text, first = text[:-4], 0xC1
    if len(text) < 126:
        return struct.pack("!BB", first, len(text)) + text
    if len(text) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(text)) + text
    return struct.pack("!BBQ", first, 127, len(text)) + text


def result(id: str, data: bytes) -> bytes:
    """Return the message of one result."""
    return b'{"id":"%s","type":"next","payload":{"data":%s}}' % (id.encode(), data)


def completion(id: str) -> bytes:
    """Return the message that ends an operation."""
    return b'{"id":"%s","type":"complete"}' % id.encode()


def chunks(ids: list[str], order: Order, *, deflated: bool) -> Iterator[bytes]:
    """Yield all results that are to be written; as much as goes is one object, again and again."""
    variety = [data_of(order.size, seed) for seed in range(max(1, 64 * 1024 // order.size))]
    lap = len(ids) * order.burst
    turn = lap * max(1, CHUNK // (lap * (order.size + 4)))
    whole, rest = divmod(order.events, turn)
    built = [
        frame(
            result(ids[n // order.burst % len(ids)], variety[n % len(variety)]), deflated=deflated
        )
        for n in range(turn if whole else rest)
    ]
    chunk = b"".join(built)
    for _ in range(whole):
        yield chunk
    yield b"".join(built[:rest])


class Speaker(WSListener):
    """One connection."""

    def __init__(self, *, echoes: bool, deflated: bool) -> None:
        super().__init__()
        self._echoes = echoes
        self._deflated = deflated
        self._waiting: dict[str, None] = {}
        self._answers: dict[int, bytes] = {}
        self._clogged_since = 0.0
        self._waited = 0.0
        self._sent = 0
        self._room = asyncio.Event()
        self._room.set()
        self._blast: asyncio.Task[None] | None = None
        self._transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=BUFFERED_AT_MOST)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            text = frame.get_payload_as_bytes()
            if frame.rsv1:
                text = zlib.decompressobj(-15).decompress(text + b"\x00\x00\xff\xff")
            if self._echoes:
                transport.send(WSMsgType.TEXT, text)
            else:
                self._take(_decode(text))
        elif frame.msg_type is WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        if self._blast is not None:
            self._blast.cancel()

    def pause_writing(self) -> None:
        self._clogged_since = time.perf_counter()
        self._room.clear()

    def resume_writing(self) -> None:
        self._waited += time.perf_counter() - self._clogged_since
        self._room.set()

    def _take(self, message: _Message) -> None:
        match message.type:
            case "connection_init":
                self._write(self._frame(b'{"type":"connection_ack"}'))
            case "ping":
                self._write(self._frame(b'{"type":"pong"}'))
            case "subscribe" if message.payload is not None:
                self._start(message.id, message.payload.variables)
            case "complete":
                # Only before the blast: later, a client may find out how it bears a server that
                # does not listen.
                self._waiting.pop(message.id, None)

    def _start(self, id: str, order: Order) -> None:
        if order.live == 0:
            self._write(self._answer(id, order.size))
            return
        self._waiting[id] = None
        if order.events and len(self._waiting) >= order.live:
            ids, self._waiting = list(self._waiting), {}
            self._blast = asyncio.create_task(self._run(ids, order))

    def _answer(self, id: str, size: int) -> bytes:
        data = self._answers.get(size)
        if data is None:
            data = self._answers[size] = data_of(size, 1)
        return self._frame(result(id, data)) + self._frame(completion(id))

    async def _run(self, ids: list[str], order: Order) -> None:
        pieces = list(chunks(ids, order, deflated=self._deflated))
        self._waited, self._sent, began = 0.0, 0, time.perf_counter()
        for piece in pieces:
            await self._write_in_time(piece, order.patience)
        await self._room.wait()
        self._tell(blast=order.events, seconds=time.perf_counter() - began, waited=self._waited)
        ends = [self._frame(completion(id)) for id in ids]
        for start in range(0, len(ends), 10_000):
            await self._write_in_time(b"".join(ends[start : start + 10_000]), 0)

    async def _write_in_time(self, frames: bytes, patience: float) -> None:
        if patience:
            try:
                async with asyncio.timeout(patience):
                    await self._room.wait()
            except TimeoutError:
                self._tell(blocked=patience)
        await self._room.wait()
        self._sent += len(frames)
        self._write(frames)

    def _tell(self, **facts: float) -> None:
        print(json.dumps({**facts, "bytes": self._sent}), flush=True)

    def _frame(self, text: bytes) -> bytes:
        return frame(text, deflated=self._deflated)

    def _write(self, frames: bytes) -> None:
        # A blast may find out that the client is gone before `on_ws_disconnected` says so.
        if not self._transport.underlying_transport.is_closing():
            self._transport.underlying_transport.write(frames)


def _listener(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
    offered = request.headers.get("Sec-WebSocket-Protocol")
    wanted = "permessage-deflate" in request.headers.get("Sec-WebSocket-Extensions", "")
    headers = {"Sec-WebSocket-Protocol": "graphql-transport-ws"} if offered else {}
    if wanted:
        headers["Sec-WebSocket-Extensions"] = (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        )
    listener = Speaker(echoes=not offered or request.path == b"/echo", deflated=wanted)
    return WSUpgradeResponseWithListener(
        WSUpgradeResponse.create_101_response(extra_headers=headers), listener
    )


async def serve(certificate: str | None, key: str | None) -> None:
    """Serve until SIGTERM; the first line on standard output is the port."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = await ws_create_server(
        _listener, "127.0.0.1", 0, ssl=context, websocket_handshake_timeout=30, backlog=4096
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    # Not `async with`: from Python 3.12 on that waits for clients that stay.
    await stopped.wait()
    server.close()


def main() -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    chosen = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(chosen.certificate, chosen.key))


if __name__ == "__main__":
    main()
