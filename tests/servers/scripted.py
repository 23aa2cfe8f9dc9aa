"""The common part of the scripted servers: how a script talks, and how its faults reach the test.

It must not know how messages get on a socket: `fake` and `raw` do.
"""

import asyncio
import json
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from websockets.datastructures import Headers

Message = dict[str, Any]
PROTOCOLS: Final = ("graphql-transport-ws", "graphql-ws")
PATIENCE: Final = 60.0
"""Seconds that a script waits for a message of the client before it fails the test."""


class Choose:
    """The type of CHOOSE."""


CHOOSE: Final = Choose()
"""Answer with the first of the server's subprotocols that the client offered, if any."""

Select = Choose | str | None | Callable[[list[str]], str | None]


class PeerClosed(Exception):
    """The client is gone. A script may let it pass: it is no fault of the script.

    `code` and `reason` are those of the client's close frame: 1005 when it had none, 1006 when
    there was no close frame.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the client closed the connection: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class Conversation(ABC):
    """One connection of a client, as its script sees it.

    `received` is every message of the client so far, `subprotocol` what the server answered.
    """

    def __init__(self, patience: float | None) -> None:
        self.received: list[Message] = []
        self.subprotocol: str | None = None
        self._patience = patience

    @abstractmethod
    async def receive(self) -> Message:
        """The next message of the client. Raises PeerClosed when there will be none."""

    @abstractmethod
    async def send_text(self, text: str) -> None:
        """Send any text, JSON or not, as one message."""

    @abstractmethod
    async def closed(self) -> tuple[int, str]:
        """Wait until the client has closed; the code and reason as in PeerClosed. Unbounded."""

    @abstractmethod
    def abort(self) -> None:
        """Drop the TCP connection with a reset: no close frame, nothing flushed."""

    async def send(self, message: Message) -> None:
        """Send one protocol message."""
        await self.send_text(json.dumps(message))

    async def expect(self, type: str, *, skip: Sequence[str] = ()) -> Message:
        """The next message whose type is not in `skip`; AssertionError unless it is of `type`."""
        message = await self.receive()
        while message["type"] in skip:
            message = await self.receive()
        assert type == message["type"], f"expected {type}, received {message}"
        return message

    async def ack(self, **fields: Any) -> Message:
        """Expect connection_init and acknowledge it; `payload=` goes into the ack. The init."""
        message = await self.expect("connection_init")
        await self.send({"type": "connection_ack", **fields})
        return message

    def _record(self, text: str) -> Message:
        """One message of the client: it has to be a JSON object with a type."""
        message = json.loads(text)
        assert isinstance(message, dict), f"not a JSON object: {text[:200]}"
        assert isinstance(message.get("type"), str), f"no type: {text[:200]}"
        self.received.append(message)
        return message

    @asynccontextmanager
    async def _patiently(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._patience) as limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"no message in {self._patience:g} s; received so far: {self.received}"
            raise AssertionError(message) from None


PeerT = TypeVar("PeerT", bound=Conversation)
Script = Callable[[PeerT], Coroutine[Any, Any, None]]


class Stage(ABC, Generic[PeerT]):
    """A server of one test: runs the script once per connection, hands its faults to the test.

    `peers` are the connections whose script was begun, in their order; `connections` counts those
    that came at all (a refused upgrade too).
    """

    def __init__(
        self, script: Script[PeerT], *, ssl: SSLContext | None, port: int, patience: float | None
    ) -> None:
        self.port = port
        self.connections = 0
        self.peers: list[PeerT] = []
        self._script = script
        self._ssl = ssl
        self._patience = patience
        self._scripts: set[asyncio.Task[None]] = set()
        self._faults: list[BaseException] = []
        self._news = asyncio.Event()
        self._leaving = False

    @property
    def url(self) -> str:
        scheme = "ws" if self._ssl is None else "wss"
        return f"{scheme}://127.0.0.1:{self.port}/graphql"

    async def peer(self, index: int = 0) -> PeerT:
        """Wait until the script of the connection with this number (from 0) begins."""
        await self._until(lambda: len(self.peers) > index)
        return self.peers[index]

    async def connected(self, count: int = 1) -> None:
        """Wait until so many connections have come, refused ones too."""
        await self._until(lambda: self.connections >= count)

    async def __aenter__(self) -> Self:
        self.port = await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leaving = True
        for task in self._scripts:
            task.cancel()
        await self._end()
        self._raise_faults(error)

    @abstractmethod
    async def _listen(self) -> int:
        """Start to accept connections; the port."""

    @abstractmethod
    async def _end(self) -> None:
        """Close everything; every script has been cancelled."""

    async def _until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(self._patience):
            while not true():
                await self._news.wait()

    def _announce(self, peer: PeerT | None = None) -> None:
        """A connection came or, with its peer, its script begins."""
        if peer is None:
            self.connections += 1
        else:
            self.peers.append(peer)
        self._news.set()
        self._news = asyncio.Event()

    async def _perform(self, play: Coroutine[Any, Any, None]) -> bool:
        """Run the script of one peer; return whether it ended without a fault."""
        task = asyncio.create_task(play)
        self._scripts.add(task)
        if self._leaving:
            task.cancel()
        sound = await self._judge(task)
        self._scripts.discard(task)
        return sound

    async def _judge(self, task: asyncio.Task[None]) -> bool:
        """Wait for a task and keep its fault for the test; whether it had none."""
        await asyncio.wait([task])
        fault = None if task.cancelled() else task.exception()
        if fault is None or isinstance(fault, PeerClosed):
            return True
        self._faults.append(fault)
        return False

    def _raise_faults(self, error: BaseException | None) -> None:
        """The script's fault explains the test's: it is raised from it, never hidden by it."""
        if not self._faults:
            return
        if error is not None and not isinstance(error, Exception):
            error.add_note(f"faults of the server's script: {self._faults}")
        elif len(self._faults) == 1:
            raise self._faults[0] from error
        else:
            raise BaseExceptionGroup("faults of the server's scripts", self._faults) from error


def choose(select: Select, available: Sequence[str], offered: list[str]) -> str | None:
    """The subprotocol to answer with; None for no header."""
    if isinstance(select, Choose):
        return next((name for name in available if name in offered), None)
    return select(offered) if callable(select) else select


def offered_subprotocols(headers: Headers) -> list[str]:
    """The client's offer, in its order."""
    values = ",".join(headers.get_all("Sec-WebSocket-Protocol"))
    return [name.strip() for name in values.split(",") if name.strip()]


def reset(transport: asyncio.BaseTransport) -> None:
    """End a TCP connection with RST instead of FIN."""
    connection = transport.get_extra_info("socket")
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
