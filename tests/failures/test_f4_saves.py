"""A failed save left its subscription open, or was never repeated; an async `save` never ran.

Right: what was processed is saved, again after a failure, whatever ends the subscription, and
`save` may be a coroutine function.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from typing import Any

import pytest
from saving import FROM, Memory, Remote, after, client_of, numbers_of

import gqlwire
from doubles import pass_time, settle
from gqlwire import RetryPolicy
from gqlwire.errors import TransportConnectionFailed
from spelling import Spelling, both
from virtual_server import (
    VirtualServer,
    begun,
    kept,
    now,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

MEMORIES = pytest.mark.parametrize("kind", [Memory, Remote], ids=["plain", "coroutine"])


def full() -> OSError:
    return OSError("the disk is full")


def follow(session: Any, memory: Memory, **options: Any) -> Any:
    return session.subscribe(FROM, resume=after, checkpoint=memory, **options)


# --- The row -------------------------------------------------------------------------------------


@both
@MEMORIES
@tidily
async def test_f4_a_save_that_fails_at_the_end_closes_the_subscription(
    server: VirtualServer, kind: Any, spelling: Spelling
) -> None:
    """All the same; `async with` raises what `save` raised, and the server is told once."""
    memory = kind()
    async with kept(server, spelling=spelling) as it:
        events = follow(it.session, memory)
        await events.__aenter__()
        await started(events, server.peer, 1)
        memory.fault = full()
        with pytest.raises(OSError, match="full"):
            await events.__aexit__(None, None, None)

        assert events.is_over
        assert [events.id] == server.peer.stopped
        memory.fault = None
        await events.aclose()
        assert ([1], [events.id]) == (memory.numbers, server.peer.stopped)


@MEMORIES
@tidily
async def test_f4_acknowledging_again_after_a_failed_save_saves_again(
    server: VirtualServer, kind: Any
) -> None:
    """The same event, and once."""
    memory = kind()
    async with kept(server) as it:
        events = follow(it.session, memory)
        await started(events, server.peer, 1)
        memory.fault = full()
        for _ in range(2):
            with pytest.raises(OSError, match="full"):
                await events.acknowledge()
        memory.fault = None
        for _ in range(2):
            await events.acknowledge()

        assert [1] == memory.numbers
        await events.aclose()


@tidily
async def test_f4_a_coroutine_function_is_awaited(server: VirtualServer) -> None:
    """Before the loop gets the next event."""
    memory = Remote()
    async with kept(server) as it:
        events = follow(it.session, memory)
        await started(events, server.peer, 1)
        server.peer.tell(2)
        memory.gate.clear()
        step = await begun(anext(events))
        assert ([1], [], False) == (numbers_of(memory.begun), memory.numbers, step.done())
        memory.gate.set()

        assert {"n": 2} == await step
        assert [1] == memory.numbers
        await events.aclose()


@MEMORIES
@tidily
async def test_f4_a_merger_that_is_left_in_good_order_acknowledges_its_last_event(
    server: VirtualServer, kind: Any
) -> None:
    """Of the subscription that it was of; the others have no event to acknowledge."""
    memories = [kind(), kind()]
    async with kept(server) as it:
        both_of_them = [follow(it.session, memory) for memory in memories]
        async with gqlwire.merge(both_of_them) as merged:
            step = await begun(anext(merged))
            server.peer.tell(10, id=both_of_them[1].id)
            assert (both_of_them[1], {"n": 10}) == await step

        assert [[], [10]] == [memory.numbers for memory in memories]
        assert sorted(server.peer.started) == sorted(server.peer.stopped)


# --- Whatever ends it ----------------------------------------------------------------------------


async def ends_by_aclose(events: Any, server: VirtualServer) -> None:
    await events.aclose()


async def ends_by_the_server(events: Any, server: VirtualServer) -> None:
    server.peer.complete(events.id)
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def ends_by_a_failure(events: Any, server: VirtualServer) -> None:
    server.peer.hang_up(1002)
    with pytest.raises(TransportConnectionFailed):
        await anext(events)


async def ends_by_an_exception(events: Any, server: VirtualServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with events:
            raise ZeroDivisionError


async def ends_by_leaving(events: Any, server: VirtualServer) -> None:
    async with events:
        pass


async def ends_by_cancelling(events: Any, server: VirtualServer) -> None:
    async def consume() -> None:
        async with events:
            await asyncio.get_running_loop().create_future()

    task = await begun(consume())
    task.cancel()
    await asyncio.wait([task])


async def ends_in_a_merger(events: Any, server: VirtualServer) -> None:
    async with gqlwire.merge([events]) as merged:
        server.peer.complete(events.id)
        assert [] == [pair async for pair in merged]


ENDS: dict[str, tuple[Any, int]] = {
    "aclose": (ends_by_aclose, 2),
    "the server": (ends_by_the_server, 3),
    "a failure": (ends_by_a_failure, 3),
    "an exception": (ends_by_an_exception, 2),
    "leaving": (ends_by_leaving, 3),
    "cancelling": (ends_by_cancelling, 2),
    "a merger": (ends_in_a_merger, 3),
}


@MEMORIES
@pytest.mark.parametrize("name", ENDS)
@tidily
async def test_f4_kind_whatever_ends_it_what_was_processed_is_saved(
    server: VirtualServer, kind: Any, name: str
) -> None:
    """An event is not, if the program may not have dealt with it."""
    end, last = ENDS[name]
    memory = kind()
    async with kept(server, RetryPolicy(should_retry=lambda _: False)) as it:
        events = follow(it.session, memory, checkpoint_every=100)
        await started(events, server.peer, 1)
        server.peer.tell(2, 3, id=events.id)
        await anext(events)
        await anext(events)
        assert [] == memory.numbers
        await end(events, server)

        assert [last] == memory.numbers


@MEMORIES
@pytest.mark.parametrize("name", ENDS)
@tidily
async def test_f4_kind_whatever_ends_it_a_failed_save_is_seen(
    server: VirtualServer, kind: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is raised, or logged if another exception is on its way. The server is told once."""
    end, _ = ENDS[name]
    memory = kind()
    caplog.set_level(logging.ERROR, "gqlwire")
    async with kept(server, RetryPolicy(should_retry=lambda _: False)) as it:
        events = follow(it.session, memory, checkpoint_every=100)
        await started(events, server.peer, 1)
        server.peer.tell(2, id=events.id)
        await anext(events)
        memory.fault = full()
        peer = server.peer
        is_raised = False
        try:
            await end(events, server)
        except OSError as raised:
            is_raised = "full" in str(raised)
        is_logged = "an event could not be saved in its checkpoint" in caplog.text

        assert is_raised or is_logged
        assert name in ("a failure", "an exception", "cancelling") or is_raised
        assert events.is_over
        assert len(peer.stopped) == (0 if name in ("the server", "a failure", "a merger") else 1)


@tidily
async def test_f4_kind_a_failed_save_of_one_does_not_keep_a_merger_open(
    server: VirtualServer,
) -> None:
    """All end, all are saved that can be, and the failure is raised; several are a group."""
    for failing in ([1], [0, 2]):
        memories = [Remote(), Memory(), Remote()]
        async with kept(server) as it:
            all_of_them = [follow(it.session, memory, checkpoint_every=9) for memory in memories]
            merged = gqlwire.merge(all_of_them)
            step = await begun(anext(merged))
            for events in all_of_them:
                server.peer.tell(5, 6, id=events.id)
            await step
            for _ in range(5):
                await anext(merged)
            for number in failing:
                memories[number].fault = full()
            with pytest.raises((OSError, ExceptionGroup)) as caught:
                async with merged:
                    pass

            assert isinstance(caught.value, ExceptionGroup) == (len(failing) > 1)
            assert [number in failing for number in range(3)] == [not m.saved for m in memories]
            assert sorted(server.peer.started) == sorted(server.peer.stopped)


# --- Cancelling ----------------------------------------------------------------------------------


@tidily
async def test_f4_kind_a_step_that_is_cancelled_while_it_saves_loses_nothing(
    server: VirtualServer,
) -> None:
    """The save continues, and the next step waits for it: one save at a time, in order."""
    memory = Remote()
    async with kept(server) as it:
        events = follow(it.session, memory)
        await started(events, server.peer, 1)
        server.peer.tell(2, 3)
        memory.gate.clear()
        for _ in range(3):
            step = await begun(anext(events))
            step.cancel()
            await asyncio.wait([step])
            assert step.cancelled()
        assert ([1], []) == (numbers_of(memory.begun), memory.numbers)
        step = await begun(anext(events))
        assert not step.done()
        memory.gate.set()
        assert {"n": 2} == await step
        assert {"n": 3} == await anext(events)

        assert ([1, 2], 1) == (memory.numbers, memory.at_once)
        await events.aclose()


@pytest.mark.parametrize("turns", range(8))
@tidily
async def test_f4_kind_cancelling_at_any_moment_loses_nothing(
    server: VirtualServer, turns: int
) -> None:
    """Neither an event nor a save, however far the step had come."""
    memory = Remote()
    async with kept(server) as it:
        events = follow(it.session, memory)
        await started(events, server.peer, 1)
        server.peer.tell(2)
        taken = [1]
        while len(taken) < 2:
            step = asyncio.get_running_loop().create_task(anext(events))
            for _ in range(turns):
                await asyncio.sleep(0)
            step.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                taken.append((await step)["n"])
            turns += 1
        await events.acknowledge()

        assert ([1, 2], [1, 2], 1) == (taken, memory.numbers, memory.at_once)
        await events.aclose()


@pytest.mark.parametrize("turns", range(8))
@tidily
async def test_f4_kind_a_save_that_fails_as_its_step_is_cancelled_is_seen(
    server: VirtualServer, turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Raised or logged, once, in whichever order both happen; it is not raised later."""
    memory = Remote()
    async with kept(server) as it:
        events = follow(it.session, memory)
        await started(events, server.peer, 1)
        server.peer.tell(2, 3)
        memory.gate.clear()
        step = await begun(anext(events))
        memory.fault = full()
        memory.gate.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        step.cancel()
        await asyncio.wait([step])
        await settle()
        is_raised = not step.cancelled() and isinstance(step.exception(), OSError)
        is_logged = caplog.text.count("an event could not be saved in its checkpoint")
        assert 1 == is_raised + is_logged
        memory.fault = None
        assert [{"n": 2}, {"n": 3}] == [await anext(events), await anext(events)]

        assert [1, 2] == memory.numbers
        await events.aclose()


@tidily
async def test_f4_kind_a_save_that_fails_after_its_step_was_cancelled_is_logged(
    server: VirtualServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And the next step saves again."""
    memory = Remote()
    async with kept(server) as it:
        events = follow(it.session, memory)
        await started(events, server.peer, 1)
        memory.gate.clear()
        step = await begun(anext(events))
        step.cancel()
        await asyncio.wait([step])
        memory.fault = full()
        memory.gate.set()
        await settle()
        assert 1 == caplog.text.count("an event could not be saved in its checkpoint")
        memory.fault = None
        server.peer.tell(2)
        await anext(events)

        assert [1] == memory.numbers
        await events.aclose()


@tidily
async def test_f4_kind_a_subscription_that_is_dropped_while_it_saves_saves(
    server: VirtualServer,
) -> None:
    """asyncio holds tasks weakly; this one is held."""
    memory = Remote()
    async with kept(server) as it:
        events = follow(it.session, memory)
        await started(events, server.peer, 1)
        memory.gate.clear()
        events.acknowledge()
        await settle()
        del events
        await settle()
        memory.gate.set()
        await settle()

        assert [1] == memory.numbers
        assert server.peer.started == server.peer.stopped


@MEMORIES
@tidily
async def test_f4_kind_a_subscription_that_is_dropped_saves_what_was_processed(
    server: VirtualServer, kind: Any
) -> None:
    """As after a `break`; the event of the `break` is not, as nobody knows."""
    memory = kind()
    async with kept(server) as it:
        events = follow(it.session, memory, checkpoint_every=100)
        await started(events, server.peer, 1)
        server.peer.tell(2, 3)
        async for event in events:
            if event["n"] == 3:
                break
        assert [] == memory.numbers
        del events
        await settle()

        assert [2] == memory.numbers
        assert server.peer.started == server.peer.stopped


@MEMORIES
@pytest.mark.parametrize("is_merged", [False, True])
@tidily
async def test_f4_kind_a_task_that_is_cancelled_saves_what_it_has_processed(
    server: VirtualServer, kind: Any, is_merged: bool
) -> None:
    """In the background, as its subscription ends."""
    memory = kind()
    async with kept(server) as it:
        events = follow(it.session, memory, checkpoint_every=100)

        async def consume() -> None:
            async for _ in gqlwire.merge([events]) if is_merged else events:
                pass

        task = await begun(consume())
        server.peer.tell(1, 2, 3, id=events.id)
        await settle()
        assert [] == memory.numbers
        task.cancel()
        await asyncio.wait([task])
        await settle()

        assert [3] == memory.numbers
        assert events.is_over
        assert server.peer.started == server.peer.stopped


@tidily
async def test_f4_kind_acknowledging_without_awaiting_saves_too(server: VirtualServer) -> None:
    """In the background, the newest as soon as the one before it is saved."""
    memory = Remote()
    async with kept(server) as it:
        events = follow(it.session, memory, checkpoint_every=100)
        await started(events, server.peer, 1)
        server.peer.tell(2, 3)
        memory.gate.clear()
        events.acknowledge()
        await settle()
        step = await begun(anext(events))
        memory.gate.set()
        await step
        events.acknowledge()
        events.acknowledge()
        await settle()

        assert ([1, 2], 1) == (memory.numbers, memory.at_once)
        await events.aclose()


@pytest.mark.parametrize("fault", [asyncio.CancelledError(), KeyError("k"), full()])
@MEMORIES
@tidily
async def test_f4_kind_whatever_save_raises_reaches_the_step(
    server: VirtualServer, kind: Any, fault: BaseException
) -> None:
    """A CancelledError that nobody asked for, too: as an error, and not as a cancellation."""
    memory = kind()
    async with kept(server) as it:
        events = follow(it.session, memory)
        await started(events, server.peer, 1)
        memory.fault = fault
        with pytest.raises((RuntimeError, KeyError, OSError)) as caught:
            await anext(events)
        if isinstance(fault, asyncio.CancelledError):
            assert "save() of the checkpoint was cancelled" in str(caught.value)
        memory.fault = None
        server.peer.tell(2)
        assert {"n": 2} == await anext(events)

        assert [1] == memory.numbers
        await events.aclose()


# --- How often -----------------------------------------------------------------------------------


@both
@tidily
async def test_f4_kind_saving_every_few_events(server: VirtualServer, spelling: Spelling) -> None:
    """What is left is saved at the end. A list counts as many events as it has."""
    memory = Memory()
    async with kept(server, spelling=spelling) as it:
        events = follow(it.session, memory, checkpoint_every=3)
        async with events:
            await started(events, server.peer, 0)
            server.peer.tell(*range(1, 8))
            assert [*range(1, 8)] == [(await anext(events))["n"] for _ in range(7)]
            assert [2, 5] == memory.numbers
            server.peer.tell(8, 9, 10)
            batches = events.batches(10)
            assert 3 == len(await anext(batches))
            server.peer.tell(11)
            await anext(batches)
            assert [2, 5, 10] == memory.numbers

    assert [2, 5, 10, 11] == memory.numbers


@pytest.mark.parametrize("every", [timedelta(seconds=5), 5.0])
@MEMORIES
@tidily
async def test_f4_kind_saving_every_few_seconds(
    server: VirtualServer, kind: Any, every: Any
) -> None:
    """Also while the loop waits for an event that is long in coming."""
    memory = kind()
    async with kept(server) as it:
        events = follow(it.session, memory, checkpoint_every=every)
        await started(events, server.peer, 0)
        server.peer.tell(1, 2)
        await anext(events)
        await anext(events)
        assert [0] == memory.numbers
        begin = now()
        step = await begun(anext(events))
        await pass_time(4.9)
        assert [0] == memory.numbers
        await pass_time(0.2)
        assert [0, 2] == memory.numbers
        server.peer.tell(3, 4, 5)
        await step
        await anext(events)
        await pass_time(60)
        assert [0, 2, 3] == memory.numbers
        assert now() - begin > 60
        await anext(events)
        assert [0, 2, 3, 4] == memory.numbers
        await events.aclose()

    assert [0, 2, 3, 4] == memory.numbers


@MEMORIES
@tidily
async def test_f4_kind_a_save_in_the_background_that_fails_is_logged_and_repeated(
    server: VirtualServer, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """After the same time again."""
    memory = kind()
    async with kept(server) as it:
        events = follow(it.session, memory, checkpoint_every=5.0)
        await started(events, server.peer, 0)
        server.peer.tell(1)
        await anext(events)
        step = await begun(anext(events))
        memory.fault = full()
        await pass_time(5.1)
        assert 1 == caplog.text.count("an event could not be saved in its checkpoint")
        memory.fault = None
        await pass_time(5.1)
        assert [0, 1] == memory.numbers
        step.cancel()
        await asyncio.wait([step])
        await events.aclose()


@pytest.mark.parametrize(
    ("every", "kind"),
    [
        (0, ValueError),
        (-1, ValueError),
        (0.0, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (timedelta(0), ValueError),
        (True, TypeError),
        ("5", TypeError),
    ],
)
@tidily
async def test_f4_kind_an_interval_that_cannot_be_is_refused(
    server: VirtualServer, every: Any, kind: type[Exception]
) -> None:
    """By `subscribe`."""
    async with kept(server) as it:
        with pytest.raises(kind, match="checkpoint_every must be"):
            follow(it.session, Memory(), checkpoint_every=every)


# --- At least once -------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("every", [1, 4, 100, 2.5])
@MEMORIES
@tidily
async def test_f4_kind_a_crash_at_any_moment_repeats_what_was_not_processed(
    server: VirtualServer, kind: Any, every: Any, spelling: Spelling
) -> None:
    """A copy of what was saved, taken at any moment, is not ahead of what was processed."""
    memory = kind()
    processed = -1
    async with client_of(server, spelling) as session:
        events = follow(session, memory, checkpoint_every=every)
        async with events:
            await started(events, server.peer, 0)
            for number in range(1, 20):
                server.peer.tell(number)
                step = asyncio.get_running_loop().create_task(anext(events))
                processed = number - 1
                while not step.done():
                    assert all(saved <= processed for saved in memory.numbers)
                    await asyncio.sleep(0)
                assert all(saved <= processed for saved in memory.numbers)
                await pass_time(0.7)
    assert 19 == memory.numbers[-1]
    assert sorted(memory.numbers) == memory.numbers
