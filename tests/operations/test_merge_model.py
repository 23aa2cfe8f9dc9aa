"""`gqlwire.merge`: any course of events."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merging import REFUSED, UNREADABLE, Events, Speaking, begin, begun, waiting

from doubles import on_virtual_time, settle
from gqlwire._operations.merge import Merged, merge
from gqlwire._streams.stream import Buffer, Overflow
from gqlwire.errors import (
    TransportError,
)

EVENTS = st.integers(0, 999) | st.sampled_from(
    [REFUSED, b'{"nothing":1}', b'{"data":"\\ud800"}', b'{"data":5}, "x":6', UNREADABLE]
)


MOST = 4


WHICH = st.integers(0, MOST - 1)


# A burst of events, or one that completes, or one that is closed.
STEPS = (
    st.lists(st.tuples(WHICH, EVENTS), min_size=1, max_size=12)
    | st.tuples(st.just("complete"), WHICH)
    | st.tuples(st.just("close"), WHICH)
)


Told = dict[Events, list[Any]]


async def consume_alone(subscription: Events, told: Told) -> None:
    while True:
        try:
            told[subscription].append(await anext(subscription))
        except StopAsyncIteration:
            return
        except TransportError as failure:
            told[subscription].append(repr(failure))


async def consume_merged(merged: Merged[Any], told: Told) -> None:
    while True:
        try:
            subscription, event = await anext(merged)
            told[subscription].append(event)
        except StopAsyncIteration:
            return
        except TransportError as failure:
            assert merged.current is not None
            told[merged.current].append(repr(failure))


async def seen(
    course: Sequence[Any], settings: Sequence[tuple[int, Overflow]], *, eager: bool, merges: bool
) -> list[Any]:
    """All that each has brought, what it has counted, and what the server was told."""
    it = Speaking()
    subscriptions = [it.subscribe(Buffer(events), overflow) for events, overflow in settings]
    told: Told = {each: [] for each in subscriptions}
    if merges:
        merged = merge(subscriptions)
        await begin(it, merged, *subscriptions)
        todo = [consume_merged(merged, told)]
    else:
        for each in subscriptions:
            step = asyncio.ensure_future(anext(each))
            await settle()
            it.hear((each, "begun"))
            await step
        todo = [consume_alone(each, told) for each in subscriptions]
    tasks = [asyncio.ensure_future(each) for each in todo] if eager else []
    await settle()
    for what in course:
        if isinstance(what, list):
            it.hear(*((subscriptions[n], data) for n, data in what if n < len(subscriptions)))
        elif what[1] < len(subscriptions) and what[0] == "close":
            await subscriptions[what[1]].aclose()
        elif what[1] < len(subscriptions):
            it.complete(subscriptions[what[1]])
        await settle()
    it.connection.closed(1012, "restarting")
    await asyncio.gather(*(tasks or todo))
    names = {f'"{each.id}"': f"<{n}>" for n, each in enumerate(subscriptions)}

    def anonymous(value: Any) -> str:
        text = str(value)
        for id, name in names.items():
            text = text.replace(id, name)
        return text

    return [
        [[anonymous(each) for each in events] for events in told.values()],
        [(each.delivered, each.dropped, each.buffered) for each in subscriptions],
        [subscriptions.index(each) for id in it.stops for each in subscriptions if each.id == id],
        anonymous(it.connection.reason),
    ]


@settings(deadline=None)
@given(
    course=st.lists(STEPS, max_size=6),
    kinds=st.lists(
        st.tuples(st.sampled_from([1, 2, 65_536]), st.sampled_from(Overflow)),
        min_size=1,
        max_size=MOST,
    ),
    eager=st.booleans(),
)
@on_virtual_time
async def test_merged_subscriptions_bring_the_same_as_single_ones(
    course: list[Any], kinds: list[tuple[int, Overflow]], eager: bool
) -> None:
    """However slow the loop is: the same events, faults, ends and counts, in the same order; the
    server gets the same messages.
    """
    alone = await seen(course, kinds, eager=eager, merges=False)

    assert alone == await seen(course, kinds, eager=eager, merges=True)


@settings(deadline=None)
@given(
    course=st.lists(st.lists(WHICH, min_size=1, max_size=8) | st.integers(1, 6), max_size=20),
    waits=st.booleans(),
)
@on_virtual_time
async def test_any_mix_of_bursts_and_steps_is_dealt_out_in_turn(
    course: list[Any], waits: bool
) -> None:
    """A subscription goes to the end of the line when it gets its first event, and after its turn
    if it has more.
    """
    it = Speaking()
    merged, subscriptions = await begun(it, MOST)
    line: deque[int] = deque()
    there: defaultdict[int, deque[int]] = defaultdict(deque)
    expected, told, count = [], [], 0
    step = await waiting(merged) if waits else None

    for what in course:
        if isinstance(what, list):
            burst = []
            for which in what:
                count += 1
                burst.append((subscriptions[which], count))
                if not there[which]:
                    line.append(which)
                there[which].append(count)
            it.hear(*burst)
            continue
        for _ in range(min(what, len(line))):
            which = line.popleft()
            expected.append((subscriptions[which], there[which].popleft()))
            if there[which]:
                line.append(which)
            told.append(await (step or anext(merged)))
            step = None
        if waits and step is None and not line:
            step = await waiting(merged)

    assert expected == told
    await merged.aclose()
    if step is not None:
        with pytest.raises(StopAsyncIteration):
            await step
