"""A server that repeats the offer, or writes it in another case, was taken for Apollo's; one that
chooses what was not offered counted as connected, and then nothing came. The first name of a list
counts, without regard to case; a name that was not offered fails the handshake, or is spoken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from negotiating import BOTH, OTHER, answer, offers, spoken_with

import gqlwire
from conftest import NEWER, OLDER
from gqlwire.errors import HandshakeRejected, Phase
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, fake
from servers.launch import start_graphene
from support import failure, leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)


def speaking(protocol: str) -> Callable[[Peer], Awaitable[None]]:
    """Return the script of a server that acknowledges and answers in `protocol`."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        await answer(peer, protocol)

    return script


# --- The whole offer, or another case ------------------------------------------------------------


@pytest.mark.parametrize("select", [BOTH, BOTH.upper(), "GraphQL-Transport-WS"])
async def test_i3_a_server_that_repeats_the_offer_or_writes_another_case(select: str) -> None:
    """It speaks the newer protocol, whose name is the first."""
    async with fake(speaking(NEWER), select=select) as server:
        assert NEWER == await spoken_with(server.url)

    assert [BOTH] == offers(server)


@pytest.mark.parametrize(
    ("select", "spoken"),
    [
        (f"{OLDER}, {NEWER}", OLDER),
        (f"{NEWER},{OLDER}", NEWER),
        (f" {OLDER} ,{NEWER} ", OLDER),
        ("GRAPHQL-WS", OLDER),
        ("GraphQL-WS", OLDER),
        (f"mqtt, {NEWER}", NEWER),
        (f"mqtt,{OLDER},{NEWER}", OLDER),
    ],
)
async def test_i3_kind_the_first_name_that_was_offered(select: str, spoken: str) -> None:
    """Is spoken, however the server writes the list."""
    async with fake(speaking(spoken), select=select) as server:
        assert spoken == await spoken_with(server.url)

    assert [BOTH] == offers(server)


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize("spell", [str, str.upper, str.title])
async def test_i3_kind_a_forced_protocol_in_another_case(protocol: str, spell: Any) -> None:
    """It is what was offered."""
    async with fake(speaking(protocol), select=spell(protocol)) as server:
        assert protocol == await spoken_with(server.url, subprotocols=[protocol])


@pytest.mark.parametrize(("first", "spoken"), [("ka", OLDER), ("ping", NEWER), ("pong", NEWER)])
async def test_i3_kind_a_server_that_repeats_the_offer_may_speak_either(
    first: str, spoken: str
) -> None:
    """Its first message shows it, as that of a server that names none."""

    async def script(peer: Peer) -> None:
        await peer.send({"type": first})
        await peer.ack()
        await answer(peer, spoken)

    async with fake(script, select=BOTH) as server:
        assert spoken == await spoken_with(server.url)


# --- What was not offered ------------------------------------------------------------------------


async def test_i6_starlette_graphene3_answers_one_name_whatever_is_offered() -> None:
    """It speaks Apollo's protocol, and no other: a client that insists on the newer one is told."""
    with start_graphene() as server:
        async with gqlwire.connect(server.url) as session:
            assert OLDER == session.transport.subprotocol
            assert {"hello": "Hello, world!"} == await session.execute("{ hello }")
            counting = session.subscribe("subscription { count(upto: 3) }")
            assert [{"count": n} for n in range(3)] == [event async for event in counting]

        client = gqlwire.connect(server.url, subprotocols=[NEWER])
        told = await failure(HandshakeRejected, client.connect_async())

    assert f"'{OLDER}', which was not offered ({NEWER})" in str(told)
    assert (101, Phase.HANDSHAKE) == (told.status, told.phase)


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize(
    "select", ["mqtt", "graphql", "graphql-ws2", "v12.stomp, wamp.2.json", "x" * 500, "%0a", '"']
)
@pytest.mark.parametrize("is_forced", [True, False])
@pytest.mark.parametrize("reconnecting", [True, False])
async def test_i6_kind_a_foreign_name(
    protocol: str, select: str, is_forced: bool, reconnecting: bool
) -> None:
    """Fails the handshake, which names it, with and without reconnecting; nothing is sent."""

    async def script(peer: Peer) -> None:
        await peer.closed()
        assert [] == peer.received

    options = {"subprotocols": [protocol]} if is_forced else {}
    async with fake(script, select=select) as server:
        client = gqlwire.connect(server.url, reconnecting=reconnecting, **options)
        told = await failure(HandshakeRejected, client.connect_async())

    assert repr(select.split(",")[0][:60]) in str(told)
    assert len(str(told)) < 400
    assert 1 == server.connections


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_i6_kind_the_other_protocol_is_foreign_if_one_is_forced(protocol: str) -> None:
    """The user ruled it out; the error says which option does."""

    async def script(peer: Peer) -> None:
        await peer.closed()

    async with fake(script, select=OTHER[protocol]) as server:
        transport = WebsocketsTransport(server.url, subprotocols=[protocol])
        told = await failure(HandshakeRejected, transport.connect())

    assert f"'{OTHER[protocol]}', which was not offered ({protocol})" in str(told)
    assert "see the option subprotocols" in str(told)


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_i6_kind_the_other_protocol_is_spoken_if_none_is_forced(protocol: str) -> None:
    """Here one was offered alone because it had worked before; the new one is remembered."""
    speaks = protocol

    def select(offered: list[str]) -> str | None:
        return speaks if len(offered) == 1 else None

    async def script(peer: Peer) -> None:
        if peer.subprotocol is None:
            return await peer.close(4406)
        await peer.ack()
        return await answer(peer, speaks)

    async with fake(script, select=select) as server:
        assert protocol == await spoken_with(server.url)
        speaks = OTHER[protocol]
        assert speaks == await spoken_with(server.url)
        assert speaks == await spoken_with(server.url)

    assert [protocol, speaks] == offers(server)[-2:]
