"""The short way of a result and the long one, through the protocol, give each consumer the same.

The long way is that of `Slow`, on which no beginning is ever learnt: every message is read by the
protocol when it comes. The servers here spell as they like.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from conftest import Speaker
from doubles import MemoryWire, on_virtual_time, settle
from gqlwire._connection import connection as connection_module
from gqlwire._connection.connection import Connection
from gqlwire._connection.routes import Routes
from gqlwire._operations.feed import Feed, Terms
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.result import decode_result
from gqlwire._protocols import Apollo, Dialect, GraphQLTransportWS, Undecided
from gqlwire._streams.reply import Reply
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import Buffer, Overflow
from gqlwire.errors import TransportError, TransportProtocolError
from spelling import REQUEST

HOST = "h.example:443"
# Of ids that begin alike, and of one that is never started.
IDS = ["1", "12", "23", "34"]
NOBODY = "123"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Each odd message is warned of; to keep ten thousand warnings takes longer than the tests."""
    caplog.set_level(logging.CRITICAL, "gqlwire")


@dataclass(frozen=True)
class Speech:
    """A protocol, how it calls a result, and what a server says first."""

    name: str
    make: type[Dialect]
    result: str
    greeting: tuple[str, ...] = ("connection_ack",)

    def __repr__(self) -> str:
        return self.name


NEWER = Speech("graphql-transport-ws", GraphQLTransportWS, "next")
OLDER = Speech("graphql-ws", Apollo, "data")
GUESSED_OLDER = Speech("guessed to be the older", Undecided, "data")
GUESSED_NEWER = Speech("guessed to be the newer", Undecided, "next", ("ping", "connection_ack"))
SPEECHES = [NEWER, OLDER, GUESSED_OLDER, GUESSED_NEWER]
every_protocol = pytest.mark.parametrize("speech", SPEECHES, ids=repr)

# --- Both ways, side by side ---------------------------------------------------------------------


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
        """A connection that is acknowledged; nothing of what was said until then is kept."""
        wire = MemoryWire()
        connection = Connection(speech.make(), host=HOST)
        connection.routes = self.routes(connection._dialect, connection._handle)
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
        feed = Feed(lambda: connection, REQUEST, Terms(buffer or Buffer(), overflow))
        return Subscription(feed, convert, self.decode)


def ways() -> list[Way]:
    """The long way first; then the short one, and each with and without a decoder of one pass."""
    return [Way(Slow, None), Way(Routes, Counted()), Way(Routes, None), Way(Slow, Counted())]


@dataclass
class Got:
    """What one consumer has got; with `is_patient` it takes no more than one before it is told."""

    told: list[str] = field(default_factory=list)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    counts: tuple[int, int] = (0, 0)

    def note(self, outcome: object) -> None:
        self.told.append(repr(outcome))

    def fail(self, failure: TransportError) -> None:
        # What waits unread has also what stands behind the payload; `SlowConsumer` tells its size.
        text = re.sub(r"\(\d+ bytes\)", "", str(failure))
        self.told.append(f"{type(failure).__name__}: {text}")


async def consume(subscription: Subscription[Any], got: Got) -> None:
    """Take all there is; what is wrong with one event is not the end."""
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
    """Somebody who starts an operation: for all of its results, or for one.

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
        """Let the patient ones take what is there; then have the socket break."""
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
        dict(it.connection.strays),
        repr(it.connection.reason),
    )


# --- What servers say ----------------------------------------------------------------------------


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
# What is learnt of these would mislead, or there is nothing to learn.
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


# What changes nothing of what the message means.
IDLE_TAILS = ["", "", "", "", '"x":<payload>', '"x":{"id":"12"}', '"extensions":null']
# What makes something else of it, which shows at its end only.
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
    """Bursts of messages, and consumers that give up.

    With `alone` there are messages, too, that begin like a result and are none; each of them
    comes by itself.
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


# --- Any messages ---------------------------------------------------------------------------------


@settings(deadline=None)
@given(course=courses(alone=False), consumers=CONSUMERS)
@on_virtual_time
async def test_each_consumer_gets_the_same_of_any_bursts(
    course: tuple[Speech, list[Step]], consumers: list[Consumer]
) -> None:
    """However slow it is: the same events, failures and end, the same counts; the server is told
    the same; the connection ends for the same reason."""
    long, *others = ways()

    expected = await see(long, course[0], consumers, course[1])

    for way in others:
        assert expected == await see(way, course[0], consumers, course[1])


@settings(deadline=None)
@given(course=courses(alone=True), consumers=EAGER)
@on_virtual_time
async def test_each_consumer_gets_the_same_of_what_only_begins_like_a_result(
    course: tuple[Speech, list[Step]], consumers: list[Consumer]
) -> None:
    """Of a message whose end says that it is another's, another one, or no JSON: if nothing comes
    between it and its consumer, even the order among consumers is the same.

    Who took it to find that out has `delivered` one more, which is left out here.
    """
    long, *others = ways()

    expected = await see(long, course[0], consumers, course[1])

    for way in others:
        seen = await see(way, course[0], consumers, course[1])
        assert expected == replace(seen, counts=expected.counts)


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


@settings(deadline=None)
@given(
    speech=st.sampled_from(SPEECHES),
    burst=st.lists(st.sampled_from(IDS) | st.just("end of 12"), max_size=12),
    hole=st.sampled_from(HOLES),
    place=st.integers(0, 12),
    id=st.sampled_from(IDS),
)
@on_virtual_time
async def test_no_json_that_begins_like_a_result_ends_it_when_its_consumer_takes_it(
    speech: Speech, burst: list[str], hole: str, place: int, id: str
) -> None:
    """Not when it comes: others may have got further by then, and get what came for them until
    then. Its own consumer gets exactly what came before it, and what is wrong."""
    clean = [
        COMPACT.write("complete", "12", None)
        if each == "end of 12"
        else as_sent(speech, each, n)[0]
        for n, each in enumerate(burst)
    ]
    broken = [*clean[:place], COMPACT.write(speech.result, id, hole), *clean[place:]]
    begin = as_sent(speech, "1", -1)
    consumers = [Consumer()] * len(IDS)
    own = IDS.index(id)

    long = await see(Way(Slow, None), speech, consumers, [begin, broken])
    without = await see(Way(Slow, None), speech, consumers, [begin, clean])
    [wrong] = {each for told in long.told for each in told if "ProtocolError" in each}
    for way in (Way(Routes, Counted()), Way(Routes, None)):
        short = await see(way, speech, consumers, [begin, broken])

        assert long.told[own] == short.told[own]
        if id == "12" and COMPACT.write("complete", "12", None) in clean[:place]:
            # It was over: then nobody waits for the message, and it is read at once.
            assert long.told == short.told
        assert "TransportProtocolError" in long.reason
        assert long.reason == short.reason
        assert long.sent == short.sent
        for least, got, most in zip(long.told, short.told, without.told, strict=True):
            events = numbers(got)
            assert numbers(least) == events[: len(numbers(least))]
            assert numbers(most)[: len(events)] == events
            assert got[len(events) :] in ([wrong, "'the end'"], ["'the end'"])


# --- The short way, in so many words -------------------------------------------------------------


LOST = [
    "ConnectionClosed: the connection to h.example:443 was lost: no close frame came (1006)",
    "'the end'",
]
EAGERLY = Consumer()
PATIENTLY = Consumer(is_patient=True)


def spied(connection: Connection) -> list[bytes]:
    """The messages that the protocol is asked to take, from now on."""
    taken: list[bytes] = []
    dialect: Any = connection._dialect
    receive = dialect.receive

    def spy(text: bytes) -> Any:
        taken.append(text)
        return receive(text)

    dialect.receive = spy
    return taken


@every_protocol
@on_virtual_time
async def test_what_comes_for_a_stream_that_ended_by_the_last_of_a_burst_is_read(
    speech: Speech,
) -> None:
    """It has been forgotten amid the burst, and what is no JSON ends the connection at once."""
    consumers = [Consumer(is_patient=True, buffer=1, overflow=Overflow.ERROR), EAGERLY]
    steps: list[Step] = [
        as_sent(speech, "1", -1),
        [*as_sent(speech, "12", 0), *as_sent(speech, "1", 1, 2, 3, 4)],
        [COMPACT.write(speech.result, "1", "{}}")],
    ]
    long, *others = ways()

    expected = await see(long, speech, consumers, steps)

    assert "TransportProtocolError" in expected.reason
    for way in others:
        assert expected == await see(way, speech, consumers, steps)


@every_protocol
@pytest.mark.parametrize("spelling", PLAIN.values(), ids=PLAIN)
@on_virtual_time
async def test_one_result_teaches_how_all_begin(speech: Speech, spelling: Spelling) -> None:
    """Of whatever operation: after that the protocol reads none of them, nor does anybody read
    one twice."""
    counted = Counted()
    it = await Running.begin(Way(Routes, counted), speech, [EAGERLY] * 3)
    taken = spied(it.connection)

    def results(*pairs: tuple[str, int]) -> list[bytes]:
        return [spelling.write(speech.result, id, f'{{"data":{n}}}') for id, n in pairs]

    first = results(("12", 0))
    await it.hear(*first)
    assert first == taken
    await it.hear(*results(("1", 1), ("1", 2), ("12", 3), ("1", 4), ("23", 5), ("23", 6)))
    await it.hear(*results(("12", 7)))

    assert first == taken
    assert 8 == counted.successes
    expected = [["1", "2", "4"], ["0", "3", "7"], ["5", "6"]]
    assert [each + LOST for each in expected] == await it.end()


@every_protocol
@pytest.mark.parametrize("spelling", OTHERS.values(), ids=OTHERS)
@on_virtual_time
async def test_other_results_are_read_by_the_protocol(speech: Speech, spelling: Spelling) -> None:
    """All of them, whatever they seem to teach."""
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY] * 2)
    taken = spied(it.connection)
    texts = [
        spelling.write(speech.result, id, f'{{"data":{n}}}')
        for n, id in enumerate(["1", "12", "12", "1"])
    ]

    await it.hear(*texts[:1])
    await it.hear(*texts[1:])

    assert texts == taken
    assert [["0", "3", *LOST], ["1", "2", *LOST]] == await it.end()


MISLEADING = {
    "the id stands elsewhere": ('{"x":"1","id":1,', '{"x":"12","id":1,', ""),
    "the id stands elsewhere, too": ('{"x":"1","id":"\\u0031",', '{"x":"12","id":"\\u0031",', ""),
    "the first of two ids": ('{"id":"1","id":1,', '{"id":"12","id":1,', ""),
    "the payload stands elsewhere": ('{"id":"1",', '{"id":"1",', ',"x":{"data":7}'),
}


@every_protocol
@pytest.mark.parametrize("parts", MISLEADING.values(), ids=MISLEADING)
@on_virtual_time
async def test_a_beginning_that_would_mislead_is_not_learnt(
    speech: Speech, parts: tuple[str, str, str]
) -> None:
    """Where what varies from message to message is not the id, or what stands last is not the
    payload, though in the first result it looks so."""
    first, second, last = parts
    rest = f'"type":"{speech.result}","payload":{{"data":7}}'
    texts = [f"{first}{rest}{last}}}", f"{second}{rest}{last.replace('7', '8')}}}"]
    long, *others = ways()
    steps: list[Step] = [[text.encode()] for text in texts]

    expected = await see(long, speech, [EAGERLY] * 2, steps)
    assert ["7", "7", *LOST] == expected.told[0]

    for way in others:
        assert expected == await see(way, speech, [EAGERLY] * 2, steps)


@pytest.mark.parametrize("last", ["11", "-1", "0.1"])
@on_virtual_time
async def test_what_only_ends_like_the_payload_teaches_nothing(last: str) -> None:
    """It is not the payload that stands last there; the connection goes on."""
    it = await Running.begin(Way(Routes, Counted()), NEWER, [EAGERLY])

    await it.hear(b'{"type":"next","id":"1","payload":1,"x":%s}' % last.encode())
    await it.hear(*as_sent(NEWER, "1", 2))
    [told] = await it.end()

    assert "a result that is none" in told[0]
    assert ["2", *LOST] == told[1:]


@every_protocol
@pytest.mark.parametrize("end", ["\n", " ", "\r\n\t"], ids=repr)
@on_virtual_time
async def test_what_ends_otherwise_is_read_by_the_protocol(speech: Speech, end: str) -> None:
    """Though it begins like those that are not, and stands amid them."""
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY])
    taken = spied(it.connection)
    one, two, three = as_sent(speech, "1", 1, 2, 3)
    other = replace(COMPACT, end=end).write(speech.result, "1", '{"data":10}')

    await it.hear(one)
    await it.hear(other)
    await it.hear(two, other, three)

    assert [one, other, other] == taken
    assert [["1", "10", "2", "10", "3", *LOST]] == await it.end()


@every_protocol
@on_virtual_time
async def test_a_result_without_a_payload_teaches_nothing(speech: Speech) -> None:
    """It is wrong by itself, and harms no other; the next one teaches."""
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY] * 2)
    taken = spied(it.connection)
    empty = Spelling(order=("type", "id")).write(speech.result, "1", None)
    one, two, three = as_sent(speech, "1", 1, 2, 3)

    for burst in ([empty], [one], [two, empty, three]):
        await it.hear(*burst)

    assert [empty, one, empty] == taken
    told, _ = await it.end()
    assert ["1", "2", "3"] == numbers(told)
    assert 2 == sum("a result that is none" in each for each in told)


TORN = [b'{"type":"next","id":"1}', b'{"type":"next","id":"}', b'{"type":"next","id":"1"}}']


@pytest.mark.parametrize("text", [*NO_JSON, *TORN], ids=repr)
@pytest.mark.parametrize("before", [[], [2], [2, 3]], ids=len)
@on_virtual_time
async def test_what_does_not_begin_like_a_result_ends_it_at_once(
    before: list[int], text: bytes
) -> None:
    """If it is no JSON object; also amid results that go the short way."""
    it = await Running.begin(Way(Routes, Counted()), NEWER, [PATIENTLY])
    await it.hear(*as_sent(NEWER, "1", 1))

    await it.hear(*as_sent(NEWER, "1", *before), text, *as_sent(NEWER, "1", 4))

    assert isinstance(it.connection.reason, TransportProtocolError)
    wrong = f"TransportProtocolError: {it.connection.reason}"
    assert [["1", *map(str, before), wrong, "'the end'"]] == await it.end()


@every_protocol
@on_virtual_time
async def test_ids_that_begin_alike_are_told_apart(speech: Speech) -> None:
    """As 1 and 12, whichever is running; and 123 is nobody's."""
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY] * 2)
    await it.hear(*as_sent(speech, "12", 0))

    await it.hear(
        *as_sent(speech, "1", 1, 2),
        *as_sent(speech, "12", 3),
        *as_sent(speech, "123", 4),
        *as_sent(speech, "1", 5),
        *as_sent(speech, "12", 6, 7),
    )
    await it.hear(COMPACT.write("complete", "1", None))
    await it.hear(*as_sent(speech, "12", 8), *as_sent(speech, "1", 9), *as_sent(speech, "12", 10))

    assert [
        ["1", "2", "5", "'the end'"],
        ["0", "3", "6", "7", "8", "10", *LOST],
    ] == await it.end()


ENDS = {
    "completed": [COMPACT.write("complete", "1", None)],
    "refused": [COMPACT.write("error", "1", '[{"message":"no"}]')],
    "given up": [],
}


@every_protocol
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@on_virtual_time
async def test_a_result_of_an_operation_that_is_over_is_dropped(
    speech: Speech, end: list[bytes]
) -> None:
    """In the same burst as its end, and later; also if it could not be read."""
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY] * 2)
    await it.hear(*as_sent(speech, "1", 0))
    if not end and it.subscriptions[0] is not None:
        await it.subscriptions[0].aclose()

    await it.hear(*end, *as_sent(speech, "1", 1, 2), *as_sent(speech, "12", 3))
    await it.hear(*as_sent(speech, "1", 4), COMPACT.write(speech.result, "1", '{"data":"\\ud800"}'))
    assert it.connection.reason is None
    first, second = await it.end()

    assert ["0", "'the end'"] == [first[0], first[-1]]
    assert not {"1", "2", "4"} & {*first}
    assert ["3", *LOST] == second


@every_protocol
@on_virtual_time
async def test_one_answer_does_not_go_the_short_way(speech: Speech) -> None:
    """It is waited for by a `Reply`, which takes the first payload alone."""
    one = Consumer("one")
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY, one, one])
    taken = spied(it.connection)
    texts = [
        *as_sent(speech, "1", 0, 1),
        *as_sent(speech, "12", 2, 3),
        *as_sent(speech, "1", 4),
        *as_sent(speech, "23", 5),
    ]

    await it.hear(texts[0])
    await it.hear(*texts[1:])

    assert [texts[0], texts[2], texts[3], texts[5]] == taken
    told = await it.end()
    assert ["0", "1", "4", *LOST] == told[0]
    assert all("data=2" in each for each in told[1])
    assert all("data=5" in each for each in told[2])


@every_protocol
@on_virtual_time
async def test_what_comes_between_results_is_taken_between_them(speech: Speech) -> None:
    """An end amid a burst is one amid the events, of whatever spelling they are."""
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY] * 2)
    one, two, three, four = as_sent(speech, "1", 1, 2, 3, 4)
    pretty = OTHERS["pretty"].write(speech.result, "1", '{"data":10}')
    await it.hear(one)

    await it.hear(
        two,
        pretty,
        three,
        *as_sent(speech, "12", 5),
        COMPACT.write("complete", "1", None),
        four,
        *as_sent(speech, "12", 6),
    )

    assert [["1", "2", "10", "3", "'the end'"], ["5", "6", *LOST]] == await it.end()


MANY_IDS = [str(n) for n in range(1, 1 + 11 * 10, 11)]
"""Of ten operations: of one, two and three digits, some of which begin alike."""


@every_protocol
@on_virtual_time
async def test_results_of_many_operations_may_come_in_any_order(speech: Speech) -> None:
    """In one burst, between messages that are none, with ids of one to three digits: each reaches
    its own consumer in order, and the protocol takes what is no plain result, and nothing else."""
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY] * 10)
    assert {1, 2, 3} == {*map(len, MANY_IDS)}
    await it.hear(*as_sent(speech, "100", 0))
    taken = spied(it.connection)
    order = ["1", "100", "12", "12", "1", "100", "89", "1", "1", "23"]
    plain = [as_sent(speech, id, n)[0] for n, id in enumerate(order, 1)]
    pretty = OTHERS["pretty"].write(speech.result, "12", '{"data":-12}')
    ping, what = COMPACT.write("ping", None, None), COMPACT.write("what", None, None)
    nobodys = as_sent(speech, "10", -1)[0]
    # Longer than the last one was, and shorter: 1 and 100 and 10 begin alike.
    burst = [*plain[:2], ping, *plain[2:3], pretty, *plain[3:5], nobodys, *plain[5:8], what]

    await it.hear(*burst, *plain[8:])
    await it.hear(*reversed(as_sent(speech, "100", 20, 21)), *as_sent(speech, "1", 22))

    assert [ping, pretty, nobodys, what] == taken
    told = dict(zip(MANY_IDS, await it.end(), strict=True))
    assert {
        "1": ["1", "5", "8", "9", "22"],
        "12": ["3", "-12", "4"],
        "23": ["10"],
        "89": ["7"],
        "100": ["0", "2", "6", "21", "20"],
    } == {id: numbers(each) for id, each in told.items() if numbers(each)}


@every_protocol
@pytest.mark.parametrize("at", range(6))
@on_virtual_time
async def test_an_end_amid_a_burst_takes_that_operation_out(speech: Speech, at: int) -> None:
    """What comes after it for that id is nobody's, be it the last one that had a result, or one
    whose id begins alike; the others are reached as before, in this burst and in the next."""
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY] * 10)
    await it.hear(*as_sent(speech, "1", 0))
    taken = spied(it.connection)
    burst = [as_sent(speech, id, n)[0] for n, id in enumerate(("12", "1", "100", "12", "12"), 1)]
    end = COMPACT.write("complete", "12", None)

    await it.hear(*burst[:at], end, *burst[at:])
    await it.hear(*as_sent(speech, "12", 10, 11))
    await it.hear(
        *as_sent(speech, "100", 12), *as_sent(speech, "12", 13), *as_sent(speech, "1", 14)
    )

    told = dict(zip(MANY_IDS, await it.end(), strict=True))
    assert [str(n) for n in (1, 4, 5) if n <= at] == numbers(told["12"])
    assert "'the end'" == told["12"][-1]
    assert (["0", "2", "14"], ["3", "12"]) == (numbers(told["1"]), numbers(told["100"]))
    late = [text for text in burst[at:] if b'"12"' in text]
    assert [end, *late, *as_sent(speech, "12", 10, 11, 13)] == taken


@every_protocol
@on_virtual_time
async def test_an_operation_that_is_new_is_reached_the_short_way_at_once(speech: Speech) -> None:
    """Once one beginning was learnt, that of every later operation is known, too; one that was
    given up is nobody's, and what waited of it is not kept."""
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY] * 2)
    await it.hear(*as_sent(speech, "1", 0))
    taken = spied(it.connection)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_module, "_ids", itertools.count(1000))
        late = Way(Routes, Counted()).subscribe(it.connection)
        got = Got()
        got.may_go_on.set()
        task = asyncio.ensure_future(consume(late, got))
        await settle()

    await it.hear(
        *as_sent(speech, "1", 1), *as_sent(speech, "1000", 2, 3), *as_sent(speech, "12", 4)
    )
    assert [] == taken
    await late.aclose()
    await task
    await it.hear(*as_sent(speech, "1000", 5), *as_sent(speech, "12", 6))

    assert ["2", "3", "'the end'"] == got.told
    assert as_sent(speech, "1000", 5) == taken
    assert [["0", "1"], ["4", "6"]] == [numbers(told) for told in await it.end()]


@on_virtual_time
async def test_the_log_shows_what_goes_the_short_way(caplog: pytest.LogCaptureFixture) -> None:
    """Every message of a burst, in order, before anything comes of it."""
    it = await Running.begin(Way(Routes, Counted()), NEWER, [EAGERLY] * 2)
    taken = spied(it.connection)
    caplog.set_level(logging.DEBUG, "gqlwire.wire")
    it.connection.heard()
    texts = [*as_sent(NEWER, "1", 0, 1, 2), *as_sent(NEWER, "12", 3), *as_sent(NEWER, "1", 4)]

    await it.hear(texts[0])
    await it.hear(*texts[1:])

    assert texts[:1] == taken
    assert [f"{HOST} < {text.decode()}" for text in texts] == [
        record.getMessage() for record in caplog.records if record.name == "gqlwire.wire"
    ]
    await it.end()


@pytest.mark.parametrize("hole", HOLES)
@on_virtual_time
async def test_no_json_is_found_out_by_who_takes_it(hole: str) -> None:
    """Until then the connection lives on. Then it ends for all, as if it had come just now; who
    found out gets nothing of what came after it."""
    it = await Running.begin(Way(Routes, Counted()), NEWER, [PATIENTLY, EAGERLY])
    await it.hear(*as_sent(NEWER, "1", 0))
    await it.hear(*as_sent(NEWER, "1", 1), COMPACT.write("next", "1", hole))
    await it.hear(*as_sent(NEWER, "1", 2), *as_sent(NEWER, "12", 3))
    assert it.connection.reason is None
    assert ["3"] == it.got[1].told

    it.got[0].may_go_on.set()
    await settle()

    assert isinstance(it.connection.reason, TransportProtocolError)
    assert 1002 == it.wire.close_code
    wrong = f"TransportProtocolError: {it.connection.reason}"
    assert [["0", "1", wrong, "'the end'"], ["3", wrong, "'the end'"]] == await it.end()


async def test_the_results_of_real_servers_go_the_short_way(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the first: they all have one spelling, with the payload at its end."""
    kind = GraphQLTransportWS if speaker.protocol == "graphql-transport-ws" else Apollo
    receive = kind.receive
    taken: list[bytes] = []

    def spy(dialect: Any, text: bytes) -> Any:
        taken.append(text)
        return receive(dialect, text)

    monkeypatch.setattr(kind, "receive", spy)
    async with speaker.client() as session:
        events = session.subscribe("subscription { ticks(count: 300) { seq } }")
        assert [*range(300)] == [event["ticks"]["seq"] async for event in events]

    results = [text for text in taken if b'"ticks"' in text]
    # What comes in one piece with the first is read with it.
    assert 1 <= len(results) < 300
    begun = {json.loads(text)["type"] for text in taken} - {"ka"}
    assert {"connection_ack", "complete", json.loads(results[0])["type"]} == begun


@on_virtual_time
async def test_a_server_that_never_teaches_is_not_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that puts its payload first goes the long way, and no result costs a probe for long."""
    speech = NEWER
    it = await Running.begin(Way(Routes, Counted()), speech, [EAGERLY] * 2)
    tried: list[bytes] = []
    spelling_of = Routes._spelling_of
    monkeypatch.setattr(
        Routes,
        "_spelling_of",
        lambda routes, text, at: tried.append(text) or spelling_of(routes, text, at),
    )

    for number in range(40):
        await it.hear(b'{"payload":{"data":%d},"id":"1","type":"next"}' % number)

    told, _ = await it.end()
    assert [str(number) for number in range(40)] == numbers(told)
    assert 16 == len(tried)
