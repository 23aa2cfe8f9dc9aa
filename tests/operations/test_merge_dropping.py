"""`gqlwire.merge`: dropping it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from merging import Speaking, begun

from doubles import on_virtual_time, settle
from gqlwire._operations.merge import merge
from spelling import Spelling, both


@both
@on_virtual_time
async def test_dropping_a_merger_ends_its_subscriptions(spelling: Spelling) -> None:
    """As after a break, and without the garbage collector; also those that somebody holds."""
    it = Speaking(spelling.make(), spelling.result)
    gc.disable()
    try:
        merged, subscriptions = await begun(it, 3)
        kept = subscriptions.pop(1)
        ids = [kept.id, *(each.id for each in subscriptions)]
        gone = [weakref.ref(merged), *map(weakref.ref, subscriptions)]
        new = it.subscribe()
        merged.add(new)
        del subscriptions
        await settle()
        assert [] == it.stops

        del merged
        await settle()

        assert [None] * 3 == [reference() for reference in gone]
    finally:
        gc.enable()
    assert sorted(ids) == sorted(it.stops)
    it.hear((kept, 1))
    with pytest.raises(StopAsyncIteration):
        await anext(kept)
    # One that had not started yet still can.
    step = asyncio.ensure_future(anext(new))
    await settle()
    it.hear((new, 1))
    assert 1 == await step
    assert sorted(ids) == sorted(it.stops)


@on_virtual_time
async def test_a_break_ends_all_subscriptions() -> None:
    """Where nothing but the loop holds the merger."""
    it = Speaking()

    async def first() -> Any:
        told = []
        async for _, event in merge(it.several(3)):
            told.append(event)
            break
        return told

    task = asyncio.ensure_future(first())
    await settle()
    ids = it.started
    it.say(b'{"type":"next","id":"%s","payload":{"data":7}}' % ids[1].encode())

    assert [7] == await task
    del task
    gc.collect()
    await settle()
    assert sorted(ids) == sorted(it.stops)


@on_virtual_time
async def test_a_merger_does_not_hold_ended_subscriptions() -> None:
    """Nor closed ones, once a step has reached them: a merger that lives long does not grow."""
    it = Speaking()
    merged, subscriptions = await begun(it, 3)
    references = [*map(weakref.ref, subscriptions)]
    first, second, third = subscriptions
    it.complete(first)
    await second.aclose()
    it.hear((third, 1))
    assert (third, 1) == await anext(merged)

    del subscriptions, first, second
    await settle()
    gc.collect()

    assert [None, None, third] == [reference() for reference in references]
