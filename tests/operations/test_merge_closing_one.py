"""`gqlwire.merge`: giving up one."""

from __future__ import annotations

import pytest
from merging import Speaking, begin, begun, taken, waiting

from doubles import on_virtual_time, settle
from gqlwire._operations.merge import merge
from spelling import Spelling, both


@both
@on_virtual_time
async def test_a_closed_subscription_is_left_out(spelling: Spelling) -> None:
    """Its events do not come any more, handed over or buffered, and do not count as delivered. The
    server gets one stop, and the other subscriptions continue.
    """
    it = Speaking(spelling.make(), spelling.result)
    merged, (a, b, c) = await begun(it, 3)
    step = await waiting(merged)
    it.hear((c, 1), (a, 2), (a, 3), (b, 4), (b, 5))
    assert (c, 1) == await step
    await a.aclose()

    assert [(b, 4), (b, 5)] == taken(merged, 2)
    step = await waiting(merged)
    async with b:
        pass
    await settle()
    assert not step.done()
    it.hear((a, 6), (b, 7), (c, 8))
    assert (c, 8) == await step
    assert (1, [a.id, b.id]) == (len(merged), it.stops)
    assert [1, 3, 3] == [each.delivered for each in (a, b, c)]

    step = await waiting(merged)
    await c.aclose()
    with pytest.raises(StopAsyncIteration):
        await step
    await merged.aclose()
    assert [a.id, b.id, c.id] == it.stops


@on_virtual_time
async def test_a_subscription_can_be_closed_before_it_starts() -> None:
    """It is never sent."""
    it = Speaking()
    a, b = it.several(2)
    merged = merge([a, b])
    await a.aclose()

    await begin(it, merged, b)

    assert [b.id] == it.started
    assert 1 == len(merged)


@on_virtual_time
async def test_a_loop_may_close_the_subscription_of_its_event() -> None:
    """For example when it has seen enough; the loop continues."""
    it = Speaking()
    merged, subscriptions = await begun(it, 3)
    it.hear(*((each, n) for n in range(5) for each in subscriptions))
    told = []

    async for subscription, event in merged:
        told.append((subscriptions.index(subscription), event))
        if event == subscriptions.index(subscription):
            await subscription.aclose()

    assert [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)] == told
    assert [each.id for each in subscriptions] == it.stops
