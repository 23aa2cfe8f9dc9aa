"""`session.counters`: each counter against what a scripted server saw, and that none goes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lasting import REFUSED, lose, n, take
from test_separate_connections import end_all, peer_of, suspected

import gqlwire
from doubles import pass_time, settle
from gqlwire import Counters, RetryPolicy
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import SlowConsumer, TransportError
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    TICKS,
    Kept,
    VirtualServer,
    hangs_up,
    kept,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

SPELLINGS = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "apollo"])


def went_back(before: Counters, after: Counters) -> list[str]:
    """The counters that are less than before. `latency` is none."""
    found = []
    earlier, later = asdict(before), asdict(after)
    for name in earlier.keys() - {"latency"}:
        old, new = earlier[name], later[name]
        if isinstance(old, dict):
            found += [f"{name}[{key}]" for key in old if old[key] > new.get(key, 0)]
        elif old > new + 1e-9:
            found.append(name)
    return found


# --- Reconnects by their cause -------------------------------------------------------------------

Act = Callable[[Kept, VirtualServer], Awaitable[object]]


async def closes(it: Kept, server: VirtualServer) -> None:
    server.peer.hang_up(1012)


async def vanishes(it: Kept, server: VirtualServer) -> None:
    server.peer.hang_up(1006)


async def is_silent(it: Kept, server: VirtualServer) -> None:
    await pass_time(150)


async def talks_nonsense(it: Kept, server: VirtualServer) -> None:
    server.peer.say(b"?")


async def is_replaced(it: Kept, server: VirtualServer) -> None:
    await it.session.reconnect()


async def is_terminated(it: Kept, server: VirtualServer) -> None:
    it.session.terminate()


CAUSES: dict[str, tuple[Act, str]] = {
    "close frame": (closes, "1012"),
    "lost": (vanishes, "1006"),
    "silence": (is_silent, "KeepAliveTimeout"),
    "nonsense": (talks_nonsense, "TransportProtocolError"),
    "reconnect()": (is_replaced, "TransportClosed"),
    "terminate()": (is_terminated, "TransportConnectionFailed"),
}


@pytest.mark.parametrize("name", CAUSES)
@SPELLINGS
@tidily
async def test_a_reconnect_counts_for_what_ended_the_connection(
    server: VirtualServer, spelling: Spelling, name: str
) -> None:
    """Once, when the next connection is acknowledged, however many attempts that takes."""
    act, cause = CAUSES[name]
    async with kept(server, ping_interval=100, spelling=spelling) as it:
        assert {} == it.session.counters.reconnects
        server.will(REFUSED, hangs_up(1013))
        await act(it, server)
        await it.lasting.ready()
        assert {cause: 1} == it.session.counters.reconnects
        server.will(REFUSED)
        await act(it, server)
        await it.lasting.ready()

        found = it.session.counters
        assert ({cause: 2}, 3, 5) == (found.reconnects, found.connections, found.retries)
        found.reconnects[cause] = 100
        assert {cause: 2} == it.session.counters.reconnects


@tidily
async def test_what_nobody_lost_is_no_reconnect(server: VirtualServer) -> None:
    """A first connection after failed attempts; one after an idle time."""
    server.will(REFUSED, REFUSED)
    idle = ReconnectOptions(idle_close_after=5)
    async with kept(server, RetryPolicy(initial=True), reconnect=idle) as it:
        await pass_time(10)
        await it.lasting.ready()

        assert ({}, 2) == (it.session.counters.reconnects, it.session.counters.connections)


@tidily
async def test_made_up_codes_do_not_fill_the_memory(server: VirtualServer) -> None:
    """50 causes by name, and the sum is right."""
    async with kept(server) as it:
        for code in range(4100, 4170):
            server.peer.hang_up(code)
            await it.lasting.ready()

        found = it.session.counters.reconnects
        assert (51, 20, 70) == (len(found), found["others"], sum(found.values()))


# --- Gaps ----------------------------------------------------------------------------------------


@SPELLINGS
@tidily
async def test_gaps_and_what_ended_them_are_counted(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Sent, refused, recovered; the seconds are those that `Reconnected` reports."""
    told: list[gqlwire.Reconnected] = []
    async with kept(server, RetryPolicy(first_delay=2), spelling=spelling) as it:
        events = it.session.subscribe(TICKS, on_reconnect=told.append)
        await started(events, server.peer)
        await lose(it, server)  # 2 s
        found = it.session.counters
        assert (1, 0, 0) == (found.resubscriptions, found.recoveries, found.refusals)
        assert 2 == round(found.gap_seconds, 3)
        server.peer.refuse()
        await pass_time(2)  # until it is sent again
        await pass_time(3)
        found = it.session.counters
        assert (2, 0, 1) == (found.resubscriptions, found.recoveries, found.refusals)
        assert 7 == round(found.gap_seconds, 3)
        server.peer.tell(1)
        await pass_time(100)

        found = it.session.counters
        assert (2, 1, 1) == (found.resubscriptions, found.recoveries, found.refusals)
        assert [7] == [round(event.gap_seconds, 3) for event in told]
        assert 7 == round(found.gap_seconds, 3)
        server.peer.hang_up(1012)
        await pass_time(1)
        await events.aclose()  # in the gap
        await pass_time(10)
        found = it.session.counters
        assert (8, 1) == (round(found.gap_seconds, 3), found.recoveries)


async def by_close(it: Kept, server: VirtualServer, events: Any) -> None:
    await events.aclose()


async def by_final(it: Kept, server: VirtualServer, events: Any) -> None:
    await it.lasting.close()


async def by_completion(it: Kept, server: VirtualServer, events: Any) -> None:
    await it.lasting.ready()
    await settle()
    server.peer.complete()


ENDS = {
    "aclose()": (by_close, 0, 1.0),
    "the session": (by_final, 0, 1.0),
    "complete": (by_completion, 1, 4.0),
}


@pytest.mark.parametrize("name", ENDS)
@SPELLINGS
@tidily
async def test_a_gap_that_ends_with_its_subscription_stays_as_long_as_it_was(
    server: VirtualServer, spelling: Spelling, name: str
) -> None:
    """Whether or not the consumer takes the end."""
    act, recoveries, seconds = ENDS[name]
    async with kept(server, RetryPolicy(first_delay=4), spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.hang_up(1012)
        await pass_time(1)
        await act(it, server, events)
        found = it.session.counters
        assert (seconds, recoveries) == (round(found.gap_seconds, 3), found.recoveries)
        await pass_time(100)
        assert found.gap_seconds == it.session.counters.gap_seconds
        await events.aclose()
        late = it.session.counters
        assert (found.gap_seconds, recoveries) == (late.gap_seconds, late.recoveries)


@tidily
async def test_a_refusal_on_the_first_connection_is_none_of_these(server: VirtualServer) -> None:
    """The loop raises it."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        step = asyncio.ensure_future(anext(events))
        await settle()
        server.peer.refuse()
        with pytest.raises(TransportError):
            await step

        assert (0, 0.0) == (it.session.counters.refusals, it.session.counters.gap_seconds)


# --- What is over --------------------------------------------------------------------------------


@SPELLINGS
@tidily
async def test_what_is_taken_after_the_end_of_the_session_counts(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Repetitions are found when they are taken, which may be later than the end."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"])
        await started(events, server.peer)
        await lose(it, server)
        server.peer.tell(0, 1)
        await it.lasting.close()
        before = it.session.counters
        assert n(1) == (await take(events, 2))[:1]

        found = it.session.counters
        assert (0, 1) == (before.duplicates, found.duplicates)
        assert (3, 3) == (before.events, found.events)


@SPELLINGS
@tidily
async def test_connections_apart_count_as_others_do(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Their events, messages, resubscriptions and gaps; also when they are over."""
    async with kept(server, spelling=spelling) as it:
        healthy, suspect = await suspected(it, server)
        sent = sum(len(peer.started) for peer in server.peers)
        assert sent - 3 == it.session.counters.resubscriptions
        apart = peer_of(server, suspect)
        before = it.session.counters
        apart.say({"type": "news"})
        apart.tell(7, 8, id=suspect.id)
        assert n(7, 8) == await take(suspect, 2)

        found = it.session.counters
        assert (2, 1) == (found.events - before.events, found.recoveries - before.recoveries)
        assert {"news": 1} == found.unknown_messages
        assert found.bytes_received > before.bytes_received
        gap = found.gap_seconds
        await pass_time(50)
        # The others were sent again as well, and wait for a result.
        assert 2 * 50 == round(it.session.counters.gap_seconds - gap, 3)
        await end_all(suspect, *healthy)
        await settle()
        assert 1 == len(server.open)
        assert [] == went_back(found, it.session.counters)
        assert {"news": 1} == it.session.counters.unknown_messages
        assert found.events == it.session.counters.events


# --- Kind: whatever happens, in whatever order ---------------------------------------------------

STEPS = ["events", "repeat", "lose", "refuse", "complete", "close", "open", "stray", "wait", "drop"]


async def do(step: str, it: Kept, server: VirtualServer, all_: list[Any]) -> None:
    """Do something to the newest subscription, or to its connection."""
    live = [each for each in all_ if server.peers and each.id in server.peer.live]
    if step == "open":
        events = it.session.subscribe(
            TICKS, key=lambda event: event["n"], buffer=5, overflow="drop_oldest"
        )
        all_.append(events)
        first = asyncio.ensure_future(anext(events))
        await settle()
        if events.id in server.peer.live:
            server.peer.tell(0, id=events.id)
        first.cancel()
        await asyncio.wait([first])
    elif step in ("lose", "drop"):
        server.peer.hang_up(1012 if step == "lose" else 1006)
    elif step == "wait":
        await pass_time(7)
    elif step == "stray":
        server.peer.say({"type": "news"})
    elif step == "close" and all_:
        await all_.pop(0).aclose()
    elif live and step in ("events", "repeat"):
        server.peer.tell(*(range(8) if step == "events" else [0] * 3), id=live[-1].id)
        with contextlib.suppress(TransportError, StopAsyncIteration):
            await live[-1].next(timeout=0.1)  # all may be repetitions
    elif live and step == "refuse":
        server.peer.refuse(id=live[-1].id)
    elif live and step == "complete":
        server.peer.complete(id=live[-1].id)


def test_no_counter_goes_back_whatever_happens() -> None:
    """Sampled after each step; the sums of the server agree in the end."""

    @tidily
    async def run(steps: list[str], spelling: Spelling) -> None:
        server = VirtualServer()
        async with kept(server, RetryPolicy(first_delay=2), spelling=spelling) as it:
            all_: list[Any] = []
            await do("open", it, server, all_)
            before = it.session.counters
            for step in [*steps, "wait"]:
                async with asyncio.timeout(1_000):
                    await do(step, it, server, all_)
                await settle()
                found = it.session.counters
                assert [] == went_back(before, found), step
                before = found
            await end_all(*all_)
            await it.lasting.ready()
            found = it.session.counters
            assert len(server.peers) == found.connections
            assert found.connections == 1 + sum(found.reconnects.values())
            assert len(server.times) == 1 + found.retries
            sent = sum(len(peer.started) for peer in server.peers)
            assert found.resubscriptions <= sent
            assert found.recoveries + found.refusals <= found.resubscriptions
        assert [] == went_back(found, it.session.counters)

    @given(st.lists(st.sampled_from(STEPS), max_size=12), st.sampled_from([NEWER, OLDER]))
    def check(steps: list[str], spelling: Spelling) -> None:
        run(steps, spelling)

    check()


@tidily
async def test_a_subscription_that_was_too_slow_keeps_its_counts(server: VirtualServer) -> None:
    """Its end is in its counters, too."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, buffer=2, overflow="error")
        await started(events, server.peer)
        server.peer.tell(1, 2, 3, 4)
        found = await take(events, 3)

        assert isinstance(found[-1], SlowConsumer)
        counters = it.session.counters
        assert (events.dropped, 1) == (counters.dropped, counters.dropped)
        assert counters.events == events.delivered + events.dropped
