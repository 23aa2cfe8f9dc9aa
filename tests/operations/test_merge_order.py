"""`gqlwire.merge`: what comes, and in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from merging import Events, Speaking, at_once, begin, begun, taken, waiting

from doubles import on_virtual_time, settle
from gqlwire._operations.merge import Merged, merge
from gqlwire.errors import (
    ConnectionClosed,
)
from spelling import Spelling, both


@both
@on_virtual_time
async def test_each_event_comes_with_its_subscription(spelling: Spelling) -> None:
    """In one loop, over the good ends of some of them, until all have ended; nobody is stopped."""
    it = Speaking(spelling.make(), spelling.result)
    a, b, c = subscriptions = it.several(3)
    merged = merge(subscriptions)
    told: list[tuple[Events, Any]] = []

    async def consume() -> None:
        async for subscription, event in merged:
            assert subscription is merged.current
            told.append((subscription, event))

    task = asyncio.ensure_future(consume())
    await settle()
    it.hear((b, 1), (a, 2), (c, 3))
    await settle()
    it.hear((c, 4))
    it.complete(b)
    await settle()
    it.hear((a, 5), (b, 6), (c, 7))
    it.complete(c)
    it.complete(a)
    await task

    assert [(b, 1), (a, 2), (c, 3), (c, 4), (a, 5), (c, 7)] == told
    assert [2, 1, 3] == [each.delivered for each in subscriptions]
    assert [] == it.stops


@both
@on_virtual_time
async def test_the_first_step_starts_all_subscriptions(spelling: Spelling) -> None:
    """In their order, each once; `merge` alone sends nothing."""
    it = Speaking(spelling.make(), spelling.result)
    subscriptions = it.several(3)
    merged = merge(iter(subscriptions))
    await settle()
    assert [] == it.wire.sent

    step = await waiting(merged)

    assert [spelling.start] * 3 == [said["type"] for said in it.wire.said]
    assert [each.id for each in subscriptions] == it.started
    it.hear((subscriptions[1], 1))
    assert (subscriptions[1], 1) == await step


@on_virtual_time
async def test_subscriptions_take_turns_event_by_event() -> None:
    """However many events another one has. Later events of a subscription come after its earlier
    ones.
    """
    it = Speaking()
    merged, (a, b, c) = await begun(it, 3)
    step = await waiting(merged)
    it.hear((a, 1), (a, 2), (a, 3), (b, 4), (c, 5), (c, 6))

    told = [await step, *taken(merged, 1)]
    it.hear((b, 7), (a, 8))
    told += taken(merged, 6)

    assert [(a, 1), (b, 4), (c, 5), (a, 2), (b, 7), (c, 6), (a, 3), (a, 8)] == told


@on_virtual_time
async def test_events_that_have_arrived_are_taken_without_waiting() -> None:
    """Also if they came while nobody waited. The events of a subscription keep their order."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2)
    it.hear((a, 1), (b, 2), (b, 3))
    it.hear((a, 4))

    assert [(a, 1), (b, 2), (a, 4), (b, 3)] == taken(merged, 4)
    assert (0, 0) == (a.buffered, b.buffered)
    step = await waiting(merged)
    it.hear((b, 5))
    assert (b, 5) == await step


@on_virtual_time
async def test_events_from_before_the_merge_come_first() -> None:
    """The subscription was started elsewhere, and takes its turn with the events that it has."""
    it = Speaking()
    a, b = it.several(2)
    for each in (a, b):
        step = asyncio.ensure_future(anext(each))
        await settle()
        it.hear((each, 0))
        assert 0 == await step
    it.hear((a, 1), (a, 2))

    merged = merge([a, b])

    assert [(a, 1), (a, 2)] == taken(merged, 2)
    step = await waiting(merged)
    it.hear((b, 3), (a, 4))
    assert [(b, 3), (a, 4)] == [await step, *taken(merged, 1)]
    assert [a.id, b.id] == it.started


@on_virtual_time
async def test_subscriptions_of_two_clients_are_merged() -> None:
    """Each is told what is its own; one connection that ends leaves the other alone."""
    here, there = Speaking(), Speaking()
    a, b = here.subscribe(), there.subscribe()
    merged = merge([a, b])
    step = await waiting(merged)
    here.hear((a, 1))
    there.hear((b, 2))

    assert [(a, 1), (b, 2)] == [await step, *taken(merged, 1)]
    here.connection.closed(1012, "restarting")
    with pytest.raises(ConnectionClosed, match="restarting"):
        at_once(anext(merged))
    step = await waiting(merged)
    there.hear((b, 3))
    assert (b, 3) == await step
    await merged.aclose()
    assert ([], [b.id]) == (here.stops, there.stops)


@on_virtual_time
async def test_an_empty_merger_ends_immediately() -> None:
    """It continues once it has a subscription."""
    it = Speaking()
    merged: Merged[Any] = merge([])
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))

    (a,) = it.several(1)
    merged.add(a)
    await begin(it, merged, a)
    assert 1 == len(merged)
