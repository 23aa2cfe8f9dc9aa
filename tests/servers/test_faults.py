"""The proxy that the proof of survival stands on, through plain sockets and plain websockets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from support import BOUND, leaves_nothing

from .faults import PASSING, Fault, FaultProxy, Frames, Strike, schedule

tidy = pytest.fixture(autouse=True)(leaves_nothing)

PARTING = [Fault.CUT, Fault.RESET, Fault.TEAR]


class Echo:
    """A WebSocket server that says what it is told, and keeps it."""

    def __init__(self) -> None:
        self.heard: list[str | bytes] = []
        self.ends: list[int] = []

    async def serve(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                self.heard.append(message)
                await connection.send(message)
        self.ends.append(connection.protocol.close_code or 0)


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Echo, FaultProxy]]:
    """The server, and the proxy before it."""
    here = Echo()
    async with (
        asyncio.timeout(BOUND),
        serve(here.serve, "127.0.0.1", 0, compression=None, close_timeout=0.5) as server,
        FaultProxy(server.sockets[0].getsockname()[1]) as proxy,
    ):
        yield here, proxy


def dial(proxy: FaultProxy) -> connect:
    return connect(proxy.url, proxy=None, compression=None, close_timeout=0.2, ping_interval=None)


async def says(client: ClientConnection, text: str) -> str | bytes:
    await client.send(text)
    return await client.recv()


async def hears_nothing(client: ClientConnection, text: str) -> bool:
    """Whether what is said stays without an answer, and without an end."""
    answer = asyncio.create_task(says(client, text))
    await asyncio.wait([answer], timeout=0.1)
    return answer.cancel()


class Record(asyncio.Protocol):
    """What a plain TCP connection brings, piece by piece, and how it ends."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended: asyncio.Future[Exception | None] = asyncio.Future()

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


@asynccontextmanager
async def recorded(proxy: FaultProxy) -> AsyncIterator[tuple[Record, asyncio.Transport]]:
    loop = asyncio.get_running_loop()
    transport, record = await loop.create_connection(Record, "127.0.0.1", proxy.port)
    try:
        yield record, transport
    finally:
        transport.close()
        await record.ended


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HELLO = b"\x81\x85\0\0\0\0hello"
"""A masked text frame."""


async def test_a_proxy_carries_both_ways_and_counts() -> None:
    """Without a fault nothing is changed, the close codes included; sockets are counted."""
    async with echo() as (server, proxy):
        async with dial(proxy) as client:
            assert (1, 2, 1) == (proxy.connections, proxy.sockets, len(proxy.links))
            big = "x" * 300_000
            assert [big, ""] == [await says(client, text) for text in (big, "")]
            await client.close(4321, "bye")
        await proxy.until(lambda: proxy.sockets == 0)
        assert ([4321], {}, []) == (server.ends, proxy.faults, proxy.links)


@pytest.mark.parametrize("fault", PARTING)
@pytest.mark.parametrize("everywhere", [False, True])
async def test_both_ends_are_parted(fault: Fault, everywhere: bool) -> None:
    """Neither end sees a close frame; of several connections the newest suffers, or all do."""
    async with echo() as (server, proxy), dial(proxy) as older, dial(proxy) as newer:
        await says(older, "a")
        await says(newer, "b")
        hit = proxy.strike(fault, everywhere=everywhere)
        for client in [newer, older][:hit]:
            with pytest.raises(ConnectionClosedError):
                await says(client, "now")
            assert 1006 == client.close_code
        await proxy.until(lambda: len(server.ends) == hit and len(proxy.links) == 2 - hit)
        assert (1 + everywhere, {fault: hit}) == (hit, proxy.faults)
        assert [1006] * hit == server.ends


async def test_a_cut_is_an_orderly_end_and_a_reset_is_an_error() -> None:
    """FIN and RST."""
    async with echo() as (_, proxy):
        for fault, kind in ((Fault.CUT, type(None)), (Fault.RESET, ConnectionResetError)):
            async with recorded(proxy) as (record, _transport):
                (await proxy.linked()).suffer(fault)
                assert isinstance(await record.ended, kind)


async def test_a_frame_is_torn() -> None:
    """The first half of the next frame comes, and then the end."""
    async with echo() as (_, proxy), recorded(proxy) as (record, transport):
        transport.write(UPGRADE)
        await until(lambda: b"".join(record.pieces).endswith(b"\r\n\r\n"))
        record.pieces.clear()
        proxy.newest.tear()
        transport.write(HELLO)
        assert await record.ended is None
        assert b"\x81\x05h" == b"".join(record.pieces)


async def test_silence_swallows_both_ways_and_closes_nothing() -> None:
    """Neither end hears anything, not even that the other is gone; who leaves frees the server."""
    async with echo() as (server, proxy), dial(proxy) as client:
        await says(client, "before")
        proxy.strike(Fault.SILENCE)
        assert await hears_nothing(client, "after")
        assert (["before"], [], []) == (server.heard, server.ends, proxy.links)
        assert 2 == proxy.sockets
        await client.close()
        assert 1006 == client.close_code
        await proxy.until(lambda: proxy.sockets == 0)


async def test_the_close_handshake_is_swallowed() -> None:
    """All else is carried; whoever closes waits in vain, and the other does not learn of it."""
    async with echo() as (server, proxy), dial(proxy) as client:
        proxy.strike(Fault.SWALLOW_CLOSE)
        assert "still" == await says(client, "still")
        closing = asyncio.create_task(client.close())
        while client.state.name != "CLOSING":
            await asyncio.sleep(0)
        assert [] == server.ends
        await closing
        assert 1006 == client.close_code
        await proxy.until(lambda: proxy.sockets == 0)


async def test_the_end_of_the_server_is_swallowed() -> None:
    """A server that dies behind such a connection leaves a client that waits for ever."""
    async with echo() as (_, proxy):
        async with (
            serve(Echo().serve, "127.0.0.1", 0, close_timeout=0.1) as dying,
            FaultProxy(dying.sockets[0].getsockname()[1]) as before_it,
            dial(before_it) as client,
        ):
            before_it.strike(Fault.SWALLOW_CLOSE)
            dying.close()
            await dying.wait_closed()
            assert await hears_nothing(client, "anyone?")
        assert 0 == proxy.connections


async def test_a_delay_comes_on_top() -> None:
    """All comes, later by the latency, until the time of the fault is over."""
    async with echo() as (_, proxy), dial(proxy) as client:
        await says(client, "warm")
        proxy.latency = 0.1
        proxy.strike(Fault.DELAY, seconds=0.05)
        start = time.perf_counter()
        assert "late" == await says(client, "late")
        assert time.perf_counter() - start > 0.09
        assert not proxy.newest._suffers(Fault.DELAY)


async def test_a_stall_holds_everything_and_loses_nothing() -> None:
    """Nothing moves while it lasts; then all of it does, in order."""
    async with echo() as (server, proxy), dial(proxy) as client:
        proxy.strike(Fault.STALL, seconds=0.2)
        start = time.perf_counter()
        for number in range(50):
            await client.send(str(number))
        assert [] == server.heard
        assert [str(number) for number in range(50)] == [await client.recv() for _ in range(50)]
        assert time.perf_counter() - start > 0.15


async def test_a_stall_lets_the_client_run_into_a_full_socket() -> None:
    """The proxy does not read on, so that what is sent stays with who sends it."""
    async with echo() as (server, proxy), dial(proxy) as client:
        proxy.strike(Fault.STALL)
        flood = asyncio.create_task(says(client, "x" * 100_000_000))
        await asyncio.wait([flood], timeout=0.2)
        assert not flood.done()
        assert [] == server.heard
        flood.cancel()
        client.transport.abort()


async def test_a_throttle_has_a_rate() -> None:
    """Bytes per second, each way."""
    async with echo() as (_, proxy), dial(proxy) as client:
        proxy.rate = 100_000
        proxy.strike(Fault.THROTTLE)
        now = asyncio.get_running_loop().time
        start = now()
        await says(client, "x" * 10_000)
        assert 0.2 < now() - start < 2


async def test_each_byte_comes_alone() -> None:
    """From the handshake on."""
    async with echo() as (server, proxy):
        proxy.greeting = Fault.SPLIT
        async with recorded(proxy) as (record, transport):
            transport.write(UPGRADE + HELLO)
            await until(lambda: b"".join(record.pieces).endswith(b"\x81\x05hello"))
        assert {1} == {len(piece) for piece in record.pieces}
        assert ["hello"] == server.heard


@pytest.mark.parametrize("code", [1000, 1005, 4401])
async def test_a_proxy_closes_with_any_code(code: int) -> None:
    """As the server would, which is cut off."""
    async with echo() as (server, proxy), dial(proxy) as client:
        await says(client, "a")
        proxy.newest.close_with(code, "" if code == 1005 else "why")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (code, "" if code == 1005 else "why") == (client.close_code, client.close_reason)
        await proxy.until(lambda: server.ends == [1006])


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.RESET, Fault.CUT])
async def test_a_connection_is_greeted(fault: Fault) -> None:
    """With a fault from its beginning: the upgrade is not answered."""
    async with echo() as (server, proxy):
        proxy.greeting = fault
        async with recorded(proxy) as (record, transport):
            transport.write(UPGRADE)
            await asyncio.wait([record.ended], timeout=0.1)
            assert (fault is not Fault.SILENCE) == record.ended.done()
        assert ([], []) == (record.pieces, server.heard)


async def test_no_server_is_a_reset() -> None:
    """Who connects while the server is dead gets nothing, at once; and is counted."""
    async with echo() as (_, _proxy), FaultProxy(1) as proxy:
        async with recorded(proxy) as (record, _transport):
            assert isinstance(await record.ended, ConnectionResetError)
        await proxy.until(lambda: proxy.sockets == 0)
        assert (1, 1, []) == (proxy.connections, proxy.refused, proxy.links)


@pytest.mark.parametrize("fault", [None, *Fault])
async def test_the_end_of_the_context_ends_all(fault: Fault | None) -> None:
    """Whatever a connection suffers: no task, no socket and no timer is left."""
    async with echo() as (_, proxy):
        client = await dial(proxy)
        if fault is not None:
            proxy.strike(fault)
        await client.send("x" * 100_000)
    client.transport.abort()
    await client.wait_closed()
    assert 0 == proxy.sockets


def test_frames_are_found_in_any_pieces() -> None:
    """The head, frames of each length, masked or not; whole, whatever comes at a time."""
    head = b"HTTP/1.1 101 Switching Protocols\r\nX: y\r\n\r\n"
    frames = [
        b"\x81\x00",
        b"\x81\x7d" + b"a" * 125,
        b"\x81\x7e\x00\x7e" + b"b" * 126,
        b"\x82\x7f" + (70_000).to_bytes(8) + b"c" * 70_000,
        b"\x81\x82masked"[:6] + b"ok",
        b"\x88\x02\x03\xe8",
    ]
    stream = b"".join([head, *frames])
    for size in (1, 7, 1_000, len(stream)):
        cutter = Frames()
        found = []
        for start in range(0, len(stream), size):
            found += list(cutter.feed(stream[start : start + size]))
        assert [head, *frames] == found


def test_another_answer_has_no_frames() -> None:
    """The body of a refusal stays as it comes."""
    refusal = b"HTTP/1.1 403 Forbidden\r\n\r\n"
    assert [refusal, b"\x81\x7e"] == list(Frames().feed(refusal + b"\x81\x7e"))


def test_a_schedule_is_said_by_its_seed() -> None:
    """The same seed, the same faults; each kind as often as any other; within the bounds."""

    def drawn(seed: int) -> list[Strike[Fault]]:
        return list(schedule(seed, list(Fault), 45, longest_pause=2, longest=3))

    assert drawn(1) == drawn(1) != drawn(2)
    kinds = [strike.fault for strike in drawn(1)]
    assert dict.fromkeys(Fault, 5) == {fault: kinds.count(fault) for fault in Fault}
    assert {True, False} == {strike.everywhere for strike in drawn(1)}
    assert all(0 <= strike.pause <= 2 and 0 <= strike.seconds <= 3 for strike in drawn(1))
    assert 5 < [strike.pause for strike in drawn(1)].count(0) < 20
    assert any(one.fault != other.fault for one, other in pairwise(drawn(1)))


def test_each_fault_parts_or_passes() -> None:
    """Those that pass are the ones whose end can be said."""
    assert {Fault.DELAY, Fault.STALL, Fault.THROTTLE, Fault.SPLIT} == set(PASSING)


async def until(true: object) -> None:
    """Poll a record; what fills it is under way."""
    assert callable(true)
    async with asyncio.timeout(BOUND):
        while not true():
            await asyncio.sleep(0)
