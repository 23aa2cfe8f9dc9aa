"""A subscription over lost connections: many."""

from __future__ import annotations

from lasting import lose
from lasting import served as served

from doubles import pass_time, settle
from gqlwire import Hooks, RetryPolicy
from gqlwire._reconnect.options import ReconnectOptions
from virtual_server import (
    TICKS,
    VirtualServer,
    kept,
    now,
    started,
    tidily,
)


@tidily
async def test_many_subscriptions_are_spread(server: VirtualServer) -> None:
    """Over so many seconds, on average; by default they go at once."""
    for spread, seconds in ((0.0, 0.0), (10.0, 10.0)):
        async with kept(server, RetryPolicy(spread=spread), chance=0.5) as it:
            all_ = [it.session.subscribe(TICKS) for _ in range(20)]
            for events in all_:
                await started(events, server.peer)
            await lose(it, server)
            times: list[float] = []
            begin = now()
            while len(server.peer.started) < 20:
                await pass_time(0.05)
            times.append(now() - begin)

            assert seconds == round(times[-1], 0)
            for events in all_:
                await events.aclose()


@tidily
async def test_a_loss_during_the_spread_starts_it_again(server: VirtualServer) -> None:
    """Each subscription is once on the newest connection, and on none twice."""
    async with kept(server, RetryPolicy(spread=10), chance=0.5) as it:
        all_ = [it.session.subscribe(TICKS) for _ in range(20)]
        for events in all_:
            await started(events, server.peer)
        await lose(it, server)
        await pass_time(5)
        assert 5 < len(server.peer.started) < 15
        await lose(it, server)
        await pass_time(12)

        assert (20, 20) == (len(server.peer.started), len(server.peer.live))
        assert {events.id for events in all_} == {*server.peer.live}
        for events in all_:
            await events.aclose()


@tidily
async def test_a_subscription_that_ends_during_the_spread_is_left_out(
    server: VirtualServer,
) -> None:
    """It is not started again."""
    async with kept(server, RetryPolicy(spread=10), chance=0.5) as it:
        one, other = it.session.subscribe(TICKS), it.session.subscribe(TICKS)
        for events in (one, other):
            await started(events, server.peer)
        server.peer.hang_up()
        await it.lasting.ready()
        await other.aclose()
        await pass_time(12)

        assert [one.id] == server.peer.started
        await one.aclose()


@tidily
async def test_subscriptions_wait_for_room_in_the_socket(server: VirtualServer) -> None:
    """Like other operations. If the socket is lost, they go to the next one."""
    clogged = False

    def clog(event: object) -> None:
        connection = it.lasting.live
        if clogged and connection is not None:
            connection.writable(False)

    async with kept(server, reconnect=ReconnectOptions(hooks=Hooks(connected=clog))) as it:
        all_ = [it.session.subscribe(TICKS) for _ in range(3)]
        for events in all_:
            await started(events, server.peer)
        clogged = True
        for _ in range(2):
            await lose(it, server)
            await pass_time(5)
            assert [] == server.peer.started
        server.peer.connection.writable(True)
        await settle()
        assert 3 == len(server.peer.started)
        for events in all_:
            await events.aclose()
