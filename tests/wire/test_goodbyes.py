"""Close handshakes: the server's, ours, and those that only one side keeps (RFC 6455, 7)."""

import asyncio
import logging
import struct

import pytest
from frames import running, wire

from gqlwire import Client, GraphQLRequest
from gqlwire.errors import CloseTimeout, ConnectionClosed, Phase, TransportClosed
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import PeerClosed, RawPeer, raw_fake
from servers.raw import CLOSE, TEXT
from support import BOUND, QUERY, connected, failure, leaves_nothing, tick

tidy = pytest.fixture(autouse=True)(leaves_nothing)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1001, "bye"), (1011, "ä" * 61), (3000, ""), (4000, "x"), (4999, "")],
)
async def test_the_servers_close_frame_is_answered(code: int, reason: str) -> None:
    """With its code; the error has both, and the code's meaning where there is one."""
    async with running(lambda peer, _: peer.close(code, reason)) as it:
        told = await failure(ConnectionClosed, anext(it.events))
        assert code == (await it.left())[0]

    assert (code, reason, Phase.OPEN, it.host) == (told.code, told.reason, told.phase, told.host)
    assert str(told).startswith(f"{it.host} closed the connection: {code} {reason}".rstrip())


async def test_a_close_frame_without_a_code_is_answered() -> None:
    """With 1000, and reported as 1005 (section 7.1.5)."""
    async with running(lambda peer, _: peer.close(None)) as it:
        told = await failure(ConnectionClosed, anext(it.events))
        assert 1000 == (await it.left())[0]

    assert (1005, "", Phase.OPEN) == (told.code, told.reason, told.phase)
    assert f"{it.host} closed the connection: 1005 (no code given)" == str(told)


async def test_data_after_the_servers_close_frame_is_not_read() -> None:
    """Neither a second close frame, nor an event, nor garbage changes the reason."""

    async def act(peer: RawPeer, id: str) -> None:
        first, second = (wire(CLOSE, struct.pack("!H", code)) for code in (4001, 4002))
        await peer.send_raw(first + second + wire(TEXT, tick(id, 1)) + b"\xff\xff")

    async with running(act) as it:
        told = await failure(ConnectionClosed, anext(it.events))
        assert 4001 == (await it.left())[0]

    assert (4001, Phase.OPEN, it.host) == (told.code, told.phase, told.host)


@pytest.mark.parametrize("data", [b"", b"\x81\x7e", b"\x81\x05{}", b"\x01\x02{}"], ids=repr)
async def test_an_end_of_tcp_is_a_lost_connection(data: bytes) -> None:
    """Between frames, inside one, and inside a fragmented message alike."""

    async def act(peer: RawPeer, id: str) -> None:
        await peer.send_raw(data)
        peer.end()

    async with running(act) as it:
        told = await failure(ConnectionClosed, anext(it.events))

    assert (1006, "", Phase.OPEN, it.host) == (told.code, told.reason, told.phase, told.host)
    assert f"the connection to {it.host} was lost: no close frame arrived (1006)" == str(told)


@pytest.mark.parametrize("noise", [b"", b"\xff\xff", b"\x81\x01x"], ids=["", "garbage", "no JSON"])
async def test_our_close_frame_says_1000(noise: bytes) -> None:
    """What runs ends at once; whatever the server still says before its answer is not read."""

    async def act(peer: RawPeer, id: str) -> None:
        goodbye = await peer.receive_frame()
        assert (CLOSE, struct.pack("!H", 1000), True) == (
            goodbye.opcode,
            goodbye.payload,
            goodbye.masked,
        )
        await peer.send_raw(wire(TEXT, tick(id, 1)) + noise)
        await peer.close(1000)

    async with running(act) as it:
        waiting = asyncio.create_task(failure(TransportClosed, anext(it.events)))
        await it.begun.wait()
        await asyncio.wait_for(it.transport.close(), BOUND)
        told = await waiting
        assert Phase.CLOSED is it.transport.phase
        await it.transport.close()

    assert (None, "", Phase.OPEN, it.host) == (told.code, told.reason, told.phase, told.host)
    assert f"the connection to {it.host} was closed by close()" == str(told)


async def test_an_answered_goodbye_does_not_wait_for_the_server_to_hang_up() -> None:
    """A server that answers the close frame and keeps TCP open keeps nobody waiting."""
    silence = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        assert CLOSE == (await peer.receive_frame()).opcode
        await peer.close(1000)
        with pytest.raises(PeerClosed):
            await peer.receive_frame()
        silence.set()

    async with raw_fake(script) as server:
        async with connected(server, close_timeout=None):
            pass
        await asyncio.wait_for(silence.wait(), BOUND)


async def deaf(peer: RawPeer) -> None:
    """A server that never answers a close frame, and sees the socket's end for all that."""
    await peer.ack()
    assert CLOSE == (await peer.receive_frame()).opcode
    with pytest.raises(PeerClosed) as caught:
        await peer.receive_frame()
    assert 1006 == caught.value.code


async def test_a_server_that_never_answers_the_close_frame_is_dropped() -> None:
    """After `close_timeout`; the `close()` that began it says so; the socket is gone."""
    async with raw_fake(deaf) as server:
        transport = WebsocketsTransport(server.url, close_timeout=0.1)
        await transport.connect()
        started = asyncio.get_running_loop().time()
        told, _ = await asyncio.gather(failure(CloseTimeout, transport.close()), transport.close())
        assert 0.1 <= asyncio.get_running_loop().time() - started < 1
        await asyncio.wait_for(transport.wait_closed(), BOUND)

        host = f"127.0.0.1:{server.port}"
        assert Phase.CLOSED is transport.phase
        assert (0.1, Phase.CLOSING, host, None) == (told.limit, told.phase, told.host, told.code)
        assert isinstance(told, TimeoutError)
        assert (
            f"{host} did not answer the close frame within 0.1 seconds (close_timeout); "
            f"the socket was dropped"
        ) == str(told)
        await failure(TransportClosed, transport.execute(QUERY))


async def test_leaving_a_client_is_quiet_about_a_goodbye_without_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is a warning in the log: what is under way matters more."""
    caplog.set_level(logging.WARNING, "gqlwire")
    async with raw_fake(deaf) as server:
        transport = WebsocketsTransport(server.url, close_timeout=0.05)
        async with asyncio.timeout(BOUND), Client(transport=transport) as session:
            assert session.transport is transport

    assert ["did not answer the close frame"] == [
        " ".join(record.message.split()[1:7]) for record in caplog.records
    ]


async def test_a_server_that_reads_nothing_is_dropped_too() -> None:
    """Not even the close frame fits into the socket's buffers; what waits to send is freed."""
    done = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        await done.wait()

    async with raw_fake(script) as server:
        transport = WebsocketsTransport(server.url, close_timeout=0.1)
        await transport.connect()
        request = GraphQLRequest(QUERY, variable_values={"filling": "x" * 20_000_000})
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(failure(TransportClosed, transport.execute(request)))
            group.create_task(failure(CloseTimeout, transport.close()))
        done.set()
        assert Phase.CLOSED is transport.phase
