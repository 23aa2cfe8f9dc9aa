"""A day of reconnections in a second, and a thousand clients that lose the same server at once."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import math
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from doubles import pass_time
from gqlwire import Hooks, RetryPolicy
from gqlwire._reconnect.hooks import Connected, Disconnected
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import ConnectionRefused, HandshakeRejected, Phase
from virtual_server import (
    HOST,
    MUTE,
    TICKS,
    UNREACHABLE,
    Meeting,
    VirtualServer,
    begun,
    hangs_up,
    keeping,
    kept,
    now,
    soon,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
REFUSED = Meeting(ConnectionRefused("nobody listens", host=HOST, phase=Phase.CONNECT))
BUSY = Meeting(HandshakeRejected("busy", status=503))
ROOT = Path(__file__).resolve().parents[2]

# --- A day ---------------------------------------------------------------------------------------


class Weather:
    """When there is a server: connections live for random times, and now and then there is none."""

    def __init__(self, chance: Random, begin: float) -> None:
        self._chance = chance
        self.outages: list[tuple[float, float]] = []
        time = begin
        while time < begin + DAY:
            time += chance.expovariate(1 / (90 * MINUTE))
            length = chance.expovariate(1 / (6 * MINUTE))
            self.outages.append((time, time + length))
            time += length

    def __call__(self) -> Meeting:
        """What an attempt meets now."""
        time = now()
        for begin, end in self.outages:
            if begin <= time < end:
                return self._chance.choice([REFUSED, REFUSED, BUSY, MUTE, UNREACHABLE])
        if self._chance.random() < 0.05:
            return hangs_up(1012)
        mean = self._chance.choice([2.0, 10 * MINUTE, 30 * MINUTE])
        until_outage = min(begin - time for begin, _ in self.outages if begin > time)
        return Meeting(lasts=min(self._chance.expovariate(1 / mean), until_outage))


@dataclass
class Diary:
    """What the hooks tell: when there was a connection, when one ended and how long it waits then.

    Only numbers: a failure holds the frames that it went through.
    """

    connected: list[float] = field(default_factory=list)
    ended: list[tuple[float, float]] = field(default_factory=list)

    @property
    def hooks(self) -> Hooks:
        return Hooks(connected=self._note_connected, disconnected=self._note_end)

    def _note_connected(self, event: Connected) -> None:
        self.connected.append(now())

    def _note_end(self, event: Disconnected) -> None:
        if event.will_retry:
            self.ended.append((now(), event.delay))


def counted() -> Counter[str]:
    """How many objects of ours there are, and how many alarms."""
    gc.collect()
    loop: Any = asyncio.get_running_loop()
    found = Counter(
        type(each).__name__
        for each in gc.get_objects()
        if str(type(each).__module__).startswith(("gqlwire", "asyncio"))
    )
    found["alarms"] = len([timer for timer in loop._scheduled if not timer.cancelled()])
    return found


async def live_through(
    server: VirtualServer, policy: RetryPolicy, seed: int
) -> tuple[Diary, Weather, list[Counter[str]]]:
    """Spend a day with one subscription; what was told, and what there was at each sixth of it."""
    chance = Random(seed)
    diary, weather = Diary(), Weather(chance, now())
    server.answers_pings = True
    it = keeping(
        server,
        policy,
        reconnect=ReconnectOptions(hooks=diary.hooks),
        connect_timeout=10,
        ack_timeout=10,
        ping_interval=25,
    )
    it.lasting._chance = chance.random
    await it.lasting.connect()
    server.otherwise = weather
    server.peer.hang_up()
    events = it.session.subscribe(TICKS, tell_reconnects=True)
    taking = soon(take_all(events))
    counts = []
    for _ in range(6):
        await pass_time(DAY / 6)
        server.peers[:-1] = []
        counts.append(counted())
    await it.lasting.close()
    await asyncio.gather(taking, return_exceptions=True)
    del server.peers[:]
    return diary, weather, counts


async def take_all(events: Any) -> None:
    async for _ in events:
        pass


POLICIES = {
    "as it is": RetryPolicy(),
    "impatient": RetryPolicy(first_delay=0.1, longest_delay=5, stable_after=1),
    "with a ceiling": RetryPolicy(connects_per_hour=12),
    "patient": RetryPolicy(first_delay=10, growth=3, longest_delay=600, later=300),
}


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(policy, id=name, marks=() if name == "as it is" else pytest.mark.long)
        for name, policy in POLICIES.items()
    ],
)
@tidily
async def test_a_day_of_reconnections(
    server: VirtualServer, policy: RetryPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    """Each wait is one that the policy allows, there is no busy loop, and nothing grows."""
    caplog.set_level(logging.CRITICAL, "gqlwire")  # which keeps what it is told
    diary, weather, counts = await live_through(server, policy, seed=1)

    assert 30 < len(diary.connected)
    check_waits(server, policy, diary)
    check_pace(server, policy, weather)
    check_growth(counts)


def check_waits(server: VirtualServer, policy: RetryPolicy, diary: Diary) -> None:
    """Between the end of an attempt, or a connection, and the next one."""
    assert len(diary.ended) == len(server.times) - 1
    in_a_row, since = 0, 0.0
    connected = iter([*diary.connected, math.inf])
    acked = next(connected)
    for (end, delay), (begin, after) in zip(diary.ended, pairwise(server.times), strict=True):
        # The wait that was told is the one that there was.
        assert delay == pytest.approx(after - end, abs=0.01)
        if begin <= acked <= end:
            since, acked = acked, next(connected)
            in_a_row = 0 if end - since >= policy.stable_after else in_a_row
        in_a_row += 1
        if policy.connects_per_hour is None:
            assert 0 <= delay <= policy.ceiling(in_a_row) + 1e-6


def check_pace(server: VirtualServer, policy: RetryPolicy, weather: Weather) -> None:
    times = server.times
    most = max(sum(begin <= time < begin + HOUR for time in times) for begin in times)
    if policy.connects_per_hour is not None:
        assert most == policy.connects_per_hour
        return
    # While there is no server, the waits are half of the longest on average.
    for begin, end in weather.outages:
        tries = sum(begin <= time < end for time in times)
        growing = math.log(policy.longest_delay / policy.first_delay, policy.growth) + 1
        assert tries <= 8 + 2 * growing + 4 * (end - begin) / policy.longest_delay
    # And soon after there is one again, it is found.
    for _, end in weather.outages:
        following = [time for time in times if time >= end]
        assert not following or following[0] - end <= policy.longest_delay + 10.1


def check_growth(counts: list[Counter[str]]) -> None:
    """From the first hours to the last, but for what is there just now."""
    first, last = counts[0], counts[-1]
    grown = {name: last[name] - first[name] for name in last if last[name] > first[name] + 3}
    assert {} == grown


@pytest.mark.long
@tidily
async def test_a_day_is_not_spent_looking_around(
    server: VirtualServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop runs a few callbacks for each thing that happens, and none in between."""
    loop: Any = asyncio.get_running_loop()
    runs = 0
    run_once = loop._run_once

    def counting() -> None:
        nonlocal runs
        runs += 1
        run_once()

    monkeypatch.setattr(loop, "_run_once", counting)
    begin = runs
    await live_through(server, RetryPolicy(), 3)
    pings = DAY / 25

    assert runs - begin < 12 * pings + 30 * len(server.times)


@tidily
async def test_a_day_without_a_server(server: VirtualServer) -> None:
    """About as many attempts as it has minutes, times four: the waits are 15 seconds on average."""
    chance = Random(4)
    async with kept(server) as it:
        it.lasting.attempts._chance = chance.random
        server.otherwise = REFUSED
        server.peer.hang_up()
        await pass_time(DAY)
        attempts = len(server.times)

        assert Phase.WAITING is it.session.state
        assert DAY / 15 * 0.95 < attempts < DAY / 15 * 1.05
        assert attempts - 2 <= it.session.counters.retries <= attempts


@tidily
async def test_a_week_of_refused_subscriptions(server: VirtualServer) -> None:
    """A server that takes connections, but no subscriptions, is asked by the policy, too."""
    policy = RetryPolicy(resubscribe_elapsed=None)
    async with kept(server, policy) as it:
        events = it.session.subscribe(TICKS)
        step = await begun(anext(events))
        server.peer.tell(0)
        await step
        server.on_start = lambda peer, id, _: asyncio.get_running_loop().call_soon(  # noqa: A006  # as it is called
            peer.refuse, "not yet", id
        )
        step = await begun(anext(events))
        server.peer.hang_up()
        await pass_time(7 * DAY)

        assert 1 == len(server.open)
        starts = len(server.peer.started)
        assert 7 * DAY / 30 - 10 <= starts <= 7 * DAY / 30 + 10
        assert starts == it.session.counters.resubscriptions
        await events.aclose()
        await asyncio.gather(step, return_exceptions=True)


# --- A herd --------------------------------------------------------------------------------------


@pytest.fixture
def herd_plot(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool that draws it; drawing is not done here."""
    spec = importlib.util.spec_from_file_location("herd_plot", ROOT / "tools" / "herd_plot.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "herd_plot", module)
    spec.loader.exec_module(module)
    return module


def distance_from_even(waits: list[float], ceiling: float) -> float:
    """The statistic of Kolmogorov and Smirnov against an even distribution up to the ceiling."""
    count = len(waits)
    return max(
        max((place + 1) / count - wait / ceiling, wait / ceiling - place / count)
        for place, wait in enumerate(sorted(waits))
    )


def test_a_thousand_clients_do_not_reconnect_at_the_same_time(herd_plot: Any) -> None:
    """Their waits are spread evenly, from zero to the ceiling of each failure in a row."""
    herd, policy = herd_plot.with_jitter(), RetryPolicy()

    assert 1_000 == len(herd.connected)
    for attempt, waits in herd.waits.items():
        if len(waits) >= 100:
            # One in a thousand honest samples is further away than that.
            assert distance_from_even(waits, policy.ceiling(attempt)) < 1.95 / math.sqrt(len(waits))
    # Most have failed five or six times by then, so half of them come within a third of what these
    # may wait, and the last within the longest wait of all.
    after = [time - herd_plot.DOWNTIME for time in sorted(herd.connected)]
    assert 8 < after[500] < 13
    assert after[900] < policy.ceiling(6)
    assert 0 <= after[0] < 1 <= after[-1] <= policy.longest_delay
    assert herd.peak <= 100
    assert len(herd.attempts) < 6.2 * 1_000


def test_without_jitter_clients_reconnect_at_the_same_time(herd_plot: Any) -> None:
    """All in the same second, each time: so the figure shows something."""
    herd = herd_plot.without_jitter()

    assert 1_000 == herd.peak
    assert {1: 1_000, 3: 1_000, 7: 1_000, 15: 1_000, 31: 1_000} == herd.per_second()


def test_the_plot_in_the_docs_is_that_of_the_policy(herd_plot: Any) -> None:
    """Who changes the policy draws it anew: `python tools/herd_plot.py`."""
    herd = herd_plot.with_jitter()
    page = (ROOT / "docs" / "surviving-disconnects.md").read_text("utf-8")

    said = herd_plot.summary(herd, herd_plot.without_jitter())
    assert said in (ROOT / "docs" / "herd.svg").read_text("utf-8")
    assert "](herd.svg)" in page
    assert f"at most {herd.peak}\nconnect in the same second" in page


@pytest.mark.parametrize("spread", [0.0, 60.0])
@tidily
async def test_a_herd_of_real_clients_is_spread_as_well(
    server: VirtualServer, spread: float
) -> None:
    """Of whole clients, each with subscriptions: they connect, and subscribe, one by one."""
    count, downtime = 100, 20.0
    policy = RetryPolicy(spread=spread)
    herd = [keeping(server, policy, chance=Random(number).random) for number in range(count)]
    starts: list[float] = []
    for it in herd:
        await it.lasting.connect()
    events = [it.session.subscribe(TICKS) for it in herd for _ in range(3)]
    steps = [soon(anext(each)) for each in events]
    await pass_time(0.1)
    server.on_start = lambda *_: starts.append(now())
    begin = now()
    server.times.clear()
    server.otherwise = lambda: REFUSED if now() < begin + downtime else Meeting()
    for peer in [*server.peers]:
        peer.hang_up(1012)
    await pass_time(downtime)
    assert [] == server.open
    await pass_time(200)

    assert (count, 3 * count) == (len(server.open), len(starts))
    back = Counter(int(time) for time in server.times if time >= begin + downtime)
    assert max(back.values()) <= count / 8
    most = max(Counter(map(int, starts)).values())
    assert most <= (3 * count / 8 if not spread else 3 * count / 20)
    for it in herd:
        await it.lasting.close()
    await asyncio.gather(*steps, return_exceptions=True)
