"""`gqlwire.merge`: one at a time."""

from __future__ import annotations

import asyncio
import gc

import pytest
from merging import Speaking, at_once, begin, begun, taken, waiting

from doubles import on_virtual_time, settle
from gqlwire._operations.merge import merge


@on_virtual_time
async def test_a_subscription_that_is_iterated_elsewhere_is_refused() -> None:
    """By the step that would take it in. It continues where it was, the others continue here."""
    it = Speaking()
    a, b = it.several(2)
    elsewhere = asyncio.ensure_future(anext(a))
    await settle()
    merged = merge([a, b])

    with pytest.raises(RuntimeError, match="another task"):
        at_once(anext(merged))
    assert a is merged.current

    await begin(it, merged, b)
    assert 1 == len(merged)
    it.hear((a, 1))
    assert 1 == await elsewhere
    assert [] == it.stops


@on_virtual_time
async def test_a_merged_subscription_cannot_be_iterated_elsewhere() -> None:
    """Not even when the merger is gone; then it can be closed."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2)
    with pytest.raises(RuntimeError, match="another task"):
        await anext(a)
    step = await waiting(merged)
    with pytest.raises(RuntimeError, match="another task"):
        await anext(a)
    it.hear((a, 1))
    assert (a, 1) == await step

    del merged, step
    gc.collect()
    with pytest.raises(RuntimeError, match="another task"):
        await anext(a)
    await a.aclose()
    await b.aclose()
    assert [a.id, b.id] == it.stops


@on_virtual_time
async def test_a_subscription_taken_by_another_task_leaves_the_merger() -> None:
    """It had events when it was merged, and another task has taken them and waits: its turn raises,
    instead of waiting for ever.
    """
    it = Speaking()
    a, b = it.several(2)
    step = asyncio.ensure_future(anext(a))
    await settle()
    it.hear((a, 0))
    await step
    it.hear((a, 1), (a, 2))
    merged = merge([a, b])
    assert [(a, 1)] == taken(merged, 1)
    assert 2 == await anext(a)
    elsewhere = asyncio.ensure_future(anext(a))
    await settle()

    with pytest.raises(RuntimeError, match="another task"):
        at_once(anext(merged))
    assert (a, 1) == (merged.current, len(merged))
    it.hear((b, 3), (a, 4))
    assert ([(b, 3)], 4) == (taken(merged, 1), await elsewhere)
    it.complete(b)
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))


@on_virtual_time
async def test_events_taken_before_that_refusal_are_not_lost() -> None:
    """They come first, and then the refusal."""
    it = Speaking()
    (a,) = it.several(1)
    step = asyncio.ensure_future(anext(a))
    await settle()
    it.hear((a, 0))
    await step
    it.hear((a, 1), (a, 2))
    merged = merge([a])
    assert [(a, 1)] == taken(merged, 1)
    assert 2 == await anext(a)
    elsewhere = asyncio.ensure_future(anext(a))
    await settle()
    it.hear((a, 3), (a, 4))

    assert [(a, 4)] == taken(merged, 1)
    with pytest.raises(RuntimeError, match="another task"):
        at_once(anext(merged))
    assert 3 == await elsewhere
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))


@on_virtual_time
async def test_merging_a_subscription_twice_is_refused() -> None:
    """No event of it is lost or doubled, whether it had some or not."""
    it = Speaking()
    a, b = it.several(2)
    step = asyncio.ensure_future(anext(a))
    await settle()
    it.hear((a, 0))
    await step
    it.hear((a, 1), (a, 2), (a, 3))
    merged = merge([a, b, a, b])

    with pytest.raises(RuntimeError, match="another task"):
        at_once(anext(merged))
    assert b is merged.current
    assert [(a, 1), (a, 2), (a, 3)] == taken(merged, 3)
    with pytest.raises(RuntimeError, match="another task"):
        at_once(anext(merged))
    assert (a, 2) == (merged.current, len(merged))
    step = await waiting(merged)
    it.hear((b, 4), (a, 5))
    assert [(b, 4), (a, 5)] == [await step, *taken(merged, 1)]


@on_virtual_time
async def test_a_second_task_cannot_iterate_a_merger() -> None:
    """It raises RuntimeError, and the first task continues."""
    it = Speaking()
    merged, (a, _) = await begun(it, 2)
    first = await waiting(merged)

    with pytest.raises(RuntimeError, match="another task is already iterating this merger"):
        await anext(merged)

    it.hear((a, 1))
    assert (a, 1) == await first
    assert [] == it.stops


@on_virtual_time
async def test_a_second_task_cannot_start_the_subscriptions() -> None:
    """While the socket has no room, it raises RuntimeError, too."""
    it = Speaking()
    a, b = it.several(2)
    merged = merge([a, b])
    it.connection.writable(False)
    first, second = await waiting(merged), await waiting(merged)
    it.connection.writable(True)

    with pytest.raises(RuntimeError, match="another task"):
        await second
    assert [a.id, b.id] == it.started
    it.hear((b, 1))
    assert (b, 1) == await first
    assert (2, []) == (len(merged), it.stops)
