"""The connections that suspects have apart: what is made, counted and closed."""

from __future__ import annotations

from typing import Any

import pytest

from doubles import pass_time, settle
from gqlwire.errors import ConnectionClosed, TransportClosed
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    TICKS,
    Kept,
    Peer,
    VirtualServer,
    begun,
    kept,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

SPELLINGS = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "apollo"])


async def suspected(it: Kept, server: VirtualServer) -> tuple[list[Any], Any]:
    """Two healthy subscriptions, and a suspect, which has a connection of its own."""
    healthy = [it.session.subscribe(TICKS) for _ in range(2)]
    suspect = it.session.subscribe(TICKS)
    for events in (*healthy, suspect):
        await started(events, server.peer)
    server.peer.hang_up(1006)
    for _ in range(2):
        await it.lasting.ready()
        await settle()
        # Only the suspect gets nothing; and the last event is for another one each time.
        healthy.reverse()
        for events in healthy:
            server.peer.tell(1, id=events.id)
            assert {"n": 1} == await anext(events)
        server.peer.hang_up(1006)
    await it.lasting.ready()
    await pass_time(2)
    assert 2 == len(server.open)
    return healthy, suspect


async def end_all(*all_: Any) -> None:
    for events in all_:
        await events.aclose()


def peer_of(server: VirtualServer, events: Any) -> Peer:
    [peer] = [peer for peer in server.open if events.id in peer.live]
    return peer


@SPELLINGS
@tidily
async def test_a_suspect_continues_on_its_own_connection(
    server: VirtualServer, spelling: Spelling
) -> None:
    """As if nothing were: events, refusals, `aclose`; then its connection is closed."""
    async with kept(server, spelling=spelling) as it:
        healthy, suspect = await suspected(it, server)
        apart, main = peer_of(server, suspect), peer_of(server, healthy[0])
        assert apart is not main
        apart.tell(7, id=suspect.id)
        assert {"n": 7} == await anext(suspect)

        await suspect.aclose()
        await settle()
        assert [main] == server.open
        await end_all(*healthy)


@SPELLINGS
@tidily
async def test_a_refusal_on_its_own_connection_is_tried_again_there(
    server: VirtualServer, spelling: Spelling
) -> None:
    """And not on the main one."""
    async with kept(server, spelling=spelling) as it:
        healthy, suspect = await suspected(it, server)
        apart = peer_of(server, suspect)
        apart.refuse("not yet", id=suspect.id)
        await pass_time(2)
        assert apart is peer_of(server, suspect)
        apart.tell(7, id=suspect.id)
        assert {"n": 7} == await anext(suspect)
        await suspect.aclose()
        await end_all(*healthy)


@tidily
async def test_when_its_connection_is_lost_with_all_others_it_returns(
    server: VirtualServer,
) -> None:
    """An outage proves nothing: the next main connection has both."""
    async with kept(server) as it:
        healthy, suspect = await suspected(it, server)
        for peer in server.open:
            peer.hang_up(1012)
        await it.lasting.ready()
        await pass_time(1)
        assert 1 == len(server.open)
        assert {events.id for events in (*healthy, suspect)} == set(server.peer.live)
        await suspect.aclose()
        await end_all(*healthy)


@pytest.mark.parametrize("how", ["terminate", "reconnect"])
@tidily
async def test_steering_the_session_ends_all_connections(server: VirtualServer, how: str) -> None:
    """One connection follows, with both."""
    async with kept(server) as it:
        healthy, suspect = await suspected(it, server)
        if how == "terminate":
            it.session.terminate()
        else:
            await it.session.reconnect()
        await it.lasting.ready()
        await pass_time(3)
        assert 1 == len(server.open)
        assert {events.id for events in (*healthy, suspect)} == set(server.peer.live)
        await suspect.aclose()
        await end_all(*healthy)


@tidily
async def test_closing_the_session_closes_all_connections(server: VirtualServer) -> None:
    """Also one that is being made, or waits for its time."""
    async with kept(server) as it:
        _, suspect = await suspected(it, server)
        step = await begun(anext(suspect))
    with pytest.raises(TransportClosed):
        await step
    assert [] == server.open


@tidily
async def test_the_counters_have_all_connections(server: VirtualServer) -> None:
    """Those that live, and those that are over."""
    async with kept(server) as it:
        healthy, suspect = await suspected(it, server)
        apart = peer_of(server, suspect)
        assert len(server.peers) == it.session.counters.connections == 5
        sent = it.session.counters.bytes_sent
        assert sent == sum(len(text) for peer in server.peers for text in peer.sent)

        apart.hang_up(1006)
        await pass_time(5)
        assert len(server.peers) == it.session.counters.connections == 6
        await suspect.aclose()
        await end_all(*healthy)
        await settle()
        assert 6 == it.session.counters.connections


@SPELLINGS
@tidily
async def test_it_fails_alone_in_the_end(server: VirtualServer, spelling: Spelling) -> None:
    """After as many ends as a subscription may be refused."""
    async with kept(server, spelling=spelling) as it:
        healthy, suspect = await suspected(it, server)
        step = await begun(anext(suspect))
        for _ in range(5):
            peer_of(server, suspect).hang_up(1006)
            await pass_time(20)
        with pytest.raises(ConnectionClosed, match="5 connections ended like this after"):
            await step
        assert 1 == len(server.open)
        await end_all(*healthy)
