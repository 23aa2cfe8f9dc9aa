"""`idle_close_after`: a connection that nobody needs is closed, and made again for who does."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from doubles import on_virtual_time, pass_time, settle
from gqlwire._reconnect.idle import IdleTimeout
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import OperationTimeout, Phase, TransportClosed, TransportError
from virtual_server import (
    QUERY,
    TICKS,
    Kept,
    Meeting,
    VirtualServer,
    answering,
    begun,
    hangs_up,
    kept,
    slowly,
    soon,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

IDLE = ReconnectOptions(idle_close_after=10)


async def states_after(seconds: float, it: Kept) -> list[str]:
    """The states of the next so many seconds, one for each."""
    found = []
    for _ in range(int(seconds)):
        await pass_time(1)
        found.append(str(it.session.state))
    return found


@tidily
async def test_an_idle_connection_is_closed(server: VirtualServer) -> None:
    """With 1000, after the limit; there is no attempt to make another."""
    async with kept(server, reconnect=IDLE) as it:
        assert ["open"] * 9 == await states_after(9, it)
        await pass_time(1.1)

        assert Phase.IDLE is it.session.state
        assert (["close"], 1000) == (server.peer.asked, server.peer.close_code)
        await pass_time(1_000)
        assert (1, True) == (len(server.times), it.lasting.is_alive)
        assert str(it.lasting.failure).endswith(
            "was closed: nothing ran for 10 s (idle_close_after)"
        )


@tidily
async def test_an_operation_replaces_a_closed_idle_connection(server: VirtualServer) -> None:
    """At once, and the time begins anew after the operation's end."""
    answering(server, after=3)
    async with kept(server, reconnect=IDLE) as it:
        await pass_time(60)
        assert {"get": 1} == await it.session.execute(QUERY)

        assert [60] == server.waits
        assert ["open"] * 9 == await states_after(9, it)
        await pass_time(1.1)
        assert Phase.IDLE is it.session.state


@tidily
async def test_a_running_operation_keeps_the_connection_open(server: VirtualServer) -> None:
    """An operation that takes long, as well as a subscription that has no events."""
    answering(server, after=100)
    async with kept(server, reconnect=IDLE) as it:
        asking = await begun(it.session.execute(QUERY, timeout=None))
        await pass_time(90)
        assert Phase.OPEN is it.session.state
        await asking

        server.on_start = lambda *_: None
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await pass_time(1_000)
        assert Phase.OPEN is it.session.state
        await events.aclose()
        await pass_time(10.1)

        assert Phase.IDLE is it.session.state


@tidily
async def test_each_operation_restarts_the_idle_time(
    server: VirtualServer,
) -> None:
    """The connection stays open between operations that follow each other."""
    answering(server)
    async with kept(server, reconnect=IDLE) as it:
        for _ in range(20):
            await pass_time(9)
            await it.session.execute(QUERY)

        assert 1 == len(server.times)


@tidily
async def test_the_last_of_many_begins_the_time(server: VirtualServer) -> None:
    """As long as one runs, something runs."""
    async with kept(server, reconnect=IDLE) as it:
        asking = [await begun(it.session.execute(QUERY, timeout=None)) for _ in range(3)]
        for id in [*server.peer.live]:
            await pass_time(9)
            server.peer.answer({}, id)
        await asyncio.gather(*asking)
        await pass_time(9)
        assert Phase.OPEN is it.session.state
        await pass_time(1.1)
        assert Phase.IDLE is it.session.state


@tidily
async def test_a_lost_connection_is_not_idle(server: VirtualServer) -> None:
    """The time begins when there is one again, if then nobody needs it."""
    async with kept(server, reconnect=IDLE) as it:
        server.will(slowly(100))
        server.peer.hang_up()
        await it.lasting.ready()

        assert ["open"] * 9 == await states_after(9, it)
        await pass_time(1.1)
        assert Phase.IDLE is it.session.state


@tidily
async def test_a_subscription_that_was_carried_over_keeps_it_open(server: VirtualServer) -> None:
    """Though nothing was started by its user on this connection."""
    async with kept(server, reconnect=IDLE) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.hang_up()
        await pass_time(100)

        assert (Phase.OPEN, 1) == (it.session.state, len(server.peer.live))
        await events.aclose()


@tidily
async def test_a_subscription_that_the_server_has_ended_does_not_keep_it_open(
    server: VirtualServer,
) -> None:
    """Though its consumer has not come to its end yet; that is looked at now and then."""
    async with kept(server, reconnect=IDLE) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.complete()
        await pass_time(20.1)

        assert Phase.IDLE is it.session.state
        assert [{"n": 1}] == [event async for event in events]


@tidily
async def test_an_operation_that_arrives_while_it_closes_waits_for_the_next(
    server: VirtualServer,
) -> None:
    """The socket that says goodbye is none to send on; the next one does not wait for its end."""
    answering(server)
    server.will(Meeting(answers_close=False))
    async with kept(server, reconnect=IDLE, close_timeout=30) as it:
        asking: list[asyncio.Task[Any]] = []
        server.peer.on_close = lambda: asking.append(soon(it.session.execute(QUERY)))
        states = it.session.states()
        await pass_time(11)

        assert [{"get": 1}] == [await task for task in asking]
        changes = [(await anext(states)).state for _ in range(4)]
        assert [Phase.CLOSING, Phase.IDLE, Phase.CONNECT, Phase.OPEN] == changes
        assert [10] == server.waits
        assert [] == server.peers[0].started
        await it.session.execute(QUERY)
        await pass_time(31)


@pytest.mark.parametrize("begin", ["ask", "subscribe", "ready", "reconnect"])
@tidily
async def test_everything_that_needs_a_connection_makes_one(
    server: VirtualServer, begin: str
) -> None:
    """One, for all that need it at the same time."""
    async with kept(server, reconnect=IDLE) as it:
        await pass_time(60)
        assert Phase.IDLE is it.session.state
        events = [it.session.subscribe(TICKS) for _ in range(3)]
        uses: list[Any] = [
            {
                "ask": lambda: it.session.execute(QUERY, timeout=5),
                "subscribe": lambda each=each: anext(each),
                "ready": it.session.wait_ready,
                "reconnect": it.session.reconnect,
            }[begin]()
            for each in events
        ]
        tasks = [soon(use) for use in uses]
        await settle()

        assert (Phase.OPEN, [60]) == (it.session.state, server.waits)
        for each in events:
            await each.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@tidily
async def test_an_operation_that_timed_out_does_not_keep_the_connection_open(
    server: VirtualServer,
) -> None:
    """It timed out before there was a connection."""
    async with kept(server, reconnect=IDLE) as it:
        server.will(slowly(8))
        server.peer.hang_up()
        with pytest.raises(OperationTimeout):
            await it.session.execute(QUERY, timeout=5)
        await pass_time(200)

        assert (Phase.IDLE, 2) == (it.session.state, len(server.times))


@tidily
async def test_a_connection_that_is_idle_can_be_closed(server: VirtualServer) -> None:
    """Whoever comes then is told that it is closed, and not that it was idle."""
    async with kept(server, reconnect=IDLE) as it:
        await pass_time(60)

    with pytest.raises(TransportClosed, match=r"closed by close\(\)"):
        await it.lasting.ready()


@tidily
async def test_an_attempt_after_idleness_goes_by_the_policy(server: VirtualServer) -> None:
    """It is no first connection: it is retried."""
    answering(server)
    async with kept(server, reconnect=IDLE) as it:
        await pass_time(60)
        server.will(hangs_up(1012))
        assert {"get": 1} == await it.session.execute(QUERY)

        assert [60, 1] == server.waits


class Used:
    """A link with a connection, which something uses or not; when that connection was closed."""

    host = "h.example:443"

    def __init__(self) -> None:
        self.live: Any = SimpleNamespace(drop=self._drop)
        self.running = 0
        self.starting = 0
        self.is_busy = False
        self.closed: list[float] = []

    def _drop(self, failure: TransportError, *, dead: bool) -> None:
        assert not dead
        assert "nothing ran for 5 s" in str(failure)
        self.closed.append(round(asyncio.get_running_loop().time(), 3))

    def timeout(self, limit: float | None = 5) -> IdleTimeout:
        me: Any = self
        return IdleTimeout(limit, link=me, subscriptions=me)


@pytest.mark.parametrize(
    "use",
    [{"running": 1}, {"is_busy": True}, {"starting": 1}],
    ids=["one", "many results", "about to start"],
)
@on_virtual_time
async def test_an_idle_timeout_looks_for_itself_whether_anything_runs(use: dict[str, Any]) -> None:
    """It counts from the last end that it knows of, and from when it last saw something run."""
    link = Used()
    idle = link.timeout()
    idle.start()
    await pass_time(3)
    idle.restart()
    await pass_time(4)
    vars(link).update(use)
    await pass_time(12)
    vars(link).update(running=0, is_busy=False, starting=0)
    await pass_time(2)
    assert [] == link.closed
    await pass_time(20)
    assert [1_023.0] == link.closed

    idle.start()
    idle.start()
    await pass_time(4)
    idle.stop()
    idle.stop()
    await pass_time(100)
    assert [1_023.0] == link.closed


@on_virtual_time
async def test_without_a_connection_an_idle_timeout_rests() -> None:
    """The next connection starts it."""
    link = Used()
    idle = link.timeout()
    idle.start()
    live, link.live = link.live, None
    await pass_time(100)
    link.live = live
    await pass_time(100)
    assert [] == link.closed

    idle.start()
    await pass_time(100)
    assert [1_205.0] == link.closed


@tidily
async def test_without_a_limit_nothing_is_ever_idle(server: VirtualServer) -> None:
    """The connection stays, and nothing watches it."""
    async with kept(server) as it:
        await pass_time(100_000)

        assert it.lasting._idle is None
        assert [server.peer] == server.open
