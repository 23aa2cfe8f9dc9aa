"""What a user can do to a connection that is kept: in each of its states, and more than once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import gqlwire
from doubles import on_virtual_time, pass_time, settle
from gqlwire import RetryPolicy
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.states import Change, States
from gqlwire.errors import (
    CloseTimeout,
    ConnectionClosed,
    ConnectionRefused,
    Phase,
    TransportClosed,
    TransportConnectionFailed,
)
from gqlwire.retry import Attempt
from virtual_server import (
    QUERY,
    TICKS,
    Kept,
    Meeting,
    VirtualServer,
    assert_nothing_is_left,
    begun,
    hangs_up,
    keeping,
    kept,
    slowly,
    soon,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

REFUSED = ConnectionRefused("nobody listens", host="server.example:80", phase=Phase.CONNECT)
IDLE = ReconnectOptions(idle_close_after=5)


class Credentials:
    """Asked at each attempt, and noting what it was told."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def __call__(self, attempt: Attempt) -> dict[str, str]:
        self.attempts.append(attempt)
        return {}

    @property
    def refreshed(self) -> list[bool]:
        return [attempt.refresh for attempt in self.attempts]


def phases(changes: list[Change]) -> list[Phase]:
    return [change.state for change in changes]


async def told(states: States) -> list[Change]:
    """The changes, to the end."""
    return [change async for change in states]


# --- Bringing it to each of its states -----------------------------------------------------------


async def be_open(server: VirtualServer, it: Kept) -> None:
    """As it is."""


async def be_waiting(server: VirtualServer, it: Kept) -> None:
    server.peer.hang_up(1013)
    await settle()


async def be_connecting(server: VirtualServer, it: Kept) -> None:
    server.will(slowly(7))
    server.peer.hang_up()
    await pass_time(1.5)


async def be_closing(server: VirtualServer, it: Kept) -> None:
    server.peer.hang_up()


async def be_idle(server: VirtualServer, it: Kept) -> None:
    await pass_time(5.1)


STATES: dict[Phase, Callable[[VirtualServer, Kept], Awaitable[None]]] = {
    Phase.OPEN: be_open,
    Phase.WAITING: be_waiting,
    Phase.CONNECT: be_connecting,
    Phase.CLOSING: be_closing,
    Phase.IDLE: be_idle,
}
IN_EACH_STATE = pytest.mark.parametrize("state", STATES, ids=str)


async def brought_to(state: Phase, server: VirtualServer, it: Kept) -> None:
    await STATES[state](server, it)
    assert state is it.session.state


# --- reconnect() ---------------------------------------------------------------------------------


@IN_EACH_STATE
@tidily
async def test_reconnect_makes_one_connection_with_other_credentials(
    server: VirtualServer, state: Phase
) -> None:
    """At once, whatever it was about to do."""
    asked = Credentials()
    async with kept(server, reconnect=IDLE, headers=asked) as it:
        await brought_to(state, server, it)
        made, before = len(server.times), asyncio.get_running_loop().time()
        await it.session.reconnect("a new token")

        assert Phase.OPEN is it.session.state
        assert 1 == len(server.open)
        had_failed = state in {Phase.WAITING, Phase.CONNECT}
        assert (1 + had_failed, True) == (asked.attempts[-1].number, asked.refreshed[-1])
        assert made + 1 == len(server.times)
        assert 0 == round(server.times[-1] - before, 1)


@tidily
async def test_reconnect_says_why(server: VirtualServer) -> None:
    """To whoever is told of the end."""
    async with kept(server) as it:
        states = it.session.states()
        await it.session.reconnect("a new token")

        failure = (await anext(states)).failure
        assert isinstance(failure, TransportClosed)
        assert str(failure).endswith("was closed by reconnect(): a new token")


@tidily
async def test_reconnect_needs_no_reason(server: VirtualServer) -> None:
    """The sentence ends before it."""
    async with kept(server) as it:
        await it.session.reconnect()

        assert str(it.lasting.failure).endswith("was closed by reconnect()")


@tidily
async def test_reconnect_carries_subscriptions_over(server: VirtualServer) -> None:
    """They go on on the new connection, and the old one is closed with a close frame."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        old = server.peer
        await it.session.reconnect()
        await settle()
        server.peer.tell(1)

        assert {"n": 1} == await anext(events)
        assert (["close"], 1000, False) == (old.asked, old.close_code, old.is_open)
        await events.aclose()


@tidily
async def test_reconnect_while_it_connects_asks_for_other_credentials(
    server: VirtualServer,
) -> None:
    """What is under way was asked with the old ones: it is dropped."""
    for meeting in (slowly(5), Meeting(REFUSED, delay=5)):
        asked = Credentials()
        async with kept(server, headers=asked) as it:
            server.will(meeting)
            server.peer.hang_up()
            await pass_time(2)
            await it.session.reconnect()

            assert [False, False, True] == asked.refreshed
            assert (Phase.OPEN, 1) == (it.session.state, len(server.open))


@tidily
async def test_concurrent_calls_of_reconnect_make_one_connection(server: VirtualServer) -> None:
    """All calls return when it is open."""
    async with kept(server) as it:
        await asyncio.gather(*(it.session.reconnect() for _ in range(10)))

        assert (2, Phase.OPEN) == (len(server.times), it.session.state)


@tidily
async def test_reconnect_goes_by_the_policy_if_it_fails(server: VirtualServer) -> None:
    """It returns when there is a connection."""
    async with kept(server) as it:
        server.will(REFUSED, REFUSED)
        await it.session.reconnect()

        assert [0, 1, 2] == server.waits


@tidily
async def test_reconnect_raises_the_final_failure(server: VirtualServer) -> None:
    """There will be no connection."""
    async with kept(server, RetryPolicy(should_retry=lambda failure: False)) as it:
        server.will(hangs_up(4406))
        with pytest.raises(ConnectionClosed, match="4406"):
            await it.session.reconnect()
        with pytest.raises(ConnectionClosed, match="4406"):
            await it.session.reconnect()

        assert 2 == len(server.times)


@tidily
async def test_cancelling_reconnect_does_not_stop_it(server: VirtualServer) -> None:
    """It goes on in the background."""
    async with kept(server) as it:
        server.will(slowly(3))
        calling = await begun(it.session.reconnect())
        calling.cancel()
        await settle()
        assert calling.cancelled()
        await it.session.wait_ready()

        assert (2, Phase.OPEN) == (len(server.times), it.session.state)


# --- terminate() ---------------------------------------------------------------------------------


@tidily
async def test_terminate_drops_the_socket_immediately(server: VirtualServer) -> None:
    """A server that hangs would not answer a close frame."""
    server.will(Meeting(answers_close=False))
    async with kept(server) as it:
        old = server.peer
        it.session.terminate()
        assert ["close", "abort"] == old.asked
        await settle()

        assert Phase.WAITING is it.session.state
        failure = it.lasting.failure
        assert "the connection to server.example:80 was dropped by terminate()" == str(failure)
        await it.session.wait_ready()
        assert [1] == server.waits


@pytest.mark.parametrize("state", [state for state in STATES if state is not Phase.OPEN], ids=str)
@tidily
async def test_terminate_is_harmless_without_a_socket(server: VirtualServer, state: Phase) -> None:
    """There is nothing to drop, and nothing changes."""
    async with kept(server, reconnect=IDLE) as it:
        await brought_to(state, server, it)
        it.session.terminate()
        it.session.terminate()

        assert state is it.session.state


@tidily
async def test_terminate_does_not_wait_for_a_first_connection(server: VirtualServer) -> None:
    """There is none to drop."""
    server.will(slowly(3))
    it = keeping(server)
    connecting = await begun(it.lasting.connect())
    it.lasting.terminate()
    await connecting

    assert Phase.OPEN is it.lasting.state
    await it.lasting.close()


# --- close() -------------------------------------------------------------------------------------


@IN_EACH_STATE
@pytest.mark.parametrize("how", ["once", "twice", "at once"])
@tidily
async def test_close_is_final_in_each_state(server: VirtualServer, state: Phase, how: str) -> None:
    """Whoever waits is told at once, and nothing is left; more of it is harmless."""
    it = keeping(server, reconnect=IDLE)
    await it.lasting.connect()
    await brought_to(state, server, it)
    states = it.session.states()
    waiting = soon(it.lasting.ready())
    match how:
        case "once":
            await it.lasting.close()
        case "twice":
            await it.lasting.close()
            await it.lasting.close()
        case _:
            await asyncio.gather(*(it.lasting.close() for _ in range(3)))

    assert (Phase.CLOSED, False) == (it.session.state, it.lasting.is_alive)
    assert [] == server.open
    assert Phase.CLOSED is (await told(states))[-1].state
    [outcome] = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(outcome, TransportClosed) or outcome is server.peer.connection
    for call in (it.lasting.ready, it.session.reconnect, it.session.wait_ready):
        with pytest.raises(TransportClosed, match=r"closed by close\(\)"):
            await call()
    await settle()
    assert_nothing_is_left()


@tidily
async def test_closing_ends_running_operations_immediately(server: VirtualServer) -> None:
    """Before the server has answered the close frame; a subscription raises it once."""
    server.will(Meeting(answers_close=False))
    it = keeping(server, close_timeout=9)
    await it.lasting.connect()
    events = it.session.subscribe(TICKS)
    await started(events, server.peer)
    step, asking = soon(anext(events)), soon(it.session.execute(QUERY))
    await settle()
    closing = await begun(it.lasting.close())

    for task in (step, asking):
        assert task.done()
        with pytest.raises(TransportClosed):
            await task
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    with pytest.raises(CloseTimeout, match="within 9 seconds"):
        await closing
    assert [] == server.open


@tidily
async def test_each_close_waits_for_the_end_of_the_socket(server: VirtualServer) -> None:
    """Also the second of two at once: after it, there is none."""
    server.will(Meeting(answers_close=False))
    it = keeping(server, close_timeout=9)
    await it.lasting.connect()
    first, second = await begun(it.lasting.close()), await begun(it.lasting.close())
    assert (False, False) == (first.done(), second.done())

    with pytest.raises(CloseTimeout):
        await first
    await second
    assert "abort" in server.peer.asked


@tidily
async def test_a_close_that_is_cancelled_drops_the_socket(server: VirtualServer) -> None:
    """Nobody would close it any more."""
    server.will(Meeting(answers_close=False))
    it = keeping(server)
    await it.lasting.connect()
    closing = await begun(it.lasting.close())
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    assert "abort" in server.peer.asked
    await it.lasting.close()


@tidily
async def test_a_client_can_be_closed_by_its_own_consumer(server: VirtualServer) -> None:
    """In the middle of its loop."""
    it = keeping(server)
    await it.lasting.connect()
    events = it.session.subscribe(TICKS)

    async def consume() -> None:
        async for _ in events:
            await it.lasting.close()

    consuming = await begun(consume())
    server.peer.tell(1)

    with pytest.raises(TransportClosed):
        await consuming


@tidily
async def test_every_call_before_connect_raises(server: VirtualServer) -> None:
    """The error says so; and there is nothing to close."""
    it = keeping(server)
    await it.lasting.close()

    for call in (it.lasting.ready, it.session.reconnect, lambda: it.session.execute(QUERY)):
        with pytest.raises(TransportClosed, match="is not connected"):
            await call()
    with pytest.raises(TransportClosed, match="is not connected"):
        await anext(it.session.subscribe(TICKS))
    assert (Phase.CLOSED, False) == (it.session.state, it.lasting.is_alive)
    assert gqlwire.Counters() == it.session.counters


# --- states() ------------------------------------------------------------------------------------


@tidily
async def test_states_come_in_order(server: VirtualServer) -> None:
    """With the failure, and the time until the next attempt."""
    it = keeping(server, reconnect=IDLE)
    states = it.lasting.changes.watch()
    await it.lasting.connect()
    server.will(REFUSED)
    server.peer.hang_up(1012)
    await it.lasting.ready()
    await pass_time(5.1)
    await it.lasting.ready()
    await it.lasting.close()

    changes = await told(states)
    wanted = "connect open, closing waiting connect waiting connect open, closing idle connect open"
    assert f"{wanted}, closed".replace(",", "").split() == [*map(str, phases(changes))]
    failures = [type(change.failure).__name__ for change in changes]
    assert ["NoneType", "NoneType"] + ["ConnectionClosed"] * 3 == failures[:5]
    assert ["ConnectionRefused", "ConnectionRefused", "NoneType"] == failures[5:8]
    assert ["TransportClosed", "NoneType", "NoneType", "NoneType", "TransportClosed"] == failures[
        8:
    ]
    assert [1.0, 2.0] == [change.delay for change in changes if change.delay is not None]


@tidily
async def test_each_watcher_gets_the_changes_since_its_beginning(server: VirtualServer) -> None:
    """Watchers do not share changes."""
    async with kept(server) as it:
        early = it.session.states()
        server.peer.hang_up()
        await settle()
        late = it.session.states()
        await it.lasting.ready()

    assert ["closing", "waiting", "connect", "open", "closed"] == phases(await told(early))
    assert ["connect", "open", "closed"] == phases(await told(late))


@tidily
async def test_a_watcher_that_waits_is_woken(server: VirtualServer) -> None:
    """Each time something changes."""
    async with kept(server) as it:
        states = it.session.states()
        step = await begun(anext(states))
        assert not step.done()
        server.peer.hang_up()

        assert Phase.CLOSING is (await step).state


@tidily
async def test_a_step_that_is_cancelled_loses_nothing(server: VirtualServer) -> None:
    """The next one gets what it would have got."""
    async with kept(server) as it:
        states = it.session.states()
        step = await begun(anext(states))
        server.peer.hang_up()
        step.cancel()
        await asyncio.wait([step])

        assert Phase.CLOSING is (await anext(states)).state


@tidily
async def test_two_tasks_may_share_a_watcher(server: VirtualServer) -> None:
    """Each change reaches one of them, and the end both: neither waits for ever."""
    async with kept(server) as it:
        states = it.session.states()
        taking = [await begun(told(states)) for _ in range(2)]
        server.peer.hang_up()
        await it.lasting.ready()

    taken = [change for task in taking for change in await task]
    assert ["closed", "closing", "connect", "open", "waiting"] == sorted(phases(taken))


@tidily
async def test_the_states_of_a_closed_client_end_immediately(server: VirtualServer) -> None:
    """There will be no other state."""
    it = keeping(server)
    await it.lasting.connect()
    await it.lasting.close()

    assert [] == await told(it.session.states())
    states = it.lasting.changes.watch()
    assert [] == [change async for change in states]


@tidily
async def test_the_states_end_though_it_is_connected_again(server: VirtualServer) -> None:
    """What comes then is of another life."""
    it = keeping(server)
    states = it.lasting.changes.watch()
    for _ in range(2):
        await it.lasting.connect()
        await it.lasting.close()

    assert ["connect", "open", "closed"] == phases(await told(states))


@on_virtual_time
async def test_a_slow_watcher_misses_the_oldest_changes() -> None:
    """A thousand are kept."""
    states = States()
    for number in range(1_500):
        states.tell(Change(Phase.WAITING, None, float(number)))
    states.tell(Change(Phase.CLOSED))

    changes = await told(states)
    assert (1_000, 501.0) == (len(changes), changes[0].delay)


@tidily
async def test_a_watcher_is_not_kept_alive(server: VirtualServer) -> None:
    """Who lets go of it is not told any more."""
    async with kept(server) as it:
        for _ in range(100):
            it.session.states()

        assert 0 == len(it.lasting.changes._watchers)


# --- Sessions that are not kept ------------------------------------------------------------------


@tidily
async def test_a_session_that_is_not_kept_says_so(server: VirtualServer) -> None:
    """Where there is nothing to control."""
    async with server.client(reconnecting=False) as session:
        for use in (
            lambda: session.state,
            session.states,
            session.terminate,
            lambda: session.counters,
        ):
            with pytest.raises(RuntimeError, match="set reconnecting=True"):
                use()
        for call in (session.reconnect, session.wait_ready):
            with pytest.raises(RuntimeError, match="set reconnecting=True"):
                await call()


@tidily
async def test_wait_ready_waits_through_failures(server: VirtualServer) -> None:
    """Until there is a connection; it takes none that was lost for one."""
    async with kept(server, RetryPolicy()) as it:
        await it.session.wait_ready()
        server.will(REFUSED, REFUSED)
        server.peer.hang_up()
        waiting: list[Any] = [soon(it.session.wait_ready()) for _ in range(3)]
        await asyncio.gather(*waiting)

        assert [1, 2, 4] == server.waits


@tidily
async def test_cancelling_one_wait_for_a_connection_leaves_the_others(
    server: VirtualServer,
) -> None:
    """The attempt continues for them."""
    async with kept(server) as it:
        server.will(slowly(5))
        server.peer.hang_up()
        one, other = await begun(it.lasting.ready()), await begun(it.lasting.ready())
        one.cancel()
        await other

        assert one.cancelled()
        with pytest.raises(TransportConnectionFailed):
            raise it.lasting.failure or AssertionError
