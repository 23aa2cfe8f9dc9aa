"""A time limit and the cancellation of a task look the same to a step, and both ended its
subscription. A time limit ends nothing; a task that is cancelled lets go of its subscription, and
the server is told once, without the garbage collector."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import gqlwire
from doubles import pass_time, settle
from gqlwire import AsyncClientSession, Subscription
from gqlwire.errors import OperationTimeout
from servers.fake import Peer as RealPeer
from servers.fake import fake
from spelling import NEWER, OLDER, Spelling, both
from support import BOUND
from virtual_server import (
    HOST,
    TICKS,
    Kept,
    Peer,
    VirtualServer,
    begun,
    kept,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    """References decide, and no cycle delays them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# --- A task that is cancelled --------------------------------------------------------------------


@dataclass
class Scene:
    """`outside` holds a subscription as well. `processed` are the events, `paused` stops there."""

    session: AsyncClientSession
    outside: Subscription[Any]
    taken: list[Any] = field(default_factory=list)
    pause: float = 0.0

    async def process(self, event: Any) -> None:
        self.taken.append(event)
        await asyncio.sleep(self.pause)


Consume = Callable[[Scene], Awaitable[None]]


async def a_temporary_one(scene: Scene) -> None:
    async for event in scene.session.subscribe(TICKS):
        await scene.process(event)


async def a_local_one(scene: Scene) -> None:
    events = scene.session.subscribe(TICKS)
    async for event in events:
        await scene.process(event)


async def one_from_outside(scene: Scene) -> None:
    async for event in scene.outside:
        await scene.process(event)


async def with_resume(scene: Scene) -> None:
    events = scene.session.subscribe(TICKS, resume=lambda _, given: given)
    async for event in events:
        await scene.process(event)


async def a_local_one_by_hand(scene: Scene) -> None:
    events = scene.session.subscribe(TICKS)
    while True:
        await scene.process(await anext(events))


async def a_local_one_with_limits(scene: Scene) -> None:
    events = scene.session.subscribe(TICKS)
    while True:
        with contextlib.suppress(OperationTimeout):
            await scene.process(await events.next(timeout=1))


async def in_a_context(scene: Scene) -> None:
    async with scene.session.subscribe(TICKS) as events:
        while True:
            await scene.process(await anext(events))


async def lists(scene: Scene) -> None:
    async for batch in scene.session.subscribe(TICKS).batches():
        await scene.process(batch)


async def lists_from_outside(scene: Scene) -> None:
    async for batch in scene.outside.batches():
        await scene.process(batch)


async def lists_by_hand(scene: Scene) -> None:
    batches = scene.session.subscribe(TICKS).batches()
    while True:
        with contextlib.suppress(OperationTimeout):
            await scene.process(await batches.next(timeout=1))


async def merged(scene: Scene) -> None:
    async for _, event in gqlwire.merge([scene.session.subscribe(TICKS)]):
        await scene.process(event)


async def merged_from_outside(scene: Scene) -> None:
    async for _, event in gqlwire.merge([scene.outside]):
        await scene.process(event)


async def merged_by_hand(scene: Scene) -> None:
    merged = gqlwire.merge([scene.session.subscribe(TICKS)])
    while True:
        with contextlib.suppress(OperationTimeout):
            await scene.process((await merged.next(timeout=1))[1])


async def generated(events: Subscription[Any]) -> AsyncIterator[Any]:
    async for event in events:
        yield event


async def by_a_generator(scene: Scene) -> None:
    async for event in generated(scene.session.subscribe(TICKS)):
        await scene.process(event)


async def by_a_generator_from_outside(scene: Scene) -> None:
    async for event in generated(scene.outside):
        await scene.process(event)


async def swallowing(scene: Scene) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        async for event in scene.outside:
            await scene.process(event)


async def in_a_group(scene: Scene) -> None:
    async def fail() -> None:
        await asyncio.sleep(10)
        raise ZeroDivisionError

    async with asyncio.TaskGroup() as tasks:
        scene.kept = tasks.create_task(one_from_outside(scene))  # type: ignore[attr-defined]
        tasks.create_task(fail())


CONSUMERS: list[Consume] = [
    a_temporary_one,
    a_local_one,
    one_from_outside,
    with_resume,
    a_local_one_by_hand,
    a_local_one_with_limits,
    in_a_context,
    lists,
    lists_from_outside,
    lists_by_hand,
    merged,
    merged_from_outside,
    merged_by_hand,
    by_a_generator,
    by_a_generator_from_outside,
    swallowing,
]

every_consumer = pytest.mark.parametrize("consume", CONSUMERS, ids=lambda each: each.__name__)


async def consuming(it: Kept, peer: Peer, consume: Consume, pause: float) -> asyncio.Task[None]:
    """A task that has taken an event, and waits for the next one, or processes the first."""
    scene = Scene(it.session, it.session.subscribe(TICKS), pause=pause)
    keep.append(scene.outside)
    task = await begun(consume(scene))  # type: ignore[arg-type]
    peer.tell(0)
    await settle()
    assert 1 == len(scene.taken)
    return task


keep: list[Any] = []
"""What is held outside for the time of a test."""


@pytest.mark.sampled(3)
@pytest.mark.parametrize("moment", ["in a step", "in the body"])
@every_consumer
@both
@tidily
async def test_g4_a_cancelled_task_lets_go_of_its_subscription(
    server: VirtualServer, spelling: Spelling, consume: Consume, moment: str
) -> None:
    """Whoever holds the task or the subscription, and though nobody asks for the exception."""
    keep.clear()
    async with kept(server, spelling=spelling) as it:
        peer = server.peer
        pause = 3_600 if moment == "in the body" else 0
        task = await consuming(it, peer, consume, pause)
        if not pause:
            await pass_time(2.5)  # some limits of single steps have expired
        assert [] == peer.stopped

        task.cancel()
        await settle()

        assert task.done()
        assert peer.started == peer.stopped
        keep.clear()
        del task
        await pass_time(5)
        assert peer.started == peer.stopped


@tidily
async def test_g4_kind_a_task_group_whose_sibling_fails_lets_go(server: VirtualServer) -> None:
    """It cancels the others, which are held here."""
    keep.clear()
    async with kept(server) as it:
        task = await consuming(it, server.peer, in_a_group, 0)
        await pass_time(20)

        assert isinstance(task.exception(), ExceptionGroup)
        assert server.peer.started == server.peer.stopped
        keep.clear()


@pytest.mark.parametrize("pause", [0, 3_600])
@tidily
async def test_g4_kind_a_step_by_hand_leaves_it_to_who_holds_it(
    server: VirtualServer, pause: float
) -> None:
    """The task neither made it nor iterates over it; another one can continue."""

    async def consume(scene: Scene) -> None:
        while True:
            await scene.process(await anext(scene.outside))

    keep.clear()
    async with kept(server) as it:
        task = await consuming(it, server.peer, consume, pause)
        task.cancel()
        await settle()
        del task
        await settle()

        assert [] == server.peer.stopped
        server.peer.tell(1)
        assert {"n": 1} == await anext(keep[0])
        keep.clear()
        await settle()
        assert server.peer.started == server.peer.stopped


@tidily
async def test_g4_a_merger_takes_over_what_is_added(server: VirtualServer) -> None:
    """The task that made a subscription is not its task any more."""
    async with kept(server) as it:
        merged: Any = gqlwire.merge([])

        async def add() -> None:
            merged.add(it.session.subscribe(TICKS))
            await asyncio.sleep(3_600)

        async def consume() -> None:
            async for _, event in merged:
                taken.append(event)

        taken: list[Any] = []
        adding = await begun(add())
        consuming = await begun(consume())
        adding.cancel()
        await settle()

        server.peer.tell(1)
        await settle()
        assert ([{"n": 1}], []) == (taken, server.peer.stopped)
        consuming.cancel()
        await settle()
        assert server.peer.started == server.peer.stopped


@tidily
async def test_g4_kind_the_last_task_that_iterates_has_it(server: VirtualServer) -> None:
    """One that did before, and is cancelled later, does not end it."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)

        async def first() -> None:
            async for _ in events:
                break
            await asyncio.sleep(3_600)

        async def second() -> None:
            async for event in events:
                await asyncio.sleep(0)
                taken.append(event)

        taken: list[Any] = []
        one = await begun(first())
        server.peer.tell(1)
        await settle()
        two = await begun(second())
        one.cancel()
        await settle()
        server.peer.tell(2)
        await settle()

        assert ([{"n": 2}], []) == (taken, server.peer.stopped)
        two.cancel()
        await settle()
        assert server.peer.started == server.peer.stopped


@tidily
async def test_g4_kind_a_task_that_consumes_many_in_turn_does_not_grow(
    server: VirtualServer,
) -> None:
    """Nor does its end take anything with it that is not its own any more."""
    from gqlwire._operations import consumed

    async with kept(server) as it:

        async def consume() -> None:
            for _ in range(500):
                events = it.session.subscribe(TICKS)
                asyncio.get_running_loop().call_soon(server.peer.tell, 1)
                async for _ in events:
                    break
                del events
                await settle()

        task = await begun(consume())
        await asyncio.wait([task])
        task.result()

        assert 500 == len(server.peer.stopped)
        assert task not in consumed._things
        [*lists] = consumed._things.values()
        assert all(len(each) <= 2 * 64 for each in lists)


# --- What is left without a cancelled task -------------------------------------------------------


@tidily
async def test_g4_kind_a_time_limit_of_a_whole_loop_lets_go(server: VirtualServer) -> None:
    """The loop is left, and the task goes on; nothing holds the subscription."""
    async with kept(server) as it:
        for consume in (a_temporary_one, lists, merged, with_resume, by_a_generator):
            scene = Scene(it.session, it.session.subscribe(TICKS))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await consume(scene)
            await settle()
            assert server.peer.started == server.peer.stopped, consume


@tidily
async def test_g4_kind_after_a_time_limit_the_loop_can_continue(server: VirtualServer) -> None:
    """Where something holds the subscription; and its task has it still."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)

        async def consume() -> None:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        async for event in events:
                            taken.append(event["n"])  # noqa: PERF401  # it may be cancelled

        taken: list[int] = []
        task = await begun(consume())
        for number in range(5):
            await pass_time(1.5)
            server.peer.tell(number)
        await settle()
        assert ([0, 1, 2, 3, 4], []) == (taken, server.peer.stopped)

        task.cancel()
        await settle()
        assert [events.id] == server.peer.stopped


LIMITED: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "wait_for": lambda events: asyncio.wait_for(anext(events), 1),
    "next": lambda events: events.next(timeout=1),
    "next at once": lambda events: events.next(0),
    "a task": lambda events: _in_a_task(events),
}


async def _in_a_task(events: Any) -> Any:
    """One of several things that are waited for, of which the others are cancelled."""
    step = asyncio.ensure_future(anext(events))
    done, _ = await asyncio.wait([step], timeout=1)
    if not done:
        step.cancel()
        await asyncio.wait([step])
        raise TimeoutError
    return step.result()


@pytest.mark.sampled(5)
@pytest.mark.parametrize("limited", LIMITED.values(), ids=LIMITED)
@pytest.mark.parametrize("kind", ["single", "batches", "merged"])
@both
@tidily
async def test_g4_single_steps_with_a_time_limit_in_a_loop(
    server: VirtualServer,
    spelling: Spelling,
    kind: str,
    limited: Callable[[Any], Awaitable[Any]],
) -> None:
    """Each that is over ends nothing, and no event is lost."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        steps: Any = {
            "single": lambda: events,
            "batches": events.batches,
            "merged": lambda: gqlwire.merge([events]),
        }[kind]()
        taken: list[Any] = []
        timeouts = 0
        sending = await begun(_send(server, range(20)))
        while len(taken) < 20:
            try:
                value = await limited(steps)
            except TimeoutError:
                timeouts += 1
                await pass_time(0.1)
            else:
                value = value[1] if kind == "merged" else value
                taken += value if kind == "batches" else [value]

        await sending
        assert [{"n": number} for number in range(20)] == taken
        assert timeouts >= 20
        assert ([events.id], []) == (server.peer.started, server.peer.stopped)
        await events.aclose()
        assert [events.id] == server.peer.stopped


async def _send(server: VirtualServer, numbers: Any) -> None:
    for number in numbers:
        await pass_time(2.37)
        server.peer.tell(number)


@tidily
async def test_g4_a_step_in_time_limit_raises_what_to_do(server: VirtualServer) -> None:
    """With the server, and the limit; and it is no TimeoutError of anything else."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        other: Subscription[Any] = it.session.subscribe(TICKS)
        for steps in (events, events.batches(), gqlwire.merge([other])):
            with pytest.raises(OperationTimeout) as told:
                await steps.next(timeout=2.5)

            text = (
                f"{HOST} sent no event within 2.5 seconds (timeout of next()); the subscription "
                "continues: take the next step, or end it with aclose()"
            )
            assert (text, 2.5, HOST) == (str(told.value), told.value.limit, told.value.host)
            assert told.value.__context__ is None
        for wrong in (float("nan"),):
            with pytest.raises(ValueError, match="timeout must be a number of seconds or None"):
                events.next(wrong)
        await events.aclose()
        await other.aclose()


@pytest.mark.parametrize("kind", ["single", "batches", "merged"])
@tidily
async def test_g4_a_step_with_a_limit_takes_what_is_there(server: VirtualServer, kind: str) -> None:
    """Without waiting, also with no time; and the end and a failure as any step does."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        steps: Any = {
            "single": lambda: events,
            "batches": lambda: events.batches(1),
            "merged": lambda: gqlwire.merge([events]),
        }[kind]()
        with pytest.raises(OperationTimeout):
            await steps.next(timeout=0)
        server.peer.tell(1, 2, 3, 4)
        for timeout in (0, -1, None, float("inf")):
            await steps.next(timeout=timeout)
        server.peer.complete()
        for timeout in (0, None, 5):
            with pytest.raises(StopAsyncIteration):
                await steps.next(timeout=timeout)
        assert (4, []) == (events.delivered, server.peer.stopped)


# --- Time limits of the subscription -------------------------------------------------------------


@pytest.mark.parametrize("reconnecting", [True, False])
@tidily
async def test_g4_cancelled_steps_do_not_put_off_the_limits_of_a_subscription(
    server: VirtualServer, reconnecting: bool
) -> None:
    """What they have waited counts, and the time between them does not."""
    options: dict[str, Any] = {"ping_interval": None}
    async with server.client(reconnecting=reconnecting, **options) as session:
        events = session.subscribe(TICKS, first_event_timeout=5, idle_timeout=3)
        for _ in range(4):
            with pytest.raises(TimeoutError, match="timeout of next"):
                await events.next(timeout=1)
        server.peer.tell(1)
        assert {"n": 1} == await anext(events)
        for number in range(3):
            for _ in range(2):
                with pytest.raises(OperationTimeout, match="timeout of next"):
                    await events.next(timeout=1.2)
                await pass_time(60)
            server.peer.tell(number)
            assert {"n": number} == await anext(events)
        for _ in range(2):
            with pytest.raises(OperationTimeout, match="timeout of next"):
                await events.next(timeout=1.2)
            await pass_time(60)
        with pytest.raises(OperationTimeout, match="idle_timeout"):
            await events.next(timeout=1.2)
        with pytest.raises(StopAsyncIteration):
            await events.next(timeout=1.2)
        assert [events.id] == server.peer.stopped


@tidily
async def test_g4_the_first_event_is_limited_from_the_first_step_on(server: VirtualServer) -> None:
    """However many of them are cancelled, also while there is no connection."""
    async with kept(server) as it:
        server.otherwise = gone
        server.peer.hang_up()
        events = it.session.subscribe(TICKS, first_event_timeout=5)
        for _ in range(4):
            with pytest.raises(OperationTimeout, match="timeout of next"):
                await events.next(timeout=1.2)
        with pytest.raises(OperationTimeout, match="first_event_timeout"):
            await events.next(timeout=1.2)


def gone() -> Any:
    from virtual_server import hangs_up

    return hangs_up(1012)


# --- References ----------------------------------------------------------------------------------


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", ["single", "batches", "merged", "resumed"])
@pytest.mark.parametrize("moment", ["waiting", "starting"])
@tidily
async def test_g4_the_exception_of_a_cancelled_step_holds_nothing(
    server: VirtualServer, kind: str, moment: str
) -> None:
    """Whoever keeps it, and its traceback."""
    async with kept(server) as it:
        if moment == "starting":
            server.peer.connection.writable(False)
        events = it.session.subscribe(
            TICKS, **({"resume": lambda _, given: given} if kind == "resumed" else {})
        )
        steps: Any = events
        if kind in ("batches", "merged"):
            steps = events.batches() if kind == "batches" else gqlwire.merge([events])
        errors = [await cancelled(steps.next(timeout)) for timeout in (None, 3_600)]
        gone = [weakref.ref(events), weakref.ref(steps)]
        del steps, events
        await settle()

        assert [None, None] == [reference() for reference in gone]
        assert server.peer.started == server.peer.stopped
        assert 2 == len(errors)
        if moment == "starting":
            server.peer.connection.writable(True)


async def cancelled(step: Coroutine[Any, Any, Any]) -> asyncio.CancelledError:
    task = await begun(step)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


# --- Ctrl-C, over a socket -----------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
@pytest.mark.parametrize("consume", [one_from_outside, a_local_one_by_hand, merged_from_outside])
def test_g4_kind_an_interrupt_lets_go(protocol: str, consume: Consume) -> None:
    """`asyncio.run` cancels the main task; the server is told once, before the goodbye."""
    spelling: Spelling = NEWER if protocol == "graphql-transport-ws" else OLDER
    said: list[dict[str, Any]] = []

    async def script(peer: RealPeer) -> None:
        await peer.ack()
        start = await peer.expect(spelling.start)
        await peer.send({"type": spelling.result, "id": start["id"], "payload": {"data": {"n": 1}}})
        await peer.closed()

    async def main() -> None:
        async with fake(script, subprotocols=(protocol,)) as server:
            try:
                async with gqlwire.connect(server.url, proxy=None) as session:
                    await interrupted(session)
            finally:
                peer = await server.peer()
                await peer.closed()
                said.extend(peer.received)

    async def interrupted(session: AsyncClientSession) -> None:
        scene = Scene(session, session.subscribe(TICKS))
        task = asyncio.ensure_future(consume(scene))
        async with asyncio.timeout(BOUND):
            while not scene.taken:
                await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await task
        finally:
            await asyncio.sleep(0)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())

    starts = [each["id"] for each in said if each["type"] == spelling.start]
    stops = [each["id"] for each in said if each["type"] == spelling.stop]
    assert 1 == len(starts)
    assert starts == stops
