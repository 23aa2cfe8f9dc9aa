"""A subscription over lost connections: resuming."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lasting import FROM, N, after, asked_after, lose, n, take, written
from lasting import served as served

import gqlwire
from doubles import settle
from gqlwire.errors import (
    Phase,
)
from spelling import Spelling, both
from virtual_server import (
    TICKS,
    VirtualServer,
    begun,
    kept,
    started,
    tidily,
)


@both
@tidily
async def test_a_subscription_resumes_after_the_newest_event(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Delivered or not: buffered events will be."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=after)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.tell(1)
        server.peer.tell(2, 3)
        await lose(it, server)
        server.peer.tell(4, 5)
        step = await begun(anext(events))
        server.peer.hang_up()
        assert {"n": 1} == await step
        await it.lasting.ready()
        await settle()

        assert [[-1], [0], [3], [5]] == [asked_after(peer) for peer in server.peers]
        assert n(2, 3, 4, 5) == await take(events, 4)
        await events.aclose()


@pytest.mark.parametrize("tail", [b"", b',"more":[1]'], ids=["plain", "odd"])
@tidily
async def test_a_subscription_resumes_after_events_that_a_merger_holds(
    server: VirtualServer, tail: bytes
) -> None:
    """They count as received though the merger still has them, however they were written."""
    async with kept(server) as it:
        events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=after)
        other = it.session.subscribe(TICKS)
        await started(other, server.peer)
        await started(events, server.peer)
        merged = gqlwire.merge([other, events])
        step = await begun(anext(merged))
        server.peer.tell(1, id=other.id)
        server.peer.say(written(events.id or "", b'{"data":{"n":8}}' + tail))
        assert (other, {"n": 1}) == await step
        await lose(it, server)

        variables = [{}, {"after": 8}]
        assert variables == [
            said["payload"].get("variables", {}) for said in server.peer.said if "payload" in said
        ]
        assert (events, {"n": 8}) == await anext(merged)
        await merged.aclose()


@tidily
async def test_a_message_that_only_looked_like_an_event_is_not_resumed_from(
    server: VirtualServer,
) -> None:
    """Not even if a merger holds it: the event before it counts. Before any step there is none."""
    async with kept(server) as it:
        events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=after)
        assert events.newest() is None
        other = it.session.subscribe(TICKS)
        await started(other, server.peer)
        await started(events, server.peer, 5)
        merged = gqlwire.merge([other, events])
        step = await begun(anext(merged))
        server.peer.tell(1, id=other.id)
        server.peer.say(written(events.id or "", b'{"data":{"n":8}},"type":"news"'))
        await step
        await lose(it, server)

        assert {"after": 5} == server.peer.said[-1]["payload"]["variables"]
        await merged.aclose()


@tidily
async def test_an_event_with_errors_is_not_resumed_from(server: VirtualServer) -> None:
    """Neither is a notice, nor an unreadable event: the event before it counts."""
    async with kept(server) as it:
        events = it.session.subscribe(
            FROM, variable_values={"after": -1}, resume=after, tell_reconnects=True
        )
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.say(server.peer.result({"data": {"n": 99}, "errors": [{"message": "x"}]}))
        server.peer.say(server.peer.result({}))
        await lose(it, server)
        await lose(it, server)

        assert [[-1], [1], [1]] == [asked_after(peer) for peer in server.peers]
        await events.aclose()


@tidily
async def test_before_the_first_event_a_subscription_starts_as_given(server: VirtualServer) -> None:
    """`resume` is not called, and the variables are the given ones."""
    async with kept(server) as it:
        events = it.session.subscribe(
            FROM, variable_values={"after": -1}, resume=lambda last, given: pytest.fail("asked")
        )
        step = await begun(anext(events))
        await lose(it, server)

        assert [[-1], [-1]] == [asked_after(peer) for peer in server.peers]
        step.cancel()
        await asyncio.wait([step])
        await events.aclose()


@tidily
async def test_resume_gets_the_given_variables_each_time(server: VirtualServer) -> None:
    """And not its own answer to the last gap."""
    asked: list[tuple[Any, Any]] = []

    def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
        asked.append((last, variables))
        return {"after": last["n"] * 10}

    async with kept(server) as it:
        events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=resume)
        await started(events, server.peer)
        await lose(it, server)
        await lose(it, server)

        assert [({"n": 0}, {"after": -1})] * 2 == asked
        await events.aclose()


@tidily
async def test_the_variables_of_a_request_are_given_ones_too(server: VirtualServer) -> None:
    """Wherever they stand."""
    async with kept(server) as it:
        request = gqlwire.GraphQLRequest(FROM, variable_values={"after": 4})
        events = it.session.subscribe(request, resume=after)
        await started(events, server.peer, 5)
        await lose(it, server)

        assert [[4], [5]] == [asked_after(peer) for peer in server.peers]
        await events.aclose()


@tidily
async def test_a_resume_that_raises_ends_its_subscription(server: VirtualServer) -> None:
    """With its error, after what was buffered; the others go on, and so does the connection."""

    def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError("no cursor")

    async with kept(server) as it:
        bad, good = it.session.subscribe(FROM, resume=resume), it.session.subscribe(TICKS)
        for events in (bad, good):
            await started(events, server.peer)
        server.peer.tell(1, id=bad.id)
        await lose(it, server)
        server.peer.tell(2)

        assert n(1) == await take(bad, 1)
        with pytest.raises(ZeroDivisionError, match="no cursor"):
            await anext(bad)
        assert ["the end"] == await take(bad, 1)
        assert n(2) == await take(good, 1)
        assert Phase.OPEN is it.session.state
        await good.aclose()


@tidily
async def test_variables_that_cannot_be_sent_end_their_subscription(server: VirtualServer) -> None:
    """As they would at its beginning."""
    async with kept(server) as it:
        events = it.session.subscribe(FROM, resume=lambda last, given: {"after": object()})
        await started(events, server.peer)
        await lose(it, server)

        with pytest.raises(TypeError):
            await anext(events)


@tidily
async def test_resume_gets_typed_events(server: VirtualServer) -> None:
    """As the consumer gets them; also buffered ones."""
    asked: list[Any] = []

    def resume(last: N, variables: dict[str, Any]) -> dict[str, Any]:
        asked.append(last)
        return {"after": last.n}

    async with kept(server) as it:
        events = it.session.subscribe(FROM, result_type=N, resume=resume)
        step = await begun(anext(events))
        server.peer.tell(0)
        assert N(0) == await step
        await lose(it, server)
        server.peer.tell(1, 2)
        await lose(it, server)

        assert [N(0), N(2)] == asked
        assert [N(1), N(2)] == await take(events, 2)
        await events.aclose()
