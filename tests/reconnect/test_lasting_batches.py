"""A subscription over lost connections: lists and mergers."""

from __future__ import annotations

from typing import Any

import pytest
from lasting import lose
from lasting import served as served

import gqlwire
from gqlwire import Reconnected
from virtual_server import (
    TICKS,
    VirtualServer,
    begun,
    kept,
    started,
    tidily,
)


@tidily
async def test_batches_continue_after_a_loss(server: VirtualServer) -> None:
    """What came by both connections may be in one list, notices in between."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True)
        await started(events, server.peer)
        batches = events.batches()
        server.peer.tell(1, 2)
        await lose(it, server)
        server.peer.tell(3)
        server.peer.tell(4, 5)

        batch = await anext(batches)
        assert [1, 2, "gap", 3, 4, 5] == [
            each["n"] if isinstance(each, dict) else "gap" for each in batch
        ]
        step = await begun(anext(batches))
        await lose(it, server)
        server.peer.tell(6)
        assert isinstance((await step)[0], Reconnected)
        await events.aclose()


@tidily
async def test_a_merger_continues_after_a_loss(server: VirtualServer) -> None:
    """With the events handed to it and not taken, in the order of each subscription."""
    async with kept(server) as it:
        all_ = [it.session.subscribe(TICKS) for _ in range(3)]
        async with gqlwire.merge(all_) as merged:
            step = await begun(anext(merged))
            found: dict[Any, list[int]] = {each: [] for each in all_}

            async def collect(count: int) -> None:
                for _ in range(count):
                    subscription, event = await anext(merged)
                    found[subscription].append(event["n"])

            for number in (0, 1):
                for each in all_:
                    server.peer.tell(number, id=each.id)
            subscription, event = await step
            found[subscription].append(event["n"])
            await lose(it, server)
            for each in all_:
                server.peer.tell(2, 3, id=each.id)
            await collect(11)
            waiting = await begun(collect(3))
            await lose(it, server)
            for each in all_:
                server.peer.tell(4, id=each.id)
            await waiting

            assert [[0, 1, 2, 3, 4]] * 3 == [*found.values()]
        assert 3 == len(server.peer.stopped)


@pytest.mark.parametrize("options", [{"tell_reconnects": True}, {"key": lambda event: event["n"]}])
@tidily
async def test_a_merger_of_tracked_subscriptions(
    server: VirtualServer, options: dict[str, Any]
) -> None:
    """Tells notices as events of theirs, and drops what comes again."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, **options)
        async with gqlwire.merge([events]) as merged:
            step = await begun(anext(merged))
            server.peer.tell(0, 1)
            assert (events, {"n": 0}) == await step
            await lose(it, server)
            server.peer.tell(1, 2)
            found = [(await anext(merged))[1] for _ in range(2)]

            wanted = [1, "gap"] if "tell_reconnects" in options else [1, 2]
            assert wanted == [each["n"] if isinstance(each, dict) else "gap" for each in found]
