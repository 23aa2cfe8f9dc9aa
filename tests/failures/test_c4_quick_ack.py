"""C4: a query took 22 ms on a server with Nagle's algorithm on, such as the demo's: the server sent
the answer only when the client had acknowledged the message before it, which the kernel delays. The
demo's server has the algorithm off, and the client acknowledges immediately while it waits for an
answer.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

import gqlwire
from conftest import NEWER, OLDER
from gqlwire._wire import quick_ack
from gqlwire._wire.quick_ack import QuickAck
from gqlwire.demo.server import serving
from servers.certificates import Certificates, client_context, server_context
from servers.fake import RawPeer, raw_fake
from servers.raw import PING, TEXT
from support import leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

linux = pytest.mark.skipif(quick_ack.TCP_QUICKACK is None, reason="needs TCP_QUICKACK")
PROTOCOLS = [NEWER, OLDER]


class Acknowledged:
    """Counts the acknowledgements that are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(QuickAck, "_acknowledge", lambda _: self.add())

    def add(self) -> None:
        self.count += 1


@pytest.fixture
def acknowledged(monkeypatch: pytest.MonkeyPatch) -> Acknowledged:
    return Acknowledged(monkeypatch)


def words(protocol: str) -> tuple[str, str]:
    return ("next", "subscribe") if protocol == NEWER else ("data", "start")


# --- The demo's server ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_c4_the_demo_sends_without_delay(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio turns Nagle's algorithm off for connections of its listening socket."""
    made: list[socket.socket] = []
    real = socket.socket.listen
    monkeypatch.setattr(
        socket.socket, "listen", lambda sock, *a: made.append(sock) or real(sock, *a)
    )

    with serving(host, 0, 1) as url:
        async with gqlwire.connect(url) as session:
            await session.execute('{ instrument(symbol: "AURA") { name } }')
        assert socket.IPPROTO_TCP in [sock.proto for sock in made]


# --- A real server with Nagle's algorithm on ------------------------------------------------------


LATE = 0.02
"""How long a server waits for the acknowledgement of what it has sent, at least."""


async def answer(peer: RawPeer, query: str, protocol: str) -> None:
    word, _ = words(protocol)
    await peer.send({"type": word, "id": query, "payload": {"data": {"ok": True}}})
    await peer.send({"type": "complete", "id": query})


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_c4_queries_in_turn_are_acknowledged_as_they_are_answered(
    protocol: str, acknowledged: Acknowledged
) -> None:
    """The `complete` of one query, which the server holds back, is in front of the next answer."""
    word, start = words(protocol)
    late = 0

    async def script(peer: RawPeer) -> None:
        nonlocal late
        await peer.receive()
        await peer.send({"type": "connection_ack"})
        held = "unknown"
        for _ in range(10):
            query = (await peer.expect(start))["id"]
            before = acknowledged.count
            await peer.send({"type": "complete", "id": held})
            # As a kernel does that waits for an acknowledgement: it comes, or it is late.
            for _ in range(3):
                await asyncio.sleep(LATE / 2)
                if acknowledged.count > before:
                    break
            else:
                late += 1
            await peer.send({"type": word, "id": query, "payload": {"data": {"ok": True}}})
            held = query
        await peer.send({"type": "complete", "id": held})

    async with (
        raw_fake(script) as server,
        gqlwire.connect(server.url, subprotocols=[protocol]) as session,
    ):
        for _ in range(10):
            assert {"ok": True} == await session.execute("{ ok }")

    assert 3 == late


# --- The kind: whatever is in front of the answer -------------------------------------------------


async def an_event(peer: RawPeer, feed: str, protocol: str) -> None:
    await peer.send({"type": words(protocol)[0], "id": feed, "payload": {"data": {"tick": 1}}})


async def a_ping(peer: RawPeer, feed: str, protocol: str) -> None:
    await peer.send_frame(PING, b"x")


async def a_message_of_the_protocol(peer: RawPeer, feed: str, protocol: str) -> None:
    await peer.send({"type": "pong"} if protocol == NEWER else {"type": "ka"})


async def the_complete_of_another(peer: RawPeer, feed: str, protocol: str) -> None:
    await peer.send({"type": "complete", "id": "unknown"})


async def half_a_frame(peer: RawPeer, feed: str, protocol: str) -> None:
    """The header of a frame in a write of its own; what follows is the rest of it."""
    text = b'{"type":"complete","id":"unknown"}'
    await peer.send_frame(TEXT, text[:0], length=len(text))
    peer.rest = text  # type: ignore[attr-defined]


async def many_events(peer: RawPeer, feed: str, protocol: str) -> None:
    for _ in range(3):
        await an_event(peer, feed, protocol)


FRONT = [
    an_event,
    a_ping,
    a_message_of_the_protocol,
    the_complete_of_another,
    half_a_frame,
    many_events,
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("front", FRONT, ids=lambda front: front.__name__)
async def test_c4_kind_what_is_in_front_of_the_answer_is_acknowledged(
    front: Callable[..., Any],
    secure: bool,
    protocol: str,
    acknowledged: Acknowledged,
    certificates: Certificates,
) -> None:
    """The server sends the answer only then. Before three late answers nothing is acknowledged."""
    _, start = words(protocol)

    async def script(peer: RawPeer) -> None:
        await peer.receive()
        await peer.send({"type": "connection_ack"})
        feed = (await peer.receive())["id"]
        for _ in range(20):  # so that the short way is open, and events take it
            await an_event(peer, feed, protocol)
        for _ in range(3):
            query = (await peer.expect(start))["id"]
            await front(peer, feed, protocol)
            await asyncio.sleep(LATE)
            assert 0 == acknowledged.count
            await peer.send_raw(getattr(peer, "rest", b""))
            await answer(peer, query, protocol)
        query = (await peer.expect(start))["id"]
        before = acknowledged.count
        await front(peer, feed, protocol)
        while acknowledged.count == before:
            await asyncio.sleep(0)
        await peer.send_raw(getattr(peer, "rest", b""))
        await answer(peer, query, protocol)
        await peer.closed()

    options: dict[str, Any] = {"subprotocols": [protocol]}
    if secure:
        options["ssl"] = client_context(certificates.ca)
    context = server_context(certificates.server) if secure else None
    async with (
        raw_fake(script, ssl=context) as server,
        gqlwire.connect(server.url, **options) as session,
    ):
        events = session.subscribe("subscription { tick }")
        for _ in range(20):
            await anext(events)
        for _ in range(4):
            assert {"ok": True} == await session.execute("{ ok }")
        await events.aclose()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_c4_kind_events_alone_are_not_acknowledged(
    protocol: str, acknowledged: Acknowledged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are those that follow a query that was cancelled, or answered."""
    word, start = words(protocol)
    monkeypatch.setattr(QuickAck, "in_front", lambda _: acknowledged.add())

    async def script(peer: RawPeer) -> None:
        await peer.receive()
        await peer.send({"type": "connection_ack"})
        feed = (await peer.expect(start))["id"]
        await an_event(peer, feed, protocol)
        await peer.expect(start)
        await peer.receive()  # the query was cancelled
        answered = (await peer.expect(start))["id"]
        await peer.send({"type": word, "id": answered, "payload": {"data": {"ok": True}}})
        await peer.expect("ping" if protocol == NEWER else start)
        before = acknowledged.count
        for _ in range(50):
            await an_event(peer, feed, protocol)
            await asyncio.sleep(0)
        await peer.send({"type": "complete", "id": feed})
        await peer.closed()
        assert before == acknowledged.count

    async with (
        raw_fake(script) as server,
        gqlwire.connect(server.url, subprotocols=[protocol]) as session,
    ):
        events = session.subscribe("subscription { tick }")
        await anext(events)
        with pytest.raises(gqlwire.errors.OperationTimeout):
            await session.execute("{ slow }", timeout=0.01)
        assert {"ok": True} == await session.execute("{ ok }")
        other = session.subscribe("subscription { other }")
        if protocol == NEWER:
            await session.transport.send_ping()
        else:
            asking = asyncio.ensure_future(anext(other))
        assert 50 == len([event async for event in events])
        if protocol == OLDER:
            asking.cancel()
            await asyncio.wait([asking])
        await other.aclose()


def test_c4_a_closed_socket_is_left_alone() -> None:
    """The connection may be lost within the read."""
    sock = socket.socket()
    sock.close()
    quick = QuickAck(sock, lambda: 0.0)
    quick.is_on = True

    quick.in_front()


class Clock:
    """Tells the time that it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


SERIES = {
    "never late": ([0.001] * 50, None),
    "a busy machine": ([0.001] * 9 + [0.05], None),
    "now and then": (([0.001] * 11 + [0.1]) * 20, None),
    "each late": ([0.04] * 5, 3),
    "each second one": ([0.04, 0.0001] * 5, 5),
    "each third one": ([0.04, 0.0001, 0.0001] * 5, 7),
    "late at last": ([0.001] * 100 + [0.04] * 5, 103),
}


@pytest.mark.parametrize(("gaps", "expected"), SERIES.values(), ids=SERIES)
def test_c4_kind_when_it_begins(gaps: list[float], expected: int | None) -> None:
    """After three late answers of few, and not if one is late now and then."""
    clock = Clock()
    asked: list[int] = []
    quick = QuickAck(socket.socket(), clock)
    with quick._socket:
        for count, gap in enumerate(gaps, 1):
            quick.in_front()
            clock.now += gap
            quick.answered()
            clock.now += 1.0
            if quick.is_on:
                asked.append(count)

    assert expected == (asked[0] if asked else None)


@linux
@pytest.mark.parametrize("has_option", [True, False])
async def test_c4_the_option_is_set_where_the_system_has_it(
    has_option: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS and Windows do not have it."""
    if not has_option:
        monkeypatch.setattr(quick_ack, "TCP_QUICKACK", None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        with ours:
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            quick = QuickAck(ours, lambda: 0.0)
            quick.is_on = True
            quick.in_front()

            assert has_option is bool(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))
