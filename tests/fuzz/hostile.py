"""A server on a loopback socket that attacks its first clients, and treats the later ones well."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import cycle, islice
from typing import Any, Self

from attacks import (
    ACK,
    CLOSE,
    EVENT,
    NEWER,
    OLDER,
    USUAL_HEAD,
    Attack,
    Framed,
    Said,
    Words,
    message,
)

from servers.scripted import reset

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
OFFERED = 6
"""How many ids of the client an attack may name: `<0>` to `<5>`."""

PIECES = 500
"""How many pieces of what is sent come alone; then comes the rest, so that no attack takes long."""

LONG = 1.0
"""Seconds without time that runs by itself: all that can happen has happened."""


class _Gone(Exception):
    """The client has left."""


class Guest:
    """One connection, as the server sees it; `started` are the client's operations, by their id.

    `is_deaf`: whether it answers no close frame.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.words: Words = {}
        self.protocol = NEWER
        self.started: dict[str, str] = {}
        self.sent = 0
        self.is_deaf = False
        self._inflate = zlib.decompressobj(wbits=-15)

    async def read_request(self) -> None:
        """Read the upgrade request, which says what to answer."""
        request = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(line.split(": ", 1) for line in request.split("\r\n")[1:-2])
        key = headers["Sec-WebSocket-Key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        offered = headers["Sec-WebSocket-Protocol"].split(", ")
        self.protocol = NEWER if NEWER in offered else OLDER
        deflates = "Sec-WebSocket-Extensions" in headers
        extensions = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflates else ""
        self.words = {
            "<accept>": accept,
            "<protocol>": self.protocol,
            "<extensions>": extensions,
            "<request>": request,
            "<event>": EVENT[self.protocol],
        }

    def learn_ids(self) -> None:
        """Let `<0>` to `<5>` stand for the ids of what the client has started."""
        ids = [*self.started, *["none of yours"] * OFFERED]
        self.words |= {f"<{number}>": ids[number] for number in range(OFFERED)}

    async def write(self, data: bytes, cuts: tuple[int, ...]) -> None:
        """Write all of `data`, each of the first pieces in a turn of the loop of its own."""
        self.sent += len(data)
        at = 0
        for size in islice(cycle(cuts), PIECES):
            if at >= len(data) or self.writer.transport.is_closing():
                return
            self.writer.write(data[at : at + size])
            at += size
            await asyncio.sleep(0)
        self.writer.write(data[at:])

    async def say(self, text: str) -> None:
        await self.write(Said(text).encode(self.words), (1 << 20,))

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """The client's messages, until it leaves; its starts are noted."""
        with suppress(_Gone, asyncio.IncompleteReadError, ConnectionError):
            while True:
                said = json.loads(await self._read_text())
                if said["type"] in ("subscribe", "start"):
                    self.started[said["id"]] = said["payload"]["query"]
                yield said

    async def _read_text(self) -> bytes:
        while True:
            first, payload = await self._read_frame()
            if first & 0x0F == CLOSE and not self.is_deaf:
                await self.write(Framed(0x80 | CLOSE, payload).encode({}), (1 << 20,))
                raise _Gone
            if first & 0x40:
                return self._inflate.decompress(payload + b"\0\0\xff\xff")
            if first & 0x0F == 1:
                return payload

    async def _read_frame(self) -> tuple[int, bytes]:
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
        mask = await self.reader.readexactly(4)
        data = await self.reader.readexactly(size)
        repeated = (mask * (size // 4 + 1))[:size]
        return first, (int.from_bytes(data) ^ int.from_bytes(repeated)).to_bytes(size)


class Hostile:
    """The server; use it with `async with`.

    `left`: how many more connections it attacks.
    """

    def __init__(self, attack: Attack) -> None:
        self.attack = attack
        self.left = attack.times
        self.url = ""
        self.served = 0
        self.guests: set[Guest] = set()
        self._attacked: list[Guest] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/graphql"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def left_alone(self) -> None:
        """Fail unless all clients have left: each attack then ends."""
        if self._tasks:
            _, pending = await asyncio.wait(self._tasks, timeout=4 * LONG)
            assert not pending, f"{len(pending)} connections are left"

    @property
    def sent(self) -> int:
        """How many bytes it had for those that it attacked."""
        return sum(guest.sent for guest in self._attacked)

    async def tell_all(self, ticks: int) -> None:
        """Send an event to all subscriptions of those that it treats well."""
        for guest in self.guests:
            for id, query in guest.started.items():
                if "subscription" in query:
                    payload = {"data": {"ticks": ticks}}
                    await guest.say(message(EVENT[guest.protocol], id, payload))

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        guest = Guest(reader, writer)
        if self.left > 0:
            self.left -= 1
            self._attacked.append(guest)
        task = asyncio.get_running_loop().create_task(self._serve(guest))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, guest: Guest) -> None:
        try:
            await guest.read_request()
            if guest in self._attacked:
                await self._attack(guest)
            else:
                await self._treat_well(guest)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        finally:
            guest.writer.transport.abort()

    async def _attack(self, guest: Guest) -> None:
        attack = self.attack
        guest.words |= attack.words
        guest.is_deaf = attack.end == "deaf"
        reading = asyncio.get_running_loop().create_task(_read_all(guest))
        try:
            guest.learn_ids()
            said = [attack.head, *attack.before, *[ACK] * attack.acks]
            await guest.write(b"".join(item.encode(guest.words) for item in said), attack.cuts)
            await asyncio.sleep(LONG)
            guest.learn_ids()
            said = [*attack.after]
            await guest.write(b"".join(item.encode(guest.words) for item in said), attack.cuts)
            await asyncio.sleep(LONG)
            await _END[attack.end](guest, reading)
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _treat_well(self, guest: Guest) -> None:
        self.served += 1
        self.guests.add(guest)
        await guest.write(USUAL_HEAD.encode(guest.words), (1 << 20,))
        event = EVENT[guest.protocol]
        async for said in guest.messages():
            match said["type"]:
                case "connection_init":
                    await guest.say(message("connection_ack"))
                case "ping":
                    await guest.say(message("pong"))
                case "subscribe" | "start" if "subscription" not in said["payload"]["query"]:
                    await guest.say(message(event, said["id"], {"data": {"hello": "there"}}))
                    await guest.say(message("complete", said["id"]))
        self.guests.discard(guest)


async def _read_all(guest: Guest) -> None:
    async for _ in guest.messages():
        pass


async def _close(guest: Guest, reading: asyncio.Task[None]) -> None:
    """End TCP after the data sent so far, if the client reads it."""
    guest.writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(LONG):
            await guest.writer.wait_closed()


async def _reset(guest: Guest, reading: asyncio.Task[None]) -> None:
    reset(guest.writer.transport)


async def _half(guest: Guest, reading: asyncio.Task[None]) -> None:
    """End one direction, and wait for the client to leave."""
    if guest.writer.can_write_eof() and not guest.writer.transport.is_closing():
        with suppress(OSError):
            guest.writer.write_eof()
    await asyncio.wait([reading])


async def _wait(guest: Guest, reading: asyncio.Task[None]) -> None:
    await asyncio.wait([reading])


async def _goodbye(guest: Guest, reading: asyncio.Task[None]) -> None:
    await guest.write(Framed(0x80 | CLOSE, b"\x03\xe9bye").encode({}), (1 << 20,))
    await asyncio.wait([reading])


_END = {
    "close": _close,
    "reset": _reset,
    "half": _half,
    "wait": _wait,
    "goodbye": _goodbye,
    "deaf": _wait,
}
ENDS = tuple(_END)
