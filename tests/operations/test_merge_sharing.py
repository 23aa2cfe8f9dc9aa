"""`gqlwire.merge`: one at a time."""

from __future__ import annotations

import asyncio
import gc

import pytest
from merging import Speaking, at_once, begin, begun, taken, waiting

from doubles import on_virtual_time, settle
from gqlwire._operations.merge import merge


@on_virtual_time
async def test_one_that_is_iterated_elsewhere_is_refused() -> None:
    """By the step that would take it in; it goes on where it was, and the others here."""
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
async def test_what_is_merged_is_not_iterated_elsewhere() -> None:
    """Who tries is refused, also when the merger is gone; it can be closed then."""
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
async def test_what_is_lost_to_another_task_leaves_it() -> None:
    """It had events when it was merged, and somebody else has taken them and waits: its turn
    raises, and does not wait for it for ever."""
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
async def test_what_was_taken_before_that_shows_is_not_lost() -> None:
    """It comes first, and then the refusal."""
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
async def test_one_that_is_merged_twice_is_refused_the_second_time() -> None:
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
async def test_one_task_at_a_time_iterates_it() -> None:
    """The second is told so, and the first goes on."""
    it = Speaking()
    merged, (a, _) = await begun(it, 2)
    first = await waiting(merged)

    with pytest.raises(RuntimeError, match="another task is already iterating this merger"):
        await anext(merged)

    it.hear((a, 1))
    assert (a, 1) == await first
    assert [] == it.stops


@on_virtual_time
async def test_one_task_at_a_time_starts_them() -> None:
    """As long as the socket has no room; then, too, the second is told so."""
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
