"""`spread=2` took 10 to 11 s with 10,000 subscriptions: each waited for a timer of its own, and a
timer is up to a millisecond late. Now a late timer is made up for: all that are due are sent.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from doubles import pass_time, settle
from gqlwire import RetryPolicy
from spelling import Spelling, both
from virtual_server import TICKS, VirtualServer, kept, now, soon, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)


async def starts_after_a_loss(
    server: VirtualServer,
    policy: RetryPolicy,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    late: float = 0.001,
    **options: Any,
) -> tuple[list[float], int]:
    """When each of `count` subscriptions was sent again, in seconds, and how many sleeps it took.

    Each sleep is up to `late` seconds too long, as those of a real loop are.
    """
    chance = Random(10)
    sleep, sleeps = asyncio.sleep, 0

    async def sleep_too_long(delay: float) -> None:
        nonlocal sleeps
        sleeps += delay > 0
        await sleep(delay + late * chance.random() if delay > 0 else 0)

    async with kept(server, policy, chance=chance.random, **options) as it:
        steps = [soon(anext(it.session.subscribe(TICKS))) for _ in range(count)]
        await settle()
        times: list[float] = []
        server.on_start = lambda *_: times.append(now())
        server.peer.hang_up(1012)
        await it.lasting.ready()
        begin = now()
        monkeypatch.setattr(asyncio, "sleep", sleep_too_long)
        await pass_time(60)
        monkeypatch.undo()
        for step in steps:
            step.cancel()
        await asyncio.gather(*steps, return_exceptions=True)
    return [time - begin for time in times], sleeps - 1  # that of this test


@both
@tidily
async def test_f10_two_seconds_are_two_seconds(
    server: VirtualServer, spelling: Spelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 4,000 subscriptions: they are due each half a millisecond, so about each second one
    waits.
    """
    policy = RetryPolicy(spread=2)
    times, sleeps = await starts_after_a_loss(server, policy, 4_000, monkeypatch, spelling=spelling)

    assert 4_000 == len(times)
    assert times == sorted(times)
    assert 1.99 < times[-1] < 2.01
    assert sleeps < 3_500
    # Evenly: each tenth of the time has a tenth of them.
    for tenth in range(10):
        assert 390 <= sum(tenth * 0.2 <= time < (tenth + 1) * 0.2 for time in times) <= 410


@pytest.mark.parametrize(
    ("spread", "count", "late"),
    [(0.01, 300, 0.001), (1, 300, 0.05), (0.5, 1_000, 0.016), (30, 100, 0.5), (5, 1, 0.016)],
)
@tidily
async def test_f10_kind_however_coarse_the_timer_is(
    server: VirtualServer, spread: float, count: int, late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 ms are those of Windows. None is early, and the last is late by one timer at most."""
    policy = RetryPolicy(spread=spread)
    times, sleeps = await starts_after_a_loss(server, policy, count, monkeypatch, late)

    assert count == len(times)
    assert times[-1] <= spread + late + 1e-4
    assert sleeps <= count
    for place, time in enumerate(times):
        slot = spread / count
        assert place * slot - 1e-9 <= time <= (place + 1) * slot + late + 1e-4


@tidily
async def test_f10_kind_without_spread_there_is_no_timer(
    server: VirtualServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, sleeps = await starts_after_a_loss(server, RetryPolicy(), 300, monkeypatch)

    assert (300, 0) == (len(times), sleeps)
    assert times[-1] < 1e-3


@tidily
async def test_f10_kind_clients_do_not_resubscribe_in_step(
    server: VirtualServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One subscription of each of many clients: at random moments within the time."""
    policy, moments = RetryPolicy(spread=10), []
    for number in range(40):
        async with kept(server, policy, chance=Random(number).random) as it:
            step = soon(anext(it.session.subscribe(TICKS)))
            await settle()
            server.peer.hang_up(1012)
            await it.lasting.ready()
            begin = now()
            while not server.peer.started:
                await pass_time(0.05)
            moments.append(now() - begin)
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)

    assert min(moments) < 1.5
    assert max(moments) > 8.5
