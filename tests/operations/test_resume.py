"""How far a subscription has come: what counts as dealt with, and what it goes on from."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from msgspec import Raw

import gqlwire
from doubles import settle
from gqlwire import ExecutionResult
from gqlwire._operations.options import Terms
from gqlwire._operations.resume import Tracker
from gqlwire.errors import TransportQueryError
from virtual_server import (
    TICKS,
    VirtualServer,
    begun,
    kept,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

FROM = "subscription From($after: Int) { n(after: $after) }"


class Memory:
    """A checkpoint that notes each event that is saved."""

    def __init__(self, last: Any = None) -> None:
        self.last = last
        self.saved: list[Any] = []
        self.fault: Exception | None = None

    def load(self) -> bytes | None:
        return None if self.last is None else json.dumps({"data": self.last}).encode()

    def save(self, event: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.saved.append(json.loads(event)["data"]["n"])


def after(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
    return {**variables, "after": last["n"]}


def asked_after(server: VirtualServer) -> list[Any]:
    return [said["payload"].get("variables") for said in server.peer.said if "payload" in said]


# --- By itself -----------------------------------------------------------------------------------


def tracker_of(**terms: Any) -> Tracker[Any]:
    return Tracker(Terms(**terms))


def accepts(tracker: Tracker[Any], event: Any) -> bool:
    return tracker.accepts(event, Raw(json.dumps({"data": event}).encode()))


def test_a_tracker_knows_the_last_event() -> None:
    """From nothing on, as it came."""
    tracker = tracker_of(resume=lambda last, given: {"after": last})
    assert tracker.last is None
    assert [True, True] == [accepts(tracker, 1), accepts(tracker, 2)]

    assert b'{"data": 2}' == bytes(tracker.last or b"")
    assert {"after": 2} == tracker.variables(2, {"a": 1})


def test_without_resume_the_variables_are_those_that_were_given() -> None:
    """Whatever came."""
    tracker = tracker_of(key=lambda event: event)
    accepts(tracker, 1)

    assert {"a": 1} == tracker.variables(1, {"a": 1})


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"checkpoint": Memory()}, "checkpoint needs resume"),
        ({"resume": after, "checkpoint_every": 5}, "checkpoint_every needs checkpoint"),
        ({"resume": after, "key_memory": 5}, "key_memory needs key"),
        ({"key": id, "key_memory": 0}, "key_memory must be at least 1"),
        (
            {"resume": after, "checkpoint": Memory(), "checkpoint_every": 0},
            "checkpoint_every must be above 0",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(terms: dict[str, Any], words: str) -> None:
    """With what is missing."""
    with pytest.raises(ValueError, match=words):
        tracker_of(**terms)


def test_an_event_without_data_is_not_the_last_event() -> None:
    """There is nothing in it to go on from."""
    tracker = tracker_of(resume=after)
    accepts(tracker, {"n": 1})
    assert accepts(tracker, None)
    assert tracker.accepts(ExecutionResult(None, [{"message": "x"}]), Raw(b"{}"))

    assert b'{"data": {"n": 1}}' == bytes(tracker.last or b"")


def test_a_dropped_event_is_not_the_last_event() -> None:
    """It came before the last one."""
    tracker = tracker_of(key=lambda event: event)
    assert tracker.keys is not None
    for event in (1, 2):
        accepts(tracker, event)
    tracker.keys.cross()
    accepts(tracker, 1)

    assert b'{"data": 2}' == bytes(tracker.last or b"")


def test_the_event_of_a_checkpoint_is_known_when_it_comes_again() -> None:
    """A restart of the process is a seam, too."""
    tracker = tracker_of(resume=after, key=lambda event: event["n"])
    tracker.restore(Raw(b'{"data":{"n":5}}'), {"n": 5})

    found = [accepts(tracker, {"n": number}) for number in (5, 6, 5)]
    assert [False, True, True] == found


# --- Subscriptions -------------------------------------------------------------------------------


@tidily
async def test_an_event_is_saved_when_the_next_is_asked_for(server: VirtualServer) -> None:
    """Then it was dealt with; a crash before that brings it again."""
    memory = Memory()
    async with kept(server) as it:
        events = it.session.subscribe(FROM, resume=after, checkpoint=memory)
        await started(events, server.peer, 1)
        server.peer.tell(2, 3)
        assert [] == memory.saved
        await anext(events)
        assert [1] == memory.saved
        await anext(events)
        assert [1, 2] == memory.saved
        step = await begun(anext(events))
        assert [1, 2, 3] == memory.saved
        step.cancel()
        await asyncio.wait([step])

        assert [1, 2, 3] == memory.saved


@tidily
async def test_an_event_is_saved_when_it_is_acknowledged(server: VirtualServer) -> None:
    """For who will not ask for another."""
    memory = Memory()
    async with kept(server) as it:
        events = it.session.subscribe(FROM, resume=after, checkpoint=memory)
        await started(events, server.peer, 1)
        events.acknowledge()
        events.acknowledge()
        await events.aclose()

        assert [1] == memory.saved


@pytest.mark.parametrize(("fault", "saved"), [(None, [1]), (ZeroDivisionError(), [])])
@tidily
async def test_leaving_a_context_saves_the_event_that_was_dealt_with(
    server: VirtualServer, fault: Exception | None, saved: list[int]
) -> None:
    """Not if an error leaves it: then the last event was not dealt with."""
    memory = Memory()
    async with kept(server) as it:
        events = it.session.subscribe(FROM, resume=after, checkpoint=memory)
        with contextlib.suppress(ZeroDivisionError):
            async with events:
                await started(events, server.peer, 1)
                if fault is not None:
                    raise fault

        assert saved == memory.saved
        assert server.peer.started == server.peer.stopped


@tidily
async def test_the_last_event_is_saved_at_the_end(server: VirtualServer) -> None:
    """As the loop asks for another."""
    memory = Memory()
    async with kept(server) as it:
        events = it.session.subscribe(FROM, resume=after, checkpoint=memory)
        await started(events, server.peer, 1)
        server.peer.complete()
        assert [] == [event async for event in events]

        assert [1] == memory.saved


@tidily
async def test_a_subscription_continues_from_the_checkpoint(server: VirtualServer) -> None:
    """At its first start, in another process; later from the events since."""
    async with kept(server) as it:
        events = it.session.subscribe(
            FROM, variable_values={"after": -1, "x": 1}, resume=after, checkpoint=Memory({"n": 41})
        )
        step = await begun(anext(events))
        assert [{"after": 41, "x": 1}] == asked_after(server)
        server.peer.hang_up()
        await it.lasting.ready()
        await settle()
        assert [{"after": 41, "x": 1}] == asked_after(server)
        server.peer.tell(42)
        await step
        server.peer.hang_up()
        await it.lasting.ready()
        await settle()

        assert [{"after": 42, "x": 1}] == asked_after(server)
        await events.aclose()


@tidily
async def test_a_checkpoint_that_cannot_save_ends_the_step(server: VirtualServer) -> None:
    """With what it raises; the subscription goes on, and the next event is saved again."""
    memory = Memory()
    async with kept(server) as it:
        events = it.session.subscribe(FROM, resume=after, checkpoint=memory)
        await started(events, server.peer, 1)
        server.peer.tell(2, 3)
        memory.fault = OSError("the disk is full")
        with pytest.raises(OSError, match="full"):
            await anext(events)
        memory.fault = None
        assert [{"n": 2}, {"n": 3}] == [await anext(events), await anext(events)]
        events.acknowledge()

        assert 3 == memory.saved[-1]
        await events.aclose()


@tidily
async def test_a_checkpoint_that_cannot_load_raises_in_the_first_step(
    server: VirtualServer,
) -> None:
    """Before anything is sent. The next step tries again."""

    class Broken(Memory):
        def load(self) -> bytes | None:
            if self.fault is not None:
                raise self.fault
            return super().load()

    memory = Broken({"n": 7})
    memory.fault = OSError("no such disk")
    async with kept(server) as it:
        with pytest.raises(ValueError, match="checkpoint needs resume"):
            it.session.subscribe(FROM, checkpoint=memory)
        events = it.session.subscribe(FROM, resume=after, checkpoint=memory)
        with pytest.raises(OSError, match="no such disk"):
            await anext(events)
        assert [] == server.peer.started
        memory.fault = None
        await started(events, server.peer, 8)

        assert [{"after": 7}] == asked_after(server)
        await events.aclose()


@tidily
async def test_an_event_with_errors_is_not_saved(server: VirtualServer) -> None:
    """It was raised, and is none to go on from."""
    memory = Memory()
    async with kept(server) as it:
        events = it.session.subscribe(FROM, resume=after, checkpoint=memory)
        await started(events, server.peer, 1)
        server.peer.say(server.peer.result({"data": {"n": 2}, "errors": [{"message": "x"}]}))
        with pytest.raises(TransportQueryError):
            await anext(events)
        step = await begun(anext(events))

        assert [1] == memory.saved
        step.cancel()
        await asyncio.wait([step])


@tidily
async def test_a_list_is_dealt_with_as_a_whole(server: VirtualServer) -> None:
    """When the next one is asked for, its last event is saved."""
    memory = Memory()
    async with kept(server) as it:
        events = it.session.subscribe(FROM, resume=after, checkpoint=memory)
        await started(events, server.peer, 1)
        batches = events.batches()
        server.peer.tell(2, 3, 4)
        assert 3 == len(await anext(batches))
        assert [1] == memory.saved
        server.peer.tell(5)
        await anext(batches)

        assert [1, 4] == memory.saved
        await events.aclose()


@tidily
async def test_a_merged_event_is_dealt_with_when_the_next_is_asked_for(
    server: VirtualServer,
) -> None:
    """Whichever subscription the next event is of."""
    memories = Memory(), Memory()
    async with kept(server) as it:
        both = [it.session.subscribe(FROM, resume=after, checkpoint=memory) for memory in memories]
        for number, events in enumerate(both):
            await started(events, server.peer, number)
        assert ([], []) == (memories[0].saved, memories[1].saved)
        async with gqlwire.merge(both) as merged:
            step = await begun(anext(merged))
            server.peer.tell(10, id=both[0].id)
            await step
            step = await begun(anext(merged))
            assert ([10], []) == (memories[0].saved, memories[1].saved)
            server.peer.tell(11, id=both[1].id)
            await step
            step = await begun(anext(merged))
            assert ([10], [11]) == (memories[0].saved, memories[1].saved)
            step.cancel()
            await asyncio.wait([step])


@tidily
async def test_acknowledging_without_tracking_does_nothing(server: VirtualServer) -> None:
    """Before the first event and after it."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        events.acknowledge()
        await started(events, server.peer, 1)
        events.acknowledge()
        await events.aclose()


@pytest.mark.parametrize("reconnecting", [True, False])
@tidily
async def test_a_checkpoint_works_with_and_without_reconnecting(
    server: VirtualServer, reconnecting: bool
) -> None:
    """It is about another process; a loss ends the subscription."""
    memory = Memory({"n": 7})
    async with server.client(reconnecting=reconnecting) as session:
        events = session.subscribe(FROM, resume=after, checkpoint=memory)
        await started(events, server.peer, 8)
        assert [{"after": 7}] == asked_after(server)
        events.acknowledge()
        await events.aclose()

    assert [8] == memory.saved
