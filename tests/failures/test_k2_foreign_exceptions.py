"""`Retry-After: Wed, 21 Oct 99999999999999999999 07:28:00 GMT` raised an OverflowError, which ended
a session that reconnects.

Nothing that a server sends raises anything but the errors of gqlwire. Where its bytes become Python
values, everything that is raised becomes one of them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from decimal import Decimal
from typing import Any

import graphql
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import gqlwire
from doubles import on_virtual_time, pass_time
from gqlwire import Client, RetryPolicy, Subscription
from gqlwire._json import decode, number
from gqlwire._wire import dial as dial_module
from gqlwire._wire import reach, upgrade
from gqlwire.cli._exit import graphql_errors
from gqlwire.cli._output import as_json
from gqlwire.errors import (
    HandshakeRejected,
    ResultMismatch,
    TransportConnectionFailed,
    TransportError,
    TransportQueryError,
)
from gqlwire.retry.actions import retry_after
from servers.fake import Peer, RawPeer, fake, raw_fake
from spelling import NEWER, OLDER, Spelling
from support import leaves_nothing
from virtual_server import (
    QUERY,
    TICKS,
    VirtualServer,
    begun,
    kept,
    refused,
    tidily,
    virtual_server,
)
from wire.proxies import HTTPProxy

served = pytest.fixture(name="server")(virtual_server)
tidy = pytest.fixture(leaves_nothing)

BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
HUGE = "9" * 5_000
DATES = [
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "Wed, 21 Oct 9999 23:59:59 -9999",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    f"Wed, {HUGE} Oct 2015 07:28:00 GMT",
    "Wed, 21 Oct 2015 07:28:00 +99999999999999999999",
    "Wed, 21 Oct -1 07:28:00 GMT",
    HUGE,
    "٣",
    "1e999",
    "-1",
    "\udc80",
    "",
]


async def acknowledge(peer: Peer) -> None:
    await peer.ack()


# --- The row's own: dates and numbers of a refused upgrade ---------------------------------------


@pytest.mark.parametrize("date", DATES, ids=[ascii(date[:30]) for date in DATES])
def test_k2_any_date(date: str) -> None:
    """As `Retry-After`, and as the `Date` that it is compared with."""
    good = "Wed, 21 Oct 2015 07:28:00 GMT"
    for headers in ({"retry-after": date, "date": good}, {"retry-after": good, "date": date}):
        assert retry_after(HandshakeRejected(headers=headers)) >= 0


@pytest.mark.parametrize("date", DATES[:2])
@tidily
async def test_k2_a_session_survives_the_date(server: VirtualServer, date: str) -> None:
    """It connects again, as after any other 503."""
    headers = {"retry-after": date, "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    policy = RetryPolicy(longest_retry_after=60)
    async with kept(server, policy) as it:
        server.will(refused(HandshakeRejected("503", status=503, headers=headers)))
        server.peer.hang_up(1012)
        await pass_time(120)

        assert server.peer.is_open
        assert it.session.counters.connections == 2


# --- Its kind: the handshake ---------------------------------------------------------------------

HEADS = [
    f"HTTP/1.1 503 No\r\nRetry-After: {DATES[0]}",
    f"HTTP/1.1 503 No\r\nContent-Length: {HUGE}",
    "HTTP/1.1 301 No\r\nLocation: ws://[",
    "HTTP/1.1 301 No\r\nLocation: http://[::1]:99999999999/?a=b",
    "HTTP/1.1 307 No\r\nLocation: \\\\\x80//@@@:x",
    "HTTP/1.1 999 No",
    "HTTP/9.9 200",
    f"HTTP/1.1 {HUGE} No",
    "HTTP/1.1 ٣٣٣ No",
    "HTTP/1.1 101 Go\r\nSec-WebSocket-Accept: \xff",
    f"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: {HUGE}",
    "HTTP/1.1 101 Go\r\nUpgrade: \xfc\r\nConnection: \xfc",
    "HTTP/1.1 101 Go\r\nSec-WebSocket-Protocol: \xfc, ,",
    "HTTP/1.1 101 Go\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=\xb3",
    f"HTTP/1.1 101 Go\r\nSec-WebSocket-Extensions: permessage-deflate; x={HUGE[:900]}",
    "\x00\x01\x02",
]


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("head", HEADS, ids=[ascii(head[:60]) for head in HEADS])
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_k2_kind_any_answer(head: str, compression: Any) -> None:
    """Of a server, and of a proxy before it."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(head.encode(errors="surrogateescape") + b"\r\n\r\n")
        peer.end()

    async with raw_fake(script, upgrade=False) as server:
        for given in (
            {"url": server.url, "compression": compression},
            {"url": "ws://127.0.0.1:9/", "proxy": f"http://127.0.0.1:{server.port}"},
        ):
            client = gqlwire.connect(**given, reconnecting=False, connect_timeout=None)
            with pytest.raises(TransportError):
                await client.connect_async()


FAULTS = [OverflowError("odd"), KeyError("odd"), RecursionError("odd"), RuntimeError("odd")]


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(
    "place",
    [(upgrade, "plain"), (upgrade.AnswerReader, "take"), (dial_module, "PicowsWire"), None],
    ids=["answer", "reader", "wire", "proxy"],
)
async def test_k2_kind_whatever_is_raised_at_the_rim(
    fault: Exception, place: tuple[Any, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an answer is read, the attempt fails with an error of gqlwire, and in time."""

    def fail(*_: object, **__: object) -> Any:
        raise fault

    monkeypatch.setattr(*(place or (reach.AnswerReader, "take")), fail)
    async with fake(acknowledge) as server, HTTPProxy() as proxy:
        client = gqlwire.connect(
            server.url,
            proxy=None if place else proxy.url,
            reconnecting=False,
            connect_timeout=None,
        )
        with pytest.raises(TransportConnectionFailed, match="odd"):
            await client.connect_async()


# --- Its kind: messages --------------------------------------------------------------------------

ODD = [
    HUGE,
    f"-{HUGE}",
    "1e999",
    "-1E+999999",
    "1e-99999999999999999999",
    "1e99999999999999999999",
    "NaN",
    "-Infinity",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    "[" * 900 + "]" * 900,
    "[" * 100_000 + "]" * 100_000,
    '{"a":' * 900 + "1" + "}" * 900,
    '{"__proto__":{},"a":1,"a":2}',
    '""',
    '"\\u0000"',
    "12345678901234567890123456789012345678901234567890",
    "-0",
    "[]",
    "null",
    "tru",
    "'a'",
]
FORMS = [
    '{"type":"%(result)s","id":"%(id)s","payload":{"data":%(odd)s}}',
    '{"type":"%(result)s","id":"%(id)s","payload":%(odd)s}',
    '{"type":"%(result)s","id":"%(id)s","payload":{"data":null,"errors":%(odd)s}}',
    '{"type":"%(result)s","id":"%(id)s","payload":{"data":null,"errors":[%(odd)s]}}',
    '{"type":"%(result)s","id":"%(id)s","payload":{"errors":[{"message":%(odd)s,"path":[%(odd)s]}]}}',
    '{"type":"%(result)s","id":"%(id)s","payload":{"data":{"n":1},"extensions":%(odd)s}}',
    '{"type":"%(result)s","id":"%(id)s","payload":{"data":{},"hasNext":%(odd)s,"path":%(odd)s}}',
    '{"type":"%(result)s","id":%(odd)s,"payload":{"data":{}}}',
    '{"type":%(odd)s,"id":"%(id)s"}',
    '{"type":"error","id":"%(id)s","payload":%(odd)s}',
    '{"type":"error","id":"%(id)s","payload":[{"message":%(odd)s,"path":%(odd)s}]}',
    '{"type":"connection_error","payload":%(odd)s}',
    '{"type":"ping","payload":%(odd)s}',
    '{"type":"pong","payload":%(odd)s}',
    '{"type":"complete","id":"%(id)s","payload":%(odd)s}',
    "%(odd)s",
]


class Ticks(msgspec.Struct):
    """What a typed subscription wants."""

    n: int


class Price(msgspec.Struct):
    """The same with digits."""

    n: Decimal


async def judged(events: Subscription[Any]) -> None:
    """Take what is there. Whatever is raised is of gqlwire."""
    try:
        async for _ in events:
            pass
    except TransportError as error:
        str(error), repr(error), graphql_errors(getattr(error, "errors", None) or [])


@pytest.mark.parametrize("form", FORMS, ids=range(len(FORMS)))
@BOTH
def test_k2_kind_any_value_in_any_place(form: str, spelling: Spelling) -> None:
    """Of queries, subscriptions, typed ones and numbers as Decimals; the session goes on."""
    ways: list[dict[str, Any]] = [
        {},
        {"result_type": Ticks},
        {"result_type": Price, "parse_float": Decimal},
        {"get_execution_result": True},
        {"parse_float": Decimal},
    ]

    @on_virtual_time
    async def meet(odd: str, way: dict[str, Any]) -> None:
        server = VirtualServer()
        async with kept(server, spelling=spelling, answer_pings=False) as it:
            events = it.session.subscribe(TICKS, **way)
            task = await begun(judged(events))
            words = {"result": spelling.result, "id": server.peer.id, "odd": odd}
            server.peer.say((form % words).encode())
            asking = await begun(it.session.execute(QUERY, **way))
            if server.peer.is_open and events.id != server.peer.started[-1]:
                server.peer.say((form % {**words, "id": server.peer.started[-1]}).encode())
            await events.aclose()
            await task
            asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled() or isinstance(asking.exception(), TransportError | type(None))
            dict(it.session.transport.payloads), it.session.counters
            assert it.lasting.is_alive

    for place, odd in enumerate(ODD):
        meet(odd, ways[place % len(ways)])


SCHEMA = graphql.build_schema("""
scalar Day
enum Size { SMALL }
type Query { n: Int, day: Day, size: Size, list: [Day!], me: Query }
""")


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"day": "never"}, "$.day"),
        ({"size": "HUGE"}, "$.size"),
        ({"list": {}}, "$.list"),
        ({"list": ["2020-01-01", 5]}, "$.list[1]"),
        ({"me": [1]}, "$.me"),
        ({"n": {}}, "$.n"),
        ([1], "$"),
        ({"me": {"day": float("inf")}}, "$.me.day"),
    ],
)
async def test_k2_kind_data_that_does_not_fit_the_schema(data: Any, path: str) -> None:
    """With `parse_results`: ResultMismatch, as with a `result_type`."""
    day: Any = SCHEMA.get_type("Day")
    day.parse_value = dt.date.fromisoformat

    async def script(peer: Peer) -> None:
        await peer.ack()
        for _ in range(2):
            id = (await peer.expect("subscribe"))["id"]
            await peer.send_text(json.dumps({"id": id, "type": "next", "payload": {"data": data}}))
            await peer.send({"id": id, "type": "complete"})

    document = "{ n day size list me { day } }"
    async with fake(script) as server:
        transport = gqlwire.connect(server.url).transport
        async with Client(transport=transport, schema=SCHEMA, parse_results=True) as session:
            with pytest.raises(ResultMismatch) as told:
                await session.execute(document)
            events = session.subscribe(document)
            with pytest.raises(ResultMismatch):
                await anext(events)
            with pytest.raises(StopAsyncIteration):
                await anext(events)

    assert path == told.value.path
    assert isinstance(told.value.__cause__, graphql.GraphQLError)


@BOTH
@pytest.mark.parametrize("reason", [b"\xff\xfe", b"\xed\xa0\x80", b"", b"\x00" * 123])
@pytest.mark.parametrize("code", [1000, 3000, 4999, 0, 999, 1005, 1016, 65_535])
async def test_k2_kind_any_close_frame(code: int, reason: bytes, spelling: Spelling) -> None:
    """A code that nobody knows, and a reason that is no text."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        await peer.expect(spelling.start)
        await peer.send_frame(8, code.to_bytes(2) + reason)
        peer.end()

    protocol = "graphql-transport-ws" if spelling is NEWER else "graphql-ws"
    async with raw_fake(script) as server:
        client = gqlwire.connect(server.url, subprotocols=[protocol], reconnecting=False)
        async with client as session:
            with pytest.raises(TransportError):
                await session.execute(QUERY)


# --- Its kind: the command -----------------------------------------------------------------------


def object_of(parts: list[str]) -> str:
    """An object in JSON with these values."""
    members = (f'"{place}":{part}' for place, part in enumerate(parts))
    return "{" + ",".join(members) + "}"


odd_json = st.recursive(
    st.sampled_from([text for text in ODD if len(text) < 100])
    | st.text(max_size=5).map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]")
        | st.lists(inner, max_size=3).map(object_of)
    ),
    max_leaves=6,
)


@given(text=odd_json, indent=st.booleans(), shown=st.booleans())
@example(text='{"a":1e999,"b":"\\ud800"}', indent=True, shown=True)
@example(text='["\\ud800",NaN,-Infinity]', indent=False, shown=False)
def test_k2_kind_whatever_was_read_is_printed(text: str, indent: bool, shown: bool) -> None:
    """As JSON, but for what JSON has not."""
    try:
        value = decode(text.encode(errors="surrogatepass"), number)
    except (ValueError, RecursionError):
        return
    json.loads(as_json(value, indent=indent, shown=shown))


@pytest.mark.parametrize("text", ODD, ids=[text[:20] for text in ODD])
def test_k2_kind_whatever_was_read_is_a_sentence(text: str) -> None:
    """As an error of GraphQL: a message, a path, a place, a code."""
    try:
        value = decode(text.encode(), number)
    except (ValueError, RecursionError):
        return
    for error in (
        value,
        {"message": value},
        {"message": "a", "path": value},
        {"message": "a", "path": [value]},
        {"message": "a", "locations": value},
        {"message": "a", "locations": [{"line": value, "column": value}]},
        {"message": "a", "extensions": {"code": value}},
    ):
        assert all(isinstance(sentence, str) for sentence in graphql_errors([error]))
        assert isinstance(str(TransportQueryError.of([error])), str)
