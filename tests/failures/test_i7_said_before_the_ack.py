"""Directus answers a bad token with a message that no protocol has, and closes three seconds later.
The error said that connection_init had come too late, and the same token was tried again. What a
server said before the acknowledgement belongs in the error, and 4408 is a refusal.

Directus needs a database, and takes minutes to install. The scripts here do what Directus 11 did
when it was tried by hand (4403), and what an older one did (4408).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import gqlwire
from conftest import NEWER, OLDER
from doubles import MemoryWire, on_virtual_time
from gqlwire._connection.connection import Connection
from gqlwire._protocols import choose
from gqlwire.errors import AckTimeout, ConnectionClosed, Phase, TransportConnectionFailed
from gqlwire.retry import Action, Attempt, RetryPolicy
from gqlwire.retry.actions import action_for
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, RawPeer, fake, raw_fake
from support import failure, leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

PROTOCOLS = pytest.mark.parametrize("protocol", [NEWER, OLDER])

AUTH_FAILED = {
    "type": "auth",
    "status": "error",
    "error": {"code": "AUTH_FAILED", "message": "Authentication failed."},
}


@pytest.mark.parametrize(
    ("code", "reason", "meaning"),
    [
        (4403, "Forbidden", "forbidden: the server refused the credentials"),
        (
            4408,
            "Connection initialisation timeout",
            "gqlwire had sent connection_init immediately; the server may have refused it",
        ),
    ],
)
async def test_i7_directus_and_a_bad_token(code: int, reason: str, meaning: str) -> None:
    """The sentence has what it said first; a token function is asked for another one."""

    async def script(peer: Peer) -> None:
        init = await peer.expect("connection_init")
        if init["payload"]["access_token"] == "good":
            await peer.send({"type": "connection_ack"})
        else:
            await peer.send(AUTH_FAILED)
            await peer.close(code, reason)

    def token(attempt: Attempt) -> dict[str, str]:
        refreshed.append(attempt.refresh)
        return {"access_token": "good" if attempt.refresh else "bad"}

    refreshed: list[bool] = []
    async with fake(script, subprotocols=[NEWER]) as server:
        transport = WebsocketsTransport(server.url, init_payload={"access_token": "bad"})
        told = await failure(ConnectionClosed, transport.connect())
        retry = RetryPolicy(initial=True)
        async with gqlwire.connect(server.url, init_payload=token, retry=retry):
            pass

    assert (
        f"{told.host} closed the connection before it acknowledged connection_init: {code} "
        f"{reason} ({meaning}); before that, it sent {json.dumps(AUTH_FAILED)}"
    ) == str(told)
    assert [False, True] == refreshed


def test_i7_kind_an_init_that_is_late_was_refused() -> None:
    """It is sent in the same moment in which the socket is open."""
    assert Action.REFRESH is action_for(ConnectionClosed(code=4408, phase=Phase.INIT))
    assert Action.RETRY is action_for(ConnectionClosed(code=4408, phase=Phase.OPEN))


SAID: list[tuple[list[Any], str]] = [
    ([{"type": "welcome"}], '"welcome"'),
    ([{"errors": [{"message": "JWT expired"}]}], "JWT expired"),
    ([{"type": "error", "id": "1", "payload": [{"message": "no token"}]}], "no token"),
    ([{"type": "next", "id": "1", "payload": {"errors": [{"message": "nope"}]}}], "nope"),
    ([{"type": "data", "id": "1", "payload": {"errors": [{"message": "nope"}]}}], "nope"),
    ([{"message": "Unauthorized", "code": 401}], "Unauthorized"),
    ([{"type": "auth", "error": "bad"}, {"type": "welcome"}], '"auth"'),
    ([{"type": "welcome"}, {"type": "auth", "error": "bad"}], '"auth"'),
    ([{"type": 7, "why": "an odd type"}], "an odd type"),
    ([{"type": "x", "pad": "y" * 5000, "error": "z"}], "bytes)"),
]

ENDS: dict[str, Callable[[RawPeer], Any]] = {
    "1000": lambda peer: peer.close(1000, "bye"),
    "4408": lambda peer: peer.close(4408),
    "no close frame": lambda peer: drop(peer),
    "silence": lambda peer: stay(peer),
}


async def drop(peer: RawPeer) -> None:
    peer.end()


async def stay(_: RawPeer) -> None:
    pass


@PROTOCOLS
@pytest.mark.parametrize("said", SAID, ids=lambda pair: json.dumps(pair[0])[:30])
@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
async def test_i7_kind_it_stands_in_the_sentence(
    protocol: str, said: tuple[list[Any], str], end: Callable[[RawPeer], Any]
) -> None:
    """Whatever it was and however the connection ended; an error rather than anything else, cut."""
    messages, expected = said

    async def script(peer: RawPeer) -> None:
        await peer.expect("connection_init")
        for message in messages:
            await peer.send(message)
        await end(peer)

    async with raw_fake(script) as server:
        transport = WebsocketsTransport(server.url, subprotocols=[protocol], ack_timeout=0.2)
        with pytest.raises(TransportConnectionFailed) as caught:
            await transport.connect()

    sentence = str(caught.value)
    assert expected in sentence.partition("; before that, it sent ")[2]
    assert len(sentence) < 700


@PROTOCOLS
async def test_i7_kind_nothing_said_is_nothing_told(protocol: str) -> None:
    """The sentence is as it was."""

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")

    async with fake(script) as server:
        transport = WebsocketsTransport(server.url, subprotocols=[protocol], ack_timeout=0.1)
        told = await failure(AckTimeout, transport.connect())

    assert str(told).endswith("within 0.1 seconds (ack_timeout)")


@PROTOCOLS
async def test_i7_kind_after_the_acknowledgement_it_is_forgotten(protocol: str) -> None:
    """It did no harm."""

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        await peer.send({"type": "welcome", "error": None})
        await peer.send({"type": "connection_ack"})
        await peer.receive()
        await peer.close(1011, "later")

    async with fake(script) as server:
        client = gqlwire.connect(server.url, subprotocols=[protocol], reconnecting=False)
        async with client as session:
            told = await failure(ConnectionClosed, session.execute("{ hello }"))

    assert "before that" not in str(told)


@on_virtual_time
async def test_i7_kind_each_connection_has_its_own() -> None:
    """Nothing of one stands in the error of the next."""
    ends: list[Connection] = []
    for greeting in ([b'{"type":"auth","error":"first"}'], []):
        connection = Connection(choose((NEWER,), NEWER), host="h.example:443")
        connection.opened(MemoryWire())
        connection.received_all(greeting)
        connection.closed(4408, "")
        ends.append(connection)

    assert ["first" in str(each.reason) for each in ends] == [True, False]
