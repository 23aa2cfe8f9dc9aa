"""The short and the long way of a result: helpers of its tests."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from msgspec import Raw

from doubles import MemoryWire, link_to, settle
from gqlwire._connection import connection as connection_module
from gqlwire._connection.connection import Connection
from gqlwire._connection.routes import Routes
from gqlwire._operations.feed import Feed
from gqlwire._operations.options import Terms
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.result import decode_result
from gqlwire._protocols import Apollo, Dialect, GraphQLTransportWS
from gqlwire._streams.reply import Reply
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import Buffer, Overflow
from gqlwire.errors import TransportError
from spelling import REQUEST, guessing

HOST = "h.example:443"


# Of ids that begin alike, and of one that is never started.
IDS = ["1", "12", "23", "34"]


NOBODY = "123"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Each odd message is warned of; to keep ten thousand warnings takes longer than the tests."""
    caplog.set_level(logging.CRITICAL, "gqlwire")


@dataclass(frozen=True)
class Speech:
    """A protocol, its name for a result, and the server's first message."""

    name: str
    make: Callable[[], Dialect]
    result: str
    greeting: tuple[str, ...] = ("connection_ack",)

    def __repr__(self) -> str:
        return self.name


NEWER = Speech("graphql-transport-ws", GraphQLTransportWS, "next")


OLDER = Speech("graphql-ws", Apollo, "data")


GUESSED_OLDER = Speech("guessed to be the older", guessing, "data")


GUESSED_NEWER = Speech("guessed to be the newer", guessing, "next", ("ping", "connection_ack"))


SPEECHES = [NEWER, OLDER, GUESSED_OLDER, GUESSED_NEWER]


every_protocol = pytest.mark.parametrize("speech", SPEECHES, ids=repr)


class Slow(Routes):
    """The long way for all."""

    def take(self, texts: list[bytes]) -> None:
        self.take_slowly(texts)


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    """A result that is decoded in one pass."""

    data: Any
    errors: Raw = Raw()
    extensions: Any = None


_decode = msgspec.json.Decoder(Plain).decode


def convert(payload: Raw) -> Any:
    return decode_result(payload).data_or_raise()


class Counted:
    """Decodes in one pass, and counts how often that was all there was to do."""

    def __init__(self) -> None:
        self.successes = 0

    def __call__(self, item: Item) -> Plain:
        result = _decode(item)
        self.successes += not result.errors
        return result


@dataclass
class Way:
    """How results go: by `routes`, and decoded in one pass or not."""

    routes: type[Routes]
    decode: Counted | None

    def connect(self, speech: Speech) -> tuple[Connection, MemoryWire]:
        """A connection that is acknowledged; earlier messages are not kept."""
        wire = MemoryWire()
        connection = Connection(speech.make(), host=HOST)
        connection.routes = self.routes(
            connection.routes.dialect, on_event=connection._handle, on_reply=connection._reply
        )
        wire.handler = connection
        connection.opened(wire)
        connection.received_all([b'{"type":"%s"}' % word.encode() for word in speech.greeting])
        wire.sent.clear()
        return connection, wire

    def subscribe(
        self,
        connection: Connection,
        buffer: Buffer | None = None,
        overflow: Overflow = Overflow.BLOCK,
    ) -> Subscription[Any]:
        feed = Feed(link_to(connection), REQUEST, Terms(buffer or Buffer(), overflow))
        return Subscription(feed, convert, self.decode)


def ways() -> list[Way]:
    """The long way first; then the short one, and each with and without a decoder of one pass."""
    return [Way(Slow, None), Way(Routes, Counted()), Way(Routes, None), Way(Slow, Counted())]


@dataclass
class Got:
    """The events of one consumer; with `is_patient` it takes only one before it is told to."""

    told: list[str] = field(default_factory=list)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    counts: tuple[int, int] = (0, 0)

    def note(self, outcome: object) -> None:
        self.told.append(repr(outcome))

    def fail(self, failure: TransportError) -> None:
        # An unread message includes the text after the payload; `SlowConsumer` counts its size.
        text = re.sub(r"\(\d+ bytes\)", "", str(failure))
        self.told.append(f"{type(failure).__name__}: {text}")


async def consume(subscription: Subscription[Any], got: Got) -> None:
    """Take all events; an error of one event is not the end."""
    while True:
        try:
            got.note(await anext(subscription))
        except StopAsyncIteration:
            got.note("the end")
            break
        except TransportError as failure:
            got.fail(failure)
        await got.may_go_on.wait()
    got.counts = subscription.delivered, subscription.dropped


async def answer(connection: Connection, got: Got, *, stops: bool) -> None:
    """Take one result; `stops` if the server may have more of them."""
    reply = Reply(connection.gate)
    id = connection.start(REQUEST, reply)
    try:
        payload = await reply.get()
        got.note(payload if payload is None else decode_result(payload))
    except TransportError as failure:
        got.fail(failure)
    finally:
        if stops:
            connection.stop(id)
        else:
            connection.forget(id)


@dataclass(frozen=True)
class Consumer:
    """A consumer that starts an operation: for all of its results, or for one.

    A patient one takes one event and leaves the others where they are until the server is done.
    """

    takes: str = "all"
    is_patient: bool = False
    buffer: int = 65_536
    overflow: Overflow = Overflow.BLOCK

    def start(
        self, way: Way, connection: Connection, got: Got
    ) -> tuple[asyncio.Task[None], Subscription[Any] | None]:
        if self.takes != "all":
            stops = self.takes == "the first"
            return asyncio.ensure_future(answer(connection, got, stops=stops)), None
        subscription = way.subscribe(connection, Buffer(self.buffer), self.overflow)
        if not self.is_patient:
            got.may_go_on.set()
        return asyncio.ensure_future(consume(subscription, got)), subscription


Step = list[bytes] | int
"""A burst of messages, or the consumer that gives up."""


@dataclass
class Seen:
    """All that can be seen of one way."""

    told: list[list[str]]
    counts: list[tuple[int, int]]
    sent: list[bytes]
    asked: list[str]
    strays: dict[str, int]
    reason: str


@dataclass
class Running:
    """Consumers at work on one connection."""

    connection: Connection
    wire: MemoryWire
    got: list[Got]
    tasks: list[asyncio.Task[None]]
    subscriptions: list[Subscription[Any] | None]

    @classmethod
    async def begin(cls, way: Way, speech: Speech, consumers: Sequence[Consumer]) -> Running:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connection_module, "_ids", itertools.count(1, 11))
            connection, wire = way.connect(speech)
            it = cls(connection, wire, [Got() for _ in consumers], [], [])
            for consumer, got in zip(consumers, it.got, strict=True):
                task, subscription = consumer.start(way, connection, got)
                it.tasks.append(task)
                it.subscriptions.append(subscription)
                await settle()
        return it

    async def hear(self, *texts: bytes) -> None:
        """Take one burst, and give everybody time."""
        self.connection.received_all([*texts])
        self.connection.heard()
        await settle()

    async def end(self) -> list[list[str]]:
        """Let the patient ones take their events; then have the socket break."""
        for got in self.got:
            got.may_go_on.set()
        await settle()
        self.connection.closed(1006, "")
        await asyncio.gather(*self.tasks)
        return [got.told for got in self.got]


async def see(
    way: Way, speech: Speech, consumers: Sequence[Consumer], steps: Iterable[Step]
) -> Seen:
    """Take the steps, with time for everybody after each, until the socket breaks."""
    it = await Running.begin(way, speech, consumers)
    for step in steps:
        if isinstance(step, list):
            await it.hear(*step)
        elif (subscription := it.subscriptions[step % len(consumers)]) is not None:
            await subscription.aclose()
            await settle()
    return Seen(
        await it.end(),
        [got.counts for got in it.got],
        it.wire.sent,
        it.wire.asked,
        dict(it.connection.telemetry.strays),
        repr(it.connection.reason),
    )


def escaped(word: str) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in word) + '"'


IDS_AS = [json.dumps, json.dumps, escaped, str]


KEYS_AS = [json.dumps, json.dumps, json.dumps, escaped]


ORDERS = list(itertools.permutations(["type", "id", "payload"]))


# `<id>` and `<payload>` are those of the message itself.
EXTRAS = ["", "", "", '"x":"<id>"', '"<id>":"<id>"', '"x":"12"', '"id":"34"', '"payload":null']


@dataclass(frozen=True)
class Spelling:
    """How a server writes its messages. `before` and `after` are further keys."""

    order: tuple[str, ...] = ("type", "id", "payload")
    colon: str = ":"
    comma: str = ","
    edge: str = ""
    end: str = ""
    key: int = 0
    id: int = 0
    before: str = ""
    amid: str = ""

    def write(self, type: str, id: str | None, payload: str | None, after: str = "") -> bytes:
        values = {"type": json.dumps(type)}
        if id is not None:
            values["id"] = IDS_AS[self.id](id)
        if payload is not None:
            values["payload"] = payload
        pairs = [
            f"{KEYS_AS[self.key](name)}{self.colon}{values[name]}"
            for name in self.order
            if name in values
        ]
        pairs.insert(len(pairs) - 1, self.amid)
        parts = [part for part in (self.before, *pairs, after) if part]
        text = "{" + self.edge + self.comma.join(parts) + self.edge + "}" + self.end
        return text.replace("<id>", id or "").replace("<payload>", payload or "null").encode()


COMPACT = Spelling()


# Those whose results begin alike but for the id, and have the payload at the end.
PLAIN = {
    "compact": COMPACT,
    "id first": Spelling(order=("id", "type", "payload")),
    "as json.dumps": Spelling(colon=": ", comma=", "),
    "with a key before": Spelling(before='"x":[1,"é"]'),
    "with a key amid": Spelling(amid='"x":"?"', order=("id", "type", "payload")),
    "with escaped keys": Spelling(key=3),
    "with two payloads": Spelling(before='"payload":null'),
}


# These would teach a wrong beginning, or none.
OTHERS = {
    "payload first": Spelling(order=("payload", "id", "type")),
    "pretty": Spelling(edge="\n  ", comma=",\n  ", colon=" :  "),
    "with a line's end": Spelling(end="\n"),
    "id as a number": Spelling(id=3),
    "id as a number, and as a string elsewhere": Spelling(before='"x":"<id>"', id=3),
    "id escaped": Spelling(id=2),
    "id escaped, and plain elsewhere": Spelling(before='"x":"<id>"', id=2),
    "id twice": Spelling(before='"id":"<id>"'),
    "id as a key": Spelling(before='"<id>":1'),
}


SPELLINGS = st.sampled_from([*PLAIN.values(), *PLAIN.values(), *OTHERS.values()]) | st.builds(
    Spelling,
    st.sampled_from(ORDERS),
    st.sampled_from([":", ": "]),
    st.sampled_from([",", ", "]),
    st.sampled_from(["", "", " ", "\n"]),
    st.sampled_from(["", "", "", " ", "\n", "\r\n\t"]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(EXTRAS),
    st.sampled_from(EXTRAS),
)


# %d is a number that no other message has.
PAYLOADS = st.sampled_from(
    [
        '{"data":{"n":%d}}',
        '{"data":{"n":%d}}',
        '{"data":{"n":%d}}',
        '{"data":%d,"errors":[{"message":"no"}]}',
        '{"errors":[{"message":"%d"}]}',
        '{"errors":[],"data":%d}',
        '{"data":%d,"errors":null}',
        '{"data":%d,"extensions":{"cost":1.5}}',
        '{"data":%d,"more":1}',
        '{"data":%d,"hasNext":true}',
        '{"hasNext":true,"incremental":[{"path":[%d]}]}',
        '{"path":["a",%d],"data":1}',
        '{"data":[%d,NaN,-Infinity]}',
        '{"data":[%d,1e999]}',
        '{"data":[%d,"\\ud800"]}',
        '{"data":"%d é \U0001f680 \\u00e9"}',
        '{ "data" : %d\n}',
        '{"data":"%d}"}',
        '{"data":"\\",\\"payload\\":%d}"}',
        '{"data":{"type":"next","id":"12","payload":%d}}',
        '"%d"',
        "%d",
        "null",
        "[]",
        "{}",
        '{"data":{}}',
        '"1"',
    ]
)


KINDS = [
    *["<result>"] * 9,
    *["complete", "error", "ping", "pong", "ka", "connection_ack", "connection_error"],
    *["next", "data", "what"],
]


EVERYBODY = st.sampled_from([*IDS, *IDS, NOBODY])


@st.composite
def messages(draw: st.DrawFn, habit: Spelling, result: str, tails: Sequence[str]) -> bytes:
    """One message of a server with a habit, which it mostly follows; `tails` come at its end."""
    spelling = draw(st.sampled_from([habit] * 6) | SPELLINGS)
    if draw(st.integers(0, 5)) == 0:
        spelling = replace(habit, end=draw(st.sampled_from(["\n", " ", "\r\n\t"])))
    kind = draw(st.sampled_from(KINDS)).replace("<result>", result)
    payload = draw(PAYLOADS)
    if "%d" in payload:
        payload = payload.replace("%d", str(draw(st.integers(100, 999))))
    if kind == "error":
        payload = '[{"message":"refused"}]'
    has_id = kind == result or draw(st.booleans())
    has_payload = kind != "complete" and draw(st.integers(0, 9)) > 0
    return spelling.write(
        kind,
        draw(EVERYBODY) if has_id else None,
        payload if has_payload else None,
        draw(st.sampled_from(tails)),
    )


# Changes that keep the meaning of the message.
IDLE_TAILS = ["", "", "", "", '"x":<payload>', '"x":{"id":"12"}', '"extensions":null']


# Changes of its meaning that show only at its end.
TURNING_TAILS = [
    '"id":"12"',
    '"id":"1"',
    '"id":"123"',
    '"id":1',
    '"id":null',
    '"type":"complete"',
    '"type":"error"',
    '"type":"ping"',
    '"type":"what"',
    '"payload":{"data":0}',
    '"payload":7',
]


NO_JSON = [
    b"",
    b"{",
    b"}",
    b"{}}",
    b"null",
    b"[]",
    b'"}',
    b"\0}",
    b"\0",
    b"hello}",
]


@st.composite
def broken(draw: st.DrawFn, habit: Spelling, result: str) -> bytes:
    """No JSON, or no object; mostly it begins like a result."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(NO_JSON))
    whole = draw(messages(habit, result, [""]))
    how = draw(st.sampled_from(["torn", "torn with a brace", "twice", "more", "a hole"]))
    at = draw(st.integers(1, len(whole) - 1))
    # Text is UTF-8 when it comes here.
    torn = whole[:at].decode(errors="ignore").encode()
    return {
        "torn": torn,
        "torn with a brace": torn + b"}",
        "twice": whole + whole,
        "more": whole + b"}",
        "a hole": whole.replace(b'"payload":', b'"payload":,'),
    }[how]


CONSUMERS = st.lists(
    st.builds(
        Consumer,
        st.sampled_from(["all", "all", "all", "one", "the first"]),
        st.booleans(),
        st.sampled_from([1, 3, 65_536]),
        st.sampled_from(Overflow),
    ),
    min_size=2,
    max_size=len(IDS),
)


EAGER = st.lists(
    st.builds(Consumer, st.sampled_from(["all", "all", "all", "one", "the first"])),
    min_size=2,
    max_size=len(IDS),
)


@st.composite
def courses(draw: st.DrawFn, *, alone: bool) -> tuple[Speech, list[Step]]:
    """Bursts of messages, and consumers that stop.

    With `alone` there are also messages that begin like a result and are not one; each of them
    comes alone.
    """
    speech = draw(st.sampled_from(SPEECHES))
    habit = draw(SPELLINGS)
    payload = draw(st.sampled_from(['{"data":{"n":0}}'] * 9 + [None]))
    first = habit.write(speech.result, draw(st.sampled_from(IDS[:2])), payload)
    told = messages(habit, speech.result, IDLE_TAILS)
    steps: list[Step] = [[first]]
    for _ in range(draw(st.integers(1, 8))):
        what = draw(st.integers(0, 9))
        if what == 0:
            steps.append(draw(st.integers(0, len(IDS) - 1)))
        elif alone and what < 5:
            turning = messages(habit, speech.result, TURNING_TAILS)
            steps.append([draw(broken(habit, speech.result) if what == 1 else turning)])
        else:
            steps.append(draw(st.lists(told, min_size=1, max_size=8)))
    return speech, steps


def as_sent(speech: Speech, id: str, *data: int) -> list[bytes]:
    return [COMPACT.write(speech.result, id, f'{{"data":{n}}}') for n in data]


def numbers(told: list[str]) -> list[str]:
    return [each for each in told if each.lstrip("-").isdecimal()]


HOLES = [
    "{}}",
    '{"data":}',
    '{"data":1',
    '{"data":1}}',
    '{"data":"',
    '{"data":1},',
    "",
    "nil",
    "{\0}",
]
