"""A third protocol is one file and one row: a connection and a client speak it as they are."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from toy import NAME, ROW, Toy, token
from websockets.asyncio.server import ServerConnection, serve

import gqlwire
from doubles import MemoryWire, on_virtual_time, pass_time, settle
from gqlwire._connection.connection import Connection
from gqlwire._connection.keepalive import Limits
from gqlwire._protocols import DIALECTS, Dialect, Setup, choose, default_offer
from gqlwire._streams.reply import Reply
from gqlwire.errors import ConnectionRejected, KeepAliveTimeout, TransportQueryError
from gqlwire.transport import negotiation
from spelling import says

HOST = "h.example:443"
REQUEST = b'{"query":"{ n }"}'
SECRET = {"secret": "s3cret"}
WELCOME = says("welcome", payload={"silence_ms": 20_000})


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIALECTS, NAME, ROW)
    monkeypatch.setattr(negotiation, "memory", negotiation.Memory())


# --- Over a wire in memory -------------------------------------------------------------------


def opened(dialect: Dialect | None = None, **options: Any) -> tuple[Connection, MemoryWire]:
    wire = MemoryWire()
    connection = Connection(dialect or Toy(Setup(SECRET)), host=HOST, **options)
    wire.handler = connection
    connection.opened(wire)
    return connection, wire


def welcomed(**options: Any) -> tuple[Connection, MemoryWire]:
    connection, wire = opened(**options)
    connection.received(WELCOME)
    wire.sent.clear()
    return connection, wire


@on_virtual_time
async def test_an_operation_starts_with_two_messages_and_has_its_result() -> None:
    connection, wire = opened()
    assert [{"type": "hello"}] == wire.said
    connection.received(WELCOME)
    wire.sent.clear()

    reply = Reply(connection.gate)
    id = connection.start(REQUEST, reply)
    connection.received(says("event", id=id, payload={"data": {"n": 1}}))

    assert [
        {"type": "authorize", "id": id, "token": token("s3cret", REQUEST)},
        {"type": "start", "id": id, "request": {"query": "{ n }"}},
    ] == wire.said
    assert {"data": {"n": 1}} == json.loads(bytes(await reply.get() or b""))
    connection.stop(id)
    connection.stop(id)
    assert {"type": "stop", "id": id} == wire.said[-1]
    assert 3 == len(wire.said)


@on_virtual_time
async def test_an_operation_that_the_server_refuses_fails_alone() -> None:
    connection, _ = welcomed()
    first, second = Reply(connection.gate), Reply(connection.gate)
    id = connection.start(REQUEST, first)
    other = connection.start(REQUEST, second)
    connection.received(says("fault", id=id, payload=[{"message": "no"}]))
    connection.received(says("done", id=other))

    with pytest.raises(TransportQueryError, match="no"):
        await first.get()
    assert await second.get() is None
    assert connection.reason is None


@on_virtual_time
async def test_a_server_that_refuses_the_connection_ends_it() -> None:
    connection, _ = opened()
    connection.received(says("refusal", payload="no toys here"))

    with pytest.raises(ConnectionRejected, match="no toys here"):
        await connection.acknowledged(1)


@on_virtual_time
async def test_the_limit_that_the_server_announces_is_kept_to() -> None:
    connection, _ = welcomed()
    await pass_time(15)
    connection.received(says("challenge", payload=1))
    connection.heard()
    await pass_time(15)
    assert connection.reason is None

    await connection.wait_gone()

    assert isinstance(connection.reason, KeepAliveTimeout)
    assert 20 == connection.reason.limit
    assert "sent nothing for 20 seconds (the limit that it announced)" in str(connection.reason)


@pytest.mark.parametrize(
    ("welcome", "silence", "death"),
    [
        ({"silence_ms": 20_000}, 90.0, 90.0),
        ({"silence_ms": 20_000}, 5.0, 5.0),
        ({"silence_ms": None}, 5.0, 5.0),
        ({"silence_ms": 0}, None, None),
        ({"silence_ms": -1}, None, None),
        ({}, None, None),
    ],
)
@on_virtual_time
async def test_the_limit_of_the_user_comes_first(
    welcome: dict[str, Any], silence: float | None, death: float | None
) -> None:
    connection, _ = opened(limits=Limits(silence=silence))
    connection.received(says("welcome", payload=welcome))
    begun = asyncio.get_running_loop().time()

    if death is None:
        await pass_time(100_000)
        assert connection.reason is None
        return
    await connection.wait_gone()
    assert death == pytest.approx(asyncio.get_running_loop().time() - begun)
    assert "keep_alive_timeout" in str(connection.reason)


@on_virtual_time
async def test_challenges_are_answered_unless_the_socket_is_full() -> None:
    connection, wire = welcomed()
    connection.writable(False)
    for _ in range(100):
        connection.received(says("challenge", payload=1))
    connection.writable(True)
    connection.received(says("challenge", payload=2))
    assert [{"type": "answer", "payload": 2}] == wire.said

    connection.ping()
    connection.pong()
    assert ["ping"] == wire.asked
    assert 1 == len(wire.said)


@on_virtual_time
async def test_the_log_shows_no_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gqlwire.wire")
    connection, _ = welcomed()
    id = connection.start(REQUEST, Reply(connection.gate))

    authorized, started = [each.getMessage() for each in caplog.records][-2:]
    assert f'{HOST} > {{"type":"authorize","id":"{id}","token":"<redacted>"}}' == authorized
    assert f'{HOST} > {{"type":"start","id":"{id}","request":{{"query":"{{ n }}"}}}}' == started


@on_virtual_time
async def test_messages_that_mean_nothing_are_counted() -> None:
    connection, _ = welcomed()
    for text in (says("next", id="1"), says("event"), b'{"type":"fault","payload":NaN}'):
        connection.received(text)
    await settle()

    assert {"next": 1, "event without an id": 1, "refusal": 1} == connection.telemetry.strays


@pytest.mark.parametrize(("first", "name"), [("welcome", NAME), ("ping", "graphql-transport-ws")])
def test_a_server_that_names_no_protocol_is_known_by_its_first_word(first: str, name: str) -> None:
    dialect = choose(default_offer(), None, Setup(SECRET))
    dialect.receive(says(first, payload={}))

    assert name == dialect.name


# --- Over a socket ---------------------------------------------------------------------------


class Server:
    """Speaks the toy's protocol. `said` is what each connection said."""

    def __init__(self) -> None:
        self.said: list[list[dict[str, Any]]] = []
        self.offers: list[str] = []
        self.socket: ServerConnection
        self.url = ""

    async def serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.offers.append(socket.request.headers["Sec-WebSocket-Protocol"])
        self.socket = socket
        self.said.append([])
        async for text in socket:
            message = json.loads(text)
            self.said[-1].append(message)
            await self.answer(socket, message)

    async def answer(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        match message:
            case {"type": "hello"}:
                await socket.send(WELCOME.decode())
            case {"type": "start", "id": id, "request": {"query": query}}:
                await self.tell(id, len(self.said))
                if not query.startswith("subscription"):
                    await socket.send(says("done", id=id).decode())

    async def tell(self, id: str, n: int) -> None:
        await self.socket.send(says("event", id=id, payload={"data": {"n": n}}).decode())


@asynccontextmanager
async def served() -> AsyncIterator[Server]:
    server = Server()
    async with serve(server.serve, "127.0.0.1", 0, subprotocols=["toy.example"]) as it:
        server.url = f"ws://127.0.0.1:{it.sockets[0].getsockname()[1]}/graphql"
        yield server


@pytest.mark.parametrize("options", [{}, {"subprotocols": [NAME]}], ids=["offered", "forced"])
async def test_a_client_speaks_it(options: dict[str, Any]) -> None:
    async with (
        served() as server,
        gqlwire.connect(server.url, init_payload=SECRET, proxy=None, **options) as session,
    ):
        assert NAME == session.transport.subprotocol
        assert {"n": 1} == await session.execute("query { n }")
        events = session.subscribe("subscription { n }")
        assert {"n": 1} == await anext(events)
        for n in range(10):
            await server.tell(events.id, n)
            assert {"n": n} == await anext(events)
        await events.aclose()
        await session.execute("query { n }")

    (said,) = server.said
    assert ["hello", "authorize", "start", "authorize", "start", "stop", "authorize", "start"] == [
        each["type"] for each in said
    ]
    tokens = {each["token"] for each in said if each["type"] == "authorize"}
    assert 2 == len(tokens)
    offer = "toy.example" if options else "graphql-transport-ws, graphql-ws, toy.example"
    assert [offer] == server.offers


async def test_after_a_drop_each_operation_is_authorized_again() -> None:
    async with (
        served() as server,
        gqlwire.connect(server.url, init_payload=SECRET, proxy=None) as session,
    ):
        events = session.subscribe("subscription { n }")
        assert {"n": 1} == await anext(events)
        server.socket.transport.abort()
        assert {"n": 2} == await anext(events)
        await events.aclose()

    assert ["hello", "authorize", "start"] == [each["type"] for each in server.said[0]]
    assert ["hello", "authorize", "start"] == [each["type"] for each in server.said[1]][:3]
