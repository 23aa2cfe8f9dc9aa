"""`gqlwire.merge`: giving up all."""

from __future__ import annotations

import asyncio

import pytest
from merging import Speaking, at_once, begin, begun, taken, waiting

from doubles import on_virtual_time, settle
from gqlwire._operations.merge import merge
from spelling import Spelling, both


@both
@on_virtual_time
async def test_closing_a_merger_ends_all_subscriptions(spelling: Spelling) -> None:
    """The server is told of each, once, but of none that was over or had not started; what had
    arrived is dropped, and does not count as delivered. Twice is harmless."""
    it = Speaking(spelling.make(), spelling.result)
    merged, (a, b, c, d) = await begun(it, 4)
    new = it.subscribe()
    it.complete(d)
    step = await waiting(merged)
    it.hear((a, 1), (b, 2), (b, 3), (c, 4))
    assert (a, 1) == await step
    merged.add(new)

    await merged.aclose()
    await merged.aclose()

    assert [a.id, b.id, c.id] == it.stops
    assert [2, 1, 1, 1, 0] == [each.delivered for each in (a, b, c, d, new)]
    for each in (merged, a, b, c, d, new):
        with pytest.raises(StopAsyncIteration):
            at_once(anext(each))
    it.hear((b, 5))
    await settle()
    assert [a.id, b.id, c.id, d.id] == it.started
    assert [a.id, b.id, c.id] == it.stops


@on_virtual_time
async def test_closing_a_merger_ends_a_step_that_waits() -> None:
    """With the good end."""
    it = Speaking()
    merged, subscriptions = await begun(it, 2)
    step = await waiting(merged)

    await merged.aclose()

    with pytest.raises(StopAsyncIteration):
        await step
    assert [each.id for each in subscriptions] == it.stops


@on_virtual_time
async def test_closing_a_merger_ends_subscriptions_that_are_starting() -> None:
    """The one that waits for room in the socket is not sent, nor are those after it."""
    it = Speaking()
    a, b, c = it.several(3)
    merged = merge([a])
    await begin(it, merged, a)
    it.connection.writable(False)
    merged.add(b)
    merged.add(c)
    step = await waiting(merged)
    assert 3 == len(merged)

    await merged.aclose()
    assert 0 == len(merged)
    it.connection.writable(True)

    with pytest.raises(StopAsyncIteration):
        await step
    assert ([a.id], [a.id]) == (it.started, it.stops)


@on_virtual_time
async def test_a_closed_merger_can_be_used_again() -> None:
    """With subscriptions that are added later, and no earlier events."""
    it = Speaking()
    merged, (a,) = await begun(it, 1)
    it.hear((a, 1), (a, 2))
    await merged.aclose()

    b = it.subscribe()
    merged.add(b)
    await begin(it, merged, b)
    it.hear((b, 3))

    assert [(b, 3)] == taken(merged, 1)
    assert [a.id] == it.stops


@pytest.mark.parametrize("fails", [False, True])
@on_virtual_time
async def test_leaving_the_context_ends_all_subscriptions(fails: bool) -> None:
    """Also by an exception, which passes."""
    it = Speaking()
    merged, subscriptions = await begun(it, 2)

    async def leave() -> None:
        async with merged as entered:
            assert merged is entered
            assert [] == it.stops
            if fails:
                raise ZeroDivisionError

    if fails:
        with pytest.raises(ZeroDivisionError):
            await leave()
    else:
        await leave()

    assert [each.id for each in subscriptions] == it.stops


@both
@on_virtual_time
async def test_cancelling_a_step_that_waits_ends_nothing(spelling: Spelling) -> None:
    """The next step gets the events; the server is told of each once when they are closed."""
    it = Speaking(spelling.make(), spelling.result)
    merged, subscriptions = await begun(it, 3)
    step = await waiting(merged)

    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step

    assert [] == it.stops
    it.hear(*((each, 1) for each in subscriptions))
    assert [(each, 1) for each in subscriptions] == taken(merged, 3)
    await merged.aclose()
    for each in subscriptions:
        await each.aclose()
    assert [each.id for each in subscriptions] == it.stops
    assert [2] * 3 == [each.delivered for each in subscriptions]


@on_virtual_time
async def test_an_event_of_a_step_that_was_cancelled_is_the_next_one() -> None:
    """It is not counted as delivered until then, and comes before later ones."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2)
    step = await waiting(merged)

    it.hear((a, 1), (a, 2), (b, 3))
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step

    assert [(1, 2), (1, 1)] == [(each.delivered, each.buffered) for each in (a, b)]
    assert [(a, 1), (b, 3), (a, 2)] == taken(merged, 3)
    assert [] == it.stops


@pytest.mark.parametrize("started", [0, 1, 2])
@on_virtual_time
async def test_a_step_that_was_cancelled_while_it_started_is_continued(started: int) -> None:
    """While the socket has no room: the next step starts the others, each once."""
    it = Speaking()
    subscriptions = it.several(4)
    merged = merge(subscriptions[:started])
    if started:
        await begin(it, merged, *subscriptions[:started])
    for each in subscriptions[started:]:
        merged.add(each)
    it.connection.writable(False)
    step = await waiting(merged)

    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    assert 4 == len(merged)
    assert [each.id for each in subscriptions[:started]] == it.started
    it.connection.writable(True)
    step = await waiting(merged)

    assert [each.id for each in subscriptions] == it.started
    it.hear((subscriptions[3], 1))
    assert (subscriptions[3], 1) == await step
    await merged.aclose()
    assert [each.id for each in subscriptions] == it.stops


@on_virtual_time
async def test_a_time_limit_of_one_step_ends_nothing() -> None:
    """It cancels the step."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(merged), 5)

    assert [] == it.stops
    it.hear((b, 1), (a, 2))
    assert [(b, 1), (a, 2)] == taken(merged, 2)
