"""A scriptable server on a bare TCP stream: every byte of the upgrade and of each frame is the
script's. It checks nothing of what it sends; see `fake` for the polite one.
"""

import asyncio
import base64
import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from ssl import SSLContext
from typing import Final

from websockets.datastructures import Headers

from .scripted import (
    CHOOSE,
    PATIENCE,
    PROTOCOLS,
    Conversation,
    Message,
    PeerClosed,
    Script,
    Select,
    Stage,
    choose,
    offered_subprotocols,
    reset,
)

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_MASK = b"\x21\x43\x65\x87"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


@dataclass(frozen=True)
class RawFrame:
    """One frame as it came, its payload unmasked."""

    opcode: int
    payload: bytes
    fin: bool
    rsv1: bool
    masked: bool


class RawPeer(Conversation):
    """One client. Nothing is read but by the script; `received` is what it has read as messages.

    `path` and `request_headers` are there after `read_request()`.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float | None
    ) -> None:
        super().__init__(patience)
        self.reader = reader
        self.writer = writer
        self.path = ""
        self.request_headers = Headers()
        self._upgraded = False
        self._close_sent = False
        self._farewell: tuple[int, str] | None = None

    # The upgrade

    async def read_request(self) -> Headers:
        """Read the upgrade request; its headers."""
        try:
            async with self._patiently():
                head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            raise self._gone() from None
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.path = first.split(" ")[1]
        for line in lines:
            name, _, value = line.partition(":")
            self.request_headers[name] = value.strip()
        return self.request_headers

    @property
    def accept_key(self) -> str:
        """The Sec-WebSocket-Accept that belongs to the request."""
        key = self.request_headers["Sec-WebSocket-Key"].encode()
        return base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()

    async def upgrade(
        self,
        *,
        select: Select = CHOOSE,
        subprotocols: Sequence[str] = PROTOCOLS,
        protocol_header: str = "Sec-WebSocket-Protocol",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        replace: Mapping[str, str | None] | None = None,
        trailing: bytes = b"",
    ) -> None:
        """Answer 101. `replace` changes the usual headers (None: leaves one out).

        `trailing` goes out in the same write, so that frames come with the response.
        """
        usual: dict[str, str | None] = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": self.accept_key,
        }
        offered = offered_subprotocols(self.request_headers)
        self.subprotocol = choose(select, subprotocols, offered)
        usual[protocol_header] = self.subprotocol
        usual.update(replace or {})
        lines = [(name, value) for name, value in usual.items() if value is not None]
        lines += headers.items() if isinstance(headers, Mapping) else headers
        head = _head("101 Switching Protocols", lines)
        self._upgraded = True
        await self.send_raw(head + trailing)

    async def respond(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Answer the request with a plain HTTP response and end the connection."""
        lines = {"Content-Length": str(len(body)), "Connection": "close", **(headers or {})}
        await self.send_raw(_head(f"{status} {HTTPStatus(status).phrase}", lines.items()) + body)
        self.end()

    # Out

    async def send_raw(self, data: bytes) -> None:
        """Send any bytes."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            raise self._gone() from None

    async def send_frame(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
        masked: bool = False,
        length: int | None = None,
    ) -> None:
        """Send one frame, legal or not; `length` makes its header lie."""
        self._close_sent = self._close_sent or opcode == CLOSE
        flags = fin << 7 | rsv1 << 6 | rsv2 << 5 | rsv3 << 4
        size = len(payload) if length is None else length
        if size < 126:
            head = struct.pack("!BB", flags | opcode, masked << 7 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", flags | opcode, masked << 7 | 126, size)
        else:
            head = struct.pack("!BBQ", flags | opcode, masked << 7 | 127, size)
        body = _MASK + _masked(payload, _MASK) if masked else payload
        await self.send_raw(head + body)

    async def send_text(self, text: str) -> None:
        await self.send_frame(TEXT, text.encode())

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a close frame and no more: neither the answer nor TCP is waited for or closed."""
        payload = b"" if code is None else struct.pack("!H", code) + reason.encode()
        await self.send_frame(CLOSE, payload)

    def end(self) -> None:
        """Close TCP after the data sent so far, without a close frame."""
        self.writer.close()

    def abort(self) -> None:
        reset(self.writer.transport)

    # In

    async def receive_frame(self) -> RawFrame:
        """The next frame of any kind, unanswered. Raises PeerClosed at the end of TCP."""
        async with self._patiently():
            return await self._read_frame()

    async def receive(self) -> Message:
        """As of `Conversation`; joins fragments, answers pings and the close on the way."""
        async with self._patiently():
            return self._record((await self._read_message()).decode())

    async def closed(self) -> tuple[int, str]:
        try:
            while not self._upgraded:
                await self._skip()
            while True:
                self._record((await self._read_message()).decode())
        except PeerClosed as end:
            return end.code, end.reason

    async def _read_message(self) -> bytes:
        pieces = []
        while True:
            piece = await self._read_frame()
            if piece.opcode == PING:
                await self.send_frame(PONG, piece.payload)
            elif piece.opcode == CLOSE:
                await self._answer_close(piece.payload)
            elif piece.opcode != PONG:
                assert piece.opcode != BINARY, f"the client sent a binary message: {piece}"
                pieces.append(piece.payload)
                if piece.fin:
                    return b"".join(pieces)

    async def _answer_close(self, payload: bytes) -> None:
        code = struct.unpack("!H", payload[:2])[0] if payload else 1005
        self._farewell = code, payload[2:].decode()
        if not self._close_sent:
            await self.send_frame(CLOSE, payload)
        self.end()
        raise PeerClosed(*self._farewell)

    async def _read_frame(self) -> RawFrame:
        try:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
            masked = bool(second & 0x80)
            mask = await self.reader.readexactly(4) if masked else bytes(4)
            payload = _masked(await self.reader.readexactly(size), mask)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise self._gone() from None
        return RawFrame(first & 0x0F, payload, bool(first & 0x80), bool(first & 0x40), masked)

    async def _skip(self) -> None:
        try:
            skipped = await self.reader.read(4096)
        except ConnectionError:
            skipped = b""
        if not skipped:
            raise self._gone()

    def _gone(self) -> PeerClosed:
        return PeerClosed(*(self._farewell or (1006, "")))


class RawFake(Stage[RawPeer]):
    """The server that `raw_fake()` returns."""

    def __init__(
        self,
        script: Script[RawPeer],
        *,
        upgrade: bool,
        ssl: SSLContext | None,
        port: int,
        patience: float | None,
    ) -> None:
        super().__init__(script, ssl=ssl, port=port, patience=patience)
        self._upgrade = upgrade
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.WriteTransport] = set()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self._ssl
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for transport in self._transports:
            transport.abort()
        if self._handlers:
            await asyncio.wait(self._handlers)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not as a coroutine: asyncio would make a task of it that nobody could wait for.
        self._announce()
        task = asyncio.create_task(self._handle(RawPeer(reader, writer, self._patience)))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _handle(self, peer: RawPeer) -> None:
        transport = peer.writer.transport
        self._transports.add(transport)
        if not await self._perform(self._play(peer)) or self._leaving:
            transport.abort()
        peer.end()
        with suppress(OSError):
            await peer.writer.wait_closed()
        self._transports.discard(transport)

    async def _play(self, peer: RawPeer) -> None:
        if self._upgrade:
            await peer.read_request()
            await peer.upgrade()
        self._announce(peer)
        await self._script(peer)
        await peer.closed()


def raw_fake(
    script: Script[RawPeer],
    *,
    upgrade: bool = True,
    ssl: SSLContext | None = None,
    port: int = 0,
    patience: float | None = PATIENCE,
) -> RawFake:
    """A server that runs `script` for each TCP connection; use it with `async with`.

    upgrade: whether the usual upgrade is done before the script runs; without it the script calls
        `read_request` and `upgrade` or `respond`, or sends what it likes.
    patience: seconds that a read waits before it fails the test; None: for ever.
    """
    return RawFake(script, upgrade=upgrade, ssl=ssl, port=port, patience=patience)


def _head(status: str, lines: Iterable[tuple[str, str]]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"HTTP/1.1 {status}\r\n{fields}\r\n".encode("latin-1")


def _masked(payload: bytes, mask: bytes) -> bytes:
    repeated = mask * (len(payload) // 4 + 1)
    size = len(payload)
    mixed = int.from_bytes(payload) ^ int.from_bytes(repeated[:size])
    return mixed.to_bytes(size)
