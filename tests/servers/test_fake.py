"""What both scripted servers do, and what `fake` does alone, through a plain websockets client."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request

from .certificates import client_context, make_certificates, server_context
from .fake import Fake, Peer, PeerClosed, RawFake, RawPeer, Refusal, fake, raw_fake
from .plain import LEGACY, MODERN, dial

INIT = json.dumps({"type": "connection_init"})
ACK = {"type": "connection_ack"}


async def idle(peer: Peer | RawPeer) -> None:
    """A script that does nothing."""


async def acknowledge(peer: Peer | RawPeer) -> None:
    """A script that takes the init and no more."""
    await peer.ack()


async def stuck(peer: Peer | RawPeer) -> None:
    """A script that never ends."""
    await asyncio.Event().wait()


async def response_head(port: int, protocols: str) -> bytes:
    """The bytes of the response to an upgrade request, as they are on the wire."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Protocol: " + protocols.encode() + b"\r\n\r\n"
    )
    try:
        return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()


# Conversation


@pytest.mark.parametrize("make", [fake, raw_fake])
async def test_conversation(make: Callable[..., Any]) -> None:
    """A script sees the upgrade request and each message, and answers; the test sees them too."""

    async def script(peer: Peer | RawPeer) -> None:
        init = await peer.ack(payload={"hi": 1})
        assert {"type": "connection_init", "payload": {"a": "é"}} == init
        start = await peer.expect("subscribe", skip=["pong"])
        await peer.send({"id": start["id"], "type": "complete"})

    async with make(script) as server:
        async with dial(server.url, additional_headers={"X-Test": "here"}) as socket:
            assert MODERN == socket.subprotocol
            await socket.send('{"type": "connection_init", "payload": {"a": "é"}}')
            assert {**ACK, "payload": {"hi": 1}} == json.loads(await socket.recv())
            await socket.send('{"type": "pong"}')
            await socket.send('{"type": "subscribe", "id": "7"}')
            assert {"type": "complete", "id": "7"} == json.loads(await socket.recv())
            # The script is over, the connection is not.
            await socket.send('{"type": "ping"}')
            await (await socket.ping())
        peer = await server.peer()
        assert (1000, "") == await asyncio.wait_for(peer.closed(), 10)
        assert MODERN == peer.subprotocol
        assert "here" == peer.request_headers["x-test"]
        types = [message["type"] for message in peer.received]
        assert ["connection_init", "pong", "subscribe", "ping"] == types
        assert (1, [peer]) == (server.connections, server.peers)


@pytest.mark.parametrize("make", [fake, raw_fake])
async def test_one_script_per_connection(make: Callable[..., Any]) -> None:
    """Each connection runs the script from its beginning, and the test can wait for the n-th."""
    async with make(acknowledge) as server:
        third = asyncio.create_task(server.peer(2))
        for _ in range(3):
            async with dial(server.url) as socket:
                await socket.send(INIT)
                assert ACK == json.loads(await socket.recv())
        assert server.peers[2] is await third
        assert 3 == server.connections


async def test_messages_of_other_kinds() -> None:
    """A script can send any text, a binary frame, and a message in several frames."""

    async def script(peer: Peer) -> None:
        await peer.send_text("no JSON")
        await peer.send_bytes(b"\x00")
        await peer.send_fragments(['{"type"', ": ", '"ping"}'])

    async with fake(script) as server, dial(server.url) as socket:
        assert ["no JSON", b"\x00"] == [await socket.recv(), await socket.recv()]
        pieces = [piece async for piece in socket.recv_streaming()]
        assert ['{"type"', ": ", '"ping"}'] == [piece for piece in pieces if piece]


async def test_websocket_ping() -> None:
    """A script can ping and gets the round trip once the pong is there."""
    trips: list[float] = []

    async def script(peer: Peer) -> None:
        trips.append(await peer.ping(b"x"))
        await peer.close(4000, "done")

    async with fake(script) as server, dial(server.url) as socket:
        await socket.wait_closed()
        assert (4000, "done") == (socket.close_code, socket.close_reason)
    assert trips[0] > 0


@pytest.mark.parametrize("make", [fake, raw_fake])
async def test_abort(make: Callable[..., Any]) -> None:
    """abort() resets TCP: the client sees no close frame."""

    async def script(peer: Peer | RawPeer) -> None:
        await peer.ack()
        peer.abort()

    async with make(script) as server, dial(server.url) as socket:
        await socket.send(INIT)
        await socket.recv()
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        assert 1006 == socket.close_code
        assert (1006, "") == await asyncio.wait_for((await server.peer()).closed(), 10)


async def test_pause_reading() -> None:
    """A peer that does not read answers nothing, not even pings, until it reads again."""
    paused = asyncio.Event()

    async def script(peer: Peer) -> None:
        peer.pause_reading()
        paused.set()

    async with fake(script) as server, dial(server.url) as socket:
        await paused.wait()
        pong = await socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), 0.05)
        server.peers[0].resume_reading()
        await asyncio.wait_for(pong, 10)


async def test_deflate() -> None:
    """With compression the server takes permessage-deflate."""
    async with (
        fake(acknowledge, compression="deflate") as server,
        dial(server.url, compression="deflate") as socket,
    ):
        assert socket.response is not None
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        await socket.send(INIT)
        assert ACK == json.loads(await socket.recv())


@pytest.mark.parametrize("make", [fake, raw_fake])
@pytest.mark.parametrize("ending", ["close", "abort", "leave"])
async def test_tls(make: Callable[..., Any], ending: str, tmp_path: Path) -> None:
    """Both scripted servers speak TLS, and end clean however the connection does."""
    certificates = make_certificates(tmp_path)

    async def script(peer: Peer | RawPeer) -> None:
        await peer.ack()
        if ending == "abort":
            peer.abort()

    tls = server_context(certificates.server, client_ca=certificates.ca)
    trusted = client_context(certificates.ca, certificates.client)
    async with make(script, ssl=tls) as server:
        socket = await dial(server.url, ssl=trusted)
        assert server.url.startswith("wss://")
        await socket.send(INIT)
        assert ACK == json.loads(await socket.recv())
        if ending == "close":
            await socket.close()
    await socket.wait_closed()
    await socket.close()


async def test_port() -> None:
    """A fake can come back on the port of one that is gone."""
    async with fake(idle) as first, dial(first.url):
        pass
    async with fake(idle, port=first.port) as second, dial(first.url):
        assert first.url == second.url


# The upgrade


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, b"\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n"),
        ({"subprotocols": [LEGACY]}, b"\r\nSec-WebSocket-Protocol: graphql-ws\r\n"),
        ({"select": "graphql-ws"}, b"\r\nSec-WebSocket-Protocol: graphql-ws\r\n"),
        ({"select": "never-offered"}, b"\r\nSec-WebSocket-Protocol: never-offered\r\n"),
        ({"select": lambda offered: offered[0]}, b"\r\nSec-WebSocket-Protocol: other\r\n"),
        (
            {"protocol_header": "sec-websocket-protocol"},
            b"\r\nsec-websocket-protocol: graphql-transport-ws\r\n",
        ),
        ({"headers": {"X-Extra": "1"}}, b"\r\nX-Extra: 1\r\n"),
    ],
)
async def test_upgrade_response(options: dict[str, Any], line: bytes) -> None:
    """The subprotocol, the case of its header and more headers are the test's to choose."""
    async with fake(idle, **options) as server:
        head = await response_head(server.port, f"other, {LEGACY}, {MODERN}")
        raw_head = await raw_response_head(options)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert 1 == head.count(line)
    assert 1 == raw_head.count(line)


async def raw_response_head(options: dict[str, Any]) -> bytes:
    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.upgrade(**options)

    async with raw_fake(script, upgrade=False) as server:
        return await response_head(server.port, f"other, {LEGACY}, {MODERN}")


@pytest.mark.parametrize("options", [{"select": None}, {"subprotocols": ["else"]}])
async def test_no_subprotocol_header(options: dict[str, Any]) -> None:
    """The response names no subprotocol when told so, or when there is none in common."""
    async with fake(idle, **options) as server:
        head = await response_head(server.port, MODERN)
        assert b"protocol:" not in head.lower()
        assert b"protocol:" not in (await raw_response_head(options)).lower()
        assert server.peers[0].subprotocol is None


async def test_refusal() -> None:
    """An upgrade can be refused with a status, headers and a body; the script does not run."""
    refusal = Refusal(401, {"WWW-Authenticate": "Bearer"}, b"who?")
    async with fake(idle, refuse=refusal) as server:
        with pytest.raises(InvalidStatus) as caught:
            async with dial(server.url):
                pass
        response = caught.value.response
        assert (401, b"who?") == (response.status_code, response.body)
        assert "Bearer" == response.headers["WWW-Authenticate"]
        assert (1, []) == (server.connections, server.peers)


async def test_refusal_once() -> None:
    """A function refuses some upgrades and lets others pass, by their request."""

    def refuse(request: Request) -> Refusal | None:
        offered = request.headers["Sec-WebSocket-Protocol"]
        return Refusal(400) if "," in offered else None

    async with fake(idle, refuse=refuse) as server:
        with pytest.raises(InvalidStatus):
            async with dial(server.url):
                pass
        async with dial(server.url, [LEGACY]) as socket:
            assert LEGACY == socket.subprotocol
        assert (2, 2) == (server.connections, len(server.requests))


# Faults


async def visit(server: Fake | RawFake, *messages: str | bytes) -> None:
    """Connect, say this, and stay until the server ends the connection."""
    async with server, dial(server.url) as socket:
        for message in messages:
            await socket.send(message)
        await socket.wait_closed()
        # What the script's end looks like from outside: a goodbye, or a lost connection.
        assert socket.close_code == (1011 if isinstance(server, Fake) else 1006)


@pytest.mark.parametrize("make", [fake, raw_fake])
async def test_fault_of_the_script(make: Callable[..., Any]) -> None:
    """A failed assertion in the script ends the connection and is raised at the end of `with`."""

    async def script(peer: Peer | RawPeer) -> None:
        await peer.expect("subscribe")

    with pytest.raises(AssertionError, match=r"expected subscribe, received .*connection_init"):
        await visit(make(script), INIT)


async def broken(peer: Peer) -> None:
    """A script that fails at once."""
    raise AssertionError("the script")


@pytest.mark.parametrize("make", [fake, raw_fake])
async def test_fault_of_script_and_test(make: Callable[..., Any]) -> None:
    """When the test fails too, the script's fault is raised from the test's error."""
    error = KeyError("the test")

    async def failing() -> None:
        async with make(broken) as server, dial(server.url) as socket:
            await socket.wait_closed()
            raise error

    with pytest.raises(AssertionError, match="the script") as caught:
        await failing()
    assert error is caught.value.__cause__


async def test_fault_of_script_and_outcome() -> None:
    """pytest's own outcomes are not replaced by the script's fault: it becomes a note."""

    async def failing() -> None:
        async with fake(broken) as server, dial(server.url) as socket:
            await socket.wait_closed()
            pytest.fail("the test")

    with pytest.raises(pytest.fail.Exception) as caught:
        await failing()
    notes = ["faults of the server's script: [AssertionError('the script')]"]
    assert notes == caught.value.__notes__


async def test_faults_of_several_scripts() -> None:
    """Faults on several connections come together."""

    async def twice() -> None:
        async with fake(broken) as server:
            for _ in range(2):
                async with dial(server.url) as socket:
                    await socket.wait_closed()

    with pytest.raises(BaseExceptionGroup) as caught:
        await twice()
    assert 2 == len(caught.value.exceptions)


@pytest.mark.parametrize("make", [fake, raw_fake])
@pytest.mark.parametrize("text", ["not JSON", "[]", '{"id": "1"}', b"\x00"])
async def test_bad_message_of_the_client(make: Callable[..., Any], text: str | bytes) -> None:
    """A message that no client may send is a fault, even when the script is over."""
    with pytest.raises((AssertionError, ValueError)):
        await visit(make(idle), text)


@pytest.mark.parametrize("make", [fake, raw_fake])
async def test_patience(make: Callable[..., Any]) -> None:
    """A script that waits in vain fails the test, and says what did come."""

    async def script(peer: Peer | RawPeer) -> None:
        await peer.expect("connection_init")
        await peer.receive()

    with pytest.raises(AssertionError, match=r"no message in 0\.05 s; .*connection_init"):
        await visit(make(script, patience=0.05), INIT)


@pytest.mark.parametrize("make", [fake, raw_fake])
async def test_client_that_leaves(make: Callable[..., Any]) -> None:
    """A script that is left alone gets PeerClosed, with what the client said; it is no fault."""
    ends: list[PeerClosed] = []

    async def script(peer: Peer | RawPeer) -> None:
        try:
            await peer.receive()
        except PeerClosed as end:
            ends.append(end)
        await peer.receive()

    async with make(script) as server:
        async with dial(server.url) as socket:
            await socket.close(4321, "bye")
        await asyncio.wait_for((await server.peer()).closed(), 10)
    assert [(4321, "bye")] == [(end.code, end.reason) for end in ends]


@pytest.mark.parametrize("make", [fake, raw_fake])
@pytest.mark.parametrize("script", [idle, stuck])
async def test_nothing_is_left(make: Callable[..., Any], script: Any) -> None:
    """At the end of `with` every script, task and connection is gone, also with a client there."""
    before = asyncio.all_tasks()
    async with make(script) as server:
        socket = await dial(server.url)
        await server.peer()
    await socket.wait_closed()
    await socket.close()
    assert before == asyncio.all_tasks()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)
