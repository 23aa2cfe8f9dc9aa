"""Whatever ends an operation on our side, the server is told exactly once. Seen from the wire."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

import gqlwire
from conftest import NEWER, OLDER
from gqlwire import AsyncClientSession
from gqlwire.errors import IncompleteResult, OperationTimeout, SlowConsumer
from servers.fake import Peer, fake
from support import BOUND

START = {NEWER: "subscribe", OLDER: "start"}
NEXT = {NEWER: "next", OLDER: "data"}
STOP = {NEWER: "complete", OLDER: "stop"}
DOCUMENT = "subscription { n }"

Way = Callable[[AsyncClientSession], Awaitable[None]]


async def break_off(session: AsyncClientSession) -> None:
    async for _ in session.subscribe(DOCUMENT):
        break


async def close_twice(session: AsyncClientSession) -> None:
    events = session.subscribe(DOCUMENT)
    await anext(events)
    await events.aclose()
    await events.aclose()


async def leave_a_context(session: AsyncClientSession) -> None:
    async with session.subscribe(DOCUMENT) as events:
        await anext(events)


async def fail_inside(session: AsyncClientSession) -> None:
    async def consume() -> None:
        async for _ in session.subscribe(DOCUMENT):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await consume()


async def be_cancelled(session: AsyncClientSession) -> None:
    reached = asyncio.Event()
    events = session.subscribe(DOCUMENT)

    async def consume() -> None:
        await anext(events)
        reached.set()
        await anext(events)

    task = asyncio.ensure_future(consume())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def be_collected(session: AsyncClientSession) -> None:
    holder: dict[str, object] = {"events": session.subscribe(DOCUMENT)}
    holder["self"] = holder
    await anext(holder["events"])
    del holder
    gc.collect()


async def be_collected_in_a_thread(session: AsyncClientSession) -> None:
    holder: dict[str, object] = {"events": session.subscribe(DOCUMENT)}
    holder["self"] = holder
    await anext(holder["events"])
    del holder
    await asyncio.to_thread(gc.collect)


async def execute_a_subscription(session: AsyncClientSession) -> None:
    assert {"n": 0} == await session.execute(DOCUMENT)


async def time_out(session: AsyncClientSession) -> None:
    with pytest.raises(OperationTimeout):
        await session.transport.execute(gqlwire.gql("query Mute { mute }"), timeout=0.05)


async def cancel_an_execution(session: AsyncClientSession) -> None:
    task = asyncio.ensure_future(session.execute("query Mute { mute }"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def be_too_slow(session: AsyncClientSession) -> None:
    events = session.subscribe("subscription Many { n }", buffer=1, overflow="error")
    await anext(events)
    with pytest.raises(SlowConsumer):
        async for _ in events:
            pass
    await events.aclose()


async def take_a_deferred_result(session: AsyncClientSession) -> None:
    with pytest.raises(IncompleteResult):
        await session.execute("query Deferred { n }")


WAYS = [
    break_off,
    close_twice,
    leave_a_context,
    fail_inside,
    be_cancelled,
    be_collected,
    be_collected_in_a_thread,
    execute_a_subscription,
    time_out,
    cancel_an_execution,
    be_too_slow,
    take_a_deferred_result,
]


def script(protocol: str, told: asyncio.Future[str]) -> Callable[[Peer], Awaitable[None]]:
    """One event for the first operation (none, many or a part, by its name); then wait for its
    end, and for that of a second operation, which proves that nothing came after the first's."""

    async def run(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect(START[protocol])
        query = start["payload"]["query"]
        payload: dict[str, object] = {"data": {"n": 0}}
        if "Deferred" in query:
            payload["hasNext"] = True
        for _ in range(0 if "Mute" in query else 50 if "Many" in query else 1):
            await peer.send({"id": start["id"], "type": NEXT[protocol], "payload": payload})
        stop = await peer.expect(STOP[protocol])
        told.set_result(stop["id"])
        assert start["id"] == stop["id"]
        if protocol == OLDER:
            await peer.send({"id": stop["id"], "type": "complete", "payload": None})
        after = await peer.expect(START[protocol])
        await peer.send({"id": after["id"], "type": NEXT[protocol], "payload": {"data": {"n": 1}}})
        await peer.send({"id": after["id"], "type": "complete"})

    return run


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_an_operation_is_stopped_exactly_once_on_the_server(protocol: str, way: Way) -> None:
    """One `complete` or `stop` for each operation that we end, none if the server ended it."""
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with (
        fake(script(protocol, told), subprotocols=(protocol,)) as server,
        gqlwire.connect(server.url) as session,
    ):
        await way(session)
        id = await asyncio.wait_for(told, BOUND)
        assert {"n": 1} == await session.execute("{ n }")
        peer = await server.peer()
        stops = [message["id"] for message in peer.received if message["type"] == STOP[protocol]]

    assert [id] == stops


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_an_operation_that_the_server_ended_is_not_stopped(protocol: str) -> None:
    """Neither after `complete` nor after `error`, however it is then dropped."""

    async def end_both_ways(peer: Peer) -> None:
        await peer.ack()
        first = await peer.expect(START[protocol])
        await peer.send({"id": first["id"], "type": NEXT[protocol], "payload": {"data": {"n": 0}}})
        await peer.send({"id": first["id"], "type": "complete"})
        second = await peer.expect(START[protocol])
        await peer.send({"id": second["id"], "type": "error", "payload": [{"message": "no"}]})
        # The next thing that is said is not a stop.
        third = await peer.expect(START[protocol])
        await peer.send({"id": third["id"], "type": NEXT[protocol], "payload": {"data": {"n": 2}}})
        await peer.send({"id": third["id"], "type": "complete"})

    async with (
        fake(end_both_ways, subprotocols=(protocol,)) as server,
        gqlwire.connect(server.url) as session,
    ):
        first = session.subscribe(DOCUMENT)
        assert [{"n": 0}] == [event async for event in first]
        await first.aclose()
        second = session.subscribe(DOCUMENT)
        with pytest.raises(gqlwire.errors.TransportQueryError):
            await anext(second)
        await second.aclose()
        del first, second
        gc.collect()
        assert {"n": 2} == await session.execute("{ n }")
        peer = await server.peer()
        assert not [m for m in peer.received if m["type"] == STOP[protocol]]


async def test_ids_are_never_reused_in_a_process() -> None:
    """Not even on another connection."""
    ids: list[str] = []

    async def answer(peer: Peer) -> None:
        await peer.ack()
        for _ in range(2):
            start = await peer.expect("subscribe")
            ids.append(start["id"])
            await peer.send({"id": start["id"], "type": "next", "payload": {"data": {}}})
            await peer.send({"id": start["id"], "type": "complete"})

    async with fake(answer) as server:
        for _ in range(2):
            async with gqlwire.connect(server.url) as session:
                await session.execute("{ n }")
                await session.execute("{ n }")

    assert 4 == len(ids) == len(set(ids))
    assert all(isinstance(id, str) for id in ids)
