"""`gqlwire.merge`: many subscriptions in one loop, each of which brings what it brings alone."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import Raw

import gqlwire
from conftest import NEWER, OLDER, Speaker
from doubles import MemoryWire, on_virtual_time, pass_time, settle
from gqlwire._connection.connection import Connection
from gqlwire._operations.feed import Feed, Terms
from gqlwire._operations.merge import Merged, merge
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.result import decode_result
from gqlwire._protocols import GraphQLTransportWS
from gqlwire._streams.stream import Buffer, Overflow
from gqlwire.errors import (
    ConnectionClosed,
    OperationTimeout,
    SlowConsumer,
    TransportConnectionFailed,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
)
from servers.launch import Server
from spelling import REQUEST, Spelling, both

ROOMY = Buffer()
REFUSED = b'{"data":{"n":1},"errors":[{"message":"refused"}]}'
UNREADABLE = b"{]"

Events = Subscription[Any]


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    data: Any
    errors: Raw = Raw()


decode = msgspec.json.Decoder(Plain).decode


def convert(payload: Raw) -> Any:
    return decode_result(payload).data_or_raise()


class Speaking:
    """A connection, and a server that says what the test wants."""

    def __init__(self, dialect: Any = None, result: str = "next") -> None:
        self.wire = MemoryWire()
        self.connection = Connection(dialect or GraphQLTransportWS(), host="h.example:443")
        self.wire.handler = self.connection
        self.connection.opened(self.wire)
        self.connection.received(b'{"type":"connection_ack"}')
        self.wire.sent.clear()
        self._result = result

    def subscribe(
        self,
        buffer: Buffer = ROOMY,
        overflow: Overflow = Overflow.BLOCK,
        decoder: Callable[[Raw | bytes], Plain] | None = decode,
        idle_timeout: float | None = None,
    ) -> Events:
        terms = Terms(buffer, overflow, idle_timeout=idle_timeout)
        feed = Feed(lambda: self.connection, REQUEST, terms)
        return Subscription(feed, convert, decoder)

    def several(self, count: int, **options: Any) -> list[Events]:
        return [self.subscribe(**options) for _ in range(count)]

    def text(self, subscription: Events, data: Any) -> bytes:
        """A result as a message; a `bytes` is a payload as it is."""
        payload = data if isinstance(data, bytes) else json.dumps({"data": data}).encode()
        id = (subscription.id or "").encode()
        return b'{"type":"%s","id":"%s","payload":%s}' % (self._result.encode(), id, payload)

    def hear(self, *events: tuple[Events, Any]) -> None:
        """Take events that came together."""
        self.say(*(self.text(subscription, data) for subscription, data in events))

    def say(self, *texts: bytes) -> None:
        self.connection.received_all([*texts])
        self.connection.heard()

    def complete(self, subscription: Events) -> None:
        self.say(json.dumps({"type": "complete", "id": subscription.id}).encode())

    @property
    def started(self) -> list[str]:
        """The operations that were started, in order."""
        return [said["id"] for said in self.wire.said if said["type"] in ("subscribe", "start")]

    @property
    def stops(self) -> list[str]:
        """The operations that the server was told to stop, in order."""
        return [said["id"] for said in self.wire.said if said["type"] in ("complete", "stop")]


def at_once(step: Coroutine[Any, Any, Any]) -> Any:
    """The outcome of a step that does not wait; fails the test if it does."""
    try:
        step.send(None)
    except StopIteration as done:
        return done.value
    step.close()
    raise AssertionError("it waits")


async def begin(it: Speaking, merged: Merged[Any], *subscriptions: Events) -> None:
    """Take a first event of each of these, which are all that is new; with that they start."""
    step = asyncio.ensure_future(anext(merged))
    await settle()
    it.hear(*((subscription, "begun") for subscription in subscriptions))
    told = [await step, *(at_once(anext(merged)) for _ in subscriptions[1:])]
    assert [(subscription, "begun") for subscription in subscriptions] == told


async def begun(it: Speaking, count: int, **options: Any) -> tuple[Merged[Any], list[Events]]:
    """A merger of `count` subscriptions that have started; nothing is left to take."""
    subscriptions = it.several(count, **options)
    merged = merge(subscriptions)
    await begin(it, merged, *subscriptions)
    return merged, subscriptions


def taken(merged: Merged[Any], count: int) -> list[tuple[Events, Any]]:
    """So many pairs, none of which is waited for."""
    return [at_once(anext(merged)) for _ in range(count)]


async def waiting(merged: Merged[Any]) -> asyncio.Future[Any]:
    """A step that waits."""
    step = asyncio.ensure_future(anext(merged))
    await settle()
    assert not step.done()
    return step


# --- What comes, and in which order --------------------------------------------------------------


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
async def test_the_first_step_starts_all_of_them(spelling: Spelling) -> None:
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
async def test_each_is_in_turn_after_one_event() -> None:
    """However many another one has; what comes later for one that has some is behind those."""
    it = Speaking()
    merged, (a, b, c) = await begun(it, 3)
    step = await waiting(merged)
    it.hear((a, 1), (a, 2), (a, 3), (b, 4), (c, 5), (c, 6))

    told = [await step, *taken(merged, 1)]
    it.hear((b, 7), (a, 8))
    told += taken(merged, 6)

    assert [(a, 1), (b, 4), (c, 5), (a, 2), (b, 7), (c, 6), (a, 3), (a, 8)] == told


@on_virtual_time
async def test_what_is_there_is_taken_without_waiting() -> None:
    """Also if it came while nobody waited; the order of one is that in which its events came."""
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
async def test_what_came_before_it_was_merged_comes_first() -> None:
    """It was started elsewhere, and takes its turn with what it has."""
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
async def test_nothing_is_over_at_once() -> None:
    """A merger of none ends, and goes on once it has one."""
    it = Speaking()
    merged: Merged[Any] = merge([])
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))

    (a,) = it.several(1)
    merged.add(a)
    await begin(it, merged, a)
    assert 1 == len(merged)


# --- Adding --------------------------------------------------------------------------------------


@on_virtual_time
async def test_one_can_be_added_at_any_time() -> None:
    """Before the first step, between steps, while one waits, which starts it at once, and after
    the end, which was none then."""
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
async def test_an_added_one_is_started_before_what_is_there_is_taken() -> None:
    """So that the server begins, however much there is to take."""
    it = Speaking()
    merged, (a,) = await begun(it, 1)
    it.hear((a, 1), (a, 2))
    b = it.subscribe()
    merged.add(b)

    assert [(a, 1)] == taken(merged, 1)
    assert [a.id, b.id] == it.started


@on_virtual_time
async def test_its_length_is_how_many_have_not_ended() -> None:
    """As far as the steps have come: an end counts when its turn has come."""
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


# --- What is wrong with one event ----------------------------------------------------------------


@pytest.mark.parametrize("decoder", [decode, None], ids=["in one pass", "the long way"])
@on_virtual_time
async def test_what_is_wrong_with_one_event_is_raised_in_its_turn(decoder: Any) -> None:
    """Of the subscription that is `current`, which stays in it, as do the others."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2, decoder=decoder)
    it.hear((a, REFUSED), (b, 1), (a, 2), (b, b'{"nothing":1}'), (b, 3))

    with pytest.raises(TransportQueryError, match="refused") as caught:
        at_once(anext(merged))
    assert ({"n": 1}, None, a) == (caught.value.data, caught.value.query_id, merged.current)
    assert [(b, 1), (a, 2)] == taken(merged, 2)
    with pytest.raises(TransportProtocolError, match="neither data nor errors"):
        at_once(anext(merged))
    assert b is merged.current
    assert [(b, 3)] == taken(merged, 1)

    step = await waiting(merged)
    it.hear((a, REFUSED))
    with pytest.raises(TransportQueryError):
        await step
    step = await waiting(merged)
    it.hear((a, 4))
    assert (a, 4) == await step
    assert (2, []) == (len(merged), it.stops)


@on_virtual_time
async def test_an_event_that_turns_out_to_be_none_is_none() -> None:
    """Its message began like a result and was an end: the step goes on with the next one."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2)
    it.hear((a, b'{"data":1},"type":"complete"'), (b, 2))

    assert [(b, 2)] == taken(merged, 1)
    step = await waiting(merged)
    assert 1 == len(merged)
    it.hear((b, 3))
    assert (b, 3) == await step


# --- The end -------------------------------------------------------------------------------------


@on_virtual_time
async def test_a_lost_connection_is_raised_by_each_of_them_once() -> None:
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
async def test_a_step_that_waits_hears_of_the_lost_connection() -> None:
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
async def test_what_the_server_ends_leaves_the_others_alone() -> None:
    """One it refuses is raised in its turn, after its events; a good end is not told."""
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
async def test_one_that_is_too_slow_leaves_the_others_alone() -> None:
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
async def test_no_json_ends_all_of_that_connection() -> None:
    """Who took it is told so, the others get what they had, and are told so, too: each once."""
    it = Speaking()
    merged, (a, b, c) = await begun(it, 3)
    it.hear((a, 1), (a, UNREADABLE), (a, 2), (b, 3), (b, 4), (c, 5))

    assert [(a, 1), (b, 3), (c, 5)] == taken(merged, 3)
    for expected in (a, (b, 4), c, b):
        if isinstance(expected, tuple):
            assert [expected] == taken(merged, 1)
            continue
        with pytest.raises(TransportProtocolError, match="not JSON"):
            at_once(anext(merged))
        assert expected is merged.current
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))


@on_virtual_time
async def test_what_was_over_before_is_left_out() -> None:
    """One that was closed, started or not, and one that has raised its end; an end that was not
    raised yet is raised here."""
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


# --- Giving up one -------------------------------------------------------------------------------


@both
@on_virtual_time
async def test_one_that_is_closed_is_left_out(spelling: Spelling) -> None:
    """None of its events comes any more, handed over or buffered; it counts none of them as
    delivered. The server is told once, and the others go on."""
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
async def test_one_can_be_closed_before_it_starts() -> None:
    """It is never sent."""
    it = Speaking()
    a, b = it.several(2)
    merged = merge([a, b])
    await a.aclose()

    await begin(it, merged, b)

    assert [b.id] == it.started
    assert 1 == len(merged)


@on_virtual_time
async def test_a_handler_may_close_what_it_was_handed() -> None:
    """As one that has seen enough does; the rest of the loop goes on."""
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


# --- Giving up all -------------------------------------------------------------------------------


@both
@on_virtual_time
async def test_closing_it_ends_all_of_them(spelling: Spelling) -> None:
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
async def test_closing_it_ends_a_step_that_waits() -> None:
    """With the good end."""
    it = Speaking()
    merged, subscriptions = await begun(it, 2)
    step = await waiting(merged)

    await merged.aclose()

    with pytest.raises(StopAsyncIteration):
        await step
    assert [each.id for each in subscriptions] == it.stops


@on_virtual_time
async def test_closing_it_ends_what_is_just_being_started() -> None:
    """The one for which the socket has no room yet is not sent then, nor are those after it."""
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
async def test_it_can_go_on_after_it_was_closed() -> None:
    """With what is added then, and nothing of before."""
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
async def test_leaving_its_context_ends_all_of_them(fails: bool) -> None:
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
async def test_cancelling_a_step_that_waits_ends_all_of_them(spelling: Spelling) -> None:
    """The server is told of each once, whatever else is done then."""
    it = Speaking(spelling.make(), spelling.result)
    merged, subscriptions = await begun(it, 3)
    step = await waiting(merged)

    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step

    ids = [each.id for each in subscriptions]
    assert ids == it.stops
    it.hear(*((each, 1) for each in subscriptions))
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))
    await merged.aclose()
    for each in subscriptions:
        await each.aclose()
    assert ids == it.stops
    assert [1] * 3 == [each.delivered for each in subscriptions]


@on_virtual_time
async def test_cancelling_a_step_that_was_just_woken_ends_all_of_them() -> None:
    """What it would have taken is dropped with the rest, and not counted as delivered."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2)
    step = await waiting(merged)

    it.hear((a, 1))
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step

    assert [a.id, b.id] == it.stops
    assert [1, 1] == [a.delivered, b.delivered]


@pytest.mark.parametrize("started", [0, 1, 2])
@on_virtual_time
async def test_cancelling_a_step_that_starts_ends_all_of_them(started: int) -> None:
    """While the socket has no room: of those that were sent the server is told, the others are
    never sent."""
    it = Speaking()
    subscriptions = it.several(4)
    merged = merge(subscriptions[:started])
    if started:
        await begin(it, merged, *subscriptions[:started])
    for each in subscriptions[started:]:
        merged.add(each)
    it.connection.writable(False)
    step = await waiting(merged)
    assert 4 == len(merged)

    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    it.connection.writable(True)
    await settle()

    assert 0 == len(merged)
    assert [each.id for each in subscriptions[:started]] == it.started == it.stops
    with pytest.raises(StopAsyncIteration):
        at_once(anext(merged))
    for each in subscriptions:
        with pytest.raises(StopAsyncIteration):
            at_once(anext(each))


@on_virtual_time
async def test_a_time_limit_of_one_step_ends_all_of_them() -> None:
    """As it does for a single subscription: it cancels the step."""
    it = Speaking()
    merged, subscriptions = await begun(it, 2)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(merged), 5)

    assert [each.id for each in subscriptions] == it.stops


# --- Dropping it ---------------------------------------------------------------------------------


@both
@on_virtual_time
async def test_dropping_it_ends_those_that_nobody_else_holds(spelling: Spelling) -> None:
    """As after a break; by itself, without the garbage collector. Those that somebody holds live
    on."""
    it = Speaking(spelling.make(), spelling.result)
    gc.disable()
    try:
        merged, subscriptions = await begun(it, 3)
        kept = subscriptions.pop(1)
        dropped = [each.id for each in subscriptions]
        gone = [weakref.ref(merged), *map(weakref.ref, subscriptions)]
        del subscriptions
        await settle()
        assert [] == it.stops

        del merged
        await settle()

        assert [None] * 3 == [reference() for reference in gone]
    finally:
        gc.enable()
    assert sorted(dropped) == sorted(it.stops)
    it.hear((kept, 1))
    await settle()
    assert (1, sorted(dropped)) == (kept.buffered, sorted(it.stops))
    await kept.aclose()
    assert {kept.id, *dropped} == {*it.stops}
    assert 3 == len(it.stops)


@on_virtual_time
async def test_a_break_ends_all_of_them() -> None:
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
async def test_one_that_ended_is_not_held() -> None:
    """Nor one that was closed, once its turn has come: a merger that lives long does not grow."""
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


# --- One at a time -------------------------------------------------------------------------------


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

    with pytest.raises(RuntimeError, match="merger is being iterated by another task"):
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


# --- When it is slow -----------------------------------------------------------------------------


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
async def test_what_comes_while_the_loop_is_busy_waits_in_its_own_buffer(
    overflow: Overflow, expected: list[int], dropped: int
) -> None:
    """Within its bounds, as if it were iterated alone; it can be seen there."""
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
async def test_what_came_together_to_a_loop_that_waited_is_on_its_way() -> None:
    """One event of each is not in its buffer any more, whatever comes after it."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2, overflow=Overflow.LATEST)
    step = await waiting(merged)
    it.hear((a, 1), (b, 2), (b, 3), (b, 4))
    assert (a, 1) == await step
    it.hear((b, 5))

    assert [(b, 2), (b, 5)] == taken(merged, 2)
    assert (3, 2) == (b.delivered, b.dropped)


# --- Any course of events ------------------------------------------------------------------------

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
async def test_each_brings_in_a_merger_what_it_brings_alone(
    course: list[Any], kinds: list[tuple[int, Overflow]], eager: bool
) -> None:
    """However slow the loop is: the same events, faults and ends in the same order, the same
    counts; the server is told the same."""
    events = [data for step in course if isinstance(step, list) for _, data in step]
    # Of two that end the connection it depends on who is first to take one which of them does.
    assume(events.count(UNREADABLE) < 2)
    alone = await seen(course, kinds, eager=eager, merges=False)

    assert alone == await seen(course, kinds, eager=eager, merges=True)


@settings(deadline=None)
@given(
    course=st.lists(st.lists(WHICH, min_size=1, max_size=8) | st.integers(1, 6), max_size=20),
    waits=st.booleans(),
)
@on_virtual_time
async def test_any_interleaving_of_bursts_and_steps_is_dealt_out_in_turn(
    course: list[Any], waits: bool
) -> None:
    """Whoever gets an event while it has none goes to the end of the line, and so does who has
    more after its turn."""
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


# --- Against real servers ------------------------------------------------------------------------

# Strawberry runs no more on one connection.
MANY = 100


async def test_many_subscriptions_of_a_real_server_come_in_one_loop(speaker: Speaker) -> None:
    """All events of each in order, and then the end of the loop."""
    async with speaker.client() as session:
        subscriptions = [
            session.subscribe("subscription { ticks(count: 20) { seq } }") for _ in range(MANY)
        ]
        told: dict[Any, list[int]] = {each: [] for each in subscriptions}
        merged = gqlwire.merge(subscriptions)
        async for subscription, event in merged:
            told[subscription].append(event["ticks"]["seq"])

    assert [[*range(20)]] * MANY == list(told.values())
    assert 0 == len(merged)


TICKS = "subscription { ticks(count: -1, intervalMs: 100) { seq } }"


async def take_all_kinds(merged: Merged[Any], flaky: Events) -> list[str]:
    """Take steps until each of the others has brought something; return what `flaky` brought."""
    values: list[str] = []
    numbers: set[str | None] = set()
    while len(values) < 6 or len(numbers) < MANY - 1:
        try:
            subscription, event = await anext(merged)
        except TransportQueryError as failure:
            assert flaky is merged.current
            values.append(str(failure))
            continue
        if subscription is flaky:
            values.append(event["flaky"]["value"])
        else:
            numbers.add(subscription.id)
    return values


async def run_through(merged: Merged[Any]) -> None:
    async for _ in merged:
        pass


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize("way", ["drop", "aclose", "cancel"])
async def test_a_real_server_is_told_that_all_are_over(
    strawberry: Server, protocol: str, way: str
) -> None:
    """It stops all of them, however the loop was left; events with errors were in it, too."""
    async with (
        gqlwire.connect(strawberry.url) as observer,
        gqlwire.connect(strawberry.url, subprotocols=[protocol]) as session,
        asyncio.timeout(20),
    ):
        before = await observer.execute("{ stopped }")
        flaky = session.subscribe("subscription { flaky(count: 6) { value } }")
        merged = gqlwire.merge([flaky, *(session.subscribe(TICKS) for _ in range(MANY - 1))])
        values = await take_all_kinds(merged, flaky)
        if way == "cancel":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(run_through(merged), 0.02)
        elif way == "aclose":
            await merged.aclose()
        else:
            del merged
        now = await observer.execute("{ active stopped }")
        while now["active"]:
            now = await observer.execute("{ active stopped }")

    assert ["v0", "v2", "v4"] == values[::2]
    assert [f"flaky {n} (at flaky.value)" for n in (1, 3, 5)] == values[1::2]
    assert before["stopped"] + MANY - 1 == now["stopped"]


async def test_a_real_connection_that_is_lost_is_raised_by_each(strawberry: Server) -> None:
    """Once, after what each had."""
    async with gqlwire.connect(strawberry.url) as session:
        subscriptions = [session.subscribe(TICKS) for _ in range(MANY)]
        merged = gqlwire.merge(subscriptions)
        counts = dict.fromkeys(subscriptions, 0)
        failed: list[Any] = []
        closing = None
        while True:
            try:
                subscription, event = await anext(merged)
            except TransportConnectionFailed:
                failed.append(merged.current)
                continue
            except StopAsyncIteration:
                break
            assert counts[subscription] == event["ticks"]["seq"]
            counts[subscription] += 1
            if closing is None and all(counts.values()):
                closing = asyncio.ensure_future(session.transport.close())
        assert closing is not None
        await closing

    assert MANY == len(failed)
    assert {*subscriptions} == {*failed}
