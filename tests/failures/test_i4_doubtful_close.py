"""4400 before the acknowledgement was final. It may refuse the credentials (Hasura), or the
protocol that the server itself has named (spring-projects/spring-graphql#1041): the other one is
offered, once.
"""

from __future__ import annotations

from typing import Any

import pytest
from negotiating import BOTH, OTHER, answer, offer_of, offers, spoken_with

import gqlwire
from conftest import NEWER, OLDER
from gqlwire.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectionRejected,
    HandshakeRejected,
    TransportConnectionFailed,
)
from gqlwire.retry import Attempt, RetryPolicy
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, Refusal, fake
from support import BOUND, failure, leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

PROTOCOLS = pytest.mark.parametrize("chosen", [NEWER, OLDER])


def first_choice(chosen: str) -> Any:
    return lambda offered: chosen if chosen in offered else offered[0]


@PROTOCOLS
async def test_i4_the_server_names_what_it_does_not_speak(chosen: str) -> None:
    """The other one works, and is offered first next time."""

    async def script(peer: Peer) -> None:
        if peer.subprotocol == chosen:
            await peer.expect("connection_init")
            return await peer.close(4400, "Invalid message")
        await peer.ack()
        return await answer(peer, OTHER[chosen])

    async with fake(script, select=first_choice(chosen)) as server:
        assert OTHER[chosen] == await spoken_with(server.url)
        assert OTHER[chosen] == await spoken_with(server.url)

    assert [BOTH, OTHER[chosen], OTHER[chosen]] == offers(server)


async def close(peer: Peer, code: int) -> None:
    await peer.expect("connection_init")
    await peer.close(code)


async def complain(peer: Peer, payload: Any) -> None:
    await peer.expect("connection_init")
    await peer.send({"type": "connection_error", "payload": payload})


SECONDS: dict[str, tuple[Any, Any, type[TransportConnectionFailed], bool]] = {
    # The script and the HTTP refusal for the second offer; what is raised, and if the first one is.
    "4400": (lambda peer: close(peer, 4400), None, ConnectionClosed, True),
    "4406": (lambda peer: close(peer, 4406), None, ConnectionClosed, True),
    "1002": (lambda peer: close(peer, 1002), None, ConnectionClosed, True),
    "1006": (lambda peer: close(peer, 1011), None, ConnectionClosed, True),
    "HTTP 400": (None, Refusal(400), ConnectionClosed, True),
    "silence": (lambda peer: peer.expect("connection_init"), None, ConnectionClosed, True),
    "4403": (lambda peer: close(peer, 4403), None, ConnectionClosed, False),
    "connection_error": (lambda peer: complain(peer, "no"), None, ConnectionRejected, False),
    "HTTP 401": (None, Refusal(401), HandshakeRejected, False),
}


@PROTOCOLS
@pytest.mark.parametrize(
    ("second", "refusal", "kind", "is_first"), SECONDS.values(), ids=list(SECONDS)
)
async def test_i4_kind_the_other_one_fails_as_well(
    chosen: str, second: Any, refusal: Any, kind: type[TransportConnectionFailed], is_first: bool
) -> None:
    """Two attempts, and not more. What says more is raised: a refusal of the credentials by the
    second, otherwise the first, for which the server had chosen the protocol."""

    def refuse(request: Any) -> Any:
        return None if request.headers["Sec-WebSocket-Protocol"] == BOTH else refusal

    async def script(peer: Peer) -> None:
        if offer_of(peer) != BOTH:
            return await second(peer)
        await peer.expect("connection_init")
        return await peer.close(4400, "the first")

    async with fake(script, select=first_choice(chosen), refuse=refuse) as server:
        transport = WebsocketsTransport(server.url, ack_timeout=0.2)
        told = await failure(kind, transport.connect())

    assert [BOTH, OTHER[chosen]] == offers(server)
    assert is_first is (told.reason == "the first")
    assert not isinstance(told, AckTimeout)


@PROTOCOLS
async def test_i4_kind_a_forced_protocol_has_no_other(chosen: str) -> None:
    """4400 is final then."""
    async with fake(lambda peer: close(peer, 4400)) as server:
        transport = WebsocketsTransport(server.url, subprotocols=[chosen])
        told = await failure(ConnectionClosed, transport.connect())

    assert 4400 == told.code
    assert [chosen] == offers(server)


@PROTOCOLS
async def test_i4_kind_what_has_worked_is_not_doubted(chosen: str) -> None:
    """A token that expires costs one attempt, and a second one with a new token."""
    valid = "1"

    async def script(peer: Peer) -> None:
        nonlocal valid
        init = await peer.expect("connection_init")
        if init["payload"]["token"] != valid:
            return await peer.close(4400, "expired")
        await peer.send({"type": "connection_ack"})
        await answer(peer, chosen)
        if valid == "1":
            valid = "2"
            await peer.close(1012)
        return None

    def token(attempt: Attempt) -> dict[str, str]:
        attempts.append(attempt.refresh)
        return {"token": "2" if attempt.refresh else "1"}

    attempts: list[bool] = []
    retry = RetryPolicy(first_delay=0)
    async with fake(script, select=first_choice(chosen)) as server:
        client = gqlwire.connect(server.url, init_payload=token, retry=retry, execute_timeout=BOUND)
        async with client as session:
            await session.execute("{ hello }")
            await server.peer(1)
            await session.execute("{ hello }")

    assert [BOTH, BOTH, BOTH] == offers(server)
    assert [False, False, True] == attempts
