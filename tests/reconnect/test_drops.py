"""One drop at a time, on real servers: what tells of it, what is done, and what goes on."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hardship import CALM, PATIENCE, PLACES, POLICY, STORMED, Hardship, Place, each, hardship

import gqlwire
from conftest import OLDER, Speaker
from gqlwire import AsyncClientSession, Hooks, Reconnected, RetryPolicy, Subscription, gql
from gqlwire._reconnect.hooks import Disconnected
from gqlwire._reconnect.states import Change
from gqlwire.errors import (
    ConnectionClosed,
    ConnectionRejected,
    KeepAliveTimeout,
    OperationInterrupted,
    Phase,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
)
from gqlwire.retry import CLOSE_CODES, Action, Attempt
from servers.faults import Fault, FaultProxy
from servers.launch import start_node_apollo, start_strawberry
from support import leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

FEED = gql(
    "subscription ($since: Float!, $after: Int) "
    "{ feed(since: $since, intervalMs: 10, after: $after) { seq } }"
)
COUNTDOWN = gql("subscription { countdown(from: 2) }")
QUICK = RetryPolicy(first_delay=0.01, longest_delay=0.05, later=0.05)


@asynccontextmanager
async def behind_proxy(
    speaker: Speaker, **options: Any
) -> AsyncIterator[tuple[AsyncClientSession, FaultProxy]]:
    """A session with a real server, and the proxy between them."""
    options = {"retry": QUICK, "close_timeout": 0.2, "ping_interval": None, **options}
    async with asyncio.timeout(PATIENCE), FaultProxy(speaker.server.port) as proxy:
        client = gqlwire.connect(proxy.url, subprotocols=[speaker.protocol], proxy=None, **options)
        async with client as session:
            yield session, proxy


class Following:
    """A subscription with a cursor, which also tells of its reconnections.

    Each number has to be the one after the last; `notices` are what came between.
    """

    def __init__(self, session: AsyncClientSession) -> None:
        self.last = 0
        self.notices: list[Reconnected] = []
        self.events: Subscription[Any] = session.subscribe(
            FEED,
            variable_values={"since": time.time(), "after": 0},
            resume=lambda last, variables: {**variables, "after": last["feed"]["seq"]},
            tell_reconnects=True,
        )

    async def goes_on(self, events: int = 3) -> None:
        """Take some events."""
        enough = self.last + events
        while self.last < enough:
            event = await anext(self.events)
            if isinstance(event, Reconnected):
                self.notices.append(event)
            else:
                assert {"feed": {"seq": self.last + 1}} == event
                self.last += 1

    async def reconnects(self) -> TransportError:
        """Take events until one connection has ended and the next has brought some; say why."""
        known = len(self.notices)
        while len(self.notices) == known:
            await self.goes_on(1)
        await self.goes_on(1)
        return self.notices[-1].failure


@asynccontextmanager
async def following(session: AsyncClientSession) -> AsyncIterator[Following]:
    follower = Following(session)
    async with follower.events:
        await follower.goes_on()
        yield follower


# --- What tells of a drop -----------------------------------------------------------------------


def codes(action: Action) -> list[int]:
    # 1006 says that there was no close frame: see the faults.
    return [code for code, worth in CLOSE_CODES.items() if worth is action and code != 1006]


async def test_each_close_code_that_passes_is_survived(speaker: Speaker) -> None:
    """The same loop goes on; it is told which code it was."""
    passing = codes(Action.RETRY) + codes(Action.LATER)
    async with behind_proxy(speaker) as (session, proxy), following(session) as follower:
        for code in passing:
            proxy.newest.close_with(code, "" if code == 1005 else "so it is")
            failure = await follower.reconnects()
            assert isinstance(failure, ConnectionClosed)
            assert code == failure.code
        assert 1 + len(passing) == session.counters.connections == proxy.connections


@pytest.mark.parametrize("code", codes(Action.REFRESH))
async def test_a_close_code_that_asks_for_credentials(speaker: Speaker, code: int) -> None:
    """New ones are asked for immediately, and then after a wait, as long as the server refuses."""
    asked: list[bool] = []

    def init_payload(attempt: Attempt) -> dict[str, Any]:
        asked.append(attempt.refresh)
        return {}

    async with behind_proxy(speaker, init_payload=init_payload) as (session, proxy):
        async with following(session) as follower:
            proxy.newest.close_with(code)
            await follower.reconnects()
            assert [False, True] == asked
            proxy.newest.close_with(code)
            await follower.reconnects()
        assert [False, True, True] == asked


@pytest.mark.parametrize("code", codes(Action.STOP))
async def test_a_close_code_that_the_policy_forbids(speaker: Speaker, code: int) -> None:
    """It is final, at once."""
    policy = RetryPolicy(should_retry=lambda failure: failure.code != code)
    async with (
        behind_proxy(speaker, retry=policy) as (session, proxy),
        following(session) as follower,
    ):
        proxy.newest.close_with(code, "no")
        with pytest.raises(ConnectionClosed, match=f"{code} no") as caught:
            await follower.reconnects()
        assert code == caught.value.code
        assert (Phase.CLOSED, 1) == (session.state, proxy.connections)


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.RESET, Fault.TEAR])
async def test_a_broken_connection_is_survived(speaker: Speaker, fault: Fault) -> None:
    """FIN and RST without a close frame, and the end in the middle of one."""
    async with behind_proxy(speaker) as (session, proxy), following(session) as follower:
        proxy.newest.suffer(fault)
        failure = await follower.reconnects()
        assert isinstance(failure, ConnectionClosed)
        assert 1006 == failure.code


async def test_silence_is_found_by_pings(speaker: Speaker) -> None:
    """A connection that is half open brings nothing, not even its end; a pong is missed."""
    async with (
        behind_proxy(speaker, ping_interval=0.2, pong_timeout=0.3) as (session, proxy),
        following(session) as follower,
    ):
        proxy.newest.silence()
        failure = await follower.reconnects()
    assert isinstance(failure, KeepAliveTimeout)
    assert "sent nothing for 0.3 seconds after a ping (pong_timeout)" in str(failure)


@pytest.mark.parametrize("start", [start_strawberry, start_node_apollo])
async def test_silence_is_found_by_missing_keep_alives(start: Any) -> None:
    """A server that has sent `ka`, and does not any more, is dead, though nothing was asked."""
    with start(keep_alive_ms=50) as server:
        speaker = Speaker(server, OLDER)
        async with (
            behind_proxy(speaker, keep_alive_timeout=0.5) as (session, proxy),
            following(session) as follower,
        ):
            proxy.newest.silence()
            failure = await follower.reconnects()
    assert isinstance(failure, KeepAliveTimeout)
    assert "sent nothing for 0.5 seconds (keep_alive_timeout)" in str(failure)


async def test_a_fault_of_the_reader_is_survived(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours ends its connection, and nothing else; what it was is told."""
    bug = RuntimeError("a bug")

    def fail(texts: list[bytes]) -> None:
        raise bug

    async with behind_proxy(speaker) as (session, _), following(session) as follower:
        monkeypatch.setattr(session._link.live.routes, "take", fail)
        failure = await follower.reconnects()
    assert isinstance(failure, TransportConnectionFailed)
    assert (1011, bug) == (failure.code, failure.__cause__)


@pytest.mark.parametrize("place", each(PLACES))
async def test_a_killed_server_is_survived(place: Place) -> None:
    """As long as it takes until it is there again; then there is one connection, and one only."""
    async with (
        asyncio.timeout(PATIENCE),
        hardship(place, **CALM) as here,
        following(here.session) as follower,
    ):
        here.server.kill()
        await here.proxy.until(lambda: here.proxy.refused >= 3)
        await asyncio.to_thread(here.server.restart)
        assert isinstance(await follower.reconnects(), ConnectionClosed)
        assert follower.notices[0].attempts > 3
        await here.until_server_says("{ active sockets }", {"active": 1, "sockets": 2})


@pytest.mark.parametrize("place", each(PLACES))
async def test_a_restarted_server_is_survived(place: Place) -> None:
    """It says goodbye, and comes back."""
    async with (
        asyncio.timeout(PATIENCE),
        hardship(place, **CALM) as here,
        following(here.session) as follower,
    ):
        await asyncio.to_thread(here.server.restart)
        failure = await follower.reconnects()
    assert isinstance(failure, ConnectionClosed)
    assert failure.code in (1001, 1012)


# --- What is done about it ------------------------------------------------------------------------


async def test_a_server_that_closes_with_1000_is_not_asked_without_a_pause(
    speaker: Speaker,
) -> None:
    """Though each connection is acknowledged, the waits grow; and they are kept."""
    policy = RetryPolicy(first_delay=0.01, longest_delay=10)
    attempts: list[int] = []
    ends: list[Disconnected] = []
    closing: list[FaultProxy] = []

    def close(_: object) -> None:
        for proxy in closing:
            proxy.newest.close_with(1000)

    hooks = Hooks(
        connecting=lambda attempt: attempts.append(attempt.number),
        connected=close,
        disconnected=ends.append,
    )
    async with (
        behind_proxy(speaker, retry=policy, hooks=hooks) as (session, proxy),
        following(session),
    ):
        start = time.perf_counter()
        closing.append(proxy)
        close(None)
        while len(attempts) < 7:
            await next_state(session)
        waited = time.perf_counter() - start
        closing.clear()
    assert [1, 2, 3, 4, 5, 6, 7] == attempts[:7]
    assert [1000] * 6 == [end.failure.code for end in ends[:6]]
    assert all(end.delay <= policy.ceiling(n) for n, end in enumerate(ends[:6], 1))
    assert waited >= sum(end.delay for end in ends[:6])


@pytest.mark.parametrize("place", STORMED, ids=str)
async def test_credentials_that_help(place: Place) -> None:
    """A stale token is refused; the next one, which was asked for, is not, whoever refused it."""
    async with (
        asyncio.timeout(PATIENCE),
        hardship(place, **CALM) as here,
        following(here.session) as follower,
    ):
        for seconds in (0.3, 3, 30):  # expires while it is used, if the machine lets it be
            await refused(here, follower, seconds)
            if here.ends["ConnectionClosed 4401"]:
                break
        assert 1 == here.ends["ConnectionClosed 4401"]
        late = too_late(here.ends)
        await refused(here, follower, -1)  # and before
        assert late + 1 == too_late(here.ends)


async def refused(here: Hardship, follower: Following, seconds: float) -> None:
    """Have a token that is good for so long, until it is refused and there is another."""
    here.tokens.refreshed = 0
    here.tokens.expire(seconds)
    here.proxy.newest.reset()
    while here.tokens.refreshed == 0:
        await follower.goes_on(1)


def too_late(ends: Counter[str]) -> int:
    """How often a connection was not taken, as the token was not good any more."""
    return ends["ConnectionClosed 4403"] + ends["ConnectionRejected"]


@pytest.mark.parametrize("place", STORMED, ids=str)
async def test_credentials_that_do_not_help(place: Place) -> None:
    """They are asked for again, with `refresh=True`, until the policy ends it."""
    policy = replace(POLICY, attempts=3)
    async with asyncio.timeout(PATIENCE), hardship(place, retry=policy, **CALM) as here:
        asked: list[bool] = []

        def stale(attempt: Attempt) -> dict[str, Any]:
            asked.append(attempt.refresh)
            return {"token": time.time() - 1}

        async with following(here.session) as follower:
            here.session.transport.init_payload = stale
            here.proxy.newest.reset()
            with pytest.raises(TransportConnectionFailed) as caught:
                await follower.reconnects()
        kind = ConnectionRejected if place.protocol == OLDER else ConnectionClosed
        assert (kind, Phase.INIT) == (type(caught.value), caught.value.phase)
        assert ([False, True, True], Phase.CLOSED) == (asked, here.session.state)
        with pytest.raises(kind):
            await here.session.wait_ready()


# --- What the user does ---------------------------------------------------------------------------


async def test_reconnect_carries_subscriptions_over(speaker: Speaker) -> None:
    """With new credentials, and with the reason told; the old connection is said goodbye to."""
    asked: list[bool] = []

    def init_payload(attempt: Attempt) -> dict[str, Any]:
        asked.append(attempt.refresh)
        return {}

    async with behind_proxy(speaker, init_payload=init_payload) as (session, proxy):
        async with following(session) as first, following(session) as second:
            await session.reconnect("a new login")
            assert Phase.OPEN is session.state
            for follower in (first, second):
                failure = await follower.reconnects()
                assert isinstance(failure, TransportClosed)
                assert str(failure).endswith("was closed by reconnect(): a new login")
            await proxy.until(lambda: proxy.sockets == 2)
        assert [False, True] == asked
        assert (2, 2) == (session.counters.connections, session.counters.resubscriptions)


async def test_terminate_drops_a_frozen_socket(speaker: Speaker) -> None:
    """Without waiting for anything: what is dead does not answer a goodbye."""
    async with (
        behind_proxy(speaker, close_timeout=PATIENCE) as (session, proxy),
        following(session) as follower,
    ):
        proxy.newest.silence()
        now = asyncio.get_running_loop().time
        start = now()
        session.terminate()
        failure = await follower.reconnects()
        assert now() - start < PATIENCE / 4
        await proxy.until(lambda: proxy.sockets == 2)
    assert str(failure).endswith("was dropped by terminate()")


async def test_a_lost_goodbye_does_not_delay_the_next_connection(speaker: Speaker) -> None:
    """The next connection does not wait for the end of the last, which has its own limit."""
    async with (
        behind_proxy(speaker, close_timeout=1) as (session, proxy),
        following(session) as follower,
    ):
        proxy.newest.swallow_close()
        await session.reconnect()
        await follower.reconnects()
        assert 2 == len(proxy.links)
        await proxy.until(lambda: proxy.sockets == 2)


async def test_an_operation_during_an_idle_close_gets_the_next_connection(speaker: Speaker) -> None:
    """The connection closes when nothing runs; an operation in that moment gets the next one."""
    async with behind_proxy(speaker, idle_close_after=0.05) as (session, proxy):
        changes = session.states()
        assert [2, 1, 0] == await counted_down(session)
        for connections in (2, 3):
            await until(Phase.CLOSING, changes)
            assert [2, 1, 0] == await counted_down(session)
            assert connections == session.counters.connections
        await until(Phase.CLOSING, changes)
        await until(Phase.IDLE, changes)
        await proxy.until(lambda: proxy.sockets == 0)
        assert [2, 1, 0] == await counted_down(session)
    assert 4 == proxy.connections


async def test_a_connection_with_a_subscription_is_not_idle(speaker: Speaker) -> None:
    """Even if the subscription is quiet: an event may come any time. After drops as well."""
    async with behind_proxy(speaker, idle_close_after=0.05) as (session, proxy):
        quiet = session.subscribe('subscription { messages(topic: "nothing") }')
        async with quiet:
            waiting = asyncio.create_task(anext(quiet))
            while quiet.id is None:
                await asyncio.sleep(0)
            proxy.newest.reset()
            await next_state(session)
            await session.wait_ready()
            changes = session.states()
            change = asyncio.create_task(anext(changes))
            await asyncio.wait([change], timeout=0.3)
            assert not change.done()
            change.cancel()
            waiting.cancel()


async def test_all_users_of_a_client_share_one_connection(speaker: Speaker) -> None:
    """Nested, and at the same time; the last to leave closes it."""
    async with FaultProxy(speaker.server.port) as proxy, asyncio.timeout(PATIENCE):
        client = gqlwire.connect(proxy.url, subprotocols=[speaker.protocol], proxy=None)

        async def used() -> list[int]:
            async with client as outer, client as inner:
                assert outer is inner
                return await counted_down(inner)

        async with client as session:
            assert [[2, 1, 0]] * 5 == await asyncio.gather(*(used() for _ in range(5)))
            assert (Phase.OPEN, 1) == (session.state, proxy.connections)
        assert Phase.CLOSED is session.state
        await proxy.until(lambda: proxy.sockets == 0)
        assert [[2, 1, 0]] * 5 == await asyncio.gather(*(used() for _ in range(5)))
        assert proxy.connections <= 1 + 5


async def test_close_while_waiting_for_the_next_attempt(speaker: Speaker) -> None:
    """It does not wait; who waited for a connection is told who ended it."""
    slow = RetryPolicy(first_delay=1_000, longest_delay=1_000)
    async with asyncio.timeout(PATIENCE), FaultProxy(speaker.server.port) as proxy:
        client = gqlwire.connect(proxy.url, subprotocols=[speaker.protocol], proxy=None, retry=slow)
        session = await client.connect_async()
        async with following(session) as follower:
            proxy.newest.reset()
            while session.state is not Phase.WAITING:
                await next_state(session)
            live = asyncio.create_task(follower.reconnects())
            late = asyncio.create_task(counted_down(session))
            await asyncio.sleep(0)
            await client.close_async()
            for waiting in (live, late):
                with pytest.raises(TransportClosed, match=r"closed by close\(\)"):
                    await waiting
        assert (Phase.CLOSED, 1) == (session.state, proxy.connections)


@pytest.mark.parametrize("greeting", [Fault.SILENCE, Fault.STALL])
async def test_close_while_connecting(speaker: Speaker, greeting: Fault) -> None:
    """An attempt that hangs is given up, with its socket."""
    async with asyncio.timeout(PATIENCE), FaultProxy(speaker.server.port) as proxy:
        client = gqlwire.connect(
            proxy.url, subprotocols=[speaker.protocol], proxy=None, retry=QUICK
        )
        session = await client.connect_async()
        async with following(session) as follower:
            proxy.greeting = greeting
            proxy.newest.reset()
            await proxy.until(lambda: proxy.connections == 2)
            live = asyncio.create_task(follower.reconnects())
            await asyncio.sleep(0)
            assert Phase.CONNECT is session.state
            await client.close_async()
            with pytest.raises(TransportClosed):
                await live
        assert Phase.CLOSED is session.state


async def test_a_server_that_has_just_died_is_not_written_to(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is sent before its end is known is interrupted; no library below complains of it."""
    with start_strawberry() as server:
        async with gqlwire.connect(server.url, retry=QUICK, proxy=None) as session:
            server.kill()  # nobody in this loop can have heard of it
            asking = [asyncio.create_task(session.execute("{ hello }")) for _ in range(50)]
            ends = await asyncio.gather(*asking, return_exceptions=True)
            await asyncio.to_thread(server.restart)
            assert {"hello": "Hello, world!"} == await session.execute("{ hello }")
    assert {OperationInterrupted} == {type(end) for end in ends}
    assert [] == [record for record in caplog.records if not record.name.startswith("gqlwire")]


async def counted_down(session: AsyncClientSession) -> list[int]:
    """Run an operation that every server answers in either protocol."""
    return [event["countdown"] async for event in session.subscribe(COUNTDOWN)]


async def until(state: Phase, changes: AsyncIterator[Change]) -> None:
    async for change in changes:
        if change.state is state:
            return


async def next_state(session: AsyncClientSession) -> Phase:
    return (await anext(session.states())).state
