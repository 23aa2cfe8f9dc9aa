"""`gqlwire.merge`: when it is slow."""

from __future__ import annotations

import asyncio

import pytest
from merging import Events, Speaking, at_once, begin, begun, taken, waiting

from doubles import on_virtual_time, pass_time, settle
from gqlwire._operations.merge import merge
from gqlwire._streams.stream import Buffer, Overflow
from gqlwire.errors import (
    OperationTimeout,
)


@on_virtual_time
async def test_the_socket_rests_while_a_buffer_is_full_and_the_loop_is_busy() -> None:
    """It is read again once that buffer is half empty; nothing is lost."""
    it = Speaking()
    a, b = it.subscribe(Buffer(4)), it.subscribe()
    merged = merge([a, b])
    await begin(it, merged, a, b)
    it.hear(*((a, n) for n in range(4)), (b, 4))
    assert [] == it.wire.asked
    it.hear((a, 5))
    assert ["pause"] == it.wire.asked

    told = []
    for _ in range(6):
        told.append(at_once(anext(merged))[1])
        assert (["pause", "resume"] if a.buffered <= 2 else ["pause"]) == it.wire.asked

    assert [0, 4, 1, 2, 3, 5] == told
    assert (0, 0) == (a.dropped, b.dropped)


async def neighbour(it: Speaking) -> Events:
    """Another subscription of that connection, which has room for one event."""
    other = it.subscribe(Buffer(1))
    step = asyncio.ensure_future(anext(other))
    await settle()
    it.hear((other, 0))
    await step
    return other


@on_virtual_time
async def test_a_loop_that_waits_lets_every_socket_be_read() -> None:
    """Of all its connections, though others on them are full; they rest while it is busy."""
    here, there = Speaking(), Speaking()
    a, b = here.subscribe(), there.subscribe()
    merged = merge([a, b])
    step = await waiting(merged)
    here.hear((a, 1))
    assert (a, 1) == await step
    full = [(it, await neighbour(it)) for it in (here, there)]
    for it, other in full:
        it.hear((other, 1), (other, 2))
    assert [["pause"]] * 2 == [here.wire.asked, there.wire.asked]

    step = await waiting(merged)
    assert [["pause", "resume"]] * 2 == [here.wire.asked, there.wire.asked]
    for it, other in full:
        it.hear((other, 3))
    assert [["pause", "resume"]] * 2 == [here.wire.asked, there.wire.asked]

    there.hear((b, 2))
    assert (b, 2) == await step
    for it, other in full:
        it.hear((other, 4))
    assert [["pause", "resume", "pause"]] * 2 == [here.wire.asked, there.wire.asked]


@pytest.mark.parametrize("end", ["completed", "closed", "merger closed"])
@on_virtual_time
async def test_a_loop_does_not_wait_for_a_connection_that_it_has_nothing_of(end: str) -> None:
    """Any more: its socket may rest, as far as this loop goes."""
    here, there = Speaking(), Speaking()
    a, b = here.subscribe(), there.subscribe()
    merged = merge([a, b])
    step = await waiting(merged)
    if end == "completed":
        here.complete(a)
    elif end == "closed":
        await a.aclose()
    else:
        await merged.aclose()
        with pytest.raises(StopAsyncIteration):
            await step
        b = there.subscribe()
        merged.add(b)
        step = await waiting(merged)
    await settle()
    for it in (here, there):
        other = await neighbour(it)
        it.hear((other, 1), (other, 2))

    assert (["pause"], []) == (here.wire.asked, there.wire.asked)
    there.hear((b, 1))
    assert (b, 1) == await step


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside one without a limit"])
@on_virtual_time
async def test_a_limit_counts_from_where_the_loop_waits(others: int) -> None:
    """Not what it takes for an event, however often; from then on it is the subscription's own."""
    it = Speaking()
    a, *rest = it.subscribe(idle_timeout=5), *it.several(others)
    merged = merge([a, *rest])
    await begin(it, merged, a, *rest)
    for number in range(3):
        step = await waiting(merged)
        await pass_time(4)
        it.hear((a, number))
        assert (a, number) == await step
        await pass_time(12)  # it is busy

    step = await waiting(merged)
    await pass_time(4.9)
    assert not step.done()
    await pass_time(0.2)
    with pytest.raises(OperationTimeout, match=r"within 5 seconds .*idle_timeout"):
        await step
    assert a is merged.current
    assert [a.id] == it.stops
    assert others == len(merged)


@pytest.mark.parametrize(
    ("overflow", "expected", "dropped"),
    [
        (Overflow.BLOCK, [1, 2, 3, 4], 0),
        (Overflow.DROP_OLDEST, [3, 4], 2),
        (Overflow.LATEST, [4], 3),
        (Overflow.ERROR, [1, 2], 1),
    ],
)
@on_virtual_time
async def test_events_for_a_busy_loop_stay_in_their_own_buffers(
    overflow: Overflow, expected: list[int], dropped: int
) -> None:
    """Within the bounds, as if each were iterated alone; `buffered` shows them."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2, buffer=Buffer(2), overflow=overflow)
    for n in range(1, 5):
        it.hear((a, n))
    it.hear((b, 5))

    assert (len(expected), 1) == (a.buffered, b.buffered)
    assert (1, dropped) == (a.delivered, a.dropped)
    told = taken(merged, len(expected) + 1)
    assert [(a, expected[0]), (b, 5), *((a, n) for n in expected[1:])] == told
    assert (1 + len(expected), dropped) == (a.delivered, a.dropped)


@on_virtual_time
async def test_a_waiting_loop_takes_one_event_of_each_out_of_its_buffer() -> None:
    """Whatever comes after it."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2, overflow=Overflow.LATEST)
    step = await waiting(merged)
    it.hear((a, 1), (b, 2), (b, 3), (b, 4))
    assert (a, 1) == await step
    it.hear((b, 5))

    assert [(b, 2), (b, 5)] == taken(merged, 2)
    assert (3, 2) == (b.delivered, b.dropped)
