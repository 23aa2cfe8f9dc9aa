"""A subscription on a server that sends any bytes, and frames as bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from websockets.frames import Frame, Opcode

from gqlwire import ExecutionResult
from gqlwire._operations.subscription import Subscription
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import RawPeer, raw_fake
from servers.raw import CONTINUATION, PONG, TEXT
from support import BOUND, TICKS, connected

Act = Callable[[RawPeer, str], Awaitable[None]]


@dataclass
class Running:
    """A subscription at work; `farewell` is how the server sees the client leave."""

    host: str
    transport: WebsocketsTransport
    events: Subscription[ExecutionResult]
    farewell: asyncio.Future[tuple[int, str]]
    begun: asyncio.Event

    async def rest(self) -> list[Any]:
        """What the events until the end of the subscription say."""
        async with asyncio.timeout(BOUND):
            return [event.data["ticks"] async for event in self.events]

    async def left(self) -> tuple[int, str]:
        async with asyncio.timeout(BOUND):
            return await self.farewell


@asynccontextmanager
async def running(act: Act, **options: Any) -> AsyncIterator[Running]:
    """Have `act(peer, id)` done to a subscription, once it has begun."""
    farewell = asyncio.get_running_loop().create_future()
    begun = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        begun.set()
        await act(peer, start["id"])
        farewell.set_result(await peer.closed())

    async with raw_fake(script) as server, connected(server, **options) as transport:
        host = f"127.0.0.1:{server.port}"
        yield Running(host, transport, transport.subscribe(TICKS), farewell, begun)


def wire(opcode: int, payload: bytes | str = b"", *, fin: bool = True) -> bytes:
    """One legal frame as bytes."""
    data = payload.encode() if isinstance(payload, str) else payload
    return Frame(Opcode(opcode), data, fin=fin).serialize(mask=False)


def cut(data: bytes | str, size: int) -> list[bytes]:
    data = data.encode() if isinstance(data, str) else data
    return [data[at : at + size] for at in range(0, len(data), size)]


def fragments(parts: list[bytes], opcode: int = TEXT) -> list[bytes]:
    """The frames of one message in as many fragments as there are parts."""
    last = len(parts) - 1
    return [
        wire(CONTINUATION if at else opcode, part, fin=at == last) for at, part in enumerate(parts)
    ]


async def expect_pong(peer: RawPeer, payload: bytes) -> None:
    pong = await peer.receive_frame()
    assert (PONG, payload, True, True) == (pong.opcode, pong.payload, pong.fin, pong.masked)
