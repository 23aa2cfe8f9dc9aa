"""A client of both protocols on plain websockets, for the tests of the servers.

No part of gqlwire: that a server and gqlwire agree is worth nothing if the server was never right.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .launch import Server
from .scripted import Message

MODERN: Final = "graphql-transport-ws"
LEGACY: Final = "graphql-ws"


class Talk:
    """One connection, in the words of its protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        modern = socket.subprotocol == MODERN
        self.start_word, self.stop_word = ("subscribe", "complete") if modern else ("start", "stop")
        self.event_word = "next" if modern else "data"
        self.keep_alives = 0

    async def send(self, message: Message) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self) -> Message:
        while True:
            message: Message = json.loads(await self.socket.recv())
            if message["type"] != "ka":
                return message
            self.keep_alives += 1

    async def start(self, query: str, variables: Message | None = None, *, id: str = "1") -> None:
        payload = {"query": query, "variables": variables or {}}
        await self.send({"id": id, "type": self.start_word, "payload": payload})

    async def stop(self, id: str = "1") -> None:
        await self.send({"id": id, "type": self.stop_word})

    async def event(self) -> Message:
        message = await self.receive()
        assert self.event_word == message["type"], message
        payload: Message = message["payload"]
        return payload

    async def rest(self) -> list[Message]:
        """The payloads of the events up to the complete."""
        payloads = []
        while (message := await self.receive())["type"] == self.event_word:
            payloads.append(message["payload"])
        assert "complete" == message["type"], message
        return payloads

    async def execute(self, query: str, variables: Message | None = None) -> Message:
        await self.start(query, variables, id="execute")
        (payload,) = await self.rest()
        return payload

    async def until(self, query: str, wanted: Any) -> None:
        """Ask until the one field has this value."""
        async with asyncio.timeout(60):
            while wanted not in (await self.execute(query))["data"].values():
                pass


def dial(url: str, protocols: Sequence[str] | None = (MODERN, LEGACY), **options: Any) -> connect:
    """A connection: await it, or use it with `async with`."""
    names = None if protocols is None else [Subprotocol(name) for name in protocols]
    # No bound on the queue: this client would stop to read, and then miss the close as well.
    return connect(url, subprotocols=names, proxy=None, max_size=None, max_queue=None, **options)


@asynccontextmanager
async def talk(
    server: Server, protocol: str, init: Message | None = None, **options: Any
) -> AsyncIterator[Talk]:
    async with dial(server.url, [protocol], **options) as socket:
        talk = Talk(socket)
        await talk.send({"type": "connection_init", **({} if init is None else {"payload": init})})
        message = await talk.receive()
        assert "connection_ack" == message["type"], message
        yield talk
