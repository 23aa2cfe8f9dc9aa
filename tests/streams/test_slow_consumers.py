"""Consumers that are slower than the server, over real sockets: nothing is lost in silence, nothing
grows without bound, and nobody else waits for them."""

import asyncio
import json

import pytest

import gqlwire
from conftest import NEWER, OLDER, Speaker
from gqlwire import Buffer, Overflow, Subscription
from gqlwire.errors import SlowConsumer
from servers.fake import Peer, fake

NEXT = {NEWER: "next", OLDER: "data"}


async def test_a_consumer_that_sleeps_loses_nothing(speaker: Speaker) -> None:
    """By default all events are there, in order, when it wakes up."""
    async with speaker.client() as session:
        events = session.subscribe("subscription { ticks(count: 3000) { seq } }")
        assert {"ticks": {"seq": 0}} == await anext(events)
        # Another operation runs to its end meanwhile, so that time passes for the first.
        async for _ in session.subscribe("subscription { ticks(count: 3000) { seq } }"):
            pass
        rest = [event["ticks"]["seq"] async for event in events]

    assert list(range(1, 3000)) == rest
    assert 0 == events.dropped
    assert 3000 == events.delivered


def flood(count: int, size: int, *, protocol: str = NEWER) -> object:
    """A server that answers the first operation with a flood, the others with one event each, and
    pings amid the flood."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe" if protocol == NEWER else "start")
        pad = "x" * size
        for n in range(count):
            payload = {"data": {"n": n, "pad": pad}}
            await peer.send({"id": start["id"], "type": NEXT[protocol], "payload": payload})
        while True:
            message = await peer.receive()
            if message["type"] not in ("subscribe", "start"):
                continue
            payload = {"data": {"n": -1}}
            await peer.send({"id": message["id"], "type": NEXT[protocol], "payload": payload})
            await peer.send({"id": message["id"], "type": "complete"})

    return script


async def test_blocking_stops_the_server_and_loses_nothing() -> None:
    """With a full buffer and nobody else waiting, the socket is not read: the server has to wait.

    The flood is larger than the sockets' buffers, so that the server cannot be done before its
    client has read."""
    count, size = 400, 100_000
    async with (
        fake(flood(count, size)) as server,
        gqlwire.connect(server.url) as session,
    ):
        events = session.subscribe("subscription { n }", buffer=20)
        first = await anext(events)
        await until(lambda: events.buffered >= 20)
        most = 0
        seen = [first["n"]]
        async for event in events:
            seen.append(event["n"])
            most = max(most, events.buffered)
            if event["n"] == count - 1:
                break

    assert list(range(count)) == seen
    # What one read of the socket brings comes on top: far from the forty megabytes of the flood.
    assert most < 120
    assert 0 == events.dropped


async def take_all(events: Subscription[dict[str, int]], into: list[int]) -> None:
    async for event in events:
        into.append(event["n"])  # noqa: PERF401  # what was taken before a failure counts


async def until(is_so: object) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0)


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_a_query_inside_a_full_subscription_is_answered(protocol: str) -> None:
    """The answer lies behind the flood on the wire; the stream takes the flood in for it."""
    async with (
        fake(flood(500, 1000, protocol=protocol), subprotocols=(protocol,)) as server,
        gqlwire.connect(server.url) as session,
    ):
        events = session.subscribe("subscription { n }", buffer=10)
        seen = []
        async for event in events:
            seen.append(event["n"])
            if len(seen) in (1, 100, 499):
                assert {"n": -1} == await asyncio.wait_for(session.execute("{ n }"), 10)
            if len(seen) == 500:
                break

    assert list(range(500)) == seen
    assert 0 == events.dropped


async def test_a_full_stream_does_not_starve_its_neighbour() -> None:
    """Another subscription, and a pong, get through while one consumer sleeps for ever."""
    async with (
        fake(flood(2000, 1000)) as server,
        gqlwire.connect(server.url) as session,
    ):
        asleep = session.subscribe("subscription { n }", buffer=10)
        await anext(asleep)
        await until(lambda: asleep.buffered >= 10)

        async with asyncio.timeout(10):
            neighbour = [event async for event in session.subscribe("subscription { other }")]

        assert [{"n": -1}] == neighbour


async def test_a_slow_consumer_ends_if_others_wait() -> None:
    """Twice over its bound, with somebody waiting, it ends with SlowConsumer."""
    bound = Buffer(events=10, size=100_000)
    async with (
        fake(flood(200, 100_000)) as server,
        gqlwire.connect(server.url) as session,
    ):
        asleep = session.subscribe("subscription { n }", buffer=bound)
        await anext(asleep)
        answer = await asyncio.wait_for(session.execute("{ n }"), 10)
        seen: list[int] = []
        with pytest.raises(SlowConsumer) as caught:
            await take_all(asleep, seen)

    assert {"n": -1} == answer
    assert list(range(1, len(seen) + 1)) == seen
    assert len(seen) == caught.value.events
    assert caught.value.size <= 100_000 + Buffer().size
    assert "too slow" in str(caught.value)


async def test_dropping_keeps_the_newest_and_counts_the_rest() -> None:
    """Every event is either delivered or counted as dropped."""
    async with (
        fake(flood(1000, 100)) as server,
        gqlwire.connect(server.url) as session,
    ):
        events = session.subscribe("subscription { n }", buffer=50, overflow="drop_oldest")
        seen = [(await anext(events))["n"]]
        # The answer comes behind the flood.
        await session.execute("{ n }")
        assert events.buffered <= 50
        seen += [(await anext(events))["n"] for _ in range(events.buffered)]

    assert sorted(seen) == seen
    assert 999 == seen[-1]
    assert 1000 == events.delivered + events.dropped
    assert len(seen) == events.delivered


async def test_latest_keeps_one() -> None:
    """What is taken is always the newest."""
    async with (
        fake(flood(1000, 100)) as server,
        gqlwire.connect(server.url) as session,
    ):
        events = session.subscribe("subscription { n }", overflow=Overflow.LATEST)
        first = (await anext(events))["n"]
        await session.execute("{ n }")

        # The whole flood may have come before the first step.
        assert (0 if first == 999 else 1) == events.buffered
        last = (await anext(events))["n"] if events.buffered else first
        assert 999 == last
        assert 1000 == events.delivered + events.dropped


async def test_error_ends_with_the_numbers() -> None:
    """What was buffered comes first, then SlowConsumer; the server is told to stop."""
    async with (
        fake(flood(1000, 100)) as server,
        gqlwire.connect(server.url) as session,
    ):
        events = session.subscribe("subscription { n }", buffer=30, overflow="error")
        seen = [(await anext(events))["n"]]
        await session.execute("{ n }")
        with pytest.raises(SlowConsumer) as caught:
            await take_all(events, seen)
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        peer = await server.peer()
        stops = [message for message in peer.received if message["type"] == "complete"]

    assert list(range(len(seen))) == seen
    assert 30 == caught.value.events
    assert [events.id] == [message["id"] for message in stops]


async def test_the_bound_counts_bytes_too() -> None:
    """Few events, but big ones."""
    async with (
        fake(flood(100, 50_000)) as server,
        gqlwire.connect(server.url) as session,
    ):
        bound = Buffer(size=200_000)
        events = session.subscribe("subscription { n }", buffer=bound, overflow="drop_oldest")
        await anext(events)
        await session.execute("{ n }")

        assert events.buffered_size <= 200_000
        assert 3 == events.buffered


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_server_pings_are_answered_while_a_consumer_sleeps(overflow: Overflow) -> None:
    """At once, with the payload, though nobody takes the events."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        for n in range(5000):
            await peer.send({"id": start["id"], "type": "next", "payload": {"data": {"n": n}}})
        await peer.send({"type": "ping", "payload": {"are": "you there?"}})
        pong = await peer.receive()
        while pong["type"] == "complete":
            pong = await peer.receive()
        assert {"type": "pong", "payload": {"are": "you there?"}} == pong
        answered.set()

    answered = asyncio.Event()
    async with (
        fake(script) as server,
        gqlwire.connect(server.url) as session,
    ):
        events = session.subscribe("subscription { n }", overflow=overflow)
        await anext(events)
        async with asyncio.timeout(10):
            await answered.wait()
        assert {"are": "you there?"} == session.transport.payloads["ping"]


async def test_an_event_larger_than_the_bound_is_still_an_event() -> None:
    """One is always taken, whatever the policy."""
    for overflow in Overflow:
        async with (
            fake(flood(1, 300_000)) as server,
            gqlwire.connect(server.url) as session,
        ):
            events = session.subscribe(
                "subscription { n }", buffer=Buffer(events=1, size=1), overflow=overflow
            )

            assert 300_000 == len((await anext(events))["pad"])


def test_a_buffer_of_nothing_is_refused() -> None:
    """A subscription that may hold no event could deliver none."""
    for wrong in ({"events": 0}, {"size": 0}):
        with pytest.raises(ValueError, match=r"at least 1 (event|byte)"):
            Buffer(**wrong)
    client = gqlwire.connect("ws://127.0.0.1:1/")
    with pytest.raises(ValueError, match="'nonsense' is not a valid Overflow"):
        client.transport.subscribe(gqlwire.gql("subscription { n }"), overflow="nonsense")
    assert json.dumps("block") == json.dumps(Overflow.BLOCK)
