"""A subscription over lost connections: refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from lasting import LOST, lose, n, take
from lasting import served as served

import gqlwire
from doubles import pass_time, settle
from gqlwire import RetryPolicy
from gqlwire._operations.feed import Feed
from gqlwire.errors import (
    Phase,
    TransportError,
    TransportQueryError,
)
from spelling import Spelling, both
from virtual_server import (
    HOST,
    TICKS,
    Peer,
    VirtualServer,
    begun,
    kept,
    now,
    started,
    tidily,
)


def refuse(peer: Peer) -> None:
    """By `error`."""
    peer.refuse("not yet")


def complete_with_errors(peer: Peer) -> None:
    """As Tibber does: errors and no data, and then it is complete."""
    id = peer.id
    peer.say(peer.result({"errors": [{"message": "not yet"}], "data": None}, id))
    peer.complete(id)


REFUSALS = pytest.mark.parametrize("refusal", [refuse, complete_with_errors])


@REFUSALS
@both
@tidily
async def test_a_refusal_on_a_new_connection_is_tried_again(
    server: VirtualServer,
    spelling: Spelling,
    refusal: Callable[[Peer], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After waits that grow; no event comes of it, and the others do not notice."""
    async with kept(server, spelling=spelling) as it:
        events, other = it.session.subscribe(TICKS), it.session.subscribe(TICKS)
        await started(other, server.peer)
        await started(events, server.peer)
        step = await begun(anext(events))
        await lose(it, server)
        server.peer.tell(1, id=other.id)
        assert n(1) == await take(other, 1)
        waits = []
        server.peer.live.pop(other.id or "")
        for _ in range(3):
            begin = now()
            made = len(server.peer.started)
            refusal(server.peer)
            while len(server.peer.started) == made:
                await pass_time(0.1)
            waits.append(round(now() - begin))
        server.peer.tell(2, id=events.id)

        assert {"n": 2} == await step
        assert [1, 2, 4] == waits
        assert 2 == len(server.times)
        warnings = [record.getMessage() for record in caplog.records]
        assert (
            f"{HOST} refused to continue a subscription: not yet; "
            "the next attempt is in 1.0 s" == warnings[0]
        )
        server.peer.live[other.id or ""] = {}
        for each in (events, other):
            await each.aclose()
        assert 2 == len(server.peer.stopped)


@REFUSALS
@tidily
async def test_the_policy_limits_the_refusals_of_a_subscription(
    server: VirtualServer, refusal: Callable[[Peer], None]
) -> None:
    """Then the consumer gets the server's error."""
    async with kept(server, RetryPolicy(resubscribe_attempts=2)) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.hang_up()
        await it.lasting.ready()
        server.on_start = lambda peer, *_: asyncio.get_running_loop().call_soon(refusal, peer)
        await settle()
        refusal(server.peer)
        [told] = await take(events, 1)

        assert (TransportQueryError, "not yet") == (type(told), str(told))
        assert ["the end"] == await take(events, 1)
        assert 3 == len(server.peer.started)
        assert Phase.OPEN is it.session.state


@REFUSALS
@tidily
async def test_a_result_forgives_refusals(
    server: VirtualServer, refusal: Callable[[Peer], None]
) -> None:
    """The count begins anew with the next loss."""
    async with kept(server, RetryPolicy(resubscribe_attempts=1)) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        for number in range(1, 5):
            await lose(it, server)
            refusal(server.peer)
            await pass_time(1.1)
            server.peer.tell(number)
            assert n(number) == await take(events, 1)

        assert [1, 2, 2, 2, 2] == [len(peer.started) for peer in server.peers]
        await events.aclose()


@tidily
async def test_a_refusal_after_a_result_is_the_end(server: VirtualServer) -> None:
    """As it is on a first connection: then the server means it."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.tell(1)
        server.peer.refuse("that is all")

        value, told = await take(events, 2)
        assert ({"n": 1}, "that is all") == (value, str(told))


@tidily
async def test_a_refusal_on_the_first_connection_is_the_end(server: VirtualServer) -> None:
    """Nothing was lost: the operation is wrong."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        step = await begun(anext(events))
        server.peer.refuse("no such field")

        with pytest.raises(TransportQueryError, match="no such field"):
            await step


@tidily
async def test_an_event_with_errors_is_released_after_a_second(server: VirtualServer) -> None:
    """If no end has followed it; in order with later events."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        begin = now()
        step = await begun(anext(events))
        for text in ("one", "two"):
            server.peer.say(server.peer.result({"errors": [{"message": text}], "data": None}))
        with pytest.raises(TransportQueryError, match="one"):
            await step
        assert 1.0 == round(now() - begin, 3)
        server.peer.tell(1)
        server.peer.tell(2, 3)

        found = await take(events, 4)
        assert ["two", {"n": 1}, {"n": 2}, {"n": 3}] == [str(found[0]), *found[1:]]
        await events.aclose()


@tidily
async def test_an_event_with_errors_is_released_by_the_next_one(server: VirtualServer) -> None:
    """Which shows that it was none of an end."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.say(
            server.peer.result({"errors": [{"message": "one"}], "data": None}),
            server.peer.result({"data": {"n": 1}}),
            server.peer.result({"data": {"n": 2}}),
        )
        begin = now()
        found = await take(events, 3)

        assert ["one", {"n": 1}, {"n": 2}] == [str(found[0]), *found[1:]]
        assert begin == now()
        await events.aclose()


@pytest.mark.parametrize(
    "payload",
    [
        {"data": {"n": None}, "errors": [{"message": "partly"}]},
        {"data": {"errors": 1}},
        {"data": {"n": '"errors"'}},
        {"errors": "?"},
        ["errors"],
        {},
    ],
)
@tidily
async def test_a_result_that_is_not_a_refusal_is_an_event(
    server: VirtualServer, payload: Any
) -> None:
    """It has data, or cannot be read; it is delivered immediately."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, get_execution_result=True)
        step = await begun(anext(events))
        server.peer.tell(0)
        await step
        await lose(it, server)
        begin = now()
        server.peer.say(server.peer.result(payload))
        server.peer.tell(1)
        found = await take(events, 2)

        assert {"n": 1} == found[1].data
        assert payload == {"errors": "?"} or begin == now()
        await events.aclose()


@tidily
async def test_a_completion_on_a_new_connection_is_the_end(server: VirtualServer) -> None:
    """Without errors it is no refusal: the server has no more."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.complete()

        assert ["the end"] == await take(events, 1)
        routes: Any = server.peer.connection.routes
        assert ({}, {}) == (routes._sinks, routes._streams)


@REFUSALS
@tidily
async def test_a_refused_subscription_is_carried_over_by_a_loss(
    server: VirtualServer, refusal: Callable[[Peer], None]
) -> None:
    """It waits for the new connection, and no longer."""
    async with kept(server, RetryPolicy(first_delay=50, longest_delay=50), chance=0.5) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        refusal(server.peer)
        await lose(it, server)
        assert 1 == len(server.peer.live)
        await pass_time(100)

        assert [1, 1, 1] == [len(peer.started) for peer in server.peers]
        server.peer.tell(1)
        assert n(1) == await take(events, 1)
        await events.aclose()


@tidily
async def test_what_may_be_a_refusal_is_part_of_the_gap_if_its_end_is_lost(
    server: VirtualServer,
) -> None:
    """The loop gets no error: the subscription is sent again on the next connection."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.say(server.peer.result({"errors": [{"message": "one"}], "data": None}))
        await lose(it, server)
        server.peer.tell(1)

        assert [{"n": 1}] == await take(events, 1)
        await events.aclose()


@pytest.mark.parametrize("when", ["held", "refused"])
@REFUSALS
@tidily
async def test_a_subscription_can_be_stopped_during_a_refusal(
    server: VirtualServer, refusal: Callable[[Peer], None], when: str
) -> None:
    """If it is over on the server, it is not stopped there. Nothing starts again."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        if when == "refused":
            refusal(server.peer)
        else:
            server.peer.say(server.peer.result({"errors": [{"message": "x"}]}))
        await events.aclose()
        assert (1 if when == "held" else 0) == len(server.peer.stopped)
        await pass_time(100)

        assert 1 == len(server.peer.started)
        assert ["the end"] == await take(events, 1)


@tidily
async def test_should_retry_has_the_last_word_on_refusals(server: VirtualServer) -> None:
    """Of subscriptions, too; one that raises ends that subscription with its error."""

    def should_retry(failure: TransportError) -> bool | None:
        if "raise" in str(failure):
            raise ZeroDivisionError("the policy's")
        return False if isinstance(failure, TransportQueryError) else None

    async with kept(server, RetryPolicy(should_retry=should_retry)) as it:
        told = []
        other = it.session.subscribe(TICKS)
        await started(other, server.peer)
        for text in ("no", "raise"):
            events = it.session.subscribe(TICKS)
            await started(events, server.peer)
            await lose(it, server)
            server.peer.refuse(text, events.id)
            [outcome] = await asyncio.gather(anext(events), return_exceptions=True)
            told.append((type(outcome), str(outcome)))
            assert Phase.OPEN is it.session.state

        assert [(TransportQueryError, "no"), (ZeroDivisionError, "the policy's")] == told
        server.peer.tell(1, id=other.id)
        assert n(1) == await take(other, 1)
        await other.aclose()


@tidily
async def test_late_news_of_a_subscription_that_is_not_carried_changes_nothing(
    server: VirtualServer,
) -> None:
    """Neither proof, nor refusal, nor loss."""
    async with kept(server) as it:
        feed = Feed(it.lasting, gqlwire.gql(TICKS).encode())
        it.lasting.gap_over(feed, 1.0, continues=True)
        assert it.lasting.refused(feed, LOST) is False
        it.lasting.join(feed)
        it.lasting.leave(feed)
        it.lasting.leave(feed)
        await lose(it, server)
        feed.fail(LOST)
        feed.resubscribe(server.peer.connection, 1)

        assert [] == server.peer.started
