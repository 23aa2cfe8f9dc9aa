"""A session that was used in another event loop than it was connected in hung for ever.

Whatever would wait there raises RuntimeError immediately, and the message names the usual causes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import gqlwire
from conftest import Speaker
from doubles import VirtualTimeLoop, settle
from gqlwire import AsyncClientSession, Client, Subscription, gql
from gqlwire.errors import TransportAlreadyConnected
from gqlwire.transport.websockets import WebsocketsTransport
from spelling import NEWER, Spelling, both
from support import BOUND
from virtual_server import MUTATION, QUERY, SPELT, TICKS, VirtualServer, started

CAUSE = "belongs to an event loop that "
REQUEST = gql(QUERY)


@dataclass
class Here:
    """What was connected, and a subscription of it that has had its first event."""

    server: VirtualServer
    client: Client
    session: AsyncClientSession
    events: Subscription[Any]
    merged: gqlwire.Merged[Any]

    @property
    def transport(self) -> WebsocketsTransport:
        assert isinstance(self.session.transport, WebsocketsTransport)
        return self.session.transport


Use = Callable[[Here], Coroutine[Any, Any, Any]]


async def execute(here: Here) -> None:
    await here.session.execute(QUERY)


async def execute_without_a_limit(here: Here) -> None:
    await here.session.execute(MUTATION, timeout=None)


async def execute_by_the_transport(here: Here) -> None:
    await here.transport.execute(REQUEST)


async def start(here: Here) -> None:
    await anext(here.session.subscribe(TICKS))


async def start_with_limits(here: Here) -> None:
    await anext(here.session.subscribe(TICKS, first_event_timeout=1, key=lambda event: event["n"]))


async def start_by_the_transport(here: Here) -> None:
    await anext(here.transport.subscribe(gql(TICKS)))


async def step(here: Here) -> None:
    await anext(here.events)


async def step_of_batches(here: Here) -> None:
    await anext(here.events.batches())


async def step_of_a_merger(here: Here) -> None:
    await anext(here.merged)


async def merge(here: Here) -> None:
    await anext(gqlwire.merge([here.session.subscribe(TICKS)]))


async def merge_what_runs(here: Here) -> None:
    await anext(gqlwire.merge([here.events]))


async def close_the_subscription(here: Here) -> None:
    await here.events.aclose()


async def close_the_merger(here: Here) -> None:
    await here.merged.aclose()


async def close(here: Here) -> None:
    await here.client.close_async()


async def close_the_transport(here: Here) -> None:
    await here.transport.close()


async def wait_closed(here: Here) -> None:
    await here.transport.wait_closed()


async def ping(here: Here) -> None:
    await here.transport.send_ping()


async def pong(here: Here) -> None:
    await here.transport.send_pong()


async def fetch_schema(here: Here) -> None:
    await here.session.fetch_schema()


async def ready(here: Here) -> None:
    await here.session.wait_ready()


async def reconnect(here: Here) -> None:
    await here.session.reconnect()


async def terminate(here: Here) -> None:
    here.session.terminate()


async def states(here: Here) -> None:
    await anext(here.session.states())


ALWAYS = [
    execute,
    execute_without_a_limit,
    execute_by_the_transport,
    start,
    start_with_limits,
    start_by_the_transport,
    step,
    step_of_batches,
    step_of_a_merger,
    merge,
    merge_what_runs,
    close_the_subscription,
    close_the_merger,
    close,
    close_the_transport,
    wait_closed,
    ping,
    pong,
    fetch_schema,
]
KEPT = [ready, reconnect, terminate, states]
USES = [(use, True) for use in ALWAYS + KEPT] + [(use, False) for use in ALWAYS]


def named(it: Any) -> str:
    return getattr(it, "__name__", "kept" if it else "plain")


each_use = pytest.mark.parametrize(("use", "reconnecting"), USES, ids=named)


async def connected(spelling: Spelling, *, reconnecting: bool) -> Here:
    server = VirtualServer()
    client = server.client(subprotocols=[SPELT[id(spelling)]], reconnecting=reconnecting)
    session = await client.connect_async()
    events, other = session.subscribe(TICKS), session.subscribe(TICKS)
    await started(events, server.peer)
    merged = gqlwire.merge([other])
    step = asyncio.create_task(anext(merged))
    await settle()
    server.peer.tell(1, id=other.id)
    await step
    return Here(server, client, session, events, merged)


@contextmanager
def loops() -> Iterator[tuple[VirtualTimeLoop, VirtualTimeLoop]]:
    """Two of the same thread."""
    one, another = VirtualTimeLoop(), VirtualTimeLoop()
    try:
        yield one, another
        assert [] == [*one.faults, *another.faults]
    finally:
        leave(one)
        leave(another)


def leave(loop: VirtualTimeLoop) -> None:
    """As `asyncio.run` leaves a loop."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(settle())
    loop.close()


# --- As reported ---------------------------------------------------------------------------------


async def test_d1_over_sockets(speaker: Speaker) -> None:
    """A session of one loop in another one of another thread; it works on in its own."""
    async with speaker.client() as session:

        def elsewhere() -> str:
            async def use() -> None:
                async with asyncio.timeout(BOUND):
                    await session.execute("{ __typename }", timeout=None)

            with pytest.raises(RuntimeError, match=CAUSE) as caught:
                asyncio.run(use())
            return str(caught.value)

        told = await asyncio.to_thread(elsewhere)
        assert "asyncio.run() called twice" in told
        assert "loop_scope" in told
        assert "run_coroutine_threadsafe" in told
        if speaker.answers_queries:
            assert await session.execute("{ __typename }")


@both
def test_d1_a_session_in_another_loop_of_the_same_thread(spelling: Spelling) -> None:
    """As by fixtures and tests of pytest-asyncio; `execute_timeout` did not help."""
    with loops() as (one, another):
        here = one.run_until_complete(connected(spelling, reconnecting=True))
        with pytest.raises(RuntimeError, match=f"{CAUSE}is not the running one: .*loop_scope"):
            another.run_until_complete(here.session.execute(QUERY, timeout=1))
        one.run_until_complete(here.client.close_async())


# --- Each use ------------------------------------------------------------------------------------


@both
@each_use
def test_d1_kind_in_another_loop(use: Use, reconnecting: bool, spelling: Spelling) -> None:
    """Nothing is sent, and nothing ends: it works on in its own loop."""
    with loops() as (one, another):
        here = one.run_until_complete(connected(spelling, reconnecting=reconnecting))
        sent = list(here.server.peer.sent)
        with pytest.raises(RuntimeError, match=f"{CAUSE}is not the running one"):
            another.run_until_complete(use(here))
        assert sent == here.server.peer.sent
        assert [True] == [peer.is_open for peer in here.server.peers]

        async def go_on() -> None:
            step = asyncio.create_task(anext(here.events))
            asking = asyncio.create_task(here.session.execute(QUERY))
            await settle()
            here.server.peer.tell(2, id=here.events.id)
            assert {"n": 2} == await step
            here.server.peer.answer({"get": 1}, here.server.peer.started[-1])
            assert {"get": 1} == await asking
            await here.client.close_async()

        one.run_until_complete(go_on())


@both
@pytest.mark.parametrize(
    ("use", "reconnecting"),
    # The changes of the state have ended with `closed` by then, and nothing is left to close.
    [pair for pair in USES if pair[0] not in (states, close, close_the_transport)],
    ids=named,
)
def test_d1_kind_after_its_loop_was_closed(
    use: Use, reconnecting: bool, spelling: Spelling
) -> None:
    """As by the second of two calls of `asyncio.run`."""
    one = VirtualTimeLoop()
    here = one.run_until_complete(connected(spelling, reconnecting=reconnecting))
    leave(one)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        with pytest.raises(RuntimeError, match=f"{CAUSE}is closed: .*asyncio.run"):
            runner.run(use(here))

        # The client connects again there, and then belongs there.
        async def again() -> None:
            await here.client.close_async()
            await here.transport.close()
            async with here.client as session:
                asking = asyncio.create_task(session.execute(QUERY))
                await settle()
                here.server.peer.answer({"get": 1})
                assert {"get": 1} == await asking

        runner.run(again())


@each_use
def test_d1_kind_in_another_thread(use: Use, reconnecting: bool) -> None:
    """With a loop of its own, while the first one runs."""
    told: list[BaseException] = []

    def elsewhere(here: Here, done: Callable[[], object]) -> None:
        try:
            asyncio.run(asyncio.wait_for(use(here), BOUND))
        except (RuntimeError, TimeoutError) as failure:
            told.append(failure)
        finally:
            done()

    async def run() -> None:
        here = await connected(NEWER, reconnecting=reconnecting)
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        thread = threading.Thread(
            target=elsewhere, args=(here, lambda: loop.call_soon_threadsafe(over.set))
        )
        thread.start()
        await over.wait()
        thread.join()
        await here.client.close_async()

    asyncio.run(run())
    assert [RuntimeError] == [type(failure) for failure in told]
    assert CAUSE in str(told[0])


# --- What is still right -------------------------------------------------------------------------


@both
def test_d1_kind_a_client_may_be_used_in_one_loop_after_the_other(spelling: Spelling) -> None:
    """Each connects and closes, as with two calls of `asyncio.run`."""
    server = VirtualServer()
    client = server.client(subprotocols=[SPELT[id(spelling)]])
    transport = server.transport(subprotocols=[SPELT[id(spelling)]])

    async def use() -> None:
        await client.close_async()
        await transport.close()
        async with client as session:
            asking = asyncio.create_task(session.execute(QUERY))
            await settle()
            server.peer.answer({"get": 1})
            await asking
        await client.close_async()
        await transport.connect()
        await transport.close()

    for _ in range(2):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(use())
    assert 4 == len(server.peers)


def test_d1_kind_terminate_without_a_running_loop() -> None:
    """As from another thread, or between two runs of its own."""
    with loops() as (one, _):
        here = one.run_until_complete(connected(NEWER, reconnecting=True))
        with pytest.raises(RuntimeError, match=CAUSE):
            here.session.terminate()
        one.run_until_complete(here.client.close_async())


def test_d1_kind_connecting_in_another_loop_says_so() -> None:
    """A second connection of the same client, while the first one is in use."""
    with loops() as (one, another):
        here = one.run_until_complete(connected(NEWER, reconnecting=True))
        with pytest.raises(TransportAlreadyConnected, match="in another event loop"):
            another.run_until_complete(here.client.connect_async())
        one.run_until_complete(here.client.close_async())
