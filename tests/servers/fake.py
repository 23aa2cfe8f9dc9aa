"""A scriptable server on `websockets`, for what real servers do not do; see `raw` for what not even
this one can do.

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        await peer.send({"id": start["id"], "type": "complete"})

    async with fake(script) as server:
        ...                                     # a client, at server.url

When its script returns, a connection stays open until the client or the test ends it. A fault of
the script closes it with 1011 and is raised where the `async with` ends.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from ssl import SSLContext

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from .raw import RawFake, RawFrame, RawPeer, raw_fake
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

__all__ = [
    "CHOOSE",
    "Fake",
    "Message",
    "Peer",
    "PeerClosed",
    "RawFake",
    "RawFrame",
    "RawPeer",
    "Refusal",
    "fake",
    "raw_fake",
]

# The end of the context waits this long for a client that never asks for its upgrade.
_OPEN_TIMEOUT = 5.0
_CLOSE_TIMEOUT = 2.0


@dataclass(frozen=True)
class Refusal:
    """An HTTP response in place of the upgrade."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Refuse = Refusal | Callable[[Request], Refusal | None] | None


class Peer(Conversation):
    """One client; reads in the background, so `received` is up to date without `receive()`."""

    def __init__(self, connection: ServerConnection, patience: float | None) -> None:
        super().__init__(patience)
        self._connection = connection
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._ended = asyncio.Event()
        self.subprotocol = connection.subprotocol

    @property
    def request(self) -> Request:
        """The upgrade request: its `path` and `headers`."""
        request = self._connection.request
        assert request is not None
        return request

    @property
    def request_headers(self) -> Headers:
        return self.request.headers

    async def receive(self) -> Message:
        async with self._patiently():
            message = await self._inbox.get()
        if message is None:
            self._inbox.put_nowait(None)
            raise PeerClosed(*self._farewell())
        return message

    async def send_text(self, text: str) -> None:
        async with self._sending():
            await self._connection.send(text)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message."""
        async with self._sending():
            await self._connection.send(data)

    async def send_fragments(self, pieces: Sequence[str] | Sequence[bytes]) -> None:
        """Send one message in as many frames as there are pieces."""
        async with self._sending():
            await self._connection.send(pieces)

    async def ping(self, data: bytes = b"") -> float:
        """Send a WebSocket ping and wait for its pong; the round trip in seconds."""
        async with self._sending(), self._patiently():
            return await (await self._connection.ping(data))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection and wait for the client's answer, at most two seconds."""
        await self._connection.close(code, reason)

    async def closed(self) -> tuple[int, str]:
        await self._ended.wait()
        return self._farewell()

    def abort(self) -> None:
        reset(self._connection.transport)

    def pause_reading(self) -> None:
        """Read nothing more, as a hung server does: no message, no ping, no close is seen."""
        self._connection.transport.pause_reading()

    def resume_reading(self) -> None:
        self._connection.transport.resume_reading()

    async def read(self) -> None:
        """Take the client's messages until it closes. For the server only."""
        try:
            async for text in self._connection:
                assert isinstance(text, str), f"the client sent a binary message: {text[:200]!r}"
                self._inbox.put_nowait(self._record(text))
        except ConnectionClosed:
            pass
        finally:
            self._inbox.put_nowait(None)
            self._ended.set()

    def _farewell(self) -> tuple[int, str]:
        close = self._connection.protocol.close_rcvd
        return (1006, "") if close is None else (close.code, close.reason)

    @asynccontextmanager
    async def _sending(self) -> AsyncIterator[None]:
        try:
            yield
        except ConnectionClosed:
            raise PeerClosed(*self._farewell()) from None


class Fake(Stage[Peer]):
    """What `fake()` returns; `requests` are all upgrade requests, those of refused ones too."""

    def __init__(
        self,
        script: Script[Peer],
        *,
        subprotocols: Sequence[str],
        select: Select,
        protocol_header: str,
        headers: Mapping[str, str],
        refuse: Refuse,
        compression: str | None,
        ssl: SSLContext | None,
        port: int,
        patience: float | None,
    ) -> None:
        super().__init__(script, ssl=ssl, port=port, patience=patience)
        self.requests: list[Request] = []
        self._subprotocols = subprotocols
        self._select = select
        self._protocol_header = protocol_header
        self._headers = headers
        self._refuse = refuse
        self._compression = compression
        self._server: Server | None = None

    async def _listen(self) -> int:
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            self.port,
            process_request=self._process_request,
            process_response=self._process_response,
            compression=self._compression,
            open_timeout=_OPEN_TIMEOUT,
            close_timeout=_CLOSE_TIMEOUT,
            ping_interval=None,
            max_size=None,
            # The reader takes every message: one that a script has not asked for yet stops nothing.
            max_queue=None,
            ssl=self._ssl,
            logger=logging.getLogger(__name__),
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        self._announce()
        refusal = self._refuse(request) if callable(self._refuse) else self._refuse
        if refusal is None:
            return None
        headers = Headers(refusal.headers)
        headers["Content-Length"] = str(len(refusal.body))
        headers["Connection"] = "close"
        phrase = HTTPStatus(refusal.status).phrase
        return Response(refusal.status, phrase, headers, refusal.body)

    def _process_response(
        self, connection: ServerConnection, request: Request, response: Response
    ) -> None:
        # Not by websockets' own negotiation: it refuses to answer what the client did not offer.
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return
        for name, value in self._headers.items():
            response.headers[name] = value
        offered = offered_subprotocols(request.headers)
        chosen = choose(self._select, self._subprotocols, offered)
        if chosen is not None:
            response.headers[self._protocol_header] = chosen
            connection.protocol.subprotocol = Subprotocol(chosen)

    async def _handle(self, connection: ServerConnection) -> None:
        peer = Peer(connection, self._patience)
        reading = asyncio.create_task(peer.read())
        sound = await self._perform(self._play(peer))
        if sound and not self._leaving:
            sound = await self._judge(reading)
        code, reason = (1001, "") if sound else (1011, "the script failed")
        if not connection.transport.is_closing():
            peer.resume_reading()
        await connection.close(code, reason)
        await asyncio.wait([reading])

    async def _play(self, peer: Peer) -> None:
        self._announce(peer)
        await self._script(peer)


def fake(
    script: Script[Peer],
    *,
    subprotocols: Sequence[str] = PROTOCOLS,
    select: Select = CHOOSE,
    protocol_header: str = "Sec-WebSocket-Protocol",
    headers: Mapping[str, str] | None = None,
    refuse: Refuse = None,
    compression: str | None = None,
    ssl: SSLContext | None = None,
    port: int = 0,
    patience: float | None = PATIENCE,
) -> Fake:
    """A server that runs `script` for each of its connections; use it with `async with`.

    select: what the response says about the subprotocol. CHOOSE: the first of `subprotocols` that
        the client offered; None: no header; a string: this, offered or not; a function: from the
        offered ones.
    protocol_header: the name of that header, in the case that goes on the wire.
    headers: more headers of the response.
    refuse: a Refusal, or a function from the upgrade request to a Refusal or None.
    compression: "deflate" to accept permessage-deflate.
    patience: seconds that `receive` waits before it fails the test; None: for ever.
    """
    return Fake(
        script,
        subprotocols=subprotocols,
        select=select,
        protocol_header=protocol_header,
        headers=headers or {},
        refuse=refuse,
        compression=compression,
        ssl=ssl,
        port=port,
        patience=patience,
    )
