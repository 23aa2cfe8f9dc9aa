"""`gqlwire.merge`: adding."""

from __future__ import annotations

import pytest
from merging import Speaking, at_once, begin, begun, taken, waiting

from doubles import on_virtual_time, settle
from gqlwire._operations.merge import merge


@on_virtual_time
async def test_a_subscription_can_be_added_at_any_time() -> None:
    """Before the first step, between steps, while a step waits, which starts it immediately, and
    after the end: then the merger continues.
    """
    it = Speaking()
    a, b, c, d = it.several(4)
    merged = merge([a])
    merged.add(b)
    await begin(it, merged, a, b)

    merged.add(c)
    assert [a.id, b.id] == it.started
    step = await waiting(merged)
    assert [a.id, b.id, c.id] == it.started
    it.complete(a)
    it.complete(b)
    await settle()
    assert not step.done()

    merged.add(d)
    await settle()
    assert [a.id, b.id, c.id, d.id] == it.started
    it.hear((d, 1))
    assert (d, 1) == await step
    it.complete(c)
    it.complete(d)
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))

    late = it.subscribe()
    merged.add(late)
    await begin(it, merged, late)
    it.complete(late)
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))
    assert [] == it.stops


@on_virtual_time
async def test_an_added_subscription_starts_before_waiting_events_are_taken() -> None:
    """So that the server begins, however many events wait."""
    it = Speaking()
    merged, (a,) = await begun(it, 1)
    it.hear((a, 1), (a, 2))
    b = it.subscribe()
    merged.add(b)

    assert [(a, 1)] == taken(merged, 1)
    assert [a.id, b.id] == it.started


@on_virtual_time
async def test_the_length_is_the_number_of_subscriptions_that_have_not_ended() -> None:
    """As far as the steps have come: an end counts when a step has reached it."""
    it = Speaking()
    a, b, c = it.several(3)
    merged = merge([a, b])
    assert 2 == len(merged)
    merged.add(c)
    assert 3 == len(merged)
    await begin(it, merged, a, b, c)
    assert 3 == len(merged)

    it.complete(a)
    await b.aclose()
    it.hear((c, 1))
    assert 3 == len(merged)
    assert [(c, 1)] == taken(merged, 1)
    assert 1 == len(merged)
    await merged.aclose()
    assert 0 == len(merged)
