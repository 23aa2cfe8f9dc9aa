"""A subscription over lost connections: telling the gap."""

from __future__ import annotations

from typing import Any

import pytest
from lasting import REFUSED, lose, n, take
from lasting import served as served

from doubles import settle
from gqlwire import Reconnected
from gqlwire.errors import (
    ConnectionClosed,
)
from virtual_server import (
    TICKS,
    VirtualServer,
    begun,
    kept,
    started,
    tidily,
)


@tidily
async def test_on_reconnect_gets_the_gap(server: VirtualServer) -> None:
    """With the first event after it; the hook may be a coroutine function."""
    told: list[Reconnected] = []

    async def tell(event: Reconnected) -> None:
        told.append(event)

    async with kept(server) as it:
        one = it.session.subscribe(TICKS, on_reconnect=told.append)
        other = it.session.subscribe(TICKS, on_reconnect=tell)
        for events in (one, other):
            await started(events, server.peer)
        server.will(REFUSED)
        await lose(it, server)
        assert [] == told
        for events in (one, other):
            server.peer.tell(1, id=events.id)
        await settle()

        assert [(3.0, 2, 1012)] * 2 == [
            (round(event.gap_seconds, 3), event.attempts, event.failure.code) for event in told
        ]
        for events in (one, other):
            await events.aclose()


@tidily
async def test_tell_reconnects_puts_the_gap_between_the_events(server: VirtualServer) -> None:
    """After the events before it, before the events after it, once for each gap."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True)
        await started(events, server.peer)
        server.peer.tell(1, 2)
        await lose(it, server)
        server.peer.tell(3)
        await lose(it, server)
        await lose(it, server)
        server.peer.tell(4)

        found = await take(events, 6)
        kinds = [each["n"] if isinstance(each, dict) else "gap" for each in found]
        assert [1, 2, "gap", 3, "gap", 4] == kinds
        assert (5, 0) == (events.delivered, events.dropped)
        await events.aclose()


@tidily
async def test_a_waiting_consumer_gets_the_gap_before_the_event(server: VirtualServer) -> None:
    """Which ends the gap."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True)
        await started(events, server.peer)
        step = await begun(anext(events))
        await lose(it, server)
        assert not step.done()
        server.peer.tell(1)

        event = await step
        assert isinstance(event, Reconnected)
        assert isinstance(event.failure, ConnectionClosed)
        found = round(event.gap_seconds, 3), event.attempts, event.failure.code
        assert (1.0, 1, 1012) == found
        assert n(1) == await take(events, 1)
        await events.aclose()


@pytest.mark.parametrize(
    ("overflow", "buffer", "wanted"),
    [
        ("drop_oldest", 2, ["gap", 5, 6]),
        ("latest", 1, ["gap", 6]),
        ("block", 2, [1, 2, 3, "gap", 4, 5, 6]),
    ],
)
@tidily
async def test_no_overflow_drops_a_notice(
    server: VirtualServer, overflow: str, buffer: int, wanted: list[Any]
) -> None:
    """It stands before the first event after the gap that is still there."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True, overflow=overflow, buffer=buffer)
        await started(events, server.peer)
        server.peer.tell(1, 2, 3)
        await lose(it, server)
        for number in (4, 5, 6):
            server.peer.tell(number)
        server.peer.complete()

        found = await take(events, len(wanted) + 1)
        kinds = [each["n"] if isinstance(each, dict) else "gap" for each in found[:-1]]
        assert wanted == kinds
        assert "the end" == found[-1]
        events_taken = [kind for kind in kinds if kind != "gap"]
        assert 7 == events.dropped + len(events_taken) + 1
        assert len(events_taken) + 1 == events.delivered


@tidily
async def test_without_tell_reconnects_nothing_comes_between_the_events(
    server: VirtualServer,
) -> None:
    """Though the subscription needs to know, for its keys."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"])
        await started(events, server.peer)
        await lose(it, server)
        server.peer.tell(1)

        assert n(1) == await take(events, 1)
        await events.aclose()
