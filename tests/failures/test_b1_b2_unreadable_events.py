"""One event that could not be read dropped the socket of all, and the events after it in silence.

An event that is no JSON, or nested too deeply, costs its own step; the next step takes the next.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gqlwire
from doubles import VirtualTimeLoop, settle
from gqlwire._protocols.outline import outline
from gqlwire.errors import (
    ConnectionClosed,
    Phase,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
)
from servers.fake import Peer as RealPeer
from servers.fake import RawPeer, fake, raw_fake
from spelling import NEWER, OLDER, Spelling, both
from support import BOUND
from virtual_server import (
    QUERY,
    TICKS,
    Meeting,
    VirtualServer,
    begun,
    kept,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

UNREADABLE: dict[str, bytes] = {
    "raw newline": b'{"data":{"n":"a\nb"}}',
    "raw NUL": b'{"data":{"n":"a\x00b"}}',
    "bad escape": rb'{"data":{"n":"\x41"}}',
    "bad unicode escape": rb'{"data":{"n":"\uZZZZ"}}',
    "cut off": b'{"data":{"n":3',
    "cut off in a string": b'{"data":{"n":"3',
    "no value": b'{"data":}',
    "one brace more": b'{"data":{"n":3}}}',
    "trailing comma": b'{"data":{"n":3,}}',
    "no JSON": b"undefined",
    "single quotes": b"{'data':{'n':3}}",
    "hexadecimal": b'{"data":{"n":0x3}}',
    "nothing": b"",
    "another message's head": b'{"data":{"n":"}"}},"type":"complete","id":',
    "no object": b"5",
    "a list": b"[]",
    "null": b"null",
    "neither data nor errors": b'{"n":3}',
    "six thousand digits": b'{"data":{"n":%s}}' % (b"9" * 6_000),
}
TOO_DEEP: dict[str, bytes] = {
    "deep": b'{"data":{"n":%s}}' % (b"[" * 100_000 + b"]" * 100_000),
    "deep objects": b'{"data":%snull%s}' % (b'{"n":' * 100_000, b"}" * 100_000),
    "deep extensions": b'{"data":{"n":3},"extensions":%s}' % (b"[" * 100_000 + b"]" * 100_000),
    "deep and cut off": b'{"data":{"n":%s}}' % (b"[" * 100_000),
}
# What only a lenient reader can read, and no error.
ODD: dict[str, tuple[bytes, Any]] = {
    "lone surrogate": (rb'{"data":{"n":"\ud83d"}}', "\ud83d"),
    "infinity": (b'{"data":{"n":-Infinity}}', float("-inf")),
    "big number": (b'{"data":{"n":1e400}}', None),
    "big integer": (b'{"data":{"n":%s}}' % (b"9" * 400), int("9" * 400)),
    "duplicate keys": (b'{"data":{"n":1},"data":{"n":2}}', 2),
}
each_deep = pytest.mark.parametrize("payload", TOO_DEEP.values(), ids=TOO_DEEP)
each_kind = pytest.mark.parametrize("payload", UNREADABLE.values(), ids=UNREADABLE)
in_any_place = pytest.mark.parametrize("is_last", [True, False], ids=["fast", "slow"])


def message(spelling: Spelling, id: str, payload: bytes, *, is_last: bool = True) -> bytes:
    """A result, with the payload as its last key, which takes the fast path, or before others."""
    head = b'"type":"%s","id":"%s"' % (spelling.result.encode(), id.encode())
    if is_last:
        return b'{%s,"payload":%s}' % (head, payload)
    return b'{%s,"payload":%s,"more":1}' % (head, payload)


async def take(events: Any) -> list[Any]:
    """All outcomes of a subscription's steps, up to its end; unreadable events as their error."""
    found: list[Any] = []
    while True:
        try:
            event = await anext(events)
            found.append(event["n"] if isinstance(event, dict) else event)
        except TransportProtocolError as told:
            found.append(type(told))
        except StopAsyncIteration:
            return found


# --- As reported ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reconnecting", [True, False])
@pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
async def test_b1_a_raw_newline_in_a_string(spelling: Spelling, reconnecting: bool) -> None:
    """4 and 5 follow, and the end is the end; a neighbour on the same socket notices nothing."""

    async def script(peer: RealPeer) -> None:
        await peer.ack()
        ids = [(await peer.expect(spelling.start))["id"] for _ in range(2)]

        async def say(id: str, payload: bytes) -> None:
            await peer.send_text(message(spelling, id, payload).decode())

        for n in (1, 2):
            await say(ids[0], b'{"data":{"n":%d}}' % n)
            await say(ids[1], b'{"data":{"n":%d}}' % n)
        await say(ids[0], b'{"data":{"n":"a\nb"}}')
        for n in (4, 5):
            await say(ids[0], b'{"data":{"n":%d}}' % n)
        await peer.send({"type": "complete", "id": ids[0]})
        await say(ids[1], b'{"data":{"n":3}}')
        await peer.send({"type": "complete", "id": ids[1]})

    protocol = "graphql-transport-ws" if spelling is NEWER else "graphql-ws"
    async with (
        asyncio.timeout(BOUND),
        fake(script, subprotocols=(protocol,)) as server,
        gqlwire.connect(server.url, reconnecting=reconnecting, proxy=None) as session,
    ):
        both_feeds = session.subscribe(TICKS), session.subscribe(TICKS)
        one, other = await asyncio.gather(*map(take, both_feeds))

        assert [1, 2, TransportProtocolError, 4, 5] == one
        assert [1, 2, 3] == other
        assert 0 == both_feeds[0].dropped
        assert 1 == server.connections


@both
@in_any_place
@tidily
async def test_b2_valid_json_of_a_thousand_levels(
    server: VirtualServer, spelling: Spelling, is_last: bool
) -> None:
    """The error says "too deep", if it cannot be read: some versions of Python can."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        for levels in (1_000, 100_000):
            deep = b'{"data":{"n":%s}}' % (b"[" * levels + b"]" * levels)
            server.peer.say(message(spelling, events.id, deep, is_last=is_last))
            server.peer.tell(levels)
            try:
                await anext(events)
                assert levels == 1_000
            except TransportProtocolError as told:
                assert "nested too deeply" in str(told)  # noqa: PT017
            assert {"n": levels} == await anext(events)
        assert 1 == len(server.peers)
        await events.aclose()


# --- Every kind, live ----------------------------------------------------------------------------


async def steps(events: Any) -> list[Any]:
    return await take(events)


async def batches(events: Any) -> list[Any]:
    """In lists of two."""
    found: list[Any] = []
    lists = events.batches(2)
    while True:
        try:
            found += [event["n"] for event in await anext(lists)]
        except TransportProtocolError as told:
            found.append(type(told))
        except StopAsyncIteration:
            return found


async def merger(events: Any) -> list[Any]:
    found: list[Any] = []
    merged = gqlwire.merge([events])
    while True:
        try:
            _, event = await anext(merged)
            found.append(event["n"])
        except TransportProtocolError as told:
            found.append(type(told))
        except StopAsyncIteration:
            return found


WAYS: list[tuple[Any, dict[str, Any]]] = [
    (steps, {}),
    (steps, {"result_type": dict[str, int]}),
    (steps, {"resume": lambda last, variables: variables, "key": lambda event: event["n"]}),
    (batches, {}),
    (merger, {}),
]


@both
@each_kind
@in_any_place
@pytest.mark.parametrize(
    ("way", "options"), WAYS, ids=lambda it: " ".join(it) if isinstance(it, dict) else it.__name__
)
@tidily
async def test_b1_kind_each_unreadable_event_costs_one_step(
    server: VirtualServer,
    spelling: Spelling,
    payload: bytes,
    is_last: bool,
    way: Callable[[Any], Any],
    options: dict[str, Any],
) -> None:
    """The other subscription and a query get their results, and nothing is sent to the server."""
    async with kept(server, spelling=spelling) as it:
        events, other = it.session.subscribe(TICKS, **options), it.session.subscribe(TICKS)
        await started(events, server.peer, 1)
        await started(other, server.peer, 1)
        asking = await begun(it.session.execute(QUERY))
        ids = (events.id, other.id, server.peer.started[-1])
        said = len(server.peer.sent)
        taking = await begun(way(events))
        server.peer.tell(2, id=ids[0])
        await settle()
        server.peer.say(
            message(spelling, ids[0], payload, is_last=is_last),
            server.peer.result({"data": {"n": 2}}, ids[1]),
            server.peer.result({"data": {"n": 4}}, ids[0]),
            message(spelling, ids[0], payload, is_last=is_last),
            server.peer.result({"data": {"n": 5}}, ids[0]),
            {"type": "complete", "id": ids[0]},
            server.peer.result({"data": {"get": 1}}, ids[2]),
            {"type": "complete", "id": ids[1]},
        )

        wrong = TransportProtocolError
        assert [2, wrong, 4, wrong, 5] == await taking
        assert [2] == await take(other)
        assert {"get": 1} == await asking
        assert said == len(server.peer.sent)
        assert 1 == len(server.peers)
        assert it.session.state is Phase.OPEN


@both
@each_kind
@in_any_place
@tidily
async def test_b1_kind_each_unreadable_answer_fails_its_operation(
    server: VirtualServer, spelling: Spelling, payload: bytes, is_last: bool
) -> None:
    """Nothing else ends, and the message for an operation that is over is nobody's."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        for options in ({}, {"get_execution_result": True}, {"result_type": dict[str, int]}):
            asking = await begun(it.session.execute(QUERY, **options))
            text = message(spelling, server.peer.started[-1], payload, is_last=is_last)
            server.peer.say(text)
            with pytest.raises(TransportProtocolError, match="the server sent an invalid result"):
                await asking
            server.peer.say(text)
        server.peer.tell(1, id=events.id)
        assert {"n": 1} == await anext(events)
        assert 1 == len(server.peers)
        await events.aclose()


@both
@pytest.mark.parametrize(("payload", "value"), ODD.values(), ids=ODD)
@in_any_place
@tidily
async def test_b1_kind_what_can_be_read_is_read(
    server: VirtualServer, spelling: Spelling, payload: bytes, value: Any, is_last: bool
) -> None:
    """Some servers write it."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.say(message(spelling, events.id, payload, is_last=is_last))
        event = await anext(events)
        assert value in (event["n"], None)
        await events.aclose()


@both
@pytest.mark.parametrize(
    "text",
    [
        b'{"payload":%s,"id":"%s","type":"%s"}',
        b' { "payload" : %s , "type2" : {"id":[{}]} , "id" : "%s" , "type" : "%s" } ',
        b'{"payload":%s,"id":%s,"type":"%s"}',
    ],
)
@pytest.mark.parametrize("payload", [b'"a\nb"', rb'"\x41"', b"undefined", TOO_DEEP["deep"]])
@tidily
async def test_b1_kind_the_payload_may_come_first(
    server: VirtualServer, spelling: Spelling, text: bytes, payload: bytes
) -> None:
    """As some servers write it; the id may be a number."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        kind = spelling.result.encode()
        server.peer.say(text % (payload, events.id.encode(), kind))
        server.peer.tell(1)
        server.peer.complete()
        assert [TransportProtocolError, 1] == await take(events)
        assert 1 == len(server.peers)


# --- Read late -----------------------------------------------------------------------------------


@pytest.mark.sampled(5)
@both
@each_kind
@in_any_place
@pytest.mark.parametrize("is_awaited", [False, True])
@pytest.mark.parametrize("losses", [1, 2])
@tidily
async def test_b1_kind_what_is_read_after_a_loss(
    server: VirtualServer,
    spelling: Spelling,
    payload: bytes,
    is_last: bool,
    is_awaited: bool,
    losses: int,
) -> None:
    """On the next connection or the one after it, whose first result has come or not."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1, 2)
        assert {"n": 1} == await anext(events)
        assert {"n": 2} == await anext(events)
        taking = await begun(take(events)) if is_awaited else None
        server.peer.say(
            message(spelling, events.id, payload, is_last=is_last),
            *(server.peer.result({"data": {"n": n}}) for n in (4, 5)),
        )
        for _ in range(losses):
            server.peer.hang_up(1012)
            await it.lasting.ready()
            await settle()
        server.peer.tell(6)
        server.peer.say(message(spelling, events.id, payload, is_last=is_last))
        server.peer.tell(7)
        server.peer.complete()

        wrong = TransportProtocolError
        assert [wrong, 4, 5, 6, wrong, 7] == await (taking or take(events))
        assert 1 + losses == len(server.peers)
        assert 0 == events.dropped


@both
@each_kind
@tidily
async def test_b1_kind_what_is_read_after_the_last_connection(
    server: VirtualServer, spelling: Spelling, payload: bytes
) -> None:
    """The events that came before its end come before the failure."""
    client = server.client(
        reconnecting=False,
        subprotocols=["graphql-transport-ws" if spelling is NEWER else "graphql-ws"],
    )
    async with client as session:
        events = session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.say(message(spelling, events.id, payload))
        server.peer.tell(2)
        server.peer.hang_up(1012)
        found: list[Any] = []
        for _ in range(4):
            try:
                found.append((await anext(events))["n"])
            except TransportError as told:
                found.append(type(told))

    assert [1, TransportProtocolError, 2, ConnectionClosed] == found


@both
@each_kind
@tidily
async def test_b1_kind_the_first_event_after_a_resubscription(
    server: VirtualServer, spelling: Spelling, payload: bytes
) -> None:
    """Which has a sink of its own."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.hang_up(1012)
        await it.lasting.ready()
        await settle()
        server.peer.say(message(spelling, events.id, payload))
        server.peer.tell(1)
        server.peer.complete()
        assert [TransportProtocolError, 1] == await take(events)


# --- Any text ------------------------------------------------------------------------------------

PIECES = [b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\n", b"1", b" "]
pieces = st.sampled_from([*PIECES, b'"id":"0"', b'"type":"ping"'])


@settings(deadline=None)
@given(
    st.lists(st.lists(pieces, max_size=12).map(b"".join), min_size=1, max_size=4),
    st.sampled_from([NEWER, OLDER]),
    st.booleans(),
)
def test_b1_kind_any_payload_leaves_the_others_alone(
    payloads: list[bytes], spelling: Spelling, is_slow: bool
) -> None:
    """No connection is lost, no other event, and none comes twice."""

    async def run() -> None:
        server = VirtualServer()
        async with kept(server, spelling=spelling) as it:
            events, other = it.session.subscribe(TICKS), it.session.subscribe(TICKS)
            await started(events, server.peer)
            await started(other, server.peer)
            for n, payload in enumerate(payloads):
                server.peer.say(message(spelling, events.id, payload, is_last=not is_slow))
                server.peer.tell(n, id=events.id)
                server.peer.tell(n, id=other.id)
            for id in (events.id, other.id):
                server.peer.complete(id)
            numbers = [*range(len(payloads))]
            found = await take(events)
            assert numbers == [each for each in found if isinstance(each, int)]
            assert len(found) <= 2 * len(payloads)
            assert numbers == await take(other)
            assert 1 == len(server.peers)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


keys = st.text(st.characters(exclude_characters='\\"', exclude_categories=["C"]), max_size=4)


@given(st.dictionaries(keys, st.integers() | st.lists(st.text())))
def test_b1_kind_the_outline_of_valid_json_is_its_keys(value: dict[str, Any]) -> None:
    """With their values."""
    text = json.dumps(value, ensure_ascii=False).encode()

    assert value == {key: json.loads(part) for key, part in outline(text).items()}


@pytest.mark.parametrize("text", [rb'"\"', b'"\\', b'{"a', b'{"a":"\\"', b"[", b'{"a":{"'])
def test_b1_kind_the_outline_of_hostile_text_takes_no_longer(text: bytes) -> None:
    """A hundred thousand times the same: a way that tries things again would take hours."""
    assert len(outline(text * 100_000)) <= 1


# --- Other messages ------------------------------------------------------------------------------

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.sampled(3)
@both
@each_deep
@in_any_place
@tidily
async def test_b2_kind_nesting_in_events_and_answers(
    server: VirtualServer, spelling: Spelling, payload: bytes, is_last: bool
) -> None:
    """Before and after a loss. "Too deep" is said of whatever is whole."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        asking = await begun(it.session.execute(QUERY))
        server.peer.say(message(spelling, server.peer.started[-1], payload, is_last=is_last))
        with pytest.raises(TransportProtocolError, match="nested too deeply to be read"):
            await asking
        for _ in range(2):
            server.peer.say(message(spelling, events.id, payload, is_last=is_last))
            server.peer.tell(1, id=events.id)
        with pytest.raises(TransportProtocolError, match="nested too deeply to be read"):
            await anext(events)
        server.peer.hang_up(1012)
        await it.lasting.ready()
        await settle()
        server.peer.complete()
        assert [1, TransportProtocolError, 1] == await take(events)


@both
@tidily
async def test_b2_kind_nesting_in_other_messages(server: VirtualServer, spelling: Spelling) -> None:
    """In the payloads of `connection_ack`, pings, complaints, errors, and of unknown types."""
    server.will(Meeting(greeting=b'{"type":"connection_ack","payload":{"a":%s}}' % DEEP))
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        sent: list[bytes] = []
        with pytest.MonkeyPatch.context() as patch:
            # The server of the test cannot read it either.
            patch.setattr(server.peer, "send", sent.append)
            for kind in (b"ping", b"pong", b"ka", b"connection_error", b"news"):
                server.peer.say(b'{"type":"%s","payload":{"a":%s}}' % (kind, DEEP))
        server.peer.say(b'{"a":%s,"type":"news"}' % DEEP)
        server.peer.say(b'{"type":%s}' % (b"[" * 900 + b"]" * 900))
        pongs = [b'{"type":"pong","payload":{"a":%s}}' % DEEP] if spelling is NEWER else []
        assert pongs == sent
        asking = await begun(it.session.execute(QUERY))
        id = server.peer.started[-1].encode()
        server.peer.say(b'{"type":"error","id":"%s","payload":[{"message":%s}]}' % (id, DEEP))
        with pytest.raises(TransportQueryError, match="nested too deeply"):
            await asking
        server.peer.tell(1, id=events.id)
        assert {"n": 1} == await anext(events)
        assert 1 == len(server.peers)
        await events.aclose()


@pytest.mark.sampled(5)
@both
@pytest.mark.parametrize("levels", [100, 300, 500, 700, 900, 950, 990, 1_500, 5_000])
@pytest.mark.parametrize("inner", [b"1", b"NaN", rb'"\ud800"'])
@tidily
async def test_b2_kind_nesting_that_some_decoders_can_read(
    server: VirtualServer, spelling: Spelling, levels: int, inner: bytes
) -> None:
    """Wherever the limit is, in data, errors, messages of errors and extensions: only its own."""
    deep = b"[" * levels + inner + b"]" * levels
    payloads = [
        b'{"data":{"n":%s}}' % deep,
        b'{"data":null,"errors":%s}' % deep,
        b'{"data":null,"errors":[{"message":%s,"path":%s}]}' % (deep, deep),
        b'{"data":{"n":1},"extensions":%s}' % deep,
        b'{"data":{"n":1},"incremental":%s,"hasNext":true}' % deep,
    ]
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        for payload in payloads:
            server.peer.say(message(spelling, events.id, payload))
            server.peer.tell(1, id=events.id)
            try:
                await anext(events)
            except TransportError as told:
                assert str(told)  # noqa: PT017
            assert {"n": 1} == await anext(events)
        for number, payload in enumerate([*payloads, deep, b'{"message":%s}' % deep]):
            asking = await begun(it.session.execute(QUERY))
            id = server.peer.started[-1]
            if number < len(payloads):
                server.peer.say(message(spelling, id, payload))
            else:
                server.peer.say(b'{"type":"error","id":"%s","payload":%s}' % (id.encode(), payload))
            try:
                await asking
            except TransportError as told:
                assert str(told)  # noqa: PT017
        assert 1 == len(server.peers)
        await events.aclose()


@both
@pytest.mark.parametrize(
    "text", [b"hello", b"[]", b'{"id":"1"', b"5", b"", DEEP, b'{"type":"next"']
)
@tidily
async def test_b1_kind_text_that_shows_no_operation_ends_the_connection(
    server: VirtualServer, spelling: Spelling, text: bytes
) -> None:
    """As nobody knows whose it was. The subscription continues on the next one."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.say(text)
        assert isinstance(server.peer.connection.reason, TransportProtocolError)
        assert 1002 == server.peer.close_code
        await it.lasting.ready()
        await settle()
        server.peer.tell(1)
        assert {"n": 1} == await anext(events)
        await events.aclose()


@pytest.mark.parametrize("count", [1, 3])
async def test_b1_kind_text_that_is_not_utf8_ends_the_connection(count: int) -> None:
    """As RFC 6455, section 8.1, demands; the events before it are delivered."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        id = (await peer.expect("subscribe"))["id"]
        for n in range(count):
            await peer.send({"type": "next", "id": id, "payload": {"data": {"n": n}}})
        broken = b'{"type":"next","id":"%s","payload":{"data":{"n":"\xff"}}}' % id.encode()
        await peer.send_frame(1, broken)
        await peer.closed()

    async with (
        raw_fake(script) as server,
        gqlwire.connect(server.url, reconnecting=False, proxy=None) as session,
    ):
        events = session.subscribe(TICKS)
        found = [await anext(events) for _ in range(count)]
        with pytest.raises(TransportProtocolError, match="sent text that is not UTF-8"):
            async with asyncio.timeout(BOUND):
                await anext(events)

    assert [{"n": n} for n in range(count)] == found
