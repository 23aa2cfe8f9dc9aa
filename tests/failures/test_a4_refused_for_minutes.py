"""A subscription ended if the server refused it on a new connection for longer than about 15 s,
while connections are tried for ever. Now it is sent again for minutes. Time without a connection
does not count.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

import gqlwire
from doubles import settle
from gqlwire import RetryPolicy
from gqlwire.errors import TransportQueryError
from spelling import Spelling, both
from virtual_server import (
    TICKS,
    UNREACHABLE,
    Meeting,
    Peer,
    VirtualServer,
    begun,
    kept,
    now,
    soon,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

MINUTE = 60.0
LIMIT = RetryPolicy().resubscribe_elapsed or 0


def by_error(peer: Peer, id: str) -> None:
    peer.refuse("not yet", id)


def by_completing(peer: Peer, id: str) -> None:
    """As Tibber does."""
    peer.say(peer.result({"errors": [{"message": "not yet"}], "data": None}, id))
    peer.complete(id)


REFUSALS = pytest.mark.parametrize("refusal", [by_error, by_completing])
Refusal = Callable[[Peer, str], None]


def refuses_until(server: VirtualServer, end: float, refusal: Refusal = by_error) -> None:
    """Refuse each subscription before `end`, and send an event after it."""

    def on_start(peer: Peer, id: str, _: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        if now() < end:
            loop.call_soon(refusal, peer, id)
        else:
            loop.call_soon(lambda: peer.tell(1, id=id))

    server.on_start = on_start


@REFUSALS
@both
@tidily
async def test_a4_a_subscription_that_is_refused_for_minutes_continues(
    server: VirtualServer, spelling: Spelling, refusal: Refusal
) -> None:
    """With waits that grow to `longest_delay`, and with one WARNING at the first refusal."""
    async with kept(server, spelling=spelling, chance=Random(4).random) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True)
        await started(events, server.peer)
        begin = now()
        refuses_until(server, begin + 5 * MINUTE, refusal)
        step = await begun(anext(events))
        server.peer.hang_up(1012)

        told: Any = await step
        assert 5 * MINUTE <= told.gap_seconds <= 5 * MINUTE + RetryPolicy().longest_delay + 1
        assert 10 < told.refusals < 60
        assert {"n": 1} == await anext(events)
        await events.aclose()
    assert 2 == len(server.peers)


@tidily
async def test_a4_the_log_warns_at_the_first_refusal_and_then_after_minutes(
    server: VirtualServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The attempts between are at INFO. The end says which limit is reached."""
    caplog.set_level(logging.INFO, "gqlwire")
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        begin = now()
        refuses_until(server, begin + 10 * LIMIT)
        step = await begun(anext(events))
        server.peer.hang_up(1012)
        with pytest.raises(TransportQueryError, match="not yet"):
            await step

        assert LIMIT <= now() - begin <= LIMIT + RetryPolicy().longest_delay + 1
    lines = [each for each in caplog.records if "refused to continue" in each.getMessage()]
    warnings = [each.getMessage() for each in lines if each.levelno == logging.WARNING]
    assert len(lines) > 30
    assert 4 == len(warnings)  # the first, after 1 and 5 minutes, and the end
    assert "it ends: all attempts failed for" in warnings[-1]
    assert warnings[-1].endswith("(resubscribe_elapsed)")


@pytest.mark.parametrize("seconds", [20, MINUTE, 3 * MINUTE, 10 * MINUTE, LIMIT - 31])
@tidily
async def test_a4_kind_any_time_within_the_limit(server: VirtualServer, seconds: float) -> None:
    """Whatever the delays are that chance gives."""
    async with kept(server, chance=Random(seconds).random) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        refuses_until(server, now() + seconds)
        step = await begun(anext(events))
        server.peer.hang_up(1012)

        assert {"n": 1} == await step
        await events.aclose()


@both
@tidily
async def test_a4_kind_all_of_many_continue(server: VirtualServer, spelling: Spelling) -> None:
    """Own loops, a merger and batches, with one connection."""
    async with kept(server, spelling=spelling, chance=Random(1).random) as it:
        single, other, third = (it.session.subscribe(TICKS) for _ in range(3))
        for events in (single, other, third):
            await started(events, server.peer)
        merged = gqlwire.merge([other])
        refuses_until(server, now() + 4 * MINUTE)
        steps = [soon(anext(single)), soon(anext(merged)), soon(anext(third.batches()))]
        await settle()
        server.peer.hang_up(1012)
        one, two, three = await asyncio.gather(*steps)

        assert {"n": 1} == one
        assert {"n": 1} == two[1]
        assert [{"n": 1}] == three
        for events in (single, other, third):
            await events.aclose()
        await merged.aclose()
    assert 2 == len(server.peers)


@tidily
async def test_a4_kind_an_outage_does_not_use_up_the_time(server: VirtualServer) -> None:
    """The server goes down while it refuses, for longer than the limit; then it refuses again."""
    async with kept(server, chance=Random(2).random) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        refuses_until(server, now() + 3 * LIMIT + MINUTE)
        step = await begun(anext(events))
        server.peer.hang_up(1012)
        await asyncio.sleep(MINUTE)
        up = now() + 3 * LIMIT
        server.otherwise = lambda: Meeting() if now() >= up else UNREACHABLE
        server.peer.hang_up(1006)

        assert {"n": 1} == await step
        await events.aclose()


@tidily
async def test_a4_kind_connections_that_end_between_refusals_do_not_help(
    server: VirtualServer,
) -> None:
    """The time counts over connections: one that is refused for ever ends at last."""
    async with kept(server, RetryPolicy(resubscribe_elapsed=MINUTE)) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        begin = now()
        refuses_until(server, begin + 10 * LIMIT)
        server.otherwise = Meeting(lasts=10.0)
        step = await begun(anext(events))
        server.peer.hang_up(1012)
        with pytest.raises(TransportQueryError):
            await step

        assert MINUTE <= now() - begin < LIMIT


@pytest.mark.parametrize(
    ("policy", "tries"),
    [
        (RetryPolicy(resubscribe_attempts=2), 3),
        (RetryPolicy(resubscribe_attempts=2, resubscribe_elapsed=None), 3),
        (RetryPolicy(resubscribe_elapsed=0), 1),
        (RetryPolicy(resubscribe_elapsed=5), 4),  # after 0, 1, 3 and 7 s
        (RetryPolicy(should_retry=lambda failure: failure.code is not None), 1),
    ],
)
@tidily
async def test_a4_kind_the_policy_may_be_less_patient(
    server: VirtualServer, policy: RetryPolicy, tries: int
) -> None:
    """By a number of attempts, by time, or by its function."""
    async with kept(server, policy) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        refuses_until(server, now() + LIMIT)
        step = await begun(anext(events))
        server.peer.hang_up(1012)
        with pytest.raises(TransportQueryError):
            await step

        assert tries == len(server.peer.started)
