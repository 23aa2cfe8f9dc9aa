"""`Subscription.batches`: the same events as step by step, in lists of what is there."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

import gqlwire
from conftest import NEWER, OLDER
from doubles import MemoryWire, link_to, on_virtual_time, settle
from gqlwire._connection.connection import Connection
from gqlwire._operations.feed import Feed
from gqlwire._operations.options import Terms
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.result import decode_result
from gqlwire._protocols import GraphQLTransportWS
from gqlwire._streams.stream import Buffer, Overflow
from gqlwire.errors import (
    ConnectionClosed,
    SlowConsumer,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
)
from servers.launch import Server
from spelling import REQUEST, Spelling, both

ROOMY = Buffer()


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    data: Any
    errors: Raw = Raw()


_decode = msgspec.json.Decoder(Plain).decode


def convert(payload: Raw) -> Any:
    data = decode_result(payload).data_or_raise()
    if data == "odd":
        raise ValueError("no fault of the server's")
    return data


def decode(item: Raw | bytes) -> Plain:
    """In one pass, but for what `convert` refuses."""
    result = _decode(item)
    if result.data == "odd":
        raise msgspec.ValidationError("not for me")
    return result


class Running:
    """A subscription on a connection, and a server that says what the test wants."""

    def __init__(
        self,
        buffer: Buffer = ROOMY,
        overflow: Overflow = Overflow.BLOCK,
        *,
        dialect: Any = None,
        result: str = "next",
        decoder: Callable[[Raw | bytes], Plain] | None = decode,
    ) -> None:
        self.wire = MemoryWire()
        self.connection = Connection(dialect or GraphQLTransportWS(), host="h.example:443")
        self.wire.handler = self.connection
        self.connection.opened(self.wire)
        self.connection.received(b'{"type":"connection_ack"}')
        self.wire.sent.clear()
        feed = Feed(link_to(self.connection), REQUEST, Terms(buffer, overflow))
        self.events: Subscription[Any] = Subscription(feed, convert, decoder)
        self._result = result

    async def begin(self) -> Any:
        """Take a first event, with which it starts; return it."""
        step = asyncio.ensure_future(anext(self.events))
        await settle()
        self.hear("begun")
        return await step

    def hear(self, *data: Any) -> None:
        """Take events that came together; a `bytes` is a payload as it is."""
        self.say(
            *(
                b'{"type":"%s","id":"%s","payload":%s}'
                % (
                    self._result.encode(),
                    (self.events.id or "").encode(),
                    each if isinstance(each, bytes) else json.dumps({"data": each}).encode(),
                )
                for each in data
            )
        )

    def say(self, *texts: bytes) -> None:
        self.connection.received_all([*texts])
        self.connection.heard()

    def complete(self) -> None:
        self.say(json.dumps({"type": "complete", "id": self.events.id}).encode())

    @property
    def stops(self) -> list[str]:
        """The operations that the server was told to stop."""
        return [said["id"] for said in self.wire.said if said["type"] in ("complete", "stop")]


def at_once(step: Coroutine[Any, Any, Any]) -> Any:
    """The outcome of a step that does not wait; fails the test if it does."""
    try:
        step.send(None)
    except StopIteration as done:
        return done.value
    step.close()
    raise AssertionError("it waits")


REFUSED = b'{"data":{"n":1},"errors":[{"message":"refused"}]}'

# --- What is in a list ---------------------------------------------------------------------------


@on_virtual_time
async def test_all_events_that_have_arrived_come_in_one_list() -> None:
    """In order, whether they came together or not, and without waiting."""
    it = Running()
    await it.begin()
    batches = it.events.batches()
    it.hear(1, 2, 3)
    it.hear(4)
    it.hear(5, 6)

    assert [1, 2, 3, 4, 5, 6] == at_once(anext(batches))
    it.hear(7)
    assert [7] == at_once(anext(batches))


@on_virtual_time
async def test_the_first_step_starts_the_operation() -> None:
    """As that of the subscription does; `batches` alone sends nothing."""
    it = Running()
    batches = it.events.batches()
    await settle()
    assert [] == it.wire.sent

    step = asyncio.ensure_future(anext(batches))
    await settle()
    assert ["subscribe"] == [said["type"] for said in it.wire.said]
    it.hear(1, 2)

    assert [1, 2] == await step


@on_virtual_time
async def test_a_step_waits_if_no_event_has_arrived() -> None:
    """For one event; it does not wait for a list to be full."""
    it = Running()
    await it.begin()
    batches = it.events.batches(10)

    for expected in ([1], [2, 3], [4]):
        step = asyncio.ensure_future(anext(batches))
        await settle()
        assert not step.done()
        it.hear(*expected)
        assert expected == await step


@pytest.mark.parametrize(
    ("max_size", "expected"),
    [
        (1, [[0], [1], [2], [3], [4], [5], [6]]),
        (2, [[0, 1], [2, 3], [4, 5], [6]]),
        (3, [[0, 1, 2], [3, 4, 5], [6]]),
        (6, [[0, 1, 2, 3, 4, 5], [6]]),
        (7, [[0, 1, 2, 3, 4, 5, 6]]),
        (8, [[0, 1, 2, 3, 4, 5, 6]]),
    ],
)
@on_virtual_time
async def test_a_list_has_at_most_max_size_events(max_size: int, expected: list[Any]) -> None:
    """The others are in the next one, which need not wait."""
    it = Running()
    await it.begin()
    batches = it.events.batches(max_size)
    it.hear(*range(7))

    assert expected == [at_once(anext(batches)) for _ in expected]
    assert 0 == it.events.buffered


@on_virtual_time
async def test_a_list_has_at_most_a_hundred_events_by_default() -> None:
    """The default of the signature."""
    it = Running()
    await it.begin()
    batches = it.events.batches()
    it.hear(*range(150))

    assert [100, 50] == [len(at_once(anext(batches))) for _ in range(2)]


@pytest.mark.parametrize("max_size", [0, -1])
@on_virtual_time
async def test_a_list_has_room_for_one_event_at_least(max_size: int) -> None:
    """Else it is refused, where it is asked for."""
    it = Running()

    with pytest.raises(ValueError, match=f"max_size must be at least 1, not {max_size}"):
        it.events.batches(max_size)


@on_virtual_time
async def test_single_steps_and_lists_can_be_mixed() -> None:
    """Each takes what the other has left, and both are counted."""
    it = Running()
    assert "begun" == await it.begin()
    batches = it.events.batches(2)
    it.hear(1, 2, 3, 4, 5)

    assert [1, 2] == await anext(batches)
    assert 3 == await anext(it.events)
    assert [4, 5] == await anext(batches)
    assert (6, 0) == (it.events.delivered, it.events.buffered)


# --- What is wrong with one event ----------------------------------------------------------------


@pytest.mark.parametrize("decoder", [decode, None], ids=["in one pass", "the long way"])
@on_virtual_time
async def test_an_event_with_errors_is_raised_in_a_separate_step(decoder: Any) -> None:
    """After a list of the events before it; the next step continues."""
    it = Running(decoder=decoder)
    await it.begin()
    batches = it.events.batches()
    it.hear(1, 2, REFUSED, REFUSED, 3, b'{"nothing":1}', 4)

    assert [1, 2] == at_once(anext(batches))
    for _ in range(2):
        with pytest.raises(TransportQueryError, match="refused") as caught:
            at_once(anext(batches))
        assert {"n": 1} == caught.value.data
    assert [3] == at_once(anext(batches))
    with pytest.raises(TransportProtocolError, match="neither data nor errors"):
        at_once(anext(batches))
    assert [4] == at_once(anext(batches))
    assert [] == it.stops


@on_virtual_time
async def test_any_other_fault_is_raised_in_a_separate_step_too() -> None:
    """Such as one of the user's reader. The events taken before it are not lost."""
    it = Running()
    await it.begin()
    batches = it.events.batches()
    it.hear(1, 2, "odd", 3)

    assert [1, 2] == at_once(anext(batches))
    with pytest.raises(ValueError, match="no fault of the server's"):
        at_once(anext(batches))
    assert [3] == at_once(anext(batches))


@on_virtual_time
async def test_invalid_json_is_raised_in_a_separate_step_too() -> None:
    """It costs one event."""
    it = Running()
    await it.begin()
    batches = it.events.batches()
    it.hear(1, 2, b"{]", 3)

    assert [1, 2] == at_once(anext(batches))
    with pytest.raises(TransportProtocolError, match="invalid result"):
        at_once(anext(batches))
    assert [3] == at_once(anext(batches))
    assert it.connection.reason is None


EVENTS = st.integers(0, 999) | st.sampled_from(
    [REFUSED, b'{"nothing":1}', b'{"data":"\\ud800"}', b'{"data":5}, "x":6', "odd", b"{]"]
)


async def outcomes(bursts: list[list[Any]], max_size: int | None, *, eager: bool) -> list[Any]:
    """All that the steps bring, one by one; the lists among it are checked."""
    it = Running(decoder=decode)
    await it.begin()
    told: list[Any] = []
    steps: Any = it.events if max_size is None else it.events.batches(max_size)

    async def consume() -> None:
        while True:
            try:
                taken = await anext(steps)
            except StopAsyncIteration:
                return
            except (TransportError, ValueError) as failure:
                told.append(repr(failure))
            else:
                if max_size is not None:
                    assert 1 <= len(taken) <= max_size
                told.extend(taken if max_size is not None else [taken])

    task = asyncio.ensure_future(consume()) if eager else None
    for burst in bursts:
        it.hear(*burst)
        if eager:
            await settle()
    it.complete()
    await (task or consume())
    told += [it.events.delivered, repr(it.connection.reason)]
    # Each operation of the process has an id of its own.
    return [str(each).replace(f'"{it.events.id}"', '"<id>"') for each in told]


@settings(deadline=None)
@given(
    bursts=st.lists(st.lists(EVENTS, max_size=8), max_size=5),
    max_size=st.sampled_from([1, 2, 3, 1000]),
    eager=st.booleans(),
)
@on_virtual_time
async def test_batches_bring_the_same_events_as_single_steps(
    bursts: list[list[Any]], max_size: int, eager: bool
) -> None:
    """The same events and faults in the same order; no list is empty or too long."""
    single = await outcomes(bursts, None, eager=eager)

    assert single == await outcomes(bursts, max_size, eager=eager)


# --- The end -------------------------------------------------------------------------------------


@on_virtual_time
async def test_the_end_comes_after_the_last_list() -> None:
    """With `async for`, and for ever after."""
    it = Running()
    await it.begin()
    it.hear(1, 2, 3)
    it.complete()

    batches = it.events.batches(2)
    assert [[1, 2], [3]] == [batch async for batch in batches]
    with pytest.raises(StopAsyncIteration):
        await anext(batches)
    assert [] == it.stops


@on_virtual_time
async def test_a_failure_comes_after_the_last_list() -> None:
    """Once; a waiting step gets it, too."""
    it = Running()
    await it.begin()
    batches = it.events.batches()
    it.hear(1, 2)
    it.connection.closed(1012, "restarting")

    assert [1, 2] == at_once(anext(batches))
    with pytest.raises(ConnectionClosed, match="restarting"):
        at_once(anext(batches))
    with pytest.raises(StopAsyncIteration):
        at_once(anext(batches))

    waiting = Running()
    await waiting.begin()
    step = asyncio.ensure_future(anext(waiting.events.batches()))
    await settle()
    waiting.connection.closed(1012, "restarting")
    with pytest.raises(ConnectionClosed, match="restarting"):
        await step


@on_virtual_time
async def test_a_refusal_comes_after_the_last_list() -> None:
    """An `error` message ends it; it has the operation's id."""
    it = Running()
    await it.begin()
    batches = it.events.batches()
    it.hear(1)
    refusal = {"type": "error", "id": it.events.id, "payload": [{"message": "no more"}]}
    it.say(json.dumps(refusal).encode())

    assert [1] == at_once(anext(batches))
    with pytest.raises(TransportQueryError, match="no more") as caught:
        at_once(anext(batches))
    assert it.events.id == caught.value.query_id


@on_virtual_time
async def test_an_event_with_errors_before_the_end_is_not_lost() -> None:
    """It is raised, then it is over."""
    it = Running()
    await it.begin()
    batches = it.events.batches()
    it.hear(1, REFUSED)
    it.complete()

    assert [1] == at_once(anext(batches))
    with pytest.raises(TransportQueryError, match="refused"):
        at_once(anext(batches))
    with pytest.raises(StopAsyncIteration):
        at_once(anext(batches))


# --- Giving up -----------------------------------------------------------------------------------


@both
@on_virtual_time
async def test_cancelling_a_step_that_waits_ends_nothing(spelling: Spelling) -> None:
    """The next step gets the events, and the server is told once when it is closed."""
    it = Running(dialect=spelling.make(), result=spelling.result)
    await it.begin()
    batches = it.events.batches()
    step = asyncio.ensure_future(anext(batches))
    await settle()

    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    assert [] == it.stops

    it.hear(1, 2)
    assert [1, 2] == await anext(batches)
    await it.events.aclose()
    assert [it.events.id] == it.stops
    assert [spelling.start, spelling.stop] == [said["type"] for said in it.wire.said]


@on_virtual_time
async def test_dropping_it_stops_the_operation() -> None:
    """It keeps its subscription alive, and the last reference to both ends it, as after a break."""
    it = Running()
    await it.begin()
    id = it.events.id or ""
    batches = it.events.batches()
    del it.events
    gc.collect()
    await settle()
    assert [] == it.stops

    it.say(*(b'{"type":"next","id":"%s","payload":{"data":%d}}' % (id.encode(), n) for n in (1, 2)))
    assert [1, 2] == await anext(batches)
    del batches
    gc.collect()
    await settle()

    assert [id] == it.stops


@on_virtual_time
async def test_closing_the_subscription_ends_its_lists() -> None:
    """A waiting step, too; what was there is dropped, as it is for single steps."""
    it = Running()
    await it.begin()
    batches = it.events.batches()
    step = asyncio.ensure_future(anext(batches))
    await settle()

    async with it.events:
        pass

    with pytest.raises(StopAsyncIteration):
        await step
    with pytest.raises(StopAsyncIteration):
        await anext(batches)
    assert [it.events.id] == it.stops


@on_virtual_time
async def test_a_second_task_cannot_take_lists() -> None:
    """It raises RuntimeError, and the first task continues."""
    it = Running()
    await it.begin()
    batches = it.events.batches()
    first = asyncio.ensure_future(anext(batches))
    await settle()

    with pytest.raises(RuntimeError, match="another task"):
        await anext(batches)

    it.hear(1, 2)
    assert [1, 2] == await first
    assert [] == it.stops


# --- When it is slow -----------------------------------------------------------------------------


@pytest.mark.parametrize("max_size", [None, 1, 2, 3, 1000])
@on_virtual_time
async def test_the_socket_rests_while_the_buffer_is_full(max_size: int | None) -> None:
    """As with single steps: it is read again once the buffer is half empty, not before."""
    it = Running(Buffer(4))
    await it.begin()
    steps: Any = it.events if max_size is None else it.events.batches(max_size)
    it.hear(1, 2, 3, 4)
    assert "pause" not in it.wire.asked
    it.hear(5, 6)
    assert ["pause"] == it.wire.asked

    told = []
    while it.events.buffered:
        at_once(anext(steps))
        told.append((it.events.buffered, it.wire.asked[1:]))

    assert all((asked == ["resume"]) == (left <= 2) for left, asked in told)
    assert ["pause", "resume"] == it.wire.asked
    assert (7, 0) == (it.events.delivered, it.events.dropped)


@on_virtual_time
async def test_waiting_for_a_list_resumes_reading() -> None:
    """Even if another subscription on the socket is full."""
    it = Running(Buffer(1))
    await it.begin()
    other = Subscription(
        Feed(link_to(it.connection), REQUEST, Terms(ROOMY, Overflow.BLOCK)), convert
    )
    first = asyncio.ensure_future(anext(other))
    await settle()
    it.say(b'{"type":"next","id":"%s","payload":{"data":0}}' % (other.id or "").encode())
    await first
    it.hear(1, 2)
    assert ["pause"] == it.wire.asked

    step = asyncio.ensure_future(anext(other.batches()))
    await settle()

    assert ["pause", "resume"] == it.wire.asked
    step.cancel()
    await asyncio.wait([step])


@pytest.mark.parametrize(
    ("overflow", "expected", "dropped"),
    [
        (Overflow.DROP_OLDEST, [[3, 4], [5]], 2),
        (Overflow.LATEST, [[5]], 4),
        (Overflow.ERROR, [[1, 2], [3]], 1),
    ],
)
@on_virtual_time
async def test_overflow_is_that_of_the_subscription(
    overflow: Overflow, expected: list[Any], dropped: int
) -> None:
    """What is dropped is missing and counted; SlowConsumer comes after the last list."""
    it = Running(Buffer(3), overflow)
    await it.begin()
    batches = it.events.batches(2)
    for n in range(1, 6):
        it.hear(n)

    assert expected == [at_once(anext(batches)) for _ in expected]
    assert dropped == it.events.dropped
    if overflow is Overflow.ERROR:
        with pytest.raises(SlowConsumer):
            at_once(anext(batches))
        assert [it.events.id] == it.stops
    else:
        assert [] == it.stops


# --- Against a real server -----------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_a_real_server_is_read_in_lists(strawberry: Server, protocol: str) -> None:
    """All events in order, far fewer lists than events; errors between them; and the end."""
    async with gqlwire.connect(strawberry.url, subprotocols=[protocol]) as session:
        ticks = session.subscribe("subscription { ticks(count: 2000) { seq } }")
        lists = [batch async for batch in ticks.batches(50)]

        assert [{"ticks": {"seq": n}} for n in range(2000)] == [
            event for batch in lists for event in batch
        ]
        assert {*range(1, 51)} >= {len(batch) for batch in lists}

        told: list[Any] = []
        flaky = session.subscribe("subscription { flaky(count: 7) { seq value } }")
        batches = flaky.batches()
        while True:
            try:
                told += [event["flaky"]["value"] for event in await anext(batches)]
            except TransportQueryError as failure:
                told.append(str(failure))
            except StopAsyncIteration:
                break
        assert ["v0", "v2", "v4", "v6"] == told[::2]
        assert [f"flaky {n} (at flaky.value)" for n in (1, 3, 5)] == told[1::2]
