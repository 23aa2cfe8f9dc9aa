"""Cancelled at its n-th step, for all n: nothing hangs, nothing is left, each operation is stopped.

A step is a callback that the loop runs: the task is cancelled before the first one of them, before
the second one, and so on, until it is through before it is cancelled. So it is not only cancelled
at each of its own awaits, but also between any two things that happen on its behalf; and once more
a little later, amid what it does about it.

Beside what is cancelled another subscription runs, which must not notice.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from graphql import build_schema, introspection_from_schema

import gqlwire
from doubles import pass_time, settle
from gqlwire import AsyncClientSession, Client, RetryPolicy
from gqlwire._operations.subscription import Subscription
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.transport import ReconnectingTransport
from gqlwire.client.options import Settings
from gqlwire.errors import CloseTimeout, ConnectionRefused, OperationTimeout, Phase, TransportClosed
from gqlwire.retry import Attempt
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Fake, fake
from servers.fake import Peer as RealPeer
from stepped import Stepped, SteppedOnVirtualTime
from support import BOUND, _open_sockets, _pending_timers
from virtual_server import (
    HOST,
    QUERY,
    Kept,
    Meeting,
    Peer,
    VirtualServer,
    assert_nothing_is_left,
    complains,
    hangs_up,
    keeping,
    slowly,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

SLOW = "query Slow { slow }"
SET = "mutation Slow { slow }"
NUMBERS = "subscription Numbers { n }"
QUIET = "subscription Quiet { n }"
REFUSED = ConnectionRefused("nobody listens", host=HOST, phase=Phase.CONNECT)
SCHEMA = introspection_from_schema(build_schema("type Query { get: Int }"))

# --- Scenes --------------------------------------------------------------------------------------


@dataclass
class World:
    """What is there when the task begins."""

    server: VirtualServer
    it: Kept
    bystander: Subscription[Any] | None = None
    closes: bool = False
    things: dict[str, Any] = field(default_factory=dict)

    @property
    def session(self) -> AsyncClientSession:
        return self.it.session


Act = Callable[[World], Awaitable[Any]]


@dataclass(frozen=True)
class Scene:
    """What is prepared, and what is done and cancelled. `least`: points at which it can be."""

    act: Act
    least: int
    prepare: Act | None = None
    is_connected: bool = True
    closes: bool = False
    policy: RetryPolicy = RetryPolicy(first_delay=0.5, growth=1, initial=True)  # noqa: RUF009  # frozen
    reconnect: ReconnectOptions = ReconnectOptions()  # noqa: RUF009  # frozen
    options: dict[str, Any] = field(default_factory=dict)
    first: Meeting = Meeting()  # noqa: RUF009  # frozen


def serve(peer: Peer, id: str, request: dict[str, Any]) -> None:
    """What the server does with each operation, by its name."""
    loop, query = asyncio.get_running_loop(), request["query"]
    if "Get" in query:
        loop.call_soon(peer.answer, {"get": 1}, id)
    elif "Slow" in query:
        loop.call_later(1, peer.answer, {"slow": 1}, id)
    elif "Introspection" in query:
        loop.call_later(1, peer.answer, SCHEMA, id)
    elif "Numbers" in query:
        # Also when it was told to stop: that crosses on the wire.
        for number in range(1, 4):
            loop.call_later(number / 2, tell, peer, number, id)


def tell(peer: Peer, number: int, id: str) -> None:
    peer.tell(number, id=id)


async def lose_soon(world: World) -> None:
    asyncio.get_running_loop().call_later(0.25, world.server.peer.hang_up)


async def lose(world: World) -> None:
    world.server.peer.hang_up()


async def clog(world: World) -> None:
    connection = world.server.peer.connection
    connection.writable(False)
    asyncio.get_running_loop().call_later(0.5, connection.writable, True)


async def be_idle(world: World) -> None:
    await pass_time(5)


async def have_events(world: World) -> None:
    world.things["events"] = events = world.session.subscribe(NUMBERS)
    await anext(events)


async def have_lost_events(world: World) -> None:
    await have_events(world)
    await lose(world)


async def have_refused_events(world: World) -> None:
    await have_events(world)
    await lose(world)
    await world.it.lasting.ready()
    await settle()
    world.server.peer.refuse(id=world.things["events"].id)


async def have_connecting(world: World) -> None:
    world.server.will(slowly(1))
    await lose(world)
    await pass_time(0.6)


async def leave_unanswered(world: World) -> None:
    peer: Any = world.server.peer
    peer._answers_close = False


async def connect(world: World) -> None:
    await world.it.lasting.connect()


async def connect_bare(world: World) -> None:
    transport = world.things["bare"] = world.server.transport()
    await transport.connect()


async def enter(world: World) -> None:
    client = world.things["client"] = world.server.client()
    await client.connect_async()


async def enter_with_another(world: World) -> None:
    client = world.things["client"] = world.server.client()
    world.things["other"] = asyncio.ensure_future(client.connect_async())
    await client.connect_async()


async def enter_with_a_schema(world: World) -> None:
    client = world.things["client"] = world.server.client(fetch_schema_from_transport=True)
    await client.connect_async()


async def use(world: World) -> None:
    client = world.things["client"] = world.server.client()
    async with client as session:
        await session.execute(QUERY)
        async with session.subscribe(NUMBERS) as events:
            await anext(events)


async def execute_once(world: World) -> None:
    client = world.things["client"] = world.server.client()
    await client.execute_async(QUERY)


async def execute(world: World) -> None:
    assert {"slow": 1} == await world.session.execute(SLOW)


async def execute_a_mutation(world: World) -> None:
    await world.session.execute(SET, idempotent=True)


async def execute_too_long(world: World) -> None:
    with pytest.raises(OperationTimeout):
        await world.session.execute(SLOW, timeout=0.5)


async def execute_a_subscription(world: World) -> None:
    assert {"n": 1} == await world.session.execute(NUMBERS)


async def subscribe(world: World) -> None:
    events = world.things["events"] = world.session.subscribe(NUMBERS, first_event_timeout=50)
    for number in (1, 2, 3):
        assert {"n": number} == await anext(events)
    await events.aclose()


async def subscribe_in_a_context(world: World) -> None:
    async with world.session.subscribe(NUMBERS, tell_reconnects=True) as events:
        async for event in events:
            if event == {"n": 3}:
                break


async def take_batches(world: World) -> None:
    events = world.things["events"] = world.session.subscribe(NUMBERS)
    taken = 0
    async for batch in events.batches():
        taken += len(batch)
        if taken == 3:
            break
    await events.aclose()


async def take_merged(world: World) -> None:
    three = [world.session.subscribe(NUMBERS) for _ in range(3)]
    async with gqlwire.merge(three) as merged:
        for _ in range(9):
            await anext(merged)


async def take_one_more(world: World) -> None:
    events = world.things["events"]
    assert isinstance(await anext(events), dict)
    await events.aclose()


async def take_a_quiet_one(world: World) -> None:
    events = world.things["events"] = world.session.subscribe(QUIET, first_event_timeout=0.5)
    with pytest.raises(OperationTimeout):
        await anext(events)


async def reconnect(world: World) -> None:
    await world.session.reconnect("why not")


async def wait_ready(world: World) -> None:
    await world.session.wait_ready()


async def take_states(world: World) -> None:
    states = world.session.states()
    while (await anext(states)).state is not Phase.OPEN:
        pass


async def close(world: World) -> None:
    await world.it.lasting.close()


async def close_unanswered(world: World) -> None:
    with pytest.raises(CloseTimeout):
        await world.it.lasting.close()


async def slow_token(attempt: Attempt) -> dict[str, str]:
    await asyncio.sleep(0.1)
    return {"T": str(attempt.number)}


OFF = {"is_connected": False}
TOKENS = {"headers": slow_token, "init_payload": slow_token}
IDLE = ReconnectOptions(idle_close_after=1)

SCENES: dict[str, Scene] = {
    "connect": Scene(connect, 10, **OFF),
    "connect with functions": Scene(connect, 13, **OFF, options=TOKENS),
    "connect slowly": Scene(connect, 10, **OFF, first=slowly(1)),
    "connect at the second attempt": Scene(connect, 14, **OFF, first=Meeting(REFUSED)),
    "connect after 1012": Scene(connect, 18, **OFF, first=hangs_up(1012)),
    "connect after a refusal": Scene(connect, 24, **OFF, first=complains("no"), options=TOKENS),
    "connect without keeping": Scene(connect_bare, 6, **OFF),
    "connect slowly without keeping": Scene(connect_bare, 7, **OFF, first=slowly(1)),
    "enter": Scene(enter, 13, **OFF),
    "enter slowly": Scene(enter, 14, **OFF, first=slowly(1)),
    "enter with another": Scene(enter_with_another, 14, **OFF),
    "enter and fetch the schema": Scene(enter_with_a_schema, 14, **OFF),
    "enter, use and leave": Scene(use, 22, **OFF),
    "execute on a connection of its own": Scene(execute_once, 21, **OFF),
    "execute": Scene(execute, 2),
    "execute a mutation": Scene(execute_a_mutation, 2),
    "execute amid a loss": Scene(execute_a_mutation, 17, lose_soon),
    "execute while lost": Scene(execute, 14, lose),
    "execute while connecting": Scene(execute, 11, have_connecting),
    "execute while clogged": Scene(execute, 6, clog),
    "execute while idle": Scene(execute, 12, be_idle, reconnect=IDLE),
    "execute too long": Scene(execute_too_long, 2),
    "execute a subscription": Scene(execute_a_subscription, 2),
    "subscribe": Scene(subscribe, 6),
    "subscribe in a context": Scene(subscribe_in_a_context, 6),
    "subscribe amid a loss": Scene(subscribe_in_a_context, 19, lose_soon),
    "subscribe while lost": Scene(subscribe, 18, lose),
    "subscribe while clogged": Scene(subscribe, 9, clog),
    "subscribe while idle": Scene(subscribe, 15, be_idle, reconnect=IDLE),
    "a step": Scene(take_one_more, 2, have_events),
    "a step while lost": Scene(take_one_more, 14, have_lost_events),
    "a step amid a refusal": Scene(take_one_more, 6, have_refused_events),
    "a step that times out": Scene(take_a_quiet_one, 2),
    "batches": Scene(take_batches, 6),
    "batches amid a loss": Scene(take_batches, 18, lose_soon),
    "merged": Scene(take_merged, 10),
    "merged amid a loss": Scene(take_merged, 29, lose_soon),
    "merged while lost": Scene(take_merged, 22, lose),
    "reconnect": Scene(reconnect, 11),
    "reconnect while lost": Scene(reconnect, 12, lose),
    "reconnect while connecting": Scene(reconnect, 16, have_connecting),
    "reconnect while idle": Scene(reconnect, 10, be_idle, reconnect=IDLE),
    "wait_ready while lost": Scene(wait_ready, 13, lose),
    "states while lost": Scene(take_states, 15, lose),
    "close": Scene(close, 7, closes=True),
    "close while lost": Scene(close, 6, lose, closes=True),
    "close while connecting": Scene(close, 5, have_connecting, closes=True),
    "close without an answer": Scene(close_unanswered, 8, leave_unanswered, closes=True),
}

# --- A trial -------------------------------------------------------------------------------------


async def trial(scene: Scene, server: VirtualServer, steps: list[int]) -> tuple[bool, int]:
    """Do it, cancelled at these steps; whether it was, and how many steps it took."""
    world = await begin(scene, server)
    task: asyncio.Task[Any] = asyncio.ensure_future(scene.act(world))
    loop: Any = asyncio.get_running_loop()
    wanted: list[bool] = []
    loop.steps.plan(steps, lambda: wanted.append(task.cancel()))
    await asyncio.wait([task])
    taken = loop.steps.taken
    loop.steps.plan([], lambda: None)

    # Who is cancelled is cancelled, whatever it was about.
    assert any(wanted) is task.cancelled()
    if not task.cancelled():
        task.result()
    await pass_time(8)
    await end(scene, world)
    assert [] == loop.faults
    return task.cancelled(), taken


async def begin(scene: Scene, server: VirtualServer) -> World:
    world = World(
        server,
        keeping(server, scene.policy, reconnect=scene.reconnect, close_timeout=2, **scene.options),
    )
    server.on_start = serve
    if scene.is_connected:
        await world.it.lasting.connect()
        if not scene.reconnect.idle_close_after:
            world.bystander = world.session.subscribe(QUIET)
            step = asyncio.ensure_future(anext(world.bystander))
            await settle()
            server.peer.tell(0, id=world.bystander.id)
            await step
        if scene.prepare is not None:
            await scene.prepare(world)
    else:
        server.will(scene.first)
    return world


async def end(scene: Scene, world: World) -> None:
    """See that what was cancelled has left nothing, and that the rest goes on."""
    if "events" in world.things:
        await world.things["events"].aclose()
    check_stops(world)
    await check_bystander(scene, world)
    await check_usable(scene, world)
    check_stops(world)
    await close_all(world)
    await pass_time(8)
    assert [] == world.server.open
    assert_nothing_is_left()


def check_stops(world: World) -> None:
    """Each operation that the server has not ended was stopped once, or went with its socket."""
    bystander = set() if world.bystander is None else {world.bystander.id}
    for peer in world.server.peers:
        assert len(peer.stopped) == len({*peer.stopped})
        assert {*peer.stopped} <= {*peer.started}
        if peer.is_open:
            assert {*peer.live} <= bystander
        ended = {*peer.started} - {*peer.live} - {*peer.stopped}
        assert ended.isdisjoint(peer.stopped)


async def check_bystander(scene: Scene, world: World) -> None:
    """It gets its next event, or the end of the client."""
    if world.bystander is None:
        return
    if not world.it.lasting.is_alive:
        assert scene.closes
        with pytest.raises(TransportClosed):
            await anext(world.bystander)
        return
    await world.it.lasting.ready()
    await settle()
    world.server.peer.tell(1, id=world.bystander.id)
    assert {"n": 1} == await anext(world.bystander)


async def check_usable(scene: Scene, world: World) -> None:
    """It can be connected, again or still, and used."""
    other = world.things.get("other")
    if other is not None:
        await other
    client: Client | None = world.things.get("client")
    if client is not None:
        async with client as session:
            assert {"get": 1} == await session.execute(QUERY)
        return
    bare: WebsocketsTransport | None = world.things.get("bare")
    if bare is not None:
        if not bare.is_alive:
            await bare.connect()
        assert {"get": 1} == (await bare.execute(gqlwire.gql(QUERY))).data
        return
    if not world.it.lasting.is_alive:
        assert scene.closes or not scene.is_connected
        await world.it.lasting.connect()
    assert {"get": 1} == await world.session.execute(QUERY)


async def close_all(world: World) -> None:
    with suppress(CloseTimeout):  # of the scene that has an unfriendly server
        await world.it.lasting.close()
    if "client" in world.things:
        await world.things["client"].close_async()
    if "bare" in world.things:
        await world.things["bare"].close()


# --- The sweep -----------------------------------------------------------------------------------


def sweep(scene: Scene, server: VirtualServer, later: int | None = None) -> Iterator[int]:
    """Cancel it at each of its steps, and with `later` so many steps later once more.

    Yields the steps at which it was cancelled. Ends when it was through before.
    """
    for step in itertools.count(1):
        server.plan.clear()
        server.peers.clear()
        steps = [step] if later is None else [step, step + later]
        try:
            with asyncio.Runner(loop_factory=SteppedOnVirtualTime) as runner:
                was_cancelled, taken = runner.run(trial(scene, server, steps))
        except BaseException as fault:
            fault.add_note(f"when it was cancelled at the steps {steps}")
            raise
        if was_cancelled:
            yield step
        elif taken <= step:
            return


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "later",
    [
        pytest.param(None, id="once"),
        pytest.param(1, id="twice", marks=pytest.mark.long),
        pytest.param(2, id="twice, 2", marks=pytest.mark.long),
        pytest.param(5, id="twice, 5", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_every_scene_can_be_cancelled_at_each_step(
    scene: Scene,
    server: VirtualServer,
    later: int | None,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """Nothing hangs, no task, socket or alarm is left, and all that is alive is stopped once."""
    points = [*sweep(scene, server, later)]

    record_testsuite_property("cancel points", len(points))
    assert scene.least <= len(points)


def test_the_sweep_is_wide() -> None:
    """So many points are there at least, as each scene has its own; it cannot shrink unseen."""
    assert 500 <= sum(scene.least for scene in SCENES.values())


# --- Over real sockets ---------------------------------------------------------------------------


async def script(peer: RealPeer) -> None:
    """A server that answers queries, and sends three numbers, of which there are more."""
    await peer.ack()
    while True:
        message = await peer.receive()
        if message["type"] != "subscribe":
            continue
        is_query = "Get" in message["payload"]["query"]
        for number in (1,) if is_query else (1, 2, 3):
            data = {"get" if is_query else "n": number}
            await peer.send({"type": "next", "id": message["id"], "payload": {"data": data}})
        if is_query:
            await peer.send({"type": "complete", "id": message["id"]})


@dataclass
class RealWorld:
    transport: WebsocketsTransport
    lasting: ReconnectingTransport
    session: AsyncClientSession
    events: Subscription[Any] | None = None


async def really_connect(world: RealWorld) -> None:
    await world.lasting.connect()


async def really_execute(world: RealWorld) -> None:
    assert {"get": 1} == await world.session.execute(QUERY)


async def really_subscribe(world: RealWorld) -> None:
    async with world.session.subscribe(NUMBERS) as events:
        for number in (1, 2, 3):
            assert {"n": number} == await anext(events)


async def really_reconnect(world: RealWorld) -> None:
    await world.session.reconnect()


async def really_close(world: RealWorld) -> None:
    await world.lasting.close()


async def really_use(world: RealWorld) -> None:
    async with gqlwire.connect(world.transport.url) as session:
        assert {"get": 1} == await session.execute(QUERY)


REAL: dict[str, tuple[Callable[[RealWorld], Awaitable[None]], bool, int]] = {
    "connect": (really_connect, False, 30),
    "execute": (really_execute, True, 5),
    "subscribe": (really_subscribe, True, 5),
    "reconnect": (really_reconnect, True, 40),
    "close": (really_close, True, 10),
    "enter, use and leave": (really_use, False, 45),
}


async def real_trial(
    act: Callable[[RealWorld], Awaitable[None]], steps: list[int], *, is_connected: bool
) -> tuple[bool, int]:
    loop: Any = asyncio.get_running_loop()
    async with fake(script) as server:
        transport = WebsocketsTransport(server.url, close_timeout=2)
        lasting = ReconnectingTransport(transport, ReconnectOptions(RetryPolicy(first_delay=0)))
        world = RealWorld(transport, lasting, AsyncClientSession(transport, Settings(), lasting))
        if is_connected:
            await lasting.connect()
        task: asyncio.Task[Any] = asyncio.ensure_future(act(world))
        wanted: list[bool] = []
        loop.steps.plan(steps, lambda: wanted.append(task.cancel()))
        async with asyncio.timeout(BOUND):
            await asyncio.wait([task])
            taken = loop.steps.taken
            loop.steps.plan([], lambda: None)
            assert any(wanted) is task.cancelled()
            if not task.cancelled():
                task.result()
            if not lasting.is_alive:
                await lasting.connect()
            # The answer comes after all that was said before it.
            assert {"get": 1} == await world.session.execute(QUERY)
            check_real_stops(server)
            await lasting.close()
            for peer in server.peers:
                await peer.closed()  # by us, and before the server would
    return task.cancelled(), taken


def check_real_stops(server: Fake) -> None:
    """On the connection that is open, what was started and not ended was stopped once."""
    for peer in server.peers:
        stops = [said["id"] for said in peer.received if said["type"] == "complete"]
        numbers = [
            said["id"]
            for said in peer.received
            if said["type"] == "subscribe" and "Numbers" in said["payload"]["query"]
        ]
        assert len(stops) == len({*stops})
        if peer is server.peers[-1]:
            assert {*numbers} <= {*stops}


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("act", "is_connected", "least"), REAL.values(), ids=REAL)
def test_every_action_can_be_cancelled_at_each_step_over_a_socket(
    act: Callable[[RealWorld], Awaitable[None]],
    is_connected: bool,
    least: int,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """The same with a server and a network between: nothing hangs, and no socket is left."""
    points = 0
    for step in itertools.count(1):
        before = _open_sockets()
        try:
            with asyncio.Runner(loop_factory=Stepped) as runner:
                was_cancelled, taken = runner.run(checked(act, step, is_connected=is_connected))
        except BaseException as fault:
            fault.add_note(f"when it was cancelled at the step {step}")
            raise
        assert before == _open_sockets()
        points += was_cancelled
        if taken <= step and not was_cancelled:
            break

    record_testsuite_property("cancel points", points)
    assert least <= points


async def checked(
    act: Callable[[RealWorld], Awaitable[None]], step: int, *, is_connected: bool
) -> tuple[bool, int]:
    loop: Any = asyncio.get_running_loop()
    found = await real_trial(act, [step], is_connected=is_connected)
    assert set() == asyncio.all_tasks() - {asyncio.current_task()}
    assert [] == await _pending_timers()
    assert [] == loop.faults
    return found
