"""A subscription over lost connections: the same iterator."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lasting import FROM, N, after, asked_after, lose, n, outcome, take, written
from lasting import served as served

from doubles import settle
from gqlwire.errors import (
    ResultMismatch,
    TransportProtocolError,
    TransportQueryError,
)
from spelling import Spelling, both
from virtual_server import (
    TICKS,
    VirtualServer,
    begun,
    kept,
    slowly,
    started,
    tidily,
)


@both
@tidily
async def test_the_same_loop_continues_after_a_loss(
    server: VirtualServer, spelling: Spelling
) -> None:
    """The same request, with a fresh id, on the new connection; the old one gets no stop."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        ids = [events.id]
        for number in range(1, 4):
            step = await begun(anext(events))
            await lose(it, server)
            ids.append(events.id)
            server.peer.tell(number)
            assert {"n": number} == await step

        assert ids == [peer.started[0] for peer in server.peers]
        assert 4 == len({*ids})
        sent = [message for peer in server.peers for message in peer.said[1:]]
        assert [sent[0]["payload"]] * 4 == [message["payload"] for message in sent]
        assert [[]] * 4 == [peer.stopped for peer in server.peers]
        await events.aclose()


@both
@tidily
async def test_buffered_events_survive_a_loss(server: VirtualServer, spelling: Spelling) -> None:
    """Whichever way they came: the first results are read immediately, later ones when they are
    taken.
    """
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.tell(2, 3)
        server.peer.tell(4)
        await lose(it, server)
        server.peer.tell(5)
        server.peer.tell(6, 7)

        assert n(*range(1, 8)) == await take(events, 7)
        await events.aclose()


@tidily
async def test_an_event_that_was_handed_over_survives_a_loss(server: VirtualServer) -> None:
    """The consumer waits, gets an event, and has not run when the connection is lost."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        step = await begun(anext(events))
        server.peer.tell(1)
        server.peer.hang_up()
        await it.lasting.ready()

        assert {"n": 1} == await step
        await settle()
        server.peer.tell(2)
        assert n(2) == await take(events, 1)
        await events.aclose()


@tidily
async def test_a_step_cancelled_during_a_loss_leaves_its_event_to_the_next(
    server: VirtualServer,
) -> None:
    """As on one connection; and the subscription continues on the next one."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        step = await begun(anext(events))
        server.peer.tell(1)
        server.peer.hang_up()
        step.cancel()
        await asyncio.wait([step])
        await it.lasting.ready()
        await settle()

        assert [events.id] == server.peer.started
        server.peer.tell(2)
        assert n(1, 2) == await take(events, 2)
        await events.aclose()


ODD: dict[str, tuple[bytes, Any]] = {
    "errors": (b'{"data":{"n":1},"errors":[{"message":"odd"}]}', TransportQueryError),
    "errors alone": (b'{"errors":[{"message":"odd"}]}', TransportQueryError),
    "a mismatch": (b'{"data":{"n":"one"}}', ResultMismatch),
    "NaN": (b'{"data":{"n":NaN}}', ResultMismatch),
    "nothing": (b"{}", TransportProtocolError),
    "null": (b"null", TransportProtocolError),
    "a lone surrogate": (b'{"data":{"n":1,"s":"\\ud800"}}', 1),
    "extensions": (b'{"data":{"n":1},"extensions":{"a":1}}', 1),
    "white space": (b' { "data" : { "n" : 1 } } ', 1),
    "another key after it": (b'{"data":{"n":1}},"more":[1]', 1),
    "its id once more": (b'{"data":{"n":1}},"type":"next"', 1),
}


@pytest.mark.parametrize("is_lost", [False, True], ids=["not lost", "lost"])
@pytest.mark.parametrize("is_awaited", [False, True], ids=["buffered", "handed over"])
@pytest.mark.parametrize(("payload", "wanted"), ODD.values(), ids=ODD)
@tidily
async def test_odd_results_are_read_the_same_after_a_loss(
    server: VirtualServer, payload: bytes, wanted: Any, is_awaited: bool, is_lost: bool
) -> None:
    """A result with more or fewer keys than usual means the same after its connection is lost."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, result_type=N)
        step = await begun(anext(events))
        server.peer.tell(0)
        await step
        first = await begun(anext(events)) if is_awaited else None
        server.peer.say(
            b'{"type":"next","id":"%s","payload":%s}' % (server.peer.id.encode(), payload)
        )
        if is_lost:
            server.peer.hang_up()
            await it.lasting.ready()
            await settle()
        server.peer.tell(2)

        if first is not None:
            [found] = await asyncio.gather(first, return_exceptions=True)
        else:
            [found] = await take(events, 1)
        assert wanted == outcome(found)
        assert N(2) == await anext(events)
        await events.aclose()


@tidily
async def test_a_subscription_that_ended_before_the_loss_stays_ended(server: VirtualServer) -> None:
    """It was complete, and does not start again."""
    async with kept(server) as it:
        done, failed = it.session.subscribe(TICKS), it.session.subscribe(TICKS)
        for events in (done, failed):
            await started(events, server.peer)
        server.peer.tell(1, id=done.id)
        server.peer.complete(done.id)
        server.peer.refuse("no more", failed.id)
        await lose(it, server)

        assert [*n(1), "the end"] == await take(done, 2)
        [told] = await take(failed, 1)
        assert "no more" == str(told)
        assert [] == server.peer.started


@tidily
async def test_invalid_json_costs_one_event(server: VirtualServer) -> None:
    """The connection lives, and so do the events after it."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.say(written(server.peer.id, b"{]"))
        server.peer.tell(2)

        first, told, second = await take(events, 3)
        assert n(1, 2) == [first, second]
        assert isinstance(told, TransportProtocolError)
        assert 1 == len(server.peers)
        await events.aclose()


@tidily
async def test_invalid_json_costs_one_event_after_a_loss(server: VirtualServer) -> None:
    """Whether it is found before the loss or after it."""
    for is_awaited in (False, True):
        async with kept(server) as it:
            events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=after)
            await started(events, server.peer)
            step = await begun(take(events, 3)) if is_awaited else None
            server.peer.say(written(server.peer.id, b"{]"))
            server.peer.tell(2)
            server.peer.hang_up()
            await it.lasting.ready()
            await settle()

            assert [2] == asked_after(server.peer)
            server.peer.tell(3)
            told, second, third = await (step or take(events, 3))
            assert n(2, 3) == [second, third]
            assert isinstance(told, TransportProtocolError)
            assert (0, 0, 4) == (events.dropped, events.buffered, events.delivered)
            await events.aclose()


@tidily
async def test_a_message_that_only_looked_like_an_event_is_dropped_after_a_loss(
    server: VirtualServer,
) -> None:
    """It looked like an event up to its payload."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.say(written(server.peer.id, b'{"data":{"n":9}},"type":"news"'))
        server.peer.tell(2)
        await lose(it, server)
        server.peer.tell(3)

        assert n(1, 2, 3) == await take(events, 3)
        await events.aclose()


@tidily
async def test_a_subscription_that_waits_for_its_first_connection_begins_on_it(
    server: VirtualServer,
) -> None:
    """Once."""
    async with kept(server) as it:
        server.will(slowly(5))
        server.peer.hang_up()
        events = it.session.subscribe(TICKS)
        step = await begun(anext(events))
        await it.lasting.ready()
        await settle()
        server.peer.tell(1)

        assert {"n": 1} == await step
        assert 1 == len(server.peer.started)
        await events.aclose()


@tidily
async def test_a_subscription_that_waits_for_room_goes_to_the_next_connection(
    server: VirtualServer,
) -> None:
    """As nothing of it was sent."""
    async with kept(server) as it:
        server.peer.connection.writable(False)
        events = it.session.subscribe(TICKS)
        step = await begun(anext(events))
        await lose(it, server)
        server.peer.tell(1)

        assert {"n": 1} == await step
        assert [[], [events.id]] == [peer.started for peer in server.peers]
        await events.aclose()
