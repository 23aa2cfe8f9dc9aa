"""`reconnect()` and `terminate()` without a connection: each call connected without a wait, and an
attempt that hung was not dropped.

One call of a row connects immediately, then the wait of the policy is kept. An attempt that hangs
is dropped, at whatever it hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gqlwire
from doubles import on_virtual_time, pass_time, settle
from gqlwire import Hooks, RetryPolicy
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import ConnectionRefused, Phase, TransportError
from gqlwire.retry import Attempt
from gqlwire.retry.attempts import Attempts
from servers.fake import RawPeer, raw_fake
from servers.scripted import PROTOCOLS
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    HOST,
    MUTE,
    UNREACHABLE,
    Kept,
    Meeting,
    VirtualServer,
    begun,
    kept,
    now,
    soon,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

REFUSED = Meeting(ConnectionRefused("nobody listens", host=HOST, phase=Phase.CONNECT))
SLOWLY = RetryPolicy(first_delay=5, growth=1)
BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])


async def once(it: Kept) -> None:
    await it.session.reconnect()


async def impatiently(it: Kept) -> None:
    """Again and again, each time for a tenth of a second."""
    while True:
        try:
            async with asyncio.timeout(0.1):
                await it.session.reconnect()
        except TimeoutError:
            pass


async def in_a_loop(it: Kept) -> None:
    while True:
        await it.session.reconnect()


async def stop(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- A5 ------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("how", [once, impatiently, in_a_loop])
@tidily
async def test_a5_twenty_tasks_that_reconnect(
    server: VirtualServer, spelling: Spelling, how: Callable[[Kept], Awaitable[None]]
) -> None:
    """One attempt comes immediately; the next ones come five seconds apart."""
    async with kept(server, SLOWLY, spelling=spelling) as it:
        server.otherwise = REFUSED
        server.peer.hang_up()
        await settle()
        tasks = [soon(how(it)) for _ in range(20)]
        await pass_time(3)
        assert 2 == len(server.times)
        await pass_time(30)
        assert 8 >= len(server.times)
        await stop(tasks)


@pytest.mark.parametrize("coroutine", [False, True])
@tidily
async def test_a5_a_hook_that_reconnects(server: VirtualServer, coroutine: bool) -> None:
    """At each end of a connection or attempt. It adds no task for each attempt that hangs on."""
    tasks: list[asyncio.Task[Any]] = []

    async def hook(_: object) -> None:
        await it.session.reconnect()

    def plain_hook(_: object) -> None:
        tasks.append(soon(it.session.reconnect()))

    hooks = Hooks(disconnected=hook if coroutine else plain_hook)
    async with kept(server, SLOWLY, reconnect=ReconnectOptions(hooks=hooks)) as it:
        server.otherwise = REFUSED
        server.peer.hang_up()
        await pass_time(32)

        assert 9 >= len(server.times)
        assert 20 > len(asyncio.all_tasks())
        await stop(tasks)


@tidily
async def test_a5_the_wait_that_is_kept_still_asks_for_new_credentials(
    server: VirtualServer,
) -> None:
    """Each caller returns when there is a connection, which was made with new ones."""
    asked: list[bool] = []

    def headers(attempt: Attempt) -> dict[str, str]:
        asked.append(attempt.refresh)
        return {}

    async with kept(server, SLOWLY, headers=headers) as it:
        server.will(REFUSED)
        server.peer.hang_up()
        await settle()
        calls = [await begun(it.session.reconnect()) for _ in range(3)]
        assert [False, True] == asked
        calls.append(await begun(it.session.reconnect()))
        await asyncio.gather(*calls)

        assert [False, True, True] == asked
        assert 5 == server.waits[-1]


@pytest.mark.parametrize("lasts", [0.0, 0.3, 0.9])
@tidily
async def test_a5_kind_reconnecting_a_healthy_client_in_a_loop(
    server: VirtualServer, lasts: float
) -> None:
    """The first call connects immediately; connections that nobody uses are no reason to hurry."""
    async with kept(server, RetryPolicy(first_delay=5)) as it:

        async def loop() -> None:
            while True:
                await it.session.reconnect()
                await asyncio.sleep(lasts)

        task = soon(loop())
        await settle()
        assert 2 == len(server.times)
        await pass_time(60)
        assert 8 > len(server.times)
        await stop([task])


@tidily
async def test_a5_kind_each_connection_that_was_good_may_be_replaced_immediately(
    server: VirtualServer,
) -> None:
    """As before: a token that is about to expire is replaced without a wait."""
    async with kept(server) as it:
        for _ in range(5):
            await pass_time(100)
            before = now()
            await it.session.reconnect()
            assert before == now()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("meeting", [REFUSED, MUTE, UNREACHABLE, Meeting(greeting=4403)])
@pytest.mark.parametrize("callers", [1, 20])
@tidily
async def test_a5_kind_whatever_the_attempts_meet(
    server: VirtualServer, meeting: Meeting, callers: int
) -> None:
    """No caller makes more attempts than the policy and one."""
    async with kept(server, SLOWLY, connect_timeout=4, ack_timeout=4) as it:
        server.otherwise = meeting
        server.peer.hang_up()
        tasks = [soon(impatiently(it)) for _ in range(callers)]
        await pass_time(300)

        assert 300 / 5 + 3 >= len(server.times)
        await stop(tasks)


@tidily
async def test_a5_kind_a_slow_server_is_reached_though_many_reconnect(
    server: VirtualServer,
) -> None:
    """Impatient callers do not drop each other's attempts for ever."""
    async with kept(server) as it:
        server.otherwise = Meeting(delay=6)
        server.peer.hang_up()
        reached: list[float] = []
        waiting = soon(it.session.wait_ready())
        waiting.add_done_callback(lambda _: reached.append(now()))
        tasks = [soon(impatiently(it)) for _ in range(20)]
        await pass_time(60)

        assert reached
        await stop(tasks)


@given(calls=st.lists(st.floats(0, 50), min_size=1, max_size=40), chance=st.floats(0.5, 1))
def test_a5_kind_by_the_policy_alone(calls: list[float], chance: float) -> None:
    """Whenever they come: attempts without a good connection grow apart, but for one."""
    attempts = Attempts(SLOWLY, lambda: chance)
    attempts.acknowledged(0)
    waits = [attempts.replaced(0.0).delay for _ in calls]

    assert [0.0] + [5 * chance] * (len(calls) - 1) == waits


# --- A6 ------------------------------------------------------------------------------------------


async def hangs(_: Attempt) -> Any:
    await asyncio.get_running_loop().create_future()


def at_credentials(it: Kept, server: VirtualServer) -> None:
    it.session.transport.headers = hangs


def at_connecting(it: Kept, server: VirtualServer) -> None:
    server.will(UNREACHABLE)


def at_the_ack(it: Kept, server: VirtualServer) -> None:
    server.will(MUTE)


def at_a_slow_connect(it: Kept, server: VirtualServer) -> None:
    server.will(Meeting(delay=50))


def at_a_slow_payload(it: Kept, server: VirtualServer) -> None:
    it.session.transport.init_payload = hangs


HANGS = pytest.mark.parametrize(
    "hang", [at_credentials, at_connecting, at_the_ack, at_a_slow_connect, at_a_slow_payload]
)


async def hung(it: Kept, server: VirtualServer, hang: Any) -> None:
    """Bring it to an attempt that hangs for ten seconds already, and would for long."""
    hang(it, server)
    server.peer.hang_up()
    await pass_time(11)
    assert Phase.CONNECT is it.session.state
    it.session.transport.headers = it.session.transport.init_payload = None


@HANGS
@BOTH
@tidily
async def test_a6_reconnect_drops_an_attempt_that_hangs(
    server: VirtualServer, spelling: Spelling, hang: Any
) -> None:
    """And connects immediately."""
    limits = {"connect_timeout": 100, "ack_timeout": 100}
    async with kept(server, spelling=spelling, **limits) as it:
        await hung(it, server, hang)
        before = now()
        await it.session.reconnect()

        assert (before, 1) == (now(), len(server.open))


@HANGS
@BOTH
@tidily
async def test_a6_terminate_drops_an_attempt_that_hangs(
    server: VirtualServer, spelling: Spelling, hang: Any
) -> None:
    """The next one comes after the wait of the policy."""
    limits = {"connect_timeout": 100, "ack_timeout": 100}
    failures: list[TransportError] = []
    hooks = Hooks(disconnected=lambda event: failures.append(event.failure))
    reconnect = ReconnectOptions(hooks=hooks)
    async with kept(server, spelling=spelling, reconnect=reconnect, **limits) as it:
        await hung(it, server, hang)
        before = now()
        it.session.terminate()
        await settle()
        assert Phase.WAITING is it.session.state
        await it.session.wait_ready()

        assert (2, 1) == (round(now() - before, 3), len(server.open))
    assert f"the attempt to connect to {HOST} was dropped by terminate()" == str(failures[1])


@HANGS
@tidily
async def test_a6_kind_reconnect_again_drops_a_second_attempt_that_hangs(
    server: VirtualServer, hang: Any
) -> None:
    """Although it was begun by reconnect(); the third one comes after a wait."""
    async with kept(server, connect_timeout=100, ack_timeout=100) as it:
        await hung(it, server, hang)
        hang(it, server)
        first = await begun(it.session.reconnect())
        await pass_time(20)
        it.session.transport.headers = it.session.transport.init_payload = None
        before = now()
        await it.session.reconnect()

        assert first.done()
        assert 0 < now() - before <= 8


@pytest.mark.parametrize("pauses", [[0.0] * 5, [0.01] * 9, [1.0] * 5, [3.0, 0.0, 3.0], [9.0] * 3])
@tidily
async def test_a6_kind_terminate_in_a_loop(server: VirtualServer, pauses: list[float]) -> None:
    """Each drops what there is, nothing is left, and the wait is kept."""
    async with kept(server, connect_timeout=100) as it:
        server.otherwise = UNREACHABLE
        server.peer.hang_up()
        for pause in pauses:
            it.session.terminate()
            await pass_time(pause)
        assert len(pauses) + 1 >= len(server.times)
        server.otherwise = Meeting()
        it.session.terminate()
        await it.session.wait_ready()

        assert 1 == len(server.open)


@on_virtual_time
async def test_a6_kind_closing_drops_an_attempt_that_hangs_too() -> None:
    """Immediately."""
    server = VirtualServer()
    async with kept(server, connect_timeout=None):
        server.otherwise = UNREACHABLE
        server.peer.hang_up()
        await pass_time(1_000)
        before = now()
    assert before == now()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("where", ["handshake", "ack"])
@pytest.mark.parametrize("call", ["reconnect", "terminate"])
async def test_a6_kind_over_real_sockets(protocol: str, where: str, call: str) -> None:
    """A server that does not answer the upgrade, or connection_init, of the second connection."""
    is_in, hangs_now = asyncio.Event(), asyncio.Event()

    async def script(peer: RawPeer) -> None:
        number = len(server.peers)
        if number == 2 and where == "handshake":
            hangs_now.set()
            return
        await peer.read_request()
        await peer.upgrade()
        if number == 2:
            hangs_now.set()
            return
        await peer.ack()
        if number == 1:
            await is_in.wait()
            peer.abort()

    async with raw_fake(script, upgrade=False) as server:
        client = gqlwire.connect(
            server.url,
            proxy=None,
            subprotocols=[protocol],
            connect_timeout=600,
            ack_timeout=600,
            retry=RetryPolicy(first_delay=0.01),
        )
        async with client as session:
            is_in.set()
            await hangs_now.wait()
            if call == "terminate":
                session.terminate()
                await session.wait_ready()
            else:
                await session.reconnect()

            assert Phase.OPEN is session.state
        assert 3 == server.connections
