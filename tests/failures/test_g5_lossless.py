"""A consumer that stalled for minutes ended with SlowConsumer, and no ping was answered meanwhile.

With `resume` the server is told to stop, and the subscription continues after the last event in its
buffer when there is room: nothing is lost, nothing comes twice, and the memory is bounded.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ParamSpec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pausing import FROM, Tape, after, is_read

import gqlwire
from conftest import examples
from doubles import pass_time, settle
from gqlwire import Buffer, Reconnected, Subscription
from gqlwire.errors import (
    ConnectionClosed,
    OperationTimeout,
    SlowConsumer,
    TransportClosed,
    TransportQueryError,
)
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    TICKS,
    Kept,
    Peer,
    VirtualServer,
    begun,
    kept,
    now,
    soon,
    tidily,
    virtual_server,
)

P = ParamSpec("P")

served = pytest.fixture(name="server")(virtual_server)

SPELLINGS = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "apollo"])
MINUTES = 300


def calmly(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on virtual time; nothing may be left behind a second after it.

    A feed never ends by itself, so a test that waits for what does not happen needs a limit.
    """

    @functools.wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async with asyncio.timeout(20_000):
            await test(*args, **kwargs)
        await pass_time(1)  # until the server has noticed that nobody listens

    return tidily(run)


def follow(it: Kept, buffer: Any = 10, **options: Any) -> Subscription[Any]:
    """A feed that can be resumed, with a small buffer."""
    options = {"variable_values": {"after": 0}, "resume": after, **options}
    return it.session.subscribe(FROM, buffer=buffer, **options)


async def numbers(events: Any, count: int) -> list[Any]:
    return [(await anext(events))["n"] for _ in range(count)]


async def rest(events: Any) -> list[Any]:
    return [event["n"] async for event in events]


async def stopped(events: Subscription[Any], count: int = 1) -> list[Any]:
    """Take the first event, and stall until the server has been told to stop."""
    first = await numbers(events, count)
    await pass_time(60)
    assert events.pauses
    return first


# --- The row --------------------------------------------------------------------------------------


@SPELLINGS
@calmly
async def test_g5_a_stall_of_minutes_loses_nothing(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Although the client pings, and so has to read, once in ten seconds."""
    tape = Tape(server, last=3_000, burst=50)
    server.answers_pings = True
    async with kept(server, spelling=spelling, ping_interval=10) as it:
        events = follow(it, buffer=500)
        found = await numbers(events, 1)
        await pass_time(MINUTES)
        assert events.buffered <= 500 + 50  # one read of the socket more
        assert tape.sent < 2_000  # the server has stopped
        found += await rest(events)

    assert [*range(1, 3_001)] == found
    assert 0 == events.dropped == events.duplicates
    assert [1] * events.pauses == [server.peer.stopped.count(id) for id in server.peer.stopped]


@calmly
async def test_g5_pings_of_the_server_are_answered_while_a_consumer_stalls(
    server: VirtualServer,
) -> None:
    """Servers close connections that do not answer; only the first second may be silent."""
    tape = Tape(server, last=1_000)
    async with kept(server) as it:
        events = follow(it)
        found = await numbers(events, 1)
        stall_is_over = asyncio.Event()
        tape.run(tape.ping(server.peer, 12, stall_is_over.is_set))
        await pass_time(MINUTES)
        stall_is_over.set()
        await pass_time(12)
        found += await rest(events)

    assert [*range(1, 1_001)] == found
    assert len(tape.delays) >= MINUTES // 13
    assert max(tape.delays) <= 1.1


@calmly
async def test_g5_pings_are_answered_although_a_consumer_takes_events(
    server: VirtualServer,
) -> None:
    """Fast enough to have room in each second, and too slowly for what has been sent already."""
    tape = Tape(server, last=1_000, kernel=1_000)
    async with kept(server) as it:
        events = follow(it)
        found = await numbers(events, 1)
        is_over = asyncio.Event()
        tape.run(tape.ping(server.peer, 5, is_over.is_set))
        async for event in events:
            found.append(event["n"])
            await pass_time(0.05)
        is_over.set()

    assert [*range(1, 1_001)] == found
    assert max(tape.delays) < 6
    assert 2 < events.pauses < 20


@SPELLINGS
@calmly
async def test_g5_a_neighbour_gets_its_events_while_a_consumer_stalls(
    server: VirtualServer, spelling: Spelling
) -> None:
    """In time, and only the full subscription is stopped."""
    Tape(server, last=1_000)
    late: list[float] = []
    async with kept(server, spelling=spelling) as it:
        neighbour = it.session.subscribe(TICKS)
        step = await begun(anext(neighbour))
        events = follow(it)
        found = await numbers(events, 1)
        most = 0
        for _ in range(100):
            server.peer.tell(begin := now(), id=neighbour.id)
            late.append(now() - (await step)["n"])
            step = soon(anext(neighbour))
            await pass_time(1)
            most = max(most, events.buffered)
            assert begin < now()
        assert neighbour.id not in server.peer.stopped
        found += await rest(events)
        await neighbour.aclose()
        step.cancel()

    assert [*range(1, 1_001)] == found
    assert most <= 10 + 5
    assert 0 == max(late)


# --- What is sent ---------------------------------------------------------------------------------


@SPELLINGS
@calmly
async def test_g5_it_continues_after_the_last_event_in_the_buffer(
    server: VirtualServer, spelling: Spelling
) -> None:
    """When half of it is taken; and the operation has another id, which is stopped at the end."""
    tape = Tape(server)
    async with kept(server, spelling=spelling) as it:
        events = follow(it)
        await stopped(events)
        first, held = events.id, events.buffered
        assert [first] == server.peer.stopped
        await numbers(events, held - 6)
        await settle()
        assert [0] == tape.cursors
        await numbers(events, 1)
        await settle()
        assert [0, 1 + held] == tape.cursors
        assert first != events.id
        assert [events.id] == [*server.peer.connection.routes._sinks]
        await events.aclose()
        assert not server.peer.connection.routes.has_any

    assert [first, events.id] == server.peer.stopped


@calmly
async def test_g5_a_short_stall_only_stops_reading(server: VirtualServer) -> None:
    """It costs the server nothing."""
    tape = Tape(server)
    async with kept(server) as it:
        events, found = follow(it), []
        async for event in events:
            found.append(event["n"])
            await pass_time(0.02)

    assert [*range(1, 101)] == found
    assert 0 == events.pauses
    assert [0] == tape.cursors
    assert "pause" in server.peer.asked


@SPELLINGS
@calmly
async def test_g5_what_is_read_together_is_taken(server: VirtualServer, spelling: Spelling) -> None:
    """Even if it is more than the buffer takes: the consumer could not take any of it yet."""
    async with kept(server, spelling=spelling) as it:
        neighbour = it.session.subscribe(TICKS)
        step = await begun(anext(neighbour))
        events = follow(it)
        first = await begun(anext(events))
        server.peer.tell(1, id=events.id)
        await first
        told = [server.peer.result({"data": {"n": n}}, events.id) for n in range(2, 30)]
        between = server.peer.result({"data": {"n": 0}}, neighbour.id)
        server.peer.say(*told[:14], between, *told[14:])
        await step

        assert [*range(2, 30)] == await numbers(events, 28)
        assert 0 == events.pauses
        await events.aclose()
        await neighbour.aclose()


@calmly
async def test_g5_what_the_server_sends_after_the_stop_is_dropped(server: VirtualServer) -> None:
    """However long it takes to stop, and also when the subscription has continued by then."""
    Tape(server, last=1_000, stragglers=500)
    async with kept(server) as it:
        events = follow(it)
        found = await stopped(events)
        assert events.buffered <= 10 + 5
        found += await rest(events)

    assert [*range(1, 1_001)] == found
    assert 0 == events.dropped
    assert len(found) == it.session.counters.events


@calmly
async def test_g5_a_consumer_that_never_comes_back_is_stopped_once(server: VirtualServer) -> None:
    tape = Tape(server)
    async with kept(server) as it:
        events = follow(it)
        await stopped(events)
        await pass_time(5_000)

        assert 1 == events.pauses == it.session.counters.pauses
        assert [0] == tape.cursors
        assert is_read(server.peer)
        await events.aclose()


@calmly
async def test_g5_it_is_logged_at_info_once(
    server: VirtualServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gqlwire")
    Tape(server)
    async with kept(server) as it:
        events = follow(it)
        while len(await stopped(events, 30)) and events.pauses < 2:
            pass
        await events.aclose()

    lines = [each for each in caplog.records if "is stopped" in each.getMessage()]
    assert ["INFO", "DEBUG"] == [each.levelname for each in lines]
    assert lines[0].getMessage() == (
        "server.example:80: a subscription is stopped, because its consumer is too slow: its "
        "buffer is full with 15 events; it continues when half of them are taken"
    )


# --- While it is stopped --------------------------------------------------------------------------


@SPELLINGS
@calmly
async def test_g5_a_connection_that_is_lost_while_it_is_stopped_is_a_gap(
    server: VirtualServer, spelling: Spelling
) -> None:
    """It is not sent on the next connection before there is room, and is no suspect."""
    tape = Tape(server)
    told: list[Reconnected] = []
    async with kept(server, spelling=spelling) as it:
        events = follow(it, tell_reconnects=True, on_reconnect=told.append)
        await stopped(events)
        for _ in range(5):
            server.peer.hang_up(1011)
            await it.lasting.ready()
        await pass_time(60)
        assert [0] == tape.cursors
        assert len(server.open) == 1

        found = [event async for event in events]

    notices = [event for event in found if isinstance(event, Reconnected)]
    assert notices == told
    assert ["1011"] == [str(each.failure.code) for each in notices]
    assert told[0].gap_seconds >= 60
    assert [*range(2, 101)] == [each["n"] for each in found if each not in notices]
    assert 1 == it.session.counters.resubscriptions


@calmly
async def test_g5_a_pause_is_no_reconnect(server: VirtualServer) -> None:
    """Nothing was missed, so nothing is told."""
    Tape(server)
    told: list[Reconnected] = []
    async with kept(server) as it:
        events = follow(it, tell_reconnects=True, on_reconnect=told.append)
        found = await stopped(events)
        found += await rest(events)

        assert 0 == it.session.counters.resubscriptions
    assert [*range(1, 101)] == found
    assert [] == told


@calmly
async def test_g5_it_continues_on_the_next_connection_if_there_is_none(
    server: VirtualServer,
) -> None:
    """The buffer is emptied while there is no connection."""
    tape = Tape(server)
    async with kept(server) as it:
        events = follow(it)
        found = await stopped(events)
        found += await numbers(events, 2)
        server.peer.hang_up()
        found += await numbers(events, events.buffered)
        step = await begun(anext(events))
        assert [0] == tape.cursors
        await it.lasting.ready()
        found.append((await step)["n"])
        found += await rest(events)

    assert [*range(1, 101)] == found
    assert 0 not in tape.cursors[1:]


@calmly
async def test_g5_a_connection_that_is_lost_while_the_buffer_is_full(
    server: VirtualServer,
) -> None:
    """It is resubscribed, and stopped at the first event that comes."""
    Tape(server)
    async with kept(server) as it:
        events = follow(it, tell_reconnects=True)
        found = await numbers(events, 1)
        await pass_time(0.5)
        assert 0 == events.pauses
        assert not is_read(server.peer)
        server.peer.hang_up()
        await pass_time(60)
        assert 1 == events.pauses
        assert events.buffered <= 10 + 2 * 5 + 1
        found += [each["n"] async for each in events if not isinstance(each, Reconnected)]

    assert [*range(1, 101)] == found


@pytest.mark.parametrize("way", ["close", "aclose", "cancel", "drop"])
@calmly
async def test_g5_it_can_end_while_it_is_stopped(server: VirtualServer, way: str) -> None:
    """The server is told nothing more; after `close()` of the session, the buffer can be taken."""
    Tape(server)
    async with kept(server) as it:
        events = follow(it)
        await stopped(events)
        held = events.buffered
        if way == "close":
            await it.lasting.close()
            assert [*range(2, held + 2)] == await numbers(events, held)
            with pytest.raises(TransportClosed):
                await anext(events)
        elif way == "aclose":
            await events.aclose()
        elif way == "cancel":
            events.abandon()
        else:
            del events
            await settle()
        await pass_time(60)

        assert 1 == len(server.peer.started) == len(server.peer.stopped)
        assert not server.peer.connection.routes.has_any


@calmly
async def test_g5_the_end_of_the_feed_may_be_in_the_buffer(server: VirtualServer) -> None:
    """Then there is nothing to stop."""
    tape = Tape(server, last=14)
    async with kept(server) as it:
        events = follow(it)
        found = await numbers(events, 1)
        await pass_time(60)
        found += await rest(events)

    assert [*range(1, 15)] == found
    assert len(tape.cursors) == 1 + events.pauses


@calmly
async def test_g5_time_limits_do_not_count_the_pause(server: VirtualServer) -> None:
    Tape(server)
    async with kept(server) as it:
        events = follow(it, buffer=1, idle_timeout=5, first_event_timeout=5)
        found = []
        async for event in events:
            found.append(event["n"])
            if len(found) < 50:
                await pass_time(20)

    assert [*range(1, 101)] == found
    assert events.pauses >= 4


# --- When it continues ----------------------------------------------------------------------------


@SPELLINGS
@calmly
async def test_g5_a_refusal_to_continue_is_retried(
    server: VirtualServer, spelling: Spelling
) -> None:
    """By the same policy as on a new connection; also if that is lost amid the refusals."""
    tape = Tape(server)
    told: list[Reconnected] = []
    async with kept(server, spelling=spelling) as it:
        events = follow(it, on_reconnect=told.append)
        found = await stopped(events)
        tape.refusals = 3
        found += await numbers(events, events.buffered)
        found += await numbers(events, 1)
        assert 0 == tape.refusals
        assert [] == told

        await pass_time(60)
        tape.refusals = 1
        found += await numbers(events, events.buffered)
        await settle()
        assert 0 == tape.refusals
        server.peer.hang_up(1012)
        found += await rest(events)

    assert [*range(1, 101)] == found
    assert [1012] == [each.failure.code for each in told]


@calmly
async def test_g5_what_resume_raises_ends_the_subscription_after_its_buffer(
    server: VirtualServer,
) -> None:
    """It alone."""

    def fail(*_: Any) -> dict[str, Any]:
        raise ValueError("no cursor")

    Tape(server)
    async with kept(server) as it:
        events = follow(it, resume=fail)
        await stopped(events)
        held = events.buffered
        assert [*range(2, held + 2)] == await numbers(events, held)
        with pytest.raises(ValueError, match="no cursor"):
            await anext(events)
        assert it.lasting.live is not None


@pytest.mark.parametrize("is_lost", [False, True])
@calmly
async def test_g5_without_reconnecting_as_well(server: VirtualServer, is_lost: bool) -> None:
    """It continues on its connection; if that is lost in the pause, the failure is raised."""
    Tape(server)
    client = server.client(reconnecting=False, subprotocols=["graphql-transport-ws"])
    async with client as session:
        events: Any = session.subscribe(FROM, variable_values={"after": 0}, buffer=10, resume=after)
        found = await stopped(events)
        if is_lost:
            server.peer.hang_up(1012)
            found += await numbers(events, events.buffered)
            with pytest.raises(ConnectionClosed):
                await anext(events)
        else:
            found += await rest(events)

    assert [*range(1, len(found) + 1)] == found
    assert is_lost or len(found) == 100


# --- What is not paused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"resume": None}, {"survive": False}, {"overflow": "error"}, {"overflow": "drop_oldest"}],
    ids=["no resume", "not surviving", "error", "drop_oldest"],
)
@calmly
async def test_g5_kind_other_subscriptions_are_not_stopped(
    server: VirtualServer, options: dict[str, Any]
) -> None:
    """What they do when the buffer is full stays as it was."""
    tape = Tape(server, last=10_000, kernel=20)
    async with kept(server) as it:
        events = follow(it, **options)
        await numbers(events, 1)
        await pass_time(60)

        assert 0 == events.pauses
        assert [0] == tape.cursors
        await events.aclose()


@calmly
async def test_g5_the_error_names_the_lossless_way(server: VirtualServer) -> None:
    Tape(server)
    async with kept(server) as it:
        events = follow(it, overflow="error")
        await numbers(events, 1)
        await pass_time(1)
        found = await numbers(events, 10)
        with pytest.raises(SlowConsumer, match='resume= and overflow="block"'):
            await anext(events)

    assert [*range(2, 12)] == found


# --- Events that cannot be resumed after ----------------------------------------------------------


@calmly
async def test_g5_a_faulty_event_comes_once(server: VirtualServer) -> None:
    """It is not stopped after one: it would come again with each pause."""
    faulty = (*range(12, 19), 40)
    Tape(server, last=60, burst=1, faulty=faulty)
    async with kept(server) as it:
        neighbour = await begun(anext(it.session.subscribe(TICKS)))
        events, found = follow(it), []
        found += await stopped(events)
        while len(found) < 60:
            try:
                found += await numbers(events, 1)
            except TransportQueryError as fault:
                found.append(int(str(fault).split()[1]))
            await pass_time(0.3)
        neighbour.cancel()
        await events.aclose()

    assert [*range(1, 61)] == found
    assert events.pauses > 1


@pytest.mark.parametrize("page", [2, 8, 30])
@calmly
async def test_g5_a_coarse_cursor_with_a_key_gets_on(server: VirtualServer, page: int) -> None:
    """Even if more comes again than the buffer takes."""
    Tape(server, last=120, page=page)
    async with kept(server) as it:
        neighbour = await begun(anext(it.session.subscribe(TICKS)))
        events = follow(it, key=lambda event: event["n"])
        found = []
        async for event in events:
            found.append(event["n"])
            await pass_time(0.3)
        neighbour.cancel()

    assert [*range(1, 121)] == found
    assert events.pauses
    assert events.duplicates


# --- All together ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """What is consumed, how, and how the server behaves."""

    spelling: Spelling = NEWER
    kind: str = "single"
    buffer: Any = 10
    stalls: tuple[float, ...] = ()
    tape: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    has_neighbour: bool = False

    @property
    def most(self) -> int:
        """How many events the buffer may have: one read more for each connection.

        What the two feeds send may be read together.
        """
        events = self.buffer.events if isinstance(self.buffer, Buffer) else self.buffer
        reads = 1 + len(self.tape["losses"])
        read = self.tape["kernel"] + 2 * self.tape["burst"]
        return int(events) + reads * (read + 1)


Took = Callable[..., Coroutine[Any, Any, None]]


async def consume(scene: Scene, sources: list[Subscription[Any]]) -> dict[Any, list[int]]:
    """Take all events, with the stalls in turn; return the numbers of each subscription."""
    found: dict[Any, list[int]] = {events: [] for events in sources}
    stalls = [*scene.stalls]

    async def took(events: Any, *values: Any) -> None:
        found[events] += [value["n"] for value in values]
        await pass_time(stalls[len(found[events]) % len(stalls)] if stalls else 0)
        assert all(each.buffered <= scene.most for each in sources)

    if scene.kind == "merged":
        async for events, event in gqlwire.merge(sources):
            await took(events, event)
    else:
        await asyncio.gather(*(WAYS[scene.kind](events, took) for events in sources))
    return found


async def _single(events: Subscription[Any], took: Took) -> None:
    async for event in events:
        await took(events, event)


async def _batches(events: Subscription[Any], took: Took) -> None:
    async for batch in events.batches(7):
        await took(events, *batch)


async def _steps(events: Subscription[Any], took: Took) -> None:
    while True:
        try:
            await took(events, await events.next(timeout=0.02))
        except OperationTimeout:
            continue
        except StopAsyncIteration:
            return


WAYS = {"single": _single, "batches": _batches, "steps": _steps}

tapes = st.fixed_dictionaries(
    {
        "last": st.just(60),
        "burst": st.sampled_from([1, 2, 5, 20]),
        "every": st.sampled_from([0.0, 0.01, 0.4]),
        "kernel": st.sampled_from([1, 8, 50]),
        "stragglers": st.sampled_from([0, 1, 5]),
        "losses": st.lists(st.integers(1, 60), max_size=3).map(tuple),
        "odd": st.lists(st.integers(1, 60), max_size=9).map(tuple),
    }
)
scenes = st.builds(
    Scene,
    spelling=st.sampled_from([NEWER, OLDER]),
    kind=st.sampled_from(["single", "batches", "steps", "merged"]),
    buffer=st.sampled_from([1, 2, 3, 7, 25, Buffer(100, 1_000), Buffer(100, 1)]),
    stalls=st.lists(st.sampled_from([0.0, 0.001, 0.05, 2.0, 60.0]), max_size=5).map(tuple),
    tape=tapes,
    options=st.sampled_from(
        [
            {},
            {"key": lambda event: event["n"]},
            {"result_type": dict[str, int]},
            {"idle_timeout": 50},
        ]
    ),
    has_neighbour=st.booleans(),
)


@settings(max_examples=examples(80))
@given(scene=scenes)
def test_g5_kind_all_events_come_once_and_in_order(scene: Scene) -> None:
    """Whatever stalls, however large the buffer is, and whatever becomes of the connections."""

    @calmly
    async def run() -> None:
        server = VirtualServer()
        Tape(server, **scene.tape)
        async with kept(server, spelling=scene.spelling, chance=0.1) as it:
            neighbour = await begun(anext(it.session.subscribe(TICKS)))
            if not scene.has_neighbour:
                neighbour.cancel()
            sources = [follow(it, scene.buffer, **scene.options) for _ in range(2)]
            found = await consume(scene, sources)
            neighbour.cancel()
            assert [[*range(1, 61)]] * 2 == [*found.values()]
            assert 0 == sum(each.dropped for each in sources)
            assert not [id for peer in server.peers for id in set(peer.stopped) if twice(peer, id)]

    run()


def twice(peer: Peer, id: str) -> bool:
    return peer.stopped.count(id) > 1
