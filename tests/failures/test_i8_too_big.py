"""One query of 17 MB, for which the server closes with 1009, ended the session: its neighbours, and
all later calls. It costs that query. The same holds for a result that is larger than we accept.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

import gqlwire
from conftest import NEWER, OLDER
from doubles import settle
from gqlwire.errors import (
    ConnectionClosed,
    MessageTooBig,
    OperationInterrupted,
    Phase,
    TransportConnectionFailed,
)
from gqlwire.retry import Action, RetryPolicy
from gqlwire.retry.actions import action_for
from servers.fake import Message, RawPeer, raw_fake
from servers.launch import start_strawberry
from spelling import NEWER as NEW
from spelling import OLDER as OLD
from spelling import Spelling
from support import BOUND, failure
from virtual_server import (
    MUTATION,
    QUERY,
    TICKS,
    Kept,
    Peer,
    VirtualServer,
    begun,
    kept,
    soon,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)
both = pytest.mark.parametrize("spelling", [NEW, OLD], ids=[NEWER, OLDER])

AT_ONCE = RetryPolicy(first_delay=0)
BIG = "x" * 100_000

# --- What we send is too big for the server ------------------------------------------------------


@pytest.mark.parametrize(
    "implementation",
    [pytest.param("websockets", marks=pytest.mark.long), "wsproto", "websockets-sansio"],
)
async def test_i8_one_query_of_17_mb(implementation: str) -> None:
    """uvicorn accepts 16 MiB. The feed beside the query goes on, and so do later calls.

    Two of its implementations may drop the socket before their close frame can be read (1006).
    """
    echo = "query ($v: String!) { echoString(value: $v) }"
    options: Any = {"retry": AT_ONCE, "execute_timeout": BOUND, "retry_queries": True}
    with start_strawberry(ws=implementation) as server:
        async with gqlwire.connect(server.url, **options) as session:
            feed = session.subscribe("subscription { ticks(count: -1, intervalMs: 1) { seq } }")
            await anext(feed)
            with pytest.raises(TransportConnectionFailed) as told:
                await session.execute(echo, variable_values={"v": "x" * 17_000_000})
            small = await session.execute(echo, variable_values={"v": "small"})
            await _until_restarted(feed)
            await feed.aclose()

    assert {"echoString": "small"} == small
    if implementation == "websockets" or told.value.code != 1006:
        assert (1009, Phase.OPEN) == (told.value.code, told.value.phase)
        assert "the request of this operation has 17,000,0" in str(told.value)


async def _until_restarted(feed: Any) -> None:
    """Until the numbers begin again, as the feed was sent again."""
    last = 0  # this one was taken before
    async with asyncio.timeout(BOUND):
        while (event := await anext(feed))["ticks"]["seq"] > last:
            last = event["ticks"]["seq"]


def big(kind: str) -> str:
    return f'{kind} Big {{ big(pad: "{BIG}") }}'


@both
@pytest.mark.parametrize("kind", ["query", "mutation", "subscription"])
@pytest.mark.parametrize("idempotent", [False, True])
@tidily
async def test_i8_kind_it_costs_what_was_too_big(
    server: VirtualServer, spelling: Spelling, kind: str, idempotent: bool
) -> None:
    """Of what runs beside it, a query is sent again, a mutation is interrupted, a feed goes on."""
    options = gqlwire._reconnect.options.ReconnectOptions(retry_queries=True)
    async with kept(server, AT_ONCE, spelling=spelling, reconnect=options) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        small = await begun(it.session.execute(QUERY))
        mutation = await begun(it.session.execute(MUTATION))
        culprit = await begun(it.session.execute(big(kind), idempotent=idempotent))
        later = await begun(it.session.execute("{ later }"))

        server.peer.hang_up(1009, "message too big")
        with pytest.raises(ConnectionClosed) as told:
            await culprit
        with pytest.raises(OperationInterrupted):
            await mutation
        await settle()
        peer = server.peer
        assert {QUERY, TICKS, "{ later }"} == {*_queries(peer)}
        for id, request in list(peer.live.items()):
            if "Ticks" not in request["query"]:
                peer.answer({"get": 1}, id)
        assert [{"get": 1}] * 2 == [await small, await later]
        peer.tell(2, id=events.id)
        assert {"n": 2} == await anext(events)
        await events.aclose()

    assert (1009, "message too big") == (told.value.code, told.value.reason)
    assert "the request of this operation has 100," in str(told.value)
    assert 2 == len(server.times)


def _queries(peer: Peer) -> list[str]:
    return [said["payload"]["query"] for said in peer.said if "query" in said.get("payload", {})]


@both
@tidily
async def test_i8_kind_a_subscription_that_is_too_big_raises_at_its_first_step(
    server: VirtualServer, spelling: Spelling
) -> None:
    """It is not sent again on each further connection."""
    async with kept(server, AT_ONCE, spelling=spelling) as it:
        events = it.session.subscribe(big("subscription"))
        step = await begun(anext(events))
        server.peer.hang_up(1009)
        with pytest.raises(ConnectionClosed, match="has 100,"):
            await step
        await it.lasting.ready()
        await settle()

        assert {} == server.peer.live


@both
@tidily
async def test_i8_kind_what_was_answered_is_not_to_blame(
    server: VirtualServer, spelling: Spelling
) -> None:
    """A large subscription that has had an event was accepted, and goes on."""
    async with kept(server, AT_ONCE, spelling=spelling) as it:
        events = it.session.subscribe(big("subscription"))
        await started(events, server.peer)
        query = await begun(it.session.execute(QUERY))
        server.peer.hang_up(1009)
        with pytest.raises(ConnectionClosed, match=r"has \d\d bytes"):
            await query
        await it.lasting.ready()
        await settle()

        assert [events.id] == list(server.peer.live)
        await events.aclose()


@tidily
async def test_i8_kind_without_an_operation_the_policy_decides(server: VirtualServer) -> None:
    """Again and again without anything between: waits that grow, up to its limit."""
    policy = RetryPolicy(attempts=3)
    async with kept(server, policy) as it:
        for _ in range(3):
            server.peer.hang_up(1009)
            await it.lasting.ready()
        server.peer.hang_up(1009)
        with pytest.raises(ConnectionClosed):
            await it.lasting.ready()

    assert [1, 2, 4] == server.waits


def test_i8_kind_before_the_acknowledgement_it_is_final() -> None:
    """The same connection_init would be sent again."""
    told = ConnectionClosed(code=1009, phase=Phase.INIT)

    assert Action.STOP is action_for(told)


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_i8_kind_without_reconnecting_all_end(protocol: str) -> None:
    """There is one connection; the error of the one that was too big says so."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        await peer.receive()
        await peer.receive()
        await peer.close(1009)

    async with raw_fake(script) as server:
        options: Any = {"subprotocols": [protocol], "reconnecting": False}
        async with gqlwire.connect(server.url, **options) as session:
            told = await asyncio.gather(
                session.execute("{ hello }"), session.execute(big("query")), return_exceptions=True
            )

    assert [ConnectionClosed] * 2 == [type(each) for each in told]
    assert [False, True] == ["the request of this operation" in str(each) for each in told]


# --- What the server sends is too big for us -----------------------------------------------------

EVENT = {NEWER: "next", OLDER: "data"}
LIMIT = 10_000
PAD = "y" * (2 * LIMIT)


def result(protocol: str, id: str, data: Any) -> str:
    said = {"id": id, "type": EVENT[protocol], "payload": {"data": data}}
    return json.dumps(said)


async def whole(peer: RawPeer, text: str) -> None:
    await peer.send_text(text)


async def in_fragments(peer: RawPeer, text: str) -> None:
    data = text.encode()
    await peer.send_frame(1, data[:LIMIT], fin=False)
    await peer.send_frame(0, data[LIMIT : LIMIT + 100], fin=False)


async def in_a_large_fragment(peer: RawPeer, text: str) -> None:
    data = text.encode()
    await peer.send_frame(1, data[:100], fin=False)
    await peer.send_frame(0, data[100:])


class Book:
    """A server with a feed, small queries, and a query whose result is too big."""

    def __init__(self, protocol: str, send: Callable[..., Any], spell: Callable[..., str]) -> None:
        self.protocol = protocol
        self._send = send
        self._spell = spell
        self.big = 0

    async def __call__(self, peer: RawPeer) -> None:
        await peer.ack()
        while True:
            said = await peer.receive()
            if "query" in said.get("payload", {}):
                await self._answer(peer, said)

    async def _answer(self, peer: RawPeer, said: Message) -> None:
        id, query = said["id"], said["payload"]["query"]
        if "big" in query:
            self.big += 1
            await self._send(peer, self._spell(self.protocol, id, {"big": PAD}))
        elif "ticks" in query:
            await peer.send_text(result(self.protocol, id, {"ticks": len(peer.received)}))
        else:
            await peer.send_text(result(self.protocol, id, {"small": 1}))
            await peer.send({"id": id, "type": "complete"})


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize("send", [whole, in_fragments, in_a_large_fragment])
@pytest.mark.parametrize("kind", ["query", "mutation", "subscription"])
async def test_i8_kind_a_result_that_is_too_big_for_us(
    protocol: str, send: Callable[..., Any], kind: str
) -> None:
    """Costs its operation, which is not sent again. The feed beside it goes on."""
    book = Book(protocol, send, result)
    options: Any = {"subprotocols": [protocol], "max_message_size": LIMIT, "retry": AT_ONCE}
    async with raw_fake(book) as server, gqlwire.connect(server.url, **options) as session:
        feed = session.subscribe("subscription { ticks }")
        await anext(feed)
        culprit = f"{kind} {{ big }}"
        events = session.subscribe(culprit)
        is_feed = kind == "subscription"
        step = anext(events) if is_feed else session.execute(culprit)
        told = await failure(MessageTooBig, step)

        assert {"small": 1} == await session.execute("{ small }")
        await asyncio.wait_for(anext(feed), BOUND)
        await feed.aclose()

    assert (LIMIT, False, 1) == (told.limit, told.unsolicited, book.big)
    assert 2 == server.connections


@both
@tidily
async def test_i8_kind_a_feed_that_is_too_big_again_and_again_ends(
    server: VirtualServer, spelling: Spelling
) -> None:
    """At each resubscribe the server sends it at once: after `suspect_attempts` the feed raises
    it. The one beside it goes on."""
    async with kept(server, RetryPolicy(first_delay=0.1), spelling=spelling) as it:
        events, healthy = it.session.subscribe(TICKS), it.session.subscribe(TICKS)
        await started(healthy, server.peer)
        step = await begun(anext(events))
        server.peer.tell(1, id=events.id)
        await step
        step = await begun(anext(events))
        server.peer.hang_up(1012)
        while not step.done():
            await it.lasting.ready()
            await settle()
            assert events.id is not None
            server.peer.connection.failed(too_big(events.id), 1009)
            await settle()
        with pytest.raises(MessageTooBig):
            await step
        await it.lasting.ready()
        await settle()
        server.peer.tell(7, id=healthy.id)
        assert {"n": 7} == await anext(healthy)
        await healthy.aclose()

    assert RetryPolicy().suspect_attempts == len(server.times) - 3


def too_big(id: str) -> MessageTooBig:
    failure = MessageTooBig("too big", limit=LIMIT, host="server.example:80")
    failure.beginning = b'{"type":"next","id":"%s","payload":{"data":' % id.encode()
    return failure


def backwards(protocol: str, id: str, data: Any) -> str:
    """The id comes last, so nobody knows whose message it is; there is another one inside."""
    said = {"type": EVENT[protocol], "payload": {"data": {**data, "id": "1"}}, "id": id}
    return json.dumps(said)


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize("send", [whole, in_fragments, in_a_large_fragment])
async def test_i8_kind_whose_result_it_was_is_not_known(
    protocol: str, send: Callable[..., Any]
) -> None:
    """What waits for an answer gets the error, as it would be asked again; feeds go on."""
    book = Book(protocol, send, backwards)
    options: Any = {
        "subprotocols": [protocol],
        "max_message_size": LIMIT,
        "retry": AT_ONCE,
        "retry_queries": True,
    }
    async with raw_fake(book) as server, gqlwire.connect(server.url, **options) as session:
        feed = session.subscribe("subscription { ticks }")
        await anext(feed)
        await failure(MessageTooBig, session.execute("{ big }"))
        assert {"small": 1} == await session.execute("{ small }")
        await asyncio.wait_for(anext(feed), BOUND)
        await feed.aclose()

    assert 1 == book.big


async def test_i8_kind_a_message_for_nobody_is_final() -> None:
    """No operation runs that could be given up; the next connection would get it again."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        await peer.send({"type": "news", "pad": PAD})

    async def use(session: gqlwire.AsyncClientSession) -> None:
        while True:
            await session.wait_ready()
            await asyncio.sleep(0)

    async with raw_fake(script) as server:
        client = gqlwire.connect(server.url, max_message_size=LIMIT, retry=AT_ONCE)
        with pytest.raises(MessageTooBig) as told:
            async with client as session:
                await asyncio.wait_for(use(session), BOUND)

    assert told.value.unsolicited
    assert 1 == server.connections


@tidily
async def test_i8_kind_a_query_alone_is_told_and_the_session_lives(server: VirtualServer) -> None:
    """Twice in a row: each costs its own query."""
    it: Kept
    async with kept(server, AT_ONCE) as it:
        for _ in range(2):
            query = await begun(it.session.execute(QUERY))
            server.peer.hang_up(1009)
            with pytest.raises(ConnectionClosed, match="1009"):
                await query
        again = await begun(it.session.execute(QUERY))
        await soon(it.lasting.ready())
        await settle()
        server.peer.answer({"get": 3})
        assert {"get": 3} == await again
