"""A subscription over lost connections: keys."""

from __future__ import annotations

import pytest
from lasting import lose, n, take
from lasting import served as served

from virtual_server import (
    TICKS,
    VirtualServer,
    begun,
    kept,
    started,
    tidily,
)


@tidily
async def test_repeated_events_at_the_seam_are_dropped(server: VirtualServer) -> None:
    """Up to the newest of them: after it, events with equal keys are delivered."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"])
        await started(events, server.peer)
        server.peer.tell(1, 2, 2, 3)
        await lose(it, server)
        server.peer.tell(2, 3, 4, 3, 4, 4)

        assert n(1, 2, 2, 3, 4, 3, 4, 4) == await take(events, 8)
        await lose(it, server)
        server.peer.tell(4, 4, 5)
        assert n(5) == await take(events, 1)
        await events.aclose()


@tidily
async def test_buffered_events_count_at_the_seam(server: VirtualServer) -> None:
    """Though the consumer had not seen them when the connection was lost."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"], tell_reconnects=True)
        await started(events, server.peer)
        server.peer.tell(1, 2)
        await lose(it, server)
        server.peer.tell(0, 1, 2, 3)

        found = await take(events, 4)
        assert [1, 2, "gap", 3] == [
            each["n"] if isinstance(each, dict) else "gap" for each in found
        ]
        await events.aclose()


@tidily
async def test_only_the_last_keys_are_remembered(server: VirtualServer) -> None:
    """A thousand: a feed that runs for months shall not grow."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"])
        await started(events, server.peer, -1)
        server.peer.tell(*range(1_500))
        await take(events, 1_500)
        await lose(it, server)
        server.peer.tell(*range(499, 1_501))
        server.peer.tell(3)

        assert n(499, 1_500, 3) == await take(events, 3)
        assert 1_000 == events.duplicates
        await events.aclose()


@tidily
async def test_a_key_that_raises_is_raised_by_its_step(server: VirtualServer) -> None:
    """And the next step goes on."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: 1 // event["n"])
        step = await begun(anext(events))
        server.peer.tell(0, 1)
        with pytest.raises(ZeroDivisionError):
            await step

        assert n(1) == await take(events, 1)
        await events.aclose()
