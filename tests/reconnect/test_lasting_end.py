"""A subscription over lost connections: the end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from lasting import lose, take
from lasting import served as served

from doubles import settle
from gqlwire._operations.subscription import Subscription
from gqlwire.errors import (
    ConnectionClosed,
    TransportClosed,
)
from virtual_server import (
    TICKS,
    VirtualServer,
    begun,
    kept,
    started,
    tidily,
)


@tidily
async def test_survive_false_ends_a_subscription_with_its_connection(server: VirtualServer) -> None:
    """With the failure, after the buffered events; it does not go to the next connection."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, survive=False)
        await started(events, server.peer)
        server.peer.tell(1)
        await lose(it, server)

        value, end = await take(events, 2)
        assert ({"n": 1}, ConnectionClosed, 1012) == (value, type(end), end.code)
        assert (["the end"], []) == (await take(events, 1), server.peer.started)


@tidily
async def test_a_stop_while_it_is_lost_sends_nothing(server: VirtualServer) -> None:
    """Nobody is there to be told, and nothing is begun again."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.hang_up()
        await events.aclose()
        await events.aclose()
        await it.lasting.ready()
        await settle()

        assert ([[], []], 1) == (
            [peer.stopped for peer in server.peers],
            sum(len(peer.started) for peer in server.peers),
        )


async def _consume(events: Subscription[Any]) -> None:
    async for _ in events:
        pass


@tidily
async def test_a_stop_after_a_loss_is_sent_once(server: VirtualServer) -> None:
    """To the connection that it runs on, with the id that it has there."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        await events.aclose()
        await events.aclose()

        assert [[], [events.id]] == [peer.stopped for peer in server.peers]


@tidily
async def test_a_task_that_is_cancelled_while_it_is_lost_ends_it(server: VirtualServer) -> None:
    """Nothing is sent, and nothing begun again."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        task = await begun(_consume(events))
        server.peer.hang_up()
        task.cancel()
        await asyncio.wait([task])
        await it.lasting.ready()
        await settle()

        assert [[], []] == [peer.stopped for peer in server.peers]
        assert [] == server.peer.started


@pytest.mark.parametrize("is_lost", [True, False])
@tidily
async def test_dropping_the_last_reference_ends_it(server: VirtualServer, is_lost: bool) -> None:
    """While it is lost as well as after: it is not taken along for nobody."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        if is_lost:
            server.peer.hang_up()
        else:
            await lose(it, server)
        del events
        gc.collect()
        await it.lasting.ready()
        await settle()

        assert {} == server.peer.live
        assert [] == server.peer.started if is_lost else server.peer.started == server.peer.stopped


@pytest.mark.parametrize("options", [{}, {"resume": lambda last, given: given}])
@tidily
async def test_carrying_a_subscription_over_does_not_keep_it_alive(
    server: VirtualServer, options: dict[str, Any]
) -> None:
    """Nor does the function that computes its variables."""
    made: list[weakref.ref[Subscription[Any]]] = []
    async with kept(server) as it:
        for _ in range(3):
            events = it.session.subscribe(TICKS, **options)
            made.append(weakref.ref(events))
            await started(events, server.peer)
            await lose(it, server)
            server.peer.tell(1)
            await anext(events)
            del events
            gc.collect()
            await settle()

        assert [None] * 3 == [reference() for reference in made]


@tidily
async def test_closing_the_client_ends_subscriptions_that_are_lost(server: VirtualServer) -> None:
    """With the client's error, after the buffered events."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.hang_up()
        await settle()

    value, end = await take(events, 2)
    assert ({"n": 1}, TransportClosed) == (value, type(end))


@tidily
async def test_a_loss_does_not_start_a_subscription_closed_before_its_first_step(
    server: VirtualServer,
) -> None:
    """It is never sent."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await events.aclose()
        await lose(it, server)

        assert (["the end"], []) == (await take(events, 1), server.peer.started)
