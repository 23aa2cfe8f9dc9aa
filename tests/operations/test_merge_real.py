"""`gqlwire.merge`: against real servers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from merging import Events

import gqlwire
from conftest import NEWER, OLDER, Speaker
from gqlwire._operations.merge import Merged
from gqlwire.errors import (
    TransportConnectionFailed,
    TransportQueryError,
)
from servers.launch import Server
from support import BOUND

# Strawberry runs no more on one connection.
MANY = 100


async def test_many_subscriptions_of_a_real_server_come_in_one_loop(speaker: Speaker) -> None:
    """All events of each in order, and then the end of the loop."""
    async with speaker.client() as session:
        subscriptions = [
            session.subscribe("subscription { ticks(count: 20) { seq } }") for _ in range(MANY)
        ]
        told: dict[Any, list[int]] = {each: [] for each in subscriptions}
        merged = gqlwire.merge(subscriptions)
        async for subscription, event in merged:
            told[subscription].append(event["ticks"]["seq"])

    assert [[*range(20)]] * MANY == list(told.values())
    assert 0 == len(merged)


TICKS = "subscription { ticks(count: -1, intervalMs: 100) { seq } }"


async def take_all_kinds(merged: Merged[Any], flaky: Events) -> list[str]:
    """Take steps until each of the others has brought something; return what `flaky` brought."""
    values: list[str] = []
    numbers: set[str | None] = set()
    while len(values) < 6 or len(numbers) < MANY - 1:
        try:
            subscription, event = await anext(merged)
        except TransportQueryError as failure:
            assert flaky is merged.current
            values.append(str(failure))
            continue
        if subscription is flaky:
            values.append(event["flaky"]["value"])
        else:
            numbers.add(subscription.id)
    return values


async def run_through(merged: Merged[Any]) -> None:
    async for _ in merged:
        pass


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize("way", ["drop", "aclose", "cancel"])
async def test_a_real_server_stops_all_merged_subscriptions(
    strawberry: Server, protocol: str, way: str
) -> None:
    """However the loop ended; some events had errors."""
    async with (
        gqlwire.connect(strawberry.url) as observer,
        gqlwire.connect(strawberry.url, subprotocols=[protocol]) as session,
        asyncio.timeout(BOUND),
    ):
        before = await observer.execute("{ stopped }")
        flaky = session.subscribe("subscription { flaky(count: 6) { value } }")
        merged = gqlwire.merge([flaky, *(session.subscribe(TICKS) for _ in range(MANY - 1))])
        values = await take_all_kinds(merged, flaky)
        if way == "cancel":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(run_through(merged), 0.02)
        elif way == "aclose":
            await merged.aclose()
        else:
            del merged
        now = await observer.execute("{ active stopped }")
        while now["active"]:
            now = await observer.execute("{ active stopped }")

    assert ["v0", "v2", "v4"] == values[::2]
    assert [f"flaky {n} (at flaky.value)" for n in (1, 3, 5)] == values[1::2]
    assert before["stopped"] + MANY - 1 == now["stopped"]


async def test_a_lost_real_connection_is_raised_for_each_subscription(strawberry: Server) -> None:
    """Once, after what each had."""
    async with gqlwire.connect(strawberry.url) as session:
        subscriptions = [session.subscribe(TICKS) for _ in range(MANY)]
        merged = gqlwire.merge(subscriptions)
        counts = dict.fromkeys(subscriptions, 0)
        failed: list[Any] = []
        closing = None
        while True:
            try:
                subscription, event = await anext(merged)
            except TransportConnectionFailed:
                failed.append(merged.current)
                continue
            except StopAsyncIteration:
                break
            assert counts[subscription] == event["ticks"]["seq"]
            counts[subscription] += 1
            if closing is None and all(counts.values()):
                closing = asyncio.ensure_future(session.transport.close())
        assert closing is not None
        await closing

    assert MANY == len(failed)
    assert {*subscriptions} == {*failed}
