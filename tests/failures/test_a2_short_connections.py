"""A server that cycles its connections every 10 s left a client 600 s up and 1,652 s down in the
hour, because only a connection of 30 s (`stable_after`) ended a row of failures.

A connection that brought results, or outlived the wait before it, begins a new row. A server that
accepts and closes is still asked with growing waits, whatever it sends in between.
"""

from __future__ import annotations

import asyncio
import dataclasses
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import pass_time
from gqlwire import RetryPolicy
from gqlwire.errors import ConnectionClosed, ConnectionRefused, Phase
from gqlwire.retry.attempts import Attempts
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    QUERY,
    TICKS,
    Meeting,
    Peer,
    VirtualServer,
    answering,
    kept,
    now,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

HOUR = 3600.0
CYCLED = ConnectionClosed(code=1001, phase=Phase.OPEN)
BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])


@dataclasses.dataclass
class Hour:
    """What an hour with a server was like: seconds up and down, and the connections."""

    up: float = 0.0
    down: float = 0.0
    connects: int = 0


def lived(
    lasts: float, *, delivers: bool, outage: float = 0.0, seed: int = 1, policy: RetryPolicy
) -> Hour:
    """An hour with a server whose connections last so long, after an outage. No sockets."""
    attempts, hour, time = Attempts(policy, Random(seed).random), Hour(), 0.0
    attempts.acknowledged(time)
    while time < outage:
        time += attempts.failed(ConnectionRefused(), time).delay
    begin = time
    while time < begin + HOUR:
        attempts.connecting(time)
        attempts.acknowledged(time)
        if delivers:
            attempts.delivered()
        time += lasts
        delay = attempts.failed(CYCLED, time).delay
        hour = Hour(hour.up + lasts, hour.down + delay, hour.connects + 1)
        time += delay
    return hour


# --- The row's own -------------------------------------------------------------------------------


@pytest.mark.parametrize("delivers", [True, False])
@pytest.mark.parametrize("outage", [0.0, 600.0])
@pytest.mark.parametrize("seed", range(5))
def test_a2_connections_of_ten_seconds(delivers: bool, outage: float, seed: int) -> None:
    """An hour of them: 170 s down or so. It was 2,640 s, in which nothing reset the waits."""
    hour = lived(10, delivers=delivers, outage=outage, seed=seed, policy=RetryPolicy())

    assert hour.down < (300 if delivers or not outage else 900)
    assert hour.up > 2_700


@BOTH
@tidily
async def test_a2_a_session_on_a_server_that_cycles(
    server: VirtualServer, spelling: Spelling
) -> None:
    """The same with a session, whose subscription gets an event on each connection."""
    chance = Random(2).random
    async with kept(server, spelling=spelling, chance=chance) as it:
        events = it.session.subscribe(TICKS)
        server.otherwise = Meeting(lasts=10)
        await started(events, server.peer)
        server.peer.hang_up(1012)
        begin, number = now(), 0
        server.on_start = lambda peer, *_: peer.tell(1)
        while now() < begin + HOUR:
            await anext(events)
            number += 1
        await events.aclose()

    assert number > 300


# --- Its kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lasts", [3.0, 4.0, 5.0, 7.5, 15.0, 29.0, 31.0, 100.0])
@pytest.mark.parametrize("delivers", [True, False])
def test_a2_kind_it_is_up_most_of_the_time(lasts: float, delivers: bool) -> None:
    """Also right after an outage of ten minutes, if results come."""
    hours = [
        lived(lasts, delivers=delivers, outage=600 * delivers, seed=seed, policy=RetryPolicy())
        for seed in range(5)
    ]

    assert all(hour.up > 0.75 * HOUR for hour in hours)


@pytest.mark.parametrize("lasts", [0.0, 0.01, 0.3, 1.0, 2.9])
@pytest.mark.parametrize("delivers", [True, False])
def test_a2_kind_a_server_that_closes_immediately_is_asked_politely(
    lasts: float, delivers: bool
) -> None:
    """Although it sends an event each time: once in half a minute, in the end."""
    hour = lived(lasts, delivers=delivers, policy=RetryPolicy())

    assert hour.connects < 300


@tidily
async def test_a2_kind_a_session_whose_server_sends_one_event_and_closes(
    server: VirtualServer,
) -> None:
    """The waits grow."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)

        def close(peer: Peer) -> None:
            peer.tell(1)
            peer.hang_up(1012)

        server.on_start = lambda peer, *_: asyncio.get_running_loop().call_soon(close, peer)
        for _ in range(7):
            await anext(events)

        assert [1, 2, 4, 8, 16, 30] == [round(wait) for wait in server.waits[:6]]
        await events.aclose()


@BOTH
@tidily
async def test_a2_kind_results_of_a_query_count_as_well(
    server: VirtualServer, spelling: Spelling
) -> None:
    """A session without subscriptions, after an outage, on connections of ten seconds."""
    answering(server)
    async with kept(server, spelling=spelling) as it:
        server.will(*[Meeting(ConnectionRefused())] * 10)
        server.peer.hang_up()
        await it.session.wait_ready()
        assert 30 == server.waits[-1]
        for _ in range(3):
            await it.session.execute(QUERY)
            await pass_time(10)
            server.peer.hang_up(1012)
            await it.session.wait_ready()

        assert [11, 11, 11] == [round(wait) for wait in server.waits[-3:]]


@given(
    lasts=st.floats(0, 60),
    delivers=st.booleans(),
    first=st.floats(0.1, 10),
    longest=st.floats(10, 120),
    seed=st.integers(0, 100),
)
def test_a2_kind_never_a_busy_loop(
    lasts: float, delivers: bool, first: float, longest: float, seed: int
) -> None:
    """Whatever the policy: no more connections than one in three seconds, by an hour."""
    policy = RetryPolicy(first_delay=first, longest_delay=longest)
    hour = lived(lasts, delivers=delivers, seed=seed, policy=policy)

    assert hour.connects <= HOUR / 3 + 20


def test_a2_kind_stable_after_still_counts() -> None:
    """A connection that was silent for so long begins a new row, however long the wait was."""
    policy = RetryPolicy(first_delay=600, longest_delay=600, stable_after=30)
    attempts = Attempts(policy, lambda: 1.0)
    attempts.acknowledged(0)
    assert [1, 2] == [attempts.failed(CYCLED, 0).attempt for _ in range(2)]
    attempts.acknowledged(1_000)

    assert 1 == attempts.failed(CYCLED, 1_030).attempt
