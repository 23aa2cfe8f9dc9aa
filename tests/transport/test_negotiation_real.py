"""Which protocol is spoken with servers that choose, do not choose, or choose wrongly."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from websockets.http11 import Request

from conftest import NEWER, OLDER
from gqlwire.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectionRejected,
    HandshakeRejected,
    Phase,
    TransportError,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Fake, Peer, Refusal, fake
from support import BOUND, QUERY, connected, failure, leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

START = {NEWER: "subscribe", OLDER: "start"}
EVENT = {NEWER: "next", OLDER: "data"}
BOTH = f"{NEWER}, {OLDER}"
OTHER = {NEWER: OLDER, OLDER: NEWER}


async def answer(peer: Peer, protocol: str) -> None:
    """Answer one query in the words of `protocol`; another's words fail the test."""
    start = await peer.expect(START[protocol], skip=["pong"])
    payload = {"data": {"hello": protocol}}
    await peer.send({"type": EVENT[protocol], "id": start["id"], "payload": payload})
    await peer.send({"type": "complete", "id": start["id"]})


async def honest(peer: Peer) -> None:
    """Speak what was agreed on."""
    await peer.ack()
    await answer(peer, str(peer.subprotocol))


async def spoken_with(server: Fake, url: str = "", **options: Any) -> str:
    """The protocol in which a new transport has a query answered."""
    transport = WebsocketsTransport(url or server.url, **options)
    async with asyncio.timeout(BOUND):
        await transport.connect()
        result = await transport.execute(QUERY)
        await transport.close()
    assert transport.subprotocol == result.data["hello"]
    return str(transport.subprotocol)


def offers(server: Fake) -> list[str]:
    """What was offered, connection by connection."""
    return [request.headers["Sec-WebSocket-Protocol"] for request in server.requests]


# --- The answer's header -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize("spell", [str, str.lower, str.upper])
async def test_the_server_chooses(protocol: str, spell: Callable[[str], str]) -> None:
    """In a header whose name may have any case; we offer both, the newer one first."""
    header = spell("Sec-WebSocket-Protocol")
    async with fake(honest, select=protocol, protocol_header=header) as server:
        assert protocol == await spoken_with(server)

    assert [BOTH] == offers(server)


@pytest.mark.parametrize(
    ("first", "protocol"),
    [("ka", OLDER), ("ping", NEWER), ("pong", NEWER), (None, OLDER)],
)
@pytest.mark.parametrize("select", [None, ""])
async def test_a_server_that_does_not_choose(
    select: str | None, first: str | None, protocol: str
) -> None:
    """Its first word tells; an acknowledgement, the older."""

    async def script(peer: Peer) -> None:
        if first is not None:
            await peer.send({"type": first})
        await peer.ack()
        await answer(peer, protocol)
        pongs = [each for each in peer.received if each["type"] == "pong"]
        assert [{"type": "pong"}] * (first == "ping") == pongs

    async with fake(script, select=select) as server:
        assert protocol == await spoken_with(server)

    assert [BOTH] == offers(server)


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize("select", [None, ""])
async def test_with_one_on_offer_no_answer_means_that_one(
    select: str | None, protocol: str
) -> None:
    """Whatever the server says first."""

    async def script(peer: Peer) -> None:
        await peer.send({"type": "ka"})
        await peer.send({"type": "ping"})
        await peer.ack()
        await answer(peer, protocol)

    async with fake(script, select=select) as server:
        assert protocol == await spoken_with(server, subprotocols=[protocol])

    assert [protocol] == offers(server)


async def test_a_wrong_guess_is_corrected_at_the_next_connection() -> None:
    """The server names no protocol, and then closes when it hears the older one."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        if len(server.peers) == 1:
            await peer.expect("start")
            await peer.close(4400, "Invalid message")
        else:
            await answer(peer, NEWER)

    async with fake(script, select=None) as server:
        async with connected(server) as transport:
            assert OLDER == transport.subprotocol
            told = await failure(ConnectionClosed, transport.execute(QUERY))
            assert (4400, Phase.OPEN) == (told.code, told.phase)
        assert NEWER == await spoken_with(server)

    assert [BOTH, NEWER] == offers(server)


# --- A second try --------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [NEWER, OLDER])
@pytest.mark.parametrize("code", [1002, 4406])
async def test_a_server_that_chooses_a_protocol_that_it_does_not_speak(
    chosen: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The other is tried, alone; the next transport for that URL begins with it."""
    caplog.set_level(logging.INFO, "gqlwire")

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        if peer.subprotocol == chosen:
            await peer.close(code, "not that one")
            return
        await peer.send({"type": "connection_ack"})
        await answer(peer, OTHER[chosen])

    def select(offered: list[str]) -> str:
        return chosen if chosen in offered else offered[0]

    async with fake(script, select=select) as server:
        assert OTHER[chosen] == await spoken_with(server)
        assert [BOTH, OTHER[chosen]] == offers(server)
        assert OTHER[chosen] == await spoken_with(server)
        assert OTHER[chosen] == await spoken_with(server, server.url + "?token=another")

    assert [BOTH, *[OTHER[chosen]] * 3] == offers(server)
    (line,) = [each for each in caplog.messages if "offering" in each]
    assert f"{code} not that one" in line
    assert line.endswith(f"; offering {OTHER[chosen]} alone")


@pytest.mark.parametrize("status", [400, 406, 426])
@pytest.mark.parametrize("only", [NEWER, OLDER])
async def test_a_server_that_can_read_one_name_only(only: str, status: int) -> None:
    """The names are offered one by one; what worked is remembered."""

    def refuse(request: Request) -> Refusal | None:
        return None if request.headers["Sec-WebSocket-Protocol"] == only else Refusal(status)

    async with fake(honest, refuse=refuse) as server:
        assert only == await spoken_with(server)
        first = [BOTH, NEWER] if only == NEWER else [BOTH, NEWER, OLDER]
        assert first == offers(server)
        assert only == await spoken_with(server)

    assert [*first, only] == offers(server)


@pytest.mark.parametrize("how", ["refuse", "close"])
async def test_an_outdated_memory_is_corrected(how: str) -> None:
    """The server now speaks the other protocol: that is found, and remembered in its place."""
    spoken = OLDER

    def refuse(request: Request) -> Refusal | None:
        right = request.headers["Sec-WebSocket-Protocol"] == spoken
        return None if right or how == "close" else Refusal(400)

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        if peer.subprotocol != spoken:
            return await peer.close(4406)
        await peer.send({"type": "connection_ack"})
        return await answer(peer, spoken)

    async with fake(script, refuse=refuse) as server:
        assert OLDER == await spoken_with(server)
        spoken = NEWER
        assert NEWER == await spoken_with(server)
        assert NEWER == await spoken_with(server)

    first = [BOTH, NEWER, OLDER] if how == "refuse" else [BOTH, OLDER]
    assert [*first, OLDER, NEWER, NEWER] == offers(server)


@pytest.mark.parametrize("code", [1002, 4406])
async def test_when_both_fail_the_last_error_is_raised(code: int) -> None:
    """The server has had its choice, and then each of them alone, the other one first."""

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        await peer.close(code, f"not {peer.subprotocol}")

    async with fake(script) as server:
        told = await failure(ConnectionClosed, WebsocketsTransport(server.url).connect())

    assert (code, f"not {NEWER}", Phase.INIT) == (told.code, told.reason, told.phase)
    assert [BOTH, OLDER, NEWER] == offers(server)


async def test_when_every_offer_is_refused_the_last_error_is_raised() -> None:
    """After three requests, and not more."""
    count = iter("abcdef")

    def refuse(request: Request) -> Refusal:
        return Refusal(400, body=next(count).encode())

    async with fake(honest, refuse=refuse) as server:
        told = await failure(HandshakeRejected, WebsocketsTransport(server.url).connect())

    assert (400, b"c", Phase.HANDSHAKE) == (told.status, told.body, told.phase)
    assert [BOTH, NEWER, OLDER] == offers(server)


async def close_with(peer: Peer, code: int) -> None:
    await peer.expect("connection_init")
    await peer.close(code)


async def reject(peer: Peer) -> None:
    await peer.expect("connection_init")
    await peer.send({"type": "connection_error", "payload": "no"})


FINAL: dict[str, tuple[Callable[[], Fake], type[TransportError]]] = {
    **{
        str(status): (lambda status=status: fake(honest, refuse=Refusal(status)), HandshakeRejected)
        for status in [401, 403, 404, 500]
    },
    **{
        str(code): (lambda code=code: fake(lambda peer: close_with(peer, code)), ConnectionClosed)
        for code in [1000, 1008, 1011, 4401, 4403, 4429]
    },
    "connection_error": (lambda: fake(reject), ConnectionRejected),
    "silence": (lambda: fake(lambda peer: peer.expect("connection_init")), AckTimeout),
}


@pytest.mark.parametrize(("make", "kind"), FINAL.values(), ids=FINAL)
async def test_other_failures_are_final(
    make: Callable[[], Fake], kind: type[TransportError]
) -> None:
    """Another protocol would not help, and nothing is remembered of them."""
    async with make() as server:
        transport = WebsocketsTransport(server.url, ack_timeout=0.1)
        await failure(kind, transport.connect())
        await failure(kind, transport.connect())

    assert [BOTH, BOTH] == offers(server)


async def test_a_second_try_can_be_cancelled() -> None:
    """Like the first one."""
    second = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        if peer.subprotocol == NEWER:
            await peer.close(4406)
        else:
            second.set()

    async with fake(script) as server:
        connecting = asyncio.create_task(WebsocketsTransport(server.url).connect())
        await asyncio.wait_for(second.wait(), BOUND)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert 1000 == (await asyncio.wait_for(server.peers[1].closed(), BOUND))[0]


# --- Forced --------------------------------------------------------------------------------------


@pytest.mark.parametrize("forced", [[NEWER], [OLDER], [OLDER, NEWER], (NEWER, OLDER)])
async def test_a_forced_offer_is_sent_as_given(forced: list[str]) -> None:
    """In the order given; gqlwire speaks the one that the server chooses."""
    async with fake(honest, select=lambda offered: offered[0]) as server:
        assert forced[0] == await spoken_with(server, subprotocols=forced)

    assert [", ".join(forced)] == offers(server)


@pytest.mark.parametrize("forced", [[NEWER], [NEWER, OLDER]])
@pytest.mark.parametrize("how", ["refuse", "close"])
async def test_a_forced_offer_is_the_only_one(forced: list[str], how: str) -> None:
    """There is no second offer after a refusal."""
    refuse = Refusal(400) if how == "refuse" else None
    kind = HandshakeRejected if how == "refuse" else ConnectionClosed
    async with fake(lambda peer: close_with(peer, 4406), refuse=refuse) as server:
        transport = WebsocketsTransport(server.url, subprotocols=forced)
        await failure(kind, transport.connect())

    assert [", ".join(forced)] == offers(server)


async def test_a_forced_offer_is_not_remembered_for_others() -> None:
    """It was the user's choice, and says nothing about the server."""
    async with fake(honest) as server:
        assert OLDER == await spoken_with(server, subprotocols=[OLDER])
        assert NEWER == await spoken_with(server)

    assert [OLDER, BOTH] == offers(server)


async def test_the_transport_says_which_protocol_is_spoken() -> None:
    """Nothing before it is connected; after the end, what was spoken last."""
    async with fake(honest) as server:
        transport = WebsocketsTransport(server.url)
        assert transport.subprotocol is None
        await transport.connect()
        assert NEWER == WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL == transport.subprotocol
        await transport.close()
        assert NEWER == transport.subprotocol
