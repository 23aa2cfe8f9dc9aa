"""What docs/websockets_transport.md and docs/coming-from-gql.md say and no other test shows.

docs/contributing tells which sentence is shown by which test.
"""

import asyncio
import itertools
import re
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import gqlwire
from conftest import NEWER, OLDER
from doubles import Watched
from gqlwire import Client, ExecutionResult
from gqlwire.errors import (
    ConnectionClosed,
    IncompleteResult,
    Phase,
    TLSFailed,
    TransportProtocolError,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, fake

START = {NEWER: "subscribe", OLDER: "start"}
NEXT = {NEWER: "next", OLDER: "data"}
BOUND = 60.0
"""Seconds after which a test takes a thing for hung."""

EVENTS = "subscription { n }"

PAGE = Path(__file__).parents[2] / "docs" / "websockets_transport.md"


async def answer_all(peer: Peer) -> None:
    """Acknowledge; one result for each operation, which is then complete."""
    assert peer.subprotocol is not None
    await peer.ack()
    for n in itertools.count():
        start = await peer.expect(START[peer.subprotocol])
        result = {"id": start["id"], "type": NEXT[peer.subprotocol], "payload": {"data": {"n": n}}}
        await peer.send(result)
        await peer.send({"id": start["id"], "type": "complete"})


async def be_silent(peer: Peer) -> None:
    """Acknowledge, and say nothing more."""
    await peer.ack()
    await peer.closed()


# --- One connection for all of it -----------------------------------------------------------------


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_all_kinds_of_operations_share_one_connection(protocol: str) -> None:
    """Queries, mutations and subscriptions, at the same time."""
    begun = asyncio.Barrier(4)

    async def script(peer: Peer) -> None:
        await peer.ack()
        starts = [await peer.expect(START[protocol]) for _ in range(4)]
        # All four are under way by now; they are answered in another order.
        for start in reversed(starts):
            data = {"asked": start["payload"]["query"]}
            await peer.send({"id": start["id"], "type": NEXT[protocol], "payload": {"data": data}})
            await peer.send({"id": start["id"], "type": "complete"})
        await peer.closed()

    async with (
        fake(script, subprotocols=[protocol]) as server,
        gqlwire.connect(server.url) as session,
    ):

        async def run(document: str) -> list[dict[str, Any]]:
            await begun.wait()
            if document.startswith("subscription"):
                return [event async for event in session.subscribe(document)]
            return [await session.execute(document)]

        documents = ["query { n }", "mutation { n }", "subscription { n }", "subscription { m }"]
        answers = await asyncio.wait_for(asyncio.gather(*map(run, documents)), BOUND)

        assert [[{"asked": document}] for document in documents] == answers
        assert 1 == server.connections


# --- Keep-alives ----------------------------------------------------------------------------------


async def test_nothing_is_watched_unless_asked_for() -> None:
    """Without the three options no ping is sent, and silence is no death."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        await asyncio.sleep(0.4)  # this is the silence
        await peer.send({"id": start["id"], "type": "next", "payload": {"data": {"n": 1}}})
        await peer.send({"id": start["id"], "type": "complete"})
        assert ["connection_init", "subscribe"] == [said["type"] for said in peer.received]

    async with (
        fake(script) as server,
        Client(transport=WebsocketsTransport(server.url)) as session,
    ):
        assert [{"n": 1}] == [event async for event in session.subscribe(EVENTS)]


# --- The upgrade ----------------------------------------------------------------------------------


async def test_assigned_credentials_are_used_at_the_next_connection() -> None:
    """New credentials need no new transport."""
    async with fake(be_silent) as server:
        transport = WebsocketsTransport(server.url, headers={"A": "1"}, init_payload={"b": 1})
        async with Client(transport=transport):
            pass
        transport.headers, transport.init_payload = {"A": "2"}, {"b": 2}
        async with Client(transport=transport):
            pass
        headers = [request.headers["A"] for request in server.requests]
        payloads = [peer.received[0]["payload"] for peer in server.peers]

    assert ["1", "2"] == headers
    assert [{"b": 1}, {"b": 2}] == payloads


async def test_a_self_signed_certificate_is_trusted_when_it_is_given(tmp_path: Path) -> None:
    """A certificate that vouches for itself, without any authority."""
    certificate, key = _self_signed(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, key)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(certificate)

    async with fake(answer_all, ssl=serving) as server:
        with pytest.raises(TLSFailed, match="it is self-signed, and not among the trusted ones"):
            await gqlwire.connect(server.url).connect_async()
        async with gqlwire.connect(server.url, ssl=trusting) as session:
            assert {"n": 0} == await session.execute("{ n }")


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-signed")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def _example(option: str) -> WebsocketsTransport:
    """The transport that the page makes with this option."""
    blocks = re.findall(r"^```python\n(.+?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if option in block]
    names: dict[str, Any] = {}
    exec(code, names)
    transport: WebsocketsTransport = names["transport"]
    return transport


def test_the_examples_of_the_page_set_the_limits_that_they_name() -> None:
    """60 seconds of silence; a ping every 60 seconds, and 10 seconds for an answer. The test has a
    clock of its own, as it cannot wait a minute.
    """
    silence = Watched(_example("keep_alive_timeout=60")._limits())
    pings = Watched(_example("ping_interval=60")._limits())
    for watched in (silence, pings):
        watched.it.start()
    begin = silence.clock.now

    for watched in (silence, pings):
        watched.at(begin + 59.9)
        assert ([], []) == (watched.pings, watched.deaths)
        watched.at(begin + 60)
    assert [(begin + 60, 60, "(keep_alive_timeout)")] == silence.deaths
    assert [begin + 60] == pings.pings
    pings.at(begin + 69.9)
    assert [] == pings.deaths
    pings.at(begin + 70)
    assert [(begin + 70, 10, "after a ping (pong_timeout)")] == pings.deaths


# --- Where gql 4.4.0 fails (docs/coming-from-gql.md) ----------------------------------------------


@pytest.mark.parametrize("text", ["[]", '"hello"', "hello"])
async def test_text_that_is_not_a_json_object_ends_every_operation(text: str) -> None:
    """Each operation raises an error that shows the text. Nothing hangs, and nothing is retried."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        await peer.expect("subscribe")
        await peer.expect("subscribe")
        await peer.send_text(text)
        assert (1002, "") == await peer.closed()

    async with fake(script) as server, gqlwire.connect(server.url, reconnecting=False) as session:
        waiting = [anext(session.subscribe(EVENTS)), session.execute("{ n }")]
        ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), BOUND)

    assert [TransportProtocolError] * 2 == [type(end) for end in ends]
    assert all(repr(text) in str(end) for end in ends)


async def test_the_parts_of_a_deferred_result_are_events() -> None:
    """With `get_execution_result`; they are not merged. Without it each part raises."""
    parts = [
        {"data": {"a": 1}, "hasNext": True},
        {"incremental": [{"data": {"b": 2}, "path": []}], "hasNext": True},
        {"hasNext": False},
    ]

    async def script(peer: Peer) -> None:
        await peer.ack()
        for _ in range(2):
            start = await peer.expect("subscribe")
            for part in parts:
                await peer.send({"id": start["id"], "type": "next", "payload": part})
            await peer.send({"id": start["id"], "type": "complete"})

    async with fake(script) as server, gqlwire.connect(server.url) as session:
        document = "query { a ... @defer { b } }"
        events = [e async for e in session.subscribe(document, get_execution_result=True)]
        plain = session.subscribe(document)
        for _ in parts:
            with pytest.raises(IncompleteResult, match="result in parts"):
                await anext(plain)
        await plain.aclose()

    assert [
        ExecutionResult({"a": 1}, has_next=True),
        ExecutionResult(None, incremental=parts[1]["incremental"], has_next=True),
        ExecutionResult(None, incremental=[], has_next=False),
    ] == events


async def test_connecting_works_after_a_failed_attempt() -> None:
    """A server that closes before it acknowledges leaves nothing in the way."""

    async def script(peer: Peer) -> None:
        if len(server.peers) == 1:
            await peer.close(1012)
        else:
            await answer_all(peer)

    async with fake(script) as server:
        client = gqlwire.connect(server.url)
        with pytest.raises(ConnectionClosed) as caught:
            await client.connect_async()
        async with client as session:
            assert {"n": 0} == await session.execute("{ n }")

    assert (1012, Phase.INIT) == (caught.value.code, caught.value.phase)


async def test_without_reconnecting_a_closed_connection_stays_closed() -> None:
    """Running operations raise the reason, with code and words."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        await peer.expect("subscribe")
        await peer.close(4403, "Forbidden")

    async with fake(script) as server:
        async with gqlwire.connect(server.url, reconnecting=False) as session:
            for _ in range(2):
                with pytest.raises(ConnectionClosed) as caught:
                    await session.execute("mutation { n }")
                assert (4403, "Forbidden") == (caught.value.code, caught.value.reason)
        assert 1 == server.connections
        assert ["connection_init", "subscribe"] == [m["type"] for m in server.peers[0].received]


async def test_a_null_event_is_an_event() -> None:
    """gql skips it."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        await peer.send({"id": start["id"], "type": "next", "payload": {"data": None}})
        await peer.send({"id": start["id"], "type": "complete"})

    async with fake(script) as server, gqlwire.connect(server.url) as session:
        assert [None] == [event async for event in session.subscribe(EVENTS)]


@pytest.mark.parametrize("keyword", ["batch_interval", "batch_max"])
def test_there_is_no_batching(keyword: str) -> None:
    """gql has it for HTTP, and raises NotImplementedError on a websocket."""
    with pytest.raises(TypeError, match=keyword):
        Client(**{keyword: 1})
    assert not hasattr(Client, "execute_batch")
