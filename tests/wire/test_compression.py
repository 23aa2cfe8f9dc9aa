"""permessage-deflate over real sockets."""

import sys
import zlib

import pytest

import gqlwire
from gqlwire.errors import MessageTooBig, TransportConnectionFailed, TransportProtocolError
from servers.fake import Peer, fake, raw_fake
from servers.launch import start_node_apollo, start_node_graphql_ws, start_strawberry
from servers.raw import TEXT

DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate"}


@pytest.mark.parametrize("start", [start_strawberry, start_node_graphql_ws, start_node_apollo])
async def test_real_servers_compress_both_ways(start: type) -> None:
    """What was agreed on is in the answer's headers, and the data comes through unharmed."""
    with start(deflate=True) as server:
        async with gqlwire.connect(server.url, compression="deflate") as session:
            value = "compressible " * 10_000
            echo = "query E($value: String!) { echoString(value: $value) }"
            answer = await session.execute(echo, variable_values={"value": value})
            document = "subscription { ticks(count: 50, size: 5000) { seq pad } }"
            events = [event["ticks"] async for event in session.subscribe(document)]
            agreed = session.transport.response_headers["sec-websocket-extensions"]

    assert "permessage-deflate" in agreed
    assert {"echoString": value} == answer
    assert [{"seq": n, "pad": "x" * 5000} for n in range(50)] == events


async def test_a_server_that_declines_is_served_without(strawberry: object) -> None:
    """Nothing is compressed then."""

    async def plain(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        await peer.send({"id": start["id"], "type": "next", "payload": {"data": {"n": 1}}})
        await peer.send({"id": start["id"], "type": "complete"})

    async with (
        fake(plain) as server,
        gqlwire.connect(server.url, compression="deflate") as session,
    ):
        assert {"n": 1} == await session.execute("{ n }")
        assert "sec-websocket-extensions" not in session.transport.response_headers


async def test_an_extension_that_was_not_offered_fails_the_handshake() -> None:
    """RFC 6455, section 4.1."""

    async def impose(peer: object) -> None:
        await peer.read_request()
        await peer.upgrade(headers=DEFLATE)
        await peer.closed()

    async with raw_fake(impose, upgrade=False) as server:
        with pytest.raises(TransportConnectionFailed, match="extension that was not offered"):
            async with gqlwire.connect(server.url):
                pass


async def test_an_inflated_message_is_bounded() -> None:
    """A small frame that would become a large message ends the connection with 1009."""
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(b" " * 50_000_000) + deflater.flush(zlib.Z_SYNC_FLUSH)

    async def explode(peer: object) -> None:
        await peer.read_request()
        await peer.upgrade(headers=DEFLATE)
        await peer.receive_frame()  # connection_init, compressed
        await peer.send({"type": "connection_ack"})
        await peer.send_frame(TEXT, bomb[:-4], rsv1=True)
        assert (1009, "") == await peer.closed()

    async with raw_fake(explode, upgrade=False) as server:
        client = gqlwire.connect(server.url, compression="deflate", max_message_size=1_000_000)
        with pytest.raises(MessageTooBig) as caught:
            async with client as session:
                await session.execute("{ n }")

    assert 1_000_000 == caught.value.limit
    assert "inflated" in str(caught.value)
    assert "max_message_size" in str(caught.value)


async def test_a_message_that_cannot_be_inflated_ends_the_connection() -> None:
    """With 1002, as the socket can no longer be understood."""

    async def corrupt(peer: object) -> None:
        await peer.read_request()
        await peer.upgrade(headers=DEFLATE)
        await peer.receive_frame()  # connection_init, compressed
        await peer.send({"type": "connection_ack"})
        await peer.send_frame(TEXT, b"\xff\xff\xff", rsv1=True)
        assert 1002 == (await peer.closed())[0]

    async with raw_fake(corrupt, upgrade=False) as server:
        with pytest.raises(TransportProtocolError, match="cannot be inflated"):
            async with gqlwire.connect(server.url, compression="deflate") as session:
                await session.execute("{ n }")


async def test_without_the_extra_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The package is optional."""
    for name in [name for name in sys.modules if name.split(".")[0] == "websockets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'gqlwire\[deflate\]'"):
        gqlwire.connect("ws://127.0.0.1:1/", compression="deflate")


def test_an_unknown_compression_is_refused() -> None:
    """At once, and by name."""
    with pytest.raises(ValueError, match='compression must be "deflate" or None'):
        gqlwire.connect("ws://127.0.0.1/", compression="gzip")
