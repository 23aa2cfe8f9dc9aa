"""`gqlwire.merge`: the end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from merging import UNREADABLE, Speaking, at_once, begin, begun, taken, waiting

from doubles import on_virtual_time, settle
from gqlwire._operations.merge import merge
from gqlwire._streams.stream import Buffer, Overflow
from gqlwire.errors import (
    ConnectionClosed,
    SlowConsumer,
    TransportProtocolError,
    TransportQueryError,
)


@on_virtual_time
async def test_a_lost_connection_is_raised_once_for_each_subscription() -> None:
    """After what each had; then it is over."""
    it = Speaking()
    merged, (a, b, c) = await begun(it, 3)
    it.hear((a, 1), (a, 2), (b, 3))
    it.connection.closed(1012, "restarting")

    told: list[Any] = []
    while True:
        try:
            told.append(at_once(anext(merged)))
        except ConnectionClosed as failure:
            told.append((merged.current, failure.code))
        except StopAsyncIteration:
            break

    assert [(a, 1), (b, 3), (c, 1012), (a, 2), (b, 1012), (a, 1012)] == told
    assert 0 == len(merged)
    for each in (a, b, c):
        with pytest.raises(StopAsyncIteration):
            at_once(anext(each))


@on_virtual_time
async def test_a_lost_connection_ends_a_step_that_waits() -> None:
    """At once, and so do the next ones, for the others; those that could not start say so, too."""
    it = Speaking()
    merged, _ = await begun(it, 2)
    step = await waiting(merged)

    it.connection.closed(1012, "restarting")

    with pytest.raises(ConnectionClosed, match="restarting"):
        await step
    with pytest.raises(ConnectionClosed, match="restarting"):
        at_once(anext(merged))
    late = it.several(2)
    for each in late:
        merged.add(each)
    for each in late:
        with pytest.raises(ConnectionClosed, match="restarting"):
            at_once(anext(merged))
        assert each is merged.current
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))


@on_virtual_time
async def test_a_subscription_that_the_server_ends_leaves_the_others() -> None:
    """A refusal is raised in its turn, after the events; a normal end raises nothing."""
    it = Speaking()
    merged, (a, b, c) = await begun(it, 3)
    it.hear((a, 1), (c, 2))
    refusal = {"type": "error", "id": a.id, "payload": [{"message": "no more"}]}
    it.say(json.dumps(refusal).encode())
    it.complete(b)

    assert [(a, 1), (c, 2)] == taken(merged, 2)
    with pytest.raises(TransportQueryError, match="no more") as caught:
        at_once(anext(merged))
    assert (a.id, a) == (caught.value.query_id, merged.current)
    step = await waiting(merged)
    it.hear((c, 3))
    assert (c, 3) == await step
    assert (1, []) == (len(merged), it.stops)


@on_virtual_time
async def test_a_subscription_that_is_too_slow_leaves_the_others() -> None:
    """Its events come first, then its `SlowConsumer`; the server was told to stop it alone."""
    it = Speaking()
    a, b = it.subscribe(Buffer(2), Overflow.ERROR), it.subscribe()
    merged = merge([a, b])
    await begin(it, merged, a, b)
    it.hear(*((a, n) for n in range(5)), (b, 5))

    assert [a.id] == it.stops
    assert [(a, 0), (b, 5), (a, 1)] == taken(merged, 3)
    with pytest.raises(SlowConsumer) as caught:
        at_once(anext(merged))
    assert (2, a) == (caught.value.events, merged.current)
    it.hear((b, 6))
    assert [(b, 6)] == taken(merged, 1)
    assert [a.id] == it.stops


@on_virtual_time
async def test_invalid_json_costs_one_event() -> None:
    """The step that took it raises; all continue."""
    it = Speaking()
    merged, (a, b, c) = await begun(it, 3)
    it.hear((a, 1), (a, UNREADABLE), (a, 2), (b, 3), (b, 4), (c, 5))

    assert [(a, 1), (b, 3), (c, 5)] == taken(merged, 3)
    with pytest.raises(TransportProtocolError, match="invalid result"):
        at_once(anext(merged))
    assert a is merged.current
    assert [(b, 4), (a, 2)] == taken(merged, 2)
    assert it.connection.reason is None
    await merged.aclose()


@on_virtual_time
async def test_subscriptions_that_ended_before_are_left_out() -> None:
    """Closed ones, started or not, and one that has raised its end. An end that was not raised yet
    is raised here.
    """
    it, lost = Speaking(), Speaking()
    never, closed, told, untold, alive = *it.several(2), *lost.several(2), it.subscribe()
    await never.aclose()
    for each in (closed, told, untold):
        step = asyncio.ensure_future(anext(each))
        await settle()
        (it if each is closed else lost).hear((each, 0))
        await step
    await closed.aclose()
    lost.connection.closed(1012, "restarting")
    with pytest.raises(ConnectionClosed):
        await anext(told)

    merged = merge([never, closed, told, untold, alive])

    with pytest.raises(ConnectionClosed):
        await anext(merged)
    assert untold is merged.current
    await begin(it, merged, alive)
    assert 1 == len(merged)
