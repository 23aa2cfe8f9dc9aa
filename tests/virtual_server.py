"""A server without a network, on virtual time: the test says what each attempt to connect meets.

A transport is given its `open_websocket`, so all above the socket is real: negotiation,
credentials, the connection, the one task that keeps it.

    served = pytest.fixture(name="server")(virtual_server)

    @tidily
    async def test_something(server: VirtualServer) -> None:
        async with kept(server) as it:
            events = it.session.subscribe(TICKS)
            step = soon(anext(events))
            await settle()
            server.peer.tell(1)
            ...
            server.peer.hang_up(1012)
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import msgspec

import gqlwire
from doubles import MemoryWire, on_virtual_time, settle
from gqlwire import AsyncClientSession, Client, RetryPolicy
from gqlwire._connection.connection import Connection
from gqlwire._protocols import default_offer
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.transport import ReconnectingTransport
from gqlwire._wire import Way
from gqlwire.client.options import Settings
from gqlwire.errors import ConnectTimeout, Phase, TransportError
from gqlwire.transport.websockets import WebsocketsTransport
from spelling import NEWER, OLDER, Spelling

P = ParamSpec("P")
T = TypeVar("T")

URL = "ws://server.example/graphql"
HOST = "server.example:80"
QUERY = "query Get { get }"
MUTATION = "mutation Set { set }"
TICKS = "subscription Ticks { n }"
SPELLINGS = dict(zip(default_offer(), (NEWER, OLDER), strict=True))
SPELT = dict(zip((id(NEWER), id(OLDER)), default_offer(), strict=True))

# --- What an attempt meets -----------------------------------------------------------------------


@dataclass(frozen=True)
class Meeting:
    """What becomes of one attempt: `failure` in place of an open socket, after `delay` seconds.

    `opens`: whether it is ever answered. `greeting`: what the answer to connection_init is; None is
    silence, a number a close code. `lasts`: seconds from then on until the server hangs up, with
    `code`.
    """

    failure: TransportError | None = None
    delay: float = 0.0
    opens: bool = True
    greeting: bytes | int | None = b'{"type":"connection_ack"}'
    reason: str = ""
    lasts: float | None = None
    code: int = 1012
    answers_close: bool = True


ACCEPT = Meeting()
MUTE = Meeting(greeting=None)
UNREACHABLE = Meeting(opens=False)


def refused(failure: TransportError) -> Meeting:
    return Meeting(failure)


def slowly(seconds: float) -> Meeting:
    return Meeting(delay=seconds)


def hangs_up(code: int, reason: str = "") -> Meeting:
    """Before it acknowledges."""
    return Meeting(greeting=code, reason=reason)


def complains(payload: Any) -> Meeting:
    return Meeting(greeting=json.dumps({"type": "connection_error", "payload": payload}).encode())


# --- Server --------------------------------------------------------------------------------------


class Peer(MemoryWire):
    """The server's end of one connection.

    `live` are its operations: their ids, and the requests as they came. `started` and `stopped` are
    the ids in the order in which they were, by the client. `on_close` is called when the client
    closes, amid that.
    """

    def __init__(self, server: VirtualServer, way: Way, spelling: Spelling, meeting: Meeting):
        super().__init__(answers_close=meeting.answers_close)
        self.way = way
        self.live: dict[str, dict[str, Any]] = {}
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.spelling = spelling
        self.on_close: Callable[[], object] = lambda: None
        self._server = server
        self._meeting = meeting
        self._end_of_life: asyncio.TimerHandle | None = None

    @property
    def connection(self) -> Connection:
        assert self.handler is not None
        return self.handler

    @property
    def is_open(self) -> bool:
        return self.connection.reason is None

    def send(self, text: bytes) -> None:
        super().send(text)
        said = json.loads(text)
        if said["type"] == "connection_init":
            asyncio.get_running_loop().call_soon(self._greet)
        elif said["type"] == self.spelling.start:
            self.live[said["id"]] = said["payload"]
            self.started.append(said["id"])
            self._server.on_start(self, said["id"], said["payload"])
        elif said["type"] == "ping" and self._server.answers_pings:
            asyncio.get_running_loop().call_soon(self.say, {"type": "pong"})
        elif said["type"] == self.spelling.stop:
            self.stopped.append(said["id"])
            self.live.pop(said["id"], None)

    def ping(self) -> None:
        super().ping()
        if self._server.answers_pings:
            asyncio.get_running_loop().call_soon(self._pong)

    def _pong(self) -> None:
        if self.is_open:
            self.connection.ponged()
            self.connection.heard()

    def close(self, code: int, reason: str) -> None:
        super().close(code, reason)
        if self._end_of_life is not None:
            self._end_of_life.cancel()
        self.on_close()

    def _greet(self) -> None:
        greeting = self._meeting.greeting
        if isinstance(greeting, bytes):
            self.say(greeting)
        elif greeting is not None:
            self.hang_up(greeting, self._meeting.reason)
        if self._meeting.lasts is not None:
            loop = asyncio.get_running_loop()
            self._end_of_life = loop.call_later(
                self._meeting.lasts, self.hang_up, self._meeting.code
            )

    # --- What the server says --------------------------------------------------------------------

    def say(self, *messages: dict[str, Any] | bytes) -> None:
        """Say something, in one burst."""
        if self.is_open:
            self.connection.received_all(
                [each if isinstance(each, bytes) else compact(each) for each in messages]
            )
            self.connection.heard()

    def result(self, payload: Any, id: str | None = None) -> dict[str, Any]:
        """A result of the operation `id`, or of the only one there is."""
        return {"type": self.spelling.result, "id": id or self.id, "payload": payload}

    @property
    def id(self) -> str:
        [id] = self.live
        return id

    def tell(self, *numbers: Any, id: str | None = None) -> None:
        """Events, in one burst."""
        self.say(*(self.result({"data": {"n": number}}, id) for number in numbers))

    def answer(self, data: Any, id: str | None = None) -> None:
        """The one result of a query or mutation, and its end."""
        id = id or self.id
        if self.live.pop(id, None) is not None:
            self.say(self.result({"data": data}, id), {"type": "complete", "id": id})

    def complete(self, id: str | None = None) -> None:
        id = id or self.id
        self.live.pop(id)
        self.say({"type": "complete", "id": id})

    def refuse(self, message: str = "not yet", id: str | None = None) -> None:
        """The end of an operation by `error`."""
        id = id or self.id
        self.live.pop(id)
        payload: Any = [{"message": message}]
        if self.spelling is OLDER:
            [payload] = payload
        self.say({"type": "error", "id": id, "payload": payload})

    def hang_up(self, code: int = 1006, reason: str = "") -> None:
        """End the connection: with a close frame, or without one (1006)."""
        self.connection.closed(code, reason)
        self._end()


def compact(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


class VirtualServer:
    """Meets attempts as planned, and `otherwise` after that. `times` are those of all attempts."""

    url = URL

    def __init__(self) -> None:
        self.plan: deque[Meeting] = deque()
        self.otherwise: Meeting | Callable[[], Meeting] = ACCEPT
        self.answers_pings = False
        self.times: list[float] = []
        self.peers: list[Peer] = []
        self.on_start: Callable[[Peer, str, dict[str, Any]], None] = lambda *_: None

    def will(self, *meetings: Meeting | TransportError) -> None:
        """Plan what the next attempts meet."""
        self.plan += [each if isinstance(each, Meeting) else refused(each) for each in meetings]

    @property
    def peer(self) -> Peer:
        """The newest connection."""
        return self.peers[-1]

    @property
    def open(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.is_open]

    @property
    def waits(self) -> list[float]:
        """The seconds between the attempts."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [round(later - earlier, 3) for earlier, later in pairs]

    def transport(self, **options: Any) -> WebsocketsTransport:
        """A transport that reaches this server, whatever its `url` says."""
        options.setdefault("url", self.url)
        return WebsocketsTransport(open_websocket=self.open_websocket, **options)

    def client(self, **options: Any) -> Client:
        """What `gqlwire.connect` returns for this server."""
        options.setdefault("url", self.url)
        return gqlwire.connect(open_websocket=self.open_websocket, **options)

    async def open_websocket(
        self,
        way: Way,
        offered: tuple[str, ...],
        make_handler: Callable[[str | None, Mapping[str, str]], Connection],
    ) -> Connection:
        """What a transport is given as its `open_websocket`."""
        limit = way.connect_timeout
        try:
            async with asyncio.timeout(limit):
                return await self.meet(way, offered, make_handler)
        except TimeoutError:
            text = f"{HOST} could not be reached within {limit:g} seconds (connect_timeout)"
            raise ConnectTimeout(text, limit=limit or 0, host=HOST, phase=Phase.CONNECT) from None

    async def meet(
        self,
        way: Way,
        offered: tuple[str, ...],
        make_handler: Callable[[str | None, Mapping[str, str]], Connection],
    ) -> Connection:
        self.times.append(asyncio.get_running_loop().time())
        meeting = self.plan.popleft() if self.plan else self.otherwise
        if not isinstance(meeting, Meeting):
            meeting = meeting()
        if not meeting.opens:
            await asyncio.get_running_loop().create_future()
        if meeting.delay:
            await asyncio.sleep(meeting.delay)
        else:
            await asyncio.sleep(0)  # nothing is reached without the loop
        if meeting.failure is not None:
            raise copy(meeting.failure)
        peer = Peer(self, way, SPELLINGS[offered[0]], meeting)
        peer.handler = make_handler(offered[0], {})
        self.peers.append(peer)
        peer.handler.opened(peer)
        return peer.handler


def virtual_server() -> VirtualServer:
    """To be made a fixture."""
    return VirtualServer()


def answering(server: VirtualServer, after: float = 0.0) -> None:
    """Have it answer each operation after so many seconds."""

    def answer(peer: Peer, id: str, request: dict[str, Any]) -> None:
        asyncio.get_running_loop().call_later(after, peer.answer, {"get": 1}, id)

    server.on_start = answer


# --- Client --------------------------------------------------------------------------------------


@dataclass
class Kept:
    """A client whose connection is kept: `lasting` is what keeps it."""

    lasting: ReconnectingTransport
    session: AsyncClientSession


def keeping(
    server: VirtualServer,
    policy: RetryPolicy | None = None,
    *,
    chance: float | Callable[[], float] = 1.0,
    spelling: Spelling = NEWER,
    reconnect: ReconnectOptions | None = None,
    **options: Any,
) -> Kept:
    """A client that is not connected yet. `chance` is the result of every draw."""
    options.setdefault("subprotocols", [SPELT[id(spelling)]])
    transport = server.transport(**options)
    reconnect = msgspec.structs.replace(
        reconnect or ReconnectOptions(),
        retry=policy or RetryPolicy(),
        chance=chance if callable(chance) else lambda: chance,
    )
    lasting = ReconnectingTransport(transport, reconnect)
    return Kept(lasting, AsyncClientSession(transport, Settings(), lasting))


@asynccontextmanager
async def kept(
    server: VirtualServer, policy: RetryPolicy | None = None, **options: Any
) -> AsyncIterator[Kept]:
    """A client that is connected, and closed at the end; `options` are those of `keeping`."""
    it = keeping(server, policy, **options)
    await it.lasting.connect()
    try:
        yield it
    finally:
        await it.lasting.close()


def soon(awaitable: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    return asyncio.get_running_loop().create_task(awaitable)


async def begun(awaitable: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that has come as far as it comes without time passing."""
    task = soon(awaitable)
    await settle()
    return task


async def started(events: Any, peer: Peer, first: Any = 0) -> None:
    """Start a subscription, and take a first event."""
    step = await begun(anext(events))
    peer.tell(first, id=events.id)
    assert {"n": first} == await step


def now() -> float:
    return asyncio.get_running_loop().time()


def tidily(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on virtual time, and fail it if it leaves a task or an alarm behind."""

    @functools.wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        await test(*args, **kwargs)
        await settle()
        assert_nothing_is_left()

    return on_virtual_time(run)


def assert_nothing_is_left() -> None:
    """But for the task that asks."""
    loop: Any = asyncio.get_running_loop()
    assert set() == asyncio.all_tasks() - {asyncio.current_task()}
    assert [] == [timer for timer in loop._scheduled if not timer.cancelled()]
