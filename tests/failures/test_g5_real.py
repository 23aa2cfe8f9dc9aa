"""A consumer that stalled ended with SlowConsumer; with `resume` it has to lose nothing.

Against real servers: in a pause the buffer does not grow, whatever others read from the same
socket, and the server may even be killed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import gqlwire
from conftest import NEWER, OLDER, Speaker
from gqlwire import AsyncClientSession, Reconnected, RetryPolicy, Subscription
from servers.launch import Server, start_node_apollo, start_node_graphql_ws, start_strawberry
from support import BOUND

LAST = 1_500
FEED = (
    "subscription Feed($since: Float!, $after: Int) "
    "{ feed(since: $since, intervalMs: 1, after: $after, until: 1500) { seq } }"
)
TICKS = "subscription { ticks(count: -1, intervalMs: 5) { seq } }"
SOON = RetryPolicy(first_delay=0.05, longest_delay=0.2)


def feed(session: AsyncClientSession, **options: Any) -> Subscription[Any]:
    """Events of the last seconds, as fast as the server can send them."""
    return session.subscribe(
        FEED,
        variable_values={"since": time.time() - 2 * LAST / 1_000, "after": 0},
        resume=lambda last, given: {**given, "after": last["feed"]["seq"]},
        buffer=50,
        **options,
    )


@asynccontextmanager
async def neighbour(session: AsyncClientSession) -> AsyncIterator[list[int]]:
    """What a feed has brought that is read all the time."""
    seen: list[int] = []

    async def read() -> None:
        async for batch in session.subscribe(TICKS).batches():
            seen.extend(event["ticks"]["seq"] for event in batch)

    task = asyncio.create_task(read())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.005)


async def grows(seen: list[int], *, by: int) -> None:
    least = len(seen) + by
    await until(lambda: len(seen) >= least)


async def paused(events: Subscription[Any]) -> list[int]:
    """Take the first event, and stall until the server was told to stop."""
    first = (await anext(events))["feed"]["seq"]
    await until(lambda: events.pauses > 0)
    return [first]


async def rest(events: Subscription[Any]) -> list[int]:
    return [event["feed"]["seq"] async for event in events]


async def test_g5_a_stall_loses_nothing_of_a_real_server(speaker: Speaker) -> None:
    async with asyncio.timeout(BOUND), speaker.client() as session, neighbour(session) as seen:
        events = feed(session)
        found = await paused(events)
        held = events.buffered
        await grows(seen, by=20)
        assert held == events.buffered < LAST
        assert 1 == events.pauses
        async for event in events:
            found.append(event["feed"]["seq"])
            if len(found) % 100 == 0:
                await grows(seen, by=1)

    assert [*range(1, LAST + 1)] == found
    assert 0 == events.dropped


SERVERS = {
    "strawberry": (start_strawberry, NEWER),
    "strawberry, Apollo": (start_strawberry, OLDER),
    "graphql-ws": (start_node_graphql_ws, NEWER),
    "subscriptions-transport-ws": (start_node_apollo, OLDER),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("start", "protocol"), SERVERS.values(), ids=SERVERS)
async def test_g5_kind_a_server_that_is_killed_in_a_pause(
    start: Callable[[], Server], protocol: str
) -> None:
    """The gap is reported when the feed continues, on the new server."""
    told: list[Reconnected] = []
    with start() as server:
        client = gqlwire.connect(server.url, subprotocols=[protocol], retry=SOON)
        async with asyncio.timeout(BOUND), client as session, neighbour(session) as seen:
            events = feed(session, on_reconnect=told.append)
            found = await paused(events)
            held = events.buffered
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
            await grows(seen, by=1)
            assert held == events.buffered
            assert [] == told
            found += await rest(events)

    assert [*range(1, LAST + 1)] == found
    assert 1 == len(told)
