"""A subscription over lost connections: deadlines."""

from __future__ import annotations

import pytest
from lasting import served as served
from lasting import take

import gqlwire
from doubles import settle
from gqlwire import RetryPolicy
from gqlwire.errors import (
    OperationTimeout,
)
from virtual_server import (
    HOST,
    TICKS,
    UNREACHABLE,
    VirtualServer,
    begun,
    kept,
    now,
    slowly,
    started,
    tidily,
)


@tidily
async def test_the_wait_for_a_first_event_includes_that_for_a_connection(
    server: VirtualServer,
) -> None:
    """It is counted from the first step on, and says what was missing."""
    async with kept(server, connect_timeout=None) as it:
        server.will(UNREACHABLE)
        server.peer.hang_up()
        begin = now()
        events = it.session.subscribe(TICKS, first_event_timeout=5)
        with pytest.raises(OperationTimeout) as told:
            await anext(events)

        assert 5 == round(now() - begin, 3)
        assert str(told.value).startswith(
            f"the subscription was not sent: there was no connection to {HOST} within 5 seconds "
            "(first_event_timeout); the last failure: "
        )
        assert ["the end"] == await take(events, 1)


@tidily
async def test_a_connection_that_came_late_leaves_less_time_for_the_first_event(
    server: VirtualServer,
) -> None:
    """The limit is one for both."""
    async with kept(server) as it:
        server.will(slowly(3))
        server.peer.hang_up()
        begin = now()
        events = it.session.subscribe(TICKS, first_event_timeout=5)
        with pytest.raises(OperationTimeout, match="within 5 seconds"):
            await anext(events)

        assert 5 == round(now() - begin, 3)
        assert [events.id] == server.peer.stopped


@tidily
async def test_the_final_failure_is_not_taken_for_the_deadline(server: VirtualServer) -> None:
    """Though it may be a TimeoutError."""
    policy = RetryPolicy(attempts=1)
    async with kept(server, policy, connect_timeout=2) as it:
        server.otherwise = UNREACHABLE
        server.peer.hang_up()
        events = it.session.subscribe(TICKS, first_event_timeout=50)
        with pytest.raises(gqlwire.errors.ConnectTimeout):
            await anext(events)


@tidily
async def test_silence_while_it_is_lost_is_silence(server: VirtualServer) -> None:
    """The consumer waits no longer than it wanted; nothing is begun again for it."""
    async with kept(server, connect_timeout=None) as it:
        events = it.session.subscribe(TICKS, idle_timeout=30)
        await started(events, server.peer)
        server.will(slowly(60))
        step = await begun(anext(events))
        server.peer.hang_up()
        begin = now()
        with pytest.raises(OperationTimeout, match="the server sent no event"):
            await step
        assert 30 == round(now() - begin, 3)
        await it.lasting.ready()
        await settle()

        assert [] == server.peer.started
