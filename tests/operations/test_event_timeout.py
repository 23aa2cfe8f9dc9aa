"""How long a subscription may wait for an event: `first_event_timeout` and `idle_timeout`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import gqlwire
from doubles import RecordingGate, next_event, on_virtual_time, pass_time, settle
from gqlwire import AsyncClientSession
from gqlwire._operations.event_timeout import EventTimeout
from gqlwire._streams.stream import Buffer, EventStream, Overflow
from gqlwire.errors import OperationTimeout
from virtual_server import (
    HOST,
    TICKS,
    VirtualServer,
    begun,
    now,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

EITHER = pytest.mark.parametrize("reconnecting", [True, False], ids=["kept", "not kept"])


@asynccontextmanager
async def entered(
    server: VirtualServer, *, reconnecting: bool
) -> AsyncIterator[AsyncClientSession]:
    options: dict[str, Any] = {"ping_interval": None}
    async with server.client(reconnecting=reconnecting, **options) as session:
        yield session


async def timed_out(step: Any) -> tuple[float, OperationTimeout]:
    """After how many seconds a step times out, and what it tells."""
    begin = now()
    with pytest.raises(OperationTimeout) as told:
        await step
    return round(now() - begin, 3), told.value


# --- Subscriptions -------------------------------------------------------------------------------


@EITHER
@tidily
async def test_a_first_event_that_does_not_come_ends_it(
    server: VirtualServer, reconnecting: bool
) -> None:
    """The server is told to stop, once; the next step is the end."""
    async with entered(server, reconnecting=reconnecting) as session:
        events = session.subscribe(TICKS, first_event_timeout=5)
        seconds, told = await timed_out(anext(events))

        text = f"{HOST} sent no event of the subscription within 5 seconds (first_event_timeout)"
        assert (5, text, 5, HOST) == (seconds, str(told), told.limit, told.host)
        assert [events.id] == server.peer.stopped
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        await events.aclose()
        assert [events.id] == server.peer.stopped


@EITHER
@tidily
async def test_silence_between_events_ends_it(server: VirtualServer, reconnecting: bool) -> None:
    """Counted from when the consumer began to wait."""
    async with entered(server, reconnecting=reconnecting) as session:
        events = session.subscribe(TICKS, idle_timeout=5)
        step = await begun(anext(events))
        await pass_time(100)
        server.peer.tell(0)
        await step
        await pass_time(100)
        seconds, told = await timed_out(anext(events))

        text = f"{HOST} sent no event of the subscription within 5 seconds (idle_timeout)"
        assert (5, text) == (seconds, str(told))
        assert [events.id] == server.peer.stopped


@EITHER
@tidily
async def test_events_that_come_in_time_keep_it(server: VirtualServer, reconnecting: bool) -> None:
    """However long it runs; one alarm serves them all."""
    async with entered(server, reconnecting=reconnecting) as session:
        events = session.subscribe(TICKS, first_event_timeout=5, idle_timeout=3)
        step = await begun(anext(events))
        await pass_time(4)
        server.peer.tell(0)
        await step
        for number in range(100):
            step = await begun(anext(events))
            await pass_time(2.9)
            server.peer.tell(number)
            assert {"n": number} == await step
        assert 3 == (await timed_out(anext(events)))[0]


@EITHER
@tidily
async def test_the_time_of_the_consumer_does_not_count(
    server: VirtualServer, reconnecting: bool
) -> None:
    """What came while it was busy came in time, and so did what it has not asked for."""
    async with entered(server, reconnecting=reconnecting) as session:
        events = session.subscribe(TICKS, first_event_timeout=5, idle_timeout=3)
        step = await begun(anext(events))
        server.peer.tell(0)
        await step
        for number in range(3):
            await pass_time(60)
            server.peer.tell(number)
            await pass_time(60)
            assert {"n": number} == await anext(events)
        await pass_time(60)
        step = await begun(anext(events))
        await pass_time(2.9)
        server.peer.tell(9)

        assert {"n": 9} == await step
        await events.aclose()


@EITHER
@tidily
async def test_first_and_idle_have_limits_of_their_own(
    server: VirtualServer, reconnecting: bool
) -> None:
    """The shorter one holds as soon as it is its turn, and so does the longer one."""
    async with entered(server, reconnecting=reconnecting) as session:
        for first, idle in ((60, 2), (2, 60)):
            events = session.subscribe(TICKS, first_event_timeout=first, idle_timeout=idle)
            step = await begun(anext(events))
            await pass_time(1)
            server.peer.tell(0)
            await step
            assert idle == (await timed_out(anext(events)))[0]
            server.peer.live.clear()


@EITHER
@pytest.mark.parametrize("how", ["end", "aclose", "cancel", "del"])
@tidily
async def test_the_alarm_ends_with_the_subscription(
    server: VirtualServer, reconnecting: bool, how: str
) -> None:
    """However the subscription ends: nothing is left that would ring later."""
    async with entered(server, reconnecting=reconnecting) as session:
        events = session.subscribe(TICKS, first_event_timeout=60)
        step = await begun(anext(events))
        match how:
            case "end":
                server.peer.complete()
                with pytest.raises(StopAsyncIteration):
                    await step
            case "cancel":
                step.cancel()
                await asyncio.wait([step])
                await events.aclose()
            case "aclose":
                await events.aclose()
                with pytest.raises(StopAsyncIteration):
                    await step
            case _:
                step.cancel()
                await asyncio.wait([step])
                del step, events
                await settle()
        loop: Any = asyncio.get_running_loop()
        assert [] == [
            timer for timer in loop._scheduled if not timer.cancelled() and "Alarm" in repr(timer)
        ]


@EITHER
@tidily
async def test_lists_wait_no_longer(server: VirtualServer, reconnecting: bool) -> None:
    """They wait by the same steps; so do mergers, where one times out and the others go on."""
    async with entered(server, reconnecting=reconnecting) as session:
        events = session.subscribe(TICKS, first_event_timeout=5)
        assert 5 == (await timed_out(anext(events.batches())))[0]

        one = session.subscribe(TICKS, first_event_timeout=5)
        other = session.subscribe(TICKS)
        async with gqlwire.merge([one, other]) as merged:
            assert 5 == (await timed_out(anext(merged)))[0]
            assert one is merged.current
            step = await begun(anext(merged))
            server.peer.tell(1, id=other.id)
            assert (other, {"n": 1}) == await step


# --- By itself -----------------------------------------------------------------------------------


def watched(
    first: float | None, idle: float | None
) -> tuple[EventStream, list[tuple[float, float, str]]]:
    """A stream, and what is told of it: when, the limit and its name."""
    told: list[tuple[float, float, str]] = []
    stream = EventStream(RecordingGate(), Buffer(), Overflow.BLOCK)

    def expire(limit: float, option: str) -> None:
        told.append((round(now(), 3), limit, option))

    EventTimeout(first, idle, now(), expire).start(stream)
    return stream, told


@on_virtual_time
async def test_many_waits_share_one_alarm() -> None:
    """To set one for each event would cost more than the event."""
    loop: Any = asyncio.get_running_loop()
    stream, told = watched(None, 10)
    for _ in range(50):
        step = await begun(next_event(stream))
        stream.put(b"{}")
        await step
    assert 1 >= len(loop._scheduled)

    step = await begun(next_event(stream))
    await pass_time(11)
    assert [(1_010.0, 10, "idle_timeout")] == [(round(at), *rest) for at, *rest in told]
    step.cancel()


@on_virtual_time
async def test_an_alarm_that_rings_while_nobody_waits_is_set_again() -> None:
    """By the next wait, for its own time."""
    stream, told = watched(5, 5)
    stream.put(b"{}")
    step = await begun(next_event(stream))
    await step
    step = await begun(next_event(stream))
    await pass_time(4)
    stream.put(b"{}")
    await step
    await pass_time(10)
    assert [] == told
    begin = now()
    step = await begun(next_event(stream))
    await pass_time(6)

    assert [round(begin + 5)] == [round(at) for at, _, _ in told]
    step.cancel()


@on_virtual_time
async def test_an_alarm_that_rings_too_early_is_set_again() -> None:
    """For the rest of the current wait."""
    stream, told = watched(None, 5)
    stream.put(b"{}")
    await next_event(stream)
    step = await begun(next_event(stream))
    await pass_time(4)
    stream.put(b"{}")
    await step
    begin = now()
    step = await begun(next_event(stream))
    await pass_time(4.5)
    assert [] == told
    await pass_time(1)

    assert [round(begin + 5, 2)] == [round(at, 2) for at, _, _ in told]
    step.cancel()


@on_virtual_time
async def test_without_the_limit_that_is_on_it_does_not_ring() -> None:
    """A first event may take for ever, or any later one."""
    for first, idle in ((None, 5), (5, None)):
        stream, told = watched(first, idle)
        if idle is None:
            step = await begun(next_event(stream))
            stream.put(b"{}")
            await step
        step = await begun(next_event(stream))
        await pass_time(1_000)
        assert [] == told
        step.cancel()


@on_virtual_time
async def test_the_first_limit_counts_from_the_given_time() -> None:
    """It includes the wait for a connection."""
    told: list[float] = []
    stream = EventStream(RecordingGate(), Buffer(), Overflow.BLOCK)
    begin = now()
    await pass_time(3)
    timeout = EventTimeout(5, None, begin, lambda limit, option: told.append(now()))
    timeout.start(stream)
    step = await begun(next_event(stream))
    await pass_time(2.1)
    assert [round(begin + 5, 3)] == [round(at, 3) for at in told]

    timeout.stop()
    timeout.stop()
    step.cancel()
