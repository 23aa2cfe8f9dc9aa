"""Signs of life, ours and the server's, in both protocols and in real time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from conftest import NEWER, OLDER
from gqlwire.errors import KeepAliveTimeout, Phase, TransportServerError
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, PeerClosed, RawPeer, fake, raw_fake
from servers.raw import CLOSE, PING, PONG, TEXT
from support import BOUND, QUERY, TICKS, connected, failure, leaves_nothing, tick

tidy = pytest.fixture(autouse=True)(leaves_nothing)

START = {NEWER: "subscribe", OLDER: "start"}
EVENT = {NEWER: "next", OLDER: "data"}
PROTOCOLS = pytest.mark.parametrize("protocol", [NEWER, OLDER])
KA = {"type": "ka"}

Act = Callable[[Peer, str], Coroutine[Any, Any, None]]


@asynccontextmanager
async def subscribed(protocol: str, act: Act, **options: Any) -> AsyncIterator[Any]:
    """A transport and a subscription to a server that does `act(peer, id)`."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect(START[protocol])
        await act(peer, start["id"])

    options["subprotocols"] = [protocol]
    async with fake(script) as server, connected(server, **options) as transport:
        yield transport, transport.subscribe(TICKS)


async def silence(peer: Peer, id: str) -> None:
    """Say nothing, until the client has had enough."""
    await peer.closed()


async def events(peer: Peer, id: str, protocol: str, count: int, pause: float) -> None:
    for n in range(count):
        await peer.send_text(tick(id, n, EVENT[protocol]))
        await asyncio.sleep(pause)


async def dies(transport: WebsocketsTransport, subscription: Any, limit: float, when: str) -> float:
    """All that waits on it hears that the server is silent; the seconds that it took."""
    now = asyncio.get_running_loop().time
    started = now()
    async with asyncio.timeout(BOUND):
        query, event, _ = await asyncio.gather(
            failure(KeepAliveTimeout, transport.execute(QUERY)),
            failure(KeepAliveTimeout, anext(subscription)),
            transport.wait_closed(),
        )
    took = now() - started
    host = transport.url.split("/")[2]
    for told in (query, event, await failure(KeepAliveTimeout, transport.execute(QUERY))):
        assert (host, Phase.OPEN, limit) == (told.host, told.phase, told.limit)
        assert (None, None) == (told.code, told.status)
        assert isinstance(told, TimeoutError)
        assert isinstance(told, TransportServerError)
        assert f"{host} sent nothing for {limit:g} seconds {when}" == str(told)
    return took


AT_ALL = "(keep_alive_timeout)"
AFTER_PING = "after a ping (pong_timeout)"


# --- Silence -------------------------------------------------------------------------------------


async def test_silence_after_a_keep_alive_is_death() -> None:
    """In Apollo's protocol, from the first `ka` on."""

    async def act(peer: Peer, id: str) -> None:
        await peer.send(KA)
        await silence(peer, id)

    async with subscribed(OLDER, act, keep_alive_timeout=0.1) as (transport, subscription):
        assert 0.09 < await dies(transport, subscription, 0.1, AT_ALL) < 1


async def test_a_keep_alive_before_the_acknowledgement_counts() -> None:
    """Hasura sends its first one there."""

    async def script(peer: Peer) -> None:
        await peer.send(KA)
        await peer.ack()
        await peer.closed()

    options = {"keep_alive_timeout": 0.1, "subprotocols": [OLDER]}
    async with fake(script) as server, connected(server, **options) as transport:
        await dies(transport, transport.subscribe(TICKS), 0.1, AT_ALL)


async def test_without_a_keep_alive_silence_means_nothing() -> None:
    """A server that never sends one is not held to it, in Apollo's protocol."""

    async def act(peer: Peer, id: str) -> None:
        await events(peer, id, OLDER, 3, 0.15)

    async with subscribed(OLDER, act, keep_alive_timeout=0.05) as (transport, subscription):
        async with asyncio.timeout(BOUND):
            assert [0, 1, 2] == [(await anext(subscription)).data["ticks"] for _ in range(3)]
        assert Phase.OPEN is transport.phase


async def test_silence_after_the_acknowledgement_is_death() -> None:
    """In graphql-transport-ws, which has no `ka`."""
    async with subscribed(NEWER, silence, keep_alive_timeout=0.1) as (transport, subscription):
        assert await dies(transport, subscription, 0.1, AT_ALL) < 1


@PROTOCOLS
@pytest.mark.parametrize("sign", ["event", "stray", "ka", "ping", "ping frame"])
async def test_any_message_is_a_sign_of_life(protocol: str, sign: str) -> None:
    """The connection ends when the limit has passed since the last message."""

    async def act(peer: Peer, id: str) -> None:
        await peer.send(KA)
        for n in range(6):
            if sign == "event":
                await peer.send_text(tick(id, n, EVENT[protocol]))
            elif sign == "ping frame":
                await peer.ping()
            else:
                await peer.send({"type": sign})
            await asyncio.sleep(0.05)  # the pauses that are no death
        await peer.send_text(tick(id, "last", EVENT[protocol]))
        await peer.closed()

    async with subscribed(protocol, act, keep_alive_timeout=0.25) as (transport, subscription):
        async with asyncio.timeout(BOUND):
            while (await anext(subscription)).data["ticks"] != "last":
                pass
        assert 0.2 < await dies(transport, subscription, 0.25, AT_ALL) < 1


# --- Our pings -----------------------------------------------------------------------------------


async def test_a_busy_feed_does_not_put_off_our_pings() -> None:
    """They go out on a fixed timer: there are servers that count only what the client sends."""
    now = asyncio.get_running_loop().time
    at: list[float] = []

    async def act(peer: Peer, id: str) -> None:
        sending = asyncio.create_task(events(peer, id, NEWER, 10_000, 0.005))
        for _ in range(4):
            assert {"type": "ping"} == await peer.expect("ping")
            at.append(now())
        sending.cancel()
        await peer.send({"type": "complete", "id": id})

    options = {"ping_interval": 0.1, "pong_timeout": 1}
    async with subscribed(NEWER, act, **options) as (_, subscription):
        began = now()
        async with asyncio.timeout(BOUND):
            assert 10 < len([event async for event in subscription])

    assert 4 == len(at)
    assert 0.35 < at[-1] - began < 1.5


@pytest.mark.parametrize(("given", "limit"), [(None, 0.05), (0.15, 0.15)])
async def test_a_server_that_does_not_answer_our_ping_is_dead(
    given: float | None, limit: float
) -> None:
    """After `pong_timeout`, by default half of `ping_interval`."""
    options = {"ping_interval": 0.1, "pong_timeout": given}
    async with subscribed(NEWER, silence, **options) as (transport, subscription):
        took = await dies(transport, subscription, limit, AFTER_PING)

    assert 0.1 + limit - 0.02 < took < 1
    assert transport.latency is None


async def test_any_answer_to_our_ping_will_do() -> None:
    """Events that come after it show that the server lives; it need not be a pong."""

    async def act(peer: Peer, id: str) -> None:
        for n in range(4):
            await peer.expect("ping")
            await peer.send_text(tick(id, n))
        await peer.send({"type": "complete", "id": id})

    options = {"ping_interval": 0.05, "pong_timeout": 1}
    async with subscribed(NEWER, act, **options) as (transport, subscription):
        async with asyncio.timeout(BOUND):
            assert 4 == len([event async for event in subscription])
        assert Phase.OPEN is transport.phase
        assert transport.latency is None
        assert not transport.pong_received.is_set()


async def test_our_pings_are_frames_in_apollos_protocol() -> None:
    """It has no message for it; a pong frame answers, and measures."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        start = await peer.expect("start")
        for _ in range(3):
            ping = await peer.receive_frame()
            assert (PING, b"") == (ping.opcode, ping.payload)
            await peer.send_frame(PONG, ping.payload)
        await peer.send_text(tick(start["id"], "done", "data"))

    options = {"ping_interval": 0.05, "pong_timeout": 1, "subprotocols": [OLDER]}
    async with raw_fake(script) as server, connected(server, **options) as transport:
        assert {"ticks": "done"} == (await transport.execute(QUERY)).data
        assert transport.pong_received.is_set()
        assert 0 < (transport.latency or 0) < 1


async def test_a_server_that_does_not_answer_our_ping_frame_is_dead() -> None:
    """As with the protocol's own pings."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        seen = []
        with pytest.raises(PeerClosed):
            await collect(peer, seen)
        assert PING in seen
        assert seen[-1] == CLOSE

    async def collect(peer: RawPeer, seen: list[int]) -> None:
        while True:
            seen.append((await peer.receive_frame()).opcode)

    options = {"ping_interval": 0.1, "subprotocols": [OLDER]}
    async with raw_fake(script) as server, connected(server, **options) as transport:
        await dies(transport, transport.subscribe(TICKS), 0.05, AFTER_PING)


@pytest.mark.parametrize("payload", [None, {}, {"at": [1, "ü"]}])
async def test_send_ping_and_send_pong(payload: dict[str, Any] | None) -> None:
    """At any time, with a payload or without; the answer measures the round trip."""
    said = {} if payload is None else {"payload": payload}

    async def script(peer: Peer) -> None:
        await peer.ack()
        assert {"type": "ping", **said} == await peer.expect("ping")
        await asyncio.sleep(0.05)  # the round trip that is measured
        await peer.send({"type": "pong", **said})
        assert {"type": "pong", **said} == await peer.expect("pong")
        await peer.send({"type": "ping"})

    async with fake(script) as server, connected(server, answer_pings=False) as transport:
        assert transport.latency is None
        await transport.send_ping(payload)
        await asyncio.wait_for(transport.pong_received.wait(), BOUND)
        assert 0.04 < (transport.latency or 0) < 1
        assert payload == transport.payloads["pong"]
        await transport.send_pong(payload)
        await asyncio.wait_for(transport.ping_received.wait(), BOUND)


async def test_send_pong_says_nothing_in_apollos_protocol() -> None:
    """And send_ping sends a frame, which carries no payload."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        ping = await peer.receive_frame()
        assert (PING, b"") == (ping.opcode, ping.payload)
        await peer.send_frame(PONG)

    async with raw_fake(script) as server, connected(server, subprotocols=[OLDER]) as transport:
        await transport.send_pong({"not": "sent"})
        await transport.send_ping({"not": "sent"})
        await asyncio.wait_for(transport.pong_received.wait(), BOUND)


async def test_an_unsolicited_pong_is_kept_and_measures_nothing() -> None:
    """It sets `pong_received`."""

    async def act(peer: Peer, id: str) -> None:
        await peer.send({"type": "pong", "payload": {"of": "its own accord"}})

    async with subscribed(NEWER, act) as (transport, subscription):
        step = asyncio.ensure_future(anext(subscription))
        await asyncio.wait_for(transport.pong_received.wait(), BOUND)
        assert {"of": "its own accord"} == transport.payloads["pong"]
        assert transport.latency is None
        step.cancel()


# --- The server's pings --------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"payload": None}, {"payload": {"n": [1.50, "ü"]}}])
@pytest.mark.parametrize("early", [False, True])
async def test_the_servers_pings_are_answered(fields: dict[str, Any], early: bool) -> None:
    """Before the acknowledgement too, each with what it carried."""

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        if not early:
            await peer.send({"type": "connection_ack"})
        for _ in range(2):
            await peer.send({"type": "ping", **fields})
            assert {"type": "pong", **fields} == await peer.expect("pong")
        if early:
            await peer.send({"type": "connection_ack"})

    async with fake(script) as server, connected(server) as transport:
        await asyncio.wait_for(transport.ping_received.wait(), BOUND)
        assert fields.get("payload") == transport.payloads["ping"]


async def test_the_answers_can_be_left_to_the_user() -> None:
    """With answer_pings=False only what the user says goes out."""

    async def act(peer: Peer, id: str) -> None:
        await peer.send({"type": "ping", "payload": {"n": 1}})
        assert {"type": "pong", "payload": {"mine": 1}} == await peer.receive()
        await peer.send({"type": "complete", "id": id})

    async with subscribed(NEWER, act, answer_pings=False) as (transport, subscription):
        step = asyncio.create_task(failure(StopAsyncIteration, anext(subscription)))
        await asyncio.wait_for(transport.ping_received.wait(), BOUND)
        assert {"n": 1} == transport.payloads["ping"]
        await transport.send_pong({"mine": 1})
        await step


@pytest.mark.parametrize("kind", ["message", "frame"])
async def test_pings_are_answered_while_the_consumer_sleeps(kind: str) -> None:
    """On a buffer that is full to its last place."""
    answered = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        for n in range(11):
            await peer.send_text(tick(id, n))
        if kind == "message":
            await peer.send({"type": "ping", "payload": {"n": 1}})
            assert {"type": "pong", "payload": {"n": 1}} == await peer.expect("pong")
        else:
            await peer.send_frame(PING, b"?")
            assert (PONG, b"?") == ((pong := await peer.receive_frame()).opcode, pong.payload)
        answered.set()
        await peer.send_frame(TEXT, tick(id, 11).encode())

    async with raw_fake(script) as server, connected(server) as transport:
        subscription = transport.subscribe(TICKS, buffer=10)
        assert {"ticks": 0} == (await anext(subscription)).data
        await asyncio.wait_for(answered.wait(), BOUND)
        assert subscription.buffered >= 10
        assert [*range(1, 12)] == [(await anext(subscription)).data["ticks"] for _ in range(11)]
        await subscription.aclose()
