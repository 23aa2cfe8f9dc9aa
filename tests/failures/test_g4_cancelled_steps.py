"""A cancelled step, or a time limit around it, ended its subscription without a word, and one step
of a merger ended all of its subscriptions. A step can be cancelled at any moment and taken again:
no event is lost, none comes twice, and the operation is started once."""

from __future__ import annotations

import asyncio
import itertools
import sys
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gqlwire
from doubles import pass_time, settle
from gqlwire import AsyncClientSession, RetryPolicy, Subscription
from gqlwire.errors import TransportError
from servers.fake import Peer as RealPeer
from servers.fake import fake
from spelling import NEWER, OLDER, Spelling
from stepped import Stepped, SteppedOnVirtualTime
from support import BOUND
from virtual_server import (
    TICKS,
    Kept,
    Peer,
    VirtualServer,
    assert_nothing_is_left,
    begun,
    hangs_up,
    keeping,
    kept,
    slowly,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

FROM = "subscription From($after: Int) { n(after: $after) }"
LAST = 8
Step = Callable[[], Coroutine[Any, Any, Any]]

FACTORIES = {"default": None}
if sys.version_info >= (3, 12):
    FACTORIES["eager"] = asyncio.eager_task_factory

either = pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)

# --- A server that counts ------------------------------------------------------------------------


@dataclass
class Counting:
    """Sends the numbers after the cursor in bursts, then completes.

    After each number in `losses` it hangs up, once; each in `odd` has errors beside it, or another
    key. `refusals`: how many operations of later connections it refuses.
    """

    losses: tuple[int, ...] = ()
    odd: tuple[int, ...] = ()
    refusals: int = 0
    lost: set[int] = field(default_factory=set)

    def __call__(self, peer: Peer, id: str, request: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        if self.lost and self.refusals:
            self.refusals -= 1
            loop.call_soon(peer.refuse, "not yet", id)
            return
        number = (request.get("variables") or {}).get("after", 0)
        bursts = []
        for size in itertools.cycle([1, 2, 1, 3]):
            bursts.append([*range(number + 1, min(number + size, LAST) + 1)])
            number += size
            if number >= LAST:
                break
        loop.call_soon(self.tell, peer, id, bursts)

    def tell(self, peer: Peer, id: str, bursts: list[list[int]]) -> None:
        if id not in peer.live or not peer.is_open:
            return
        said = []
        for number in bursts[0]:
            said.append(self.event(peer, id, number))
            if number in self.losses and number not in self.lost:
                self.lost.add(number)
                peer.say(*said)
                peer.hang_up(1012)
                return
        peer.say(*said, *([] if bursts[1:] else [{"type": "complete", "id": id}]))
        if bursts[1:]:
            # Some follow each other immediately, others after a while.
            delay = 0.1 if len(bursts) % 2 else 0
            asyncio.get_running_loop().call_later(delay, self.tell, peer, id, bursts[1:])

    def event(self, peer: Peer, id: str, number: int) -> dict[str, Any] | bytes:
        event = peer.result({"data": {"n": number}}, id)
        if number in self.odd:
            # The fast path does not read these, and only the connection that brought it can.
            return b'{"type":"%s","id":"%s","payload":{"data":{"n":%d}},"more":[1]}' % (
                peer.spelling.result.encode(),
                id.encode(),
                number,
            )
        return event


def after(last: Any, given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "after": last["n"]}


# --- Scenes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """What is consumed, and how the server and the connection behave meanwhile."""

    count: int = 1
    kind: str = "single"
    losses: tuple[int, ...] = ()
    odd: tuple[int, ...] = ()
    refusals: int = 0
    is_down: bool = False
    is_clogged: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    is_saved: bool = False
    spelling: Spelling = NEWER
    ends: tuple[Any, ...] = ()

    @property
    def expected(self) -> list[Any]:
        last = LAST if not self.ends else self.losses[0]
        return [*range(1, last + 1), *self.ends]


RESUMED: dict[str, Any] = {"resume": after}
SCENES = {
    "single": Scene(),
    "single, Apollo": Scene(spelling=OLDER, losses=(2, 5), options=RESUMED),
    "single, lost": Scene(losses=(3,), options=RESUMED),
    "single, lost often": Scene(losses=(1, 2, 4, 8), options=RESUMED),
    "single, odd and lost": Scene(losses=(1, 2, 4), odd=(1, 2, 3, 4), options=RESUMED),
    "single, refused": Scene(losses=(3,), refusals=2, options=RESUMED),
    "single, with a key": Scene(losses=(3, 4), options={"key": lambda event: event["n"]}),
    "single, fails": Scene(losses=(4,), options={"survive": False}, ends=("ConnectionClosed",)),
    "single, connecting": Scene(is_down=True),
    "single, clogged": Scene(is_clogged=True),
    "batches": Scene(kind="batches"),
    "batches, lost": Scene(kind="batches", losses=(3, 7), odd=(2, 3), options=RESUMED),
    "merged": Scene(3, "merged"),
    "merged, lost": Scene(3, "merged", losses=(2, 3, 6), odd=(3, 4), options=RESUMED),
    "merged, connecting": Scene(3, "merged", is_down=True),
    "merged, clogged": Scene(3, "merged", is_clogged=True),
    "saved": Scene(losses=(3,), options=RESUMED, is_saved=True),
    "saved, clogged": Scene(is_clogged=True, options=RESUMED, is_saved=True),
    "saved, fails": Scene(
        losses=(4,),
        options={"survive": False, "checkpoint_every": 3, **RESUMED},
        ends=("ConnectionClosed",),
        is_saved=True,
    ),
    "saved, in batches": Scene(1, "batches", (3, 7), options=RESUMED, is_saved=True),
    "saved, merged": Scene(3, "merged", (2, 3, 6), options=RESUMED, is_saved=True),
    "merged, fails": Scene(
        1, "merged", losses=(4,), options={"survive": False}, ends=("ConnectionClosed",)
    ),
}

STEPS: dict[str, Callable[[Any], Coroutine[Any, Any, Any]]] = {
    "anext": lambda events: _next(events),
    "next": lambda events: events.next(),
    "next with a limit": lambda events: events.next(timeout=10_000),
    "wait_for": lambda events: _wait_for(events),
    "timeout": lambda events: _within_a_scope(events),
}


async def _next(events: Any) -> Any:
    return await anext(events)


async def _wait_for(events: Any) -> Any:
    return await asyncio.wait_for(anext(events), 10_000)


async def _within_a_scope(events: Any) -> Any:
    async with asyncio.timeout(10_000):
        return await anext(events)


@dataclass
class Run:
    """One run of a scene: the current step, and what the steps have brought."""

    session: AsyncClientSession
    scene: Scene
    subscriptions: list[Subscription[Any]]
    told: dict[int, list[Any]]
    current: asyncio.Future[Any] | None = None
    cancelled: int = 0

    @property
    def consumed(self) -> Any:
        match self.scene.kind:
            case "single":
                return self.subscriptions[0]
            case "batches":
                return self.subscriptions[0].batches(3)
            case _:
                return gqlwire.merge(self.subscriptions)

    def note(self, consumed: Any, value: Any) -> None:
        if isinstance(value, TransportError):
            place = 0 if self.scene.kind != "merged" else self.place(consumed.current)
            self.told[place].append(type(value).__name__)
        elif isinstance(value, tuple):
            self.told[self.place(value[0])].append(value[1]["n"])
        else:
            events = value if isinstance(value, list) else [value]
            self.told[0] += [event["n"] for event in events]

    def place(self, subscription: Any) -> int:
        return self.subscriptions.index(subscription)

    def cancel(self) -> None:
        if self.current is not None and not self.current.done():
            self.current.cancel()

    async def consume(self, step: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        """Take steps to the end, each in a task of its own."""
        consumed = self.consumed
        while True:
            self.current = task = asyncio.get_running_loop().create_task(step(consumed))
            await asyncio.wait([task])
            if task.cancelled():
                self.cancelled += 1
                continue
            try:
                self.note(consumed, task.result())
            except StopAsyncIteration:
                return
            except TransportError as failure:
                self.note(consumed, failure)


class SlowCheckpoint:
    """Takes a while, and is empty at the beginning."""

    def __init__(self) -> None:
        self.saved: list[bytes] = []

    async def load(self) -> bytes | None:
        await asyncio.sleep(0.01)
        return None

    async def save(self, event: bytes) -> None:
        await asyncio.sleep(0.01)
        self.saved.append(event)


@asynccontextmanager
async def staged(scene: Scene, server: VirtualServer) -> AsyncIterator[Run]:
    policy = RetryPolicy(first_delay=0.5, growth=1, initial=True)
    it: Kept = keeping(server, policy, spelling=scene.spelling)
    server.on_start = Counting(scene.losses, scene.odd, scene.refusals)
    await it.lasting.connect()
    if scene.is_down:
        server.will(hangs_up(1012), slowly(0.2))
        server.peer.hang_up(1012)
    if scene.is_clogged:
        connection = server.peer.connection
        connection.writable(False)
        asyncio.get_running_loop().call_later(0.5, connection.writable, True)
    checkpoints = [SlowCheckpoint() for _ in range(scene.count)] if scene.is_saved else []
    saving: Any = [{"checkpoint": each} for each in checkpoints] or [{}] * scene.count
    subscriptions = [
        it.session.subscribe(FROM, variable_values={"after": 0}, **scene.options, **saving[n])
        for n in range(scene.count)
    ]
    yield Run(it.session, scene, subscriptions, {n: [] for n in range(scene.count)})
    last = [each for each in scene.expected if isinstance(each, int)][-1]
    assert all(each.saved[-1] == b'{"data":{"n":%d}}' % last for each in checkpoints)
    await it.lasting.close()


async def trial(
    scene: Scene,
    server: VirtualServer,
    steps: list[int],
    step: Callable[[Any], Coroutine[Any, Any, Any]] = _next,
) -> tuple[int, int]:
    """Consume all, cancelled at these steps; how often it was, and how many steps it took."""
    loop: Any = asyncio.get_running_loop()
    async with staged(scene, server) as run:
        loop.steps.plan(steps, run.cancel)
        await asyncio.create_task(run.consume(step))
        taken = loop.steps.taken
        loop.steps.plan([], lambda: None)
        assert run.told == dict.fromkeys(range(scene.count), scene.expected)
        check(server, run)
    await pass_time(8)
    assert_nothing_is_left()
    assert [] == loop.faults
    return run.cancelled, taken


def check(server: VirtualServer, run: Run) -> None:
    """Each operation was started once on each connection, and none was stopped."""
    for peer in server.peers:
        assert [] == peer.stopped
        assert len(peer.started) <= run.scene.count + run.scene.refusals
    if not run.scene.losses:
        assert run.scene.count == sum(len(peer.started) for peer in server.peers)
    if "key" not in run.scene.options:
        assert {len([each for each in run.scene.expected if isinstance(each, int)])} == {
            each.delivered for each in run.subscriptions
        }


def run_trial(factory: Any, coroutine: Coroutine[Any, Any, tuple[int, int]]) -> tuple[int, int]:
    with asyncio.Runner(loop_factory=SteppedOnVirtualTime) as runner:
        runner.get_loop().set_task_factory(factory)
        return runner.run(coroutine)


def sweep(scene: Scene, factory: Any, step: Callable[[Any], Any], stride: int) -> int:
    """Cancel at each step of the loop, the first alone, or each one of some distance."""
    points = 0
    for first in itertools.count(1):
        steps = [first] if not stride else [*range(first, 10_000, stride)]
        if stride and first > stride:
            return points
        try:
            cancelled, taken = run_trial(factory, trial(scene, VirtualServer(), steps, step))
        except BaseException as fault:
            fault.add_note(f"when it was cancelled at the steps {steps[:3]}")
            raise
        points += cancelled
        if taken < first:
            return points
    raise AssertionError


@pytest.mark.sampled(3)
@either
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_g4_a_step_can_be_cancelled_at_each_moment(scene: Scene, factory: Any) -> None:
    """Once, before each callback of the loop: between any two things that happen."""
    assert 3 <= sweep(scene, factory, _next, stride=0)


@pytest.mark.sampled(3)
@either
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_g4_kind_steps_can_be_cancelled_again_and_again(scene: Scene, factory: Any) -> None:
    """At every fifth callback, from each of the first five on."""
    assert 3 <= sweep(scene, factory, _next, stride=5)


@pytest.mark.sampled(4)
@either
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("kind", ["single", "batches", "merged"])
def test_g4_kind_however_a_step_is_taken(kind: str, step: Step, factory: Any) -> None:
    """With each form of a time limit as well."""
    scene = Scene(1, kind, losses=(3,), options=RESUMED)
    assert 5 <= sweep(scene, factory, step, stride=0)


@settings(max_examples=40, deadline=None)
@given(
    scene=st.sampled_from([*SCENES.values()]),
    step=st.sampled_from([*STEPS.values()]),
    steps=st.lists(st.integers(1, 150), max_size=30),
    factory=st.sampled_from([*FACTORIES.values()]),
)
def test_g4_kind_any_course_of_cancellations(
    scene: Scene, step: Callable[[Any], Any], steps: list[int], factory: Any
) -> None:
    """No event is lost, and none comes twice."""
    run_trial(factory, trial(scene, VirtualServer(), steps, step))


# --- Without a task ------------------------------------------------------------------------------


class Driver:
    """Drives coroutines by hand, and breaks off at the n-th resumption: by `throw` or `close`."""

    def __init__(self, at: int, how: str) -> None:
        self.count = 0
        self._at = at
        self._how = how

    @types.coroutine
    def drive(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        while True:
            self.count += 1
            try:
                if self.count != self._at:
                    awaited = coroutine.send(None)
                elif self._how == "throw":
                    awaited = coroutine.throw(asyncio.CancelledError())
                else:
                    coroutine.close()
                    raise asyncio.CancelledError
            except StopIteration as done:
                return done.value
            yield awaited


async def drive_to_the_end(scene: Scene, server: VirtualServer, driver: Driver) -> None:
    async with staged(scene, server) as run:
        consumed = run.consumed
        while True:
            try:
                run.note(consumed, await driver.drive(anext(consumed)))
            except StopAsyncIteration:
                break
            except TransportError as failure:
                run.note(consumed, failure)
            except asyncio.CancelledError:
                run.cancelled += 1
        assert run.told == dict.fromkeys(range(scene.count), scene.expected)
        check(server, run)
    await pass_time(8)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("how", ["throw", "close"])
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_g4_kind_a_coroutine_can_be_broken_off_at_each_resumption(scene: Scene, how: str) -> None:
    """The driver does not touch the future that the step waits for, as a task would."""
    for at in itertools.count(1):
        driver = Driver(at, how)
        with asyncio.Runner(loop_factory=SteppedOnVirtualTime) as runner:
            try:
                runner.run(drive_to_the_end(scene, VirtualServer(), driver))
            except BaseException as fault:
                fault.add_note(f"when it was broken off at the resumption {at}")
                raise
        if driver.count < at:
            break
    assert 5 <= at


# --- Over a socket -------------------------------------------------------------------------------


def counting(spelling: Spelling) -> Callable[[RealPeer], Awaitable[None]]:
    """Sends the numbers after the cursor. The first connection ends after half of them."""
    connections = itertools.count(1)

    async def run(peer: RealPeer) -> None:
        half = LAST // 2 if next(connections) == 1 else None
        await peer.ack()
        while True:
            message = await peer.receive()
            if message["type"] != spelling.start:
                continue
            id = message["id"]
            first = message["payload"]["variables"]["after"] + 1
            for number in range(first, (half or LAST) + 1):
                event = {"data": {"n": number}}
                await peer.send({"type": spelling.result, "id": id, "payload": event})
            if half:
                await peer.close(1012)
                return
            await peer.send({"type": "complete", "id": id})

    return run


async def real_trial(scene: Scene, protocol: str, steps: list[int]) -> tuple[int, int]:
    loop: Any = asyncio.get_running_loop()
    policy = RetryPolicy(first_delay=0)
    async with (
        fake(counting(scene.spelling), subprotocols=(protocol,)) as server,
        gqlwire.connect(server.url, retry=policy, proxy=None) as session,
    ):
        events = [
            session.subscribe(FROM, variable_values={"after": 0}, **scene.options)
            for _ in range(scene.count)
        ]
        run = Run(session, scene, events, {n: [] for n in range(scene.count)})
        loop.steps.plan(steps, run.cancel)
        async with asyncio.timeout(BOUND):
            await asyncio.create_task(run.consume(_next))
        taken = loop.steps.taken
        loop.steps.plan([], lambda: None)
        assert run.told == dict.fromkeys(range(scene.count), scene.expected)
        for peer in server.peers:
            said = [message["type"] for message in peer.received]
            assert scene.count == said.count(scene.spelling.start)
            assert said.count(scene.spelling.stop) == 0
    return run.cancelled, taken


@pytest.mark.sampled(5)
@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
@pytest.mark.parametrize("kind", ["single", "batches", "merged"])
@either
def test_g4_a_step_can_be_cancelled_at_each_moment_over_a_socket(
    protocol: str, kind: str, factory: Any
) -> None:
    """The same with a server and a network between, and a lost connection."""
    spelling = NEWER if protocol == "graphql-transport-ws" else OLDER
    scene = Scene(1, kind, losses=(LAST // 2,), options=RESUMED, spelling=spelling)
    points = 0
    for step in itertools.count(1, 2):
        with asyncio.Runner(loop_factory=Stepped) as runner:
            runner.get_loop().set_task_factory(factory)
            cancelled, taken = runner.run(real_trial(scene, protocol, [step, step + 1]))
        points += cancelled
        if taken < step:
            break
    assert 5 <= points


# --- What a cancelled step was passed, over lost connections -------------------------------------

PASSED: dict[str, bytes] = {
    "plain": b'{"type":"next","id":"%s","payload":{"data":{"n":1}}}',
    "another key": b'{"type":"next","id":"%s","payload":{"data":{"n":1}},"more":[1]}',
    "extensions": b'{"type":"next","id":"%s","payload":{"data":{"n":1},"extensions":{"a":1}}}',
    "a lone surrogate": b'{"type":"next","id":"%s","payload":{"data":{"n":1,"s":"\\ud800"}}}',
    "errors": b'{"type":"next","id":"%s","payload":{"errors":[{"message":"odd"}]}}',
    "not readable": b'{"type":"next","id":"%s","payload":{]}',
}


@pytest.mark.parametrize("merges", [False, True])
@pytest.mark.parametrize("message", PASSED.values(), ids=PASSED)
@tidily
async def test_g4_kind_what_a_cancelled_step_was_passed_outlives_connections(
    server: VirtualServer, message: bytes, merges: bool
) -> None:
    """Whoever takes it later, and though only its own connection could read it."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        taking: Any = gqlwire.merge([events]) if merges else events
        step = await begun(anext(taking))
        server.peer.say(message % (events.id or "").encode())
        server.peer.hang_up()
        step.cancel()
        await asyncio.wait([step])
        for number in (2, 4):
            await it.lasting.ready()
            await settle()
            server.peer.tell(number, number + 1)
            await pass_time(100)  # else it might be to blame for the end of its connection
            server.peer.hang_up(1012)
        await it.lasting.ready()
        await settle()
        server.peer.complete()

        told: list[Any] = []
        while True:
            try:
                event = await anext(taking)
                told.append((event[1] if merges else event)["n"])
            except StopAsyncIteration:
                break
            except TransportError as failure:
                told.append(failure)
        assert [2, 3, 4, 5] == told[-4:]
        if b"{]" not in message:
            [first] = told[:-4]
            assert first == 1 or "odd" in str(first)


# --- The changes of a state ----------------------------------------------------------------------


@either
def test_g4_kind_states_lose_no_change(factory: Any) -> None:
    """A step of `session.states()` can be cancelled at each moment."""

    async def states(steps: list[int]) -> tuple[int, int]:
        loop: Any = asyncio.get_running_loop()
        server = VirtualServer()
        async with kept(server, RetryPolicy(first_delay=0.5, growth=1)) as it:
            changes = it.session.states()
            run = Run(it.session, Scene(), [], {})
            server.will(hangs_up(1012))
            server.peer.hang_up()
            loop.steps.plan(steps, run.cancel)
            told: list[Any] = []
            while told[-1:] != ["open"]:
                run.current = task = loop.create_task(_next(changes))
                await asyncio.wait([task])
                if task.cancelled():
                    run.cancelled += 1
                else:
                    told.append(str(task.result().state))
            taken = loop.steps.taken
            loop.steps.plan([], lambda: None)
        expected.append(told)
        return run.cancelled, taken

    expected: list[Any] = []
    for step in itertools.count(1):
        _, taken = run_trial(factory, states([step, step + 2]))
        if taken < step:
            break
    assert 5 <= step
    assert all(told == expected[-1] for told in expected)
