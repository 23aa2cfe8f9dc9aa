"""A subscription over lost connections: slow consumers."""

from __future__ import annotations

from lasting import lose, n, take
from lasting import served as served

from doubles import settle
from gqlwire.errors import (
    SlowConsumer,
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
async def test_a_full_stream_holds_back_the_new_connection(server: VirtualServer) -> None:
    """It was paused for it before the loss; the new one is read until the next event, and then
    paused in its turn; when the consumer has caught up, it is read on."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, buffer=2)
        await started(events, server.peer)
        server.peer.tell(1, 2, 3)
        assert ["pause"] == server.peer.asked
        server.peer.hang_up()
        assert ["pause", "resume"] == server.peer.asked[:2]
        await it.lasting.ready()
        await settle()
        assert [] == server.peer.asked
        server.peer.tell(4)
        assert ["pause"] == server.peer.asked

        assert n(1, 2, 3, 4) == await take(events, 4)
        assert ["pause", "resume"] == server.peer.asked
        step = await begun(anext(events))
        server.peer.tell(5)
        assert {"n": 5} == await step
        await events.aclose()


@tidily
async def test_a_consumer_that_caught_up_during_a_loss_holds_nothing_back(
    server: VirtualServer,
) -> None:
    """The new connection is read."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, buffer=2)
        await started(events, server.peer)
        server.peer.tell(1, 2, 3)
        server.peer.hang_up()
        assert n(1, 2, 3) == await take(events, 3)
        await it.lasting.ready()
        await settle()
        server.peer.tell(4, 5)

        assert [] == server.peer.asked
        assert n(4, 5) == await take(events, 2)
        await events.aclose()


@tidily
async def test_a_slow_consumer_is_ended_on_the_new_connection(server: VirtualServer) -> None:
    """And that one is told to stop, with the id that it has there."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, buffer=2, overflow="error")
        await started(events, server.peer)
        server.peer.tell(1, 2)
        await lose(it, server)
        server.peer.tell(3)

        *_, told = await take(events, 3)
        assert SlowConsumer is type(told)
        assert [[], [events.id]] == [peer.stopped for peer in server.peers]
