"""The short and the long way of a result: the short way, in so many words."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from routing import (
    COMPACT,
    HOLES,
    HOST,
    NEWER,
    NO_JSON,
    OTHERS,
    PLAIN,
    Consumer,
    Counted,
    Got,
    Running,
    Speech,
    Spelling,
    Step,
    Way,
    as_sent,
    consume,
    every_protocol,
    numbers,
    see,
    ways,
)
from routing import quiet as quiet

from conftest import Speaker
from doubles import on_virtual_time, settle
from gqlwire._connection import connection as connection_module
from gqlwire._connection.connection import Connection
from gqlwire._connection.routes import Routes
from gqlwire._protocols import Apollo, GraphQLTransportWS
from gqlwire._streams.stream import Overflow
from gqlwire.errors import TransportProtocolError

LOST = [
    "ConnectionClosed: the connection to h.example:443 was lost: no close frame arrived (1006)",
    "'the end'",
]


EAGERLY = Consumer()


PATIENTLY = Consumer(is_patient=True)


def spied(connection: Connection) -> list[bytes]:
    """The messages that the protocol is asked to take, from now on."""
    taken: list[bytes] = []
    dialect: Any = connection.routes.dialect

    class Spied(type(dialect)):
        __slots__ = ()

        def receive(self, text: bytes) -> Any:
            taken.append(text)
            return super().receive(text)

    dialect.__class__ = Spied
    return taken


@every_protocol
@on_virtual_time
async def test_messages_for_a_stream_that_ended_within_a_burst_are_read(
    speech: Speech,
) -> None:
    """The stream is forgotten during the burst; then invalid JSON for it costs nothing."""
    consumers = [Consumer(is_patient=True, buffer=1, overflow=Overflow.ERROR), EAGERLY]
    steps: list[Step] = [
        as_sent(speech, "1", -1),
        [*as_sent(speech, "12", 0), *as_sent(speech, "1", 1, 2, 3, 4)],
        [COMPACT.write(speech.result, "1", "{}}")],
    ]
    long, *others = ways()

    expected = await see(long, speech, consumers, steps)

    assert "ConnectionClosed" in expected.reason
    for way in others:
        assert expected == await see(way, speech, consumers, steps)


@every_protocol
@pytest.mark.parametrize("spelling", PLAIN.values(), ids=PLAIN)
@on_virtual_time
async def test_one_result_shows_how_all_results_begin(speech: Speech, spelling: Spelling) -> None:
    """A result of any operation. After it, the protocol reads no result, and none is read twice."""
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
async def test_a_message_that_does_not_end_with_its_payload_teaches_nothing(last: str) -> None:
    """The last value is not the payload; the connection continues."""
    it = await Running.begin(Way(Routes, Counted()), NEWER, [EAGERLY])

    await it.hear(b'{"type":"next","id":"1","payload":1,"x":%s}' % last.encode())
    await it.hear(*as_sent(NEWER, "1", 2))
    [told] = await it.end()

    assert "an invalid result" in told[0]
    assert ["2", *LOST] == told[1:]


@every_protocol
@pytest.mark.parametrize("end", ["\n", " ", "\r\n\t"], ids=repr)
@on_virtual_time
async def test_results_with_another_end_are_read_by_the_protocol(speech: Speech, end: str) -> None:
    """Though they begin like the other results, and come between them."""
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
    assert 2 == sum("an invalid result" in each for each in told)


TORN = [b'{"type":"next","id":"1}', b'{"type":"next","id":"}', b'{"type":"next","id"']


@pytest.mark.parametrize("text", [*NO_JSON, *TORN], ids=repr)
@pytest.mark.parametrize("before", [[], [2], [2, 3]], ids=len)
@on_virtual_time
async def test_text_that_is_not_json_ends_the_connection_immediately(
    before: list[int], text: bytes
) -> None:
    """If it does not begin like a result; also between results that go the short way."""
    it = await Running.begin(Way(Routes, Counted()), NEWER, [PATIENTLY])
    await it.hear(*as_sent(NEWER, "1", 1))

    await it.hear(*as_sent(NEWER, "1", *before), text, *as_sent(NEWER, "1", 4))

    assert isinstance(it.connection.reason, TransportProtocolError)
    wrong = f"TransportProtocolError: {it.connection.reason}"
    assert [["1", *map(str, before), wrong, "'the end'"]] == await it.end()


@every_protocol
@on_virtual_time
async def test_ids_that_begin_alike_are_distinguished(speech: Speech) -> None:
    """Such as 1 and 12, whichever is running; 123 belongs to no operation."""
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
async def test_other_messages_between_results_keep_their_place(speech: Speech) -> None:
    """An operation that ends within a burst ends between its events, however they are spelled."""
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
async def test_an_end_within_a_burst_removes_its_operation(speech: Speech, at: int) -> None:
    """Later messages for its id belong to no operation, also if it had the last result, or another
    id begins alike. The others are reached as before, in this burst and in the next.
    """
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
async def test_a_new_operation_is_reached_the_short_way_immediately(speech: Speech) -> None:
    """Once one beginning is known, those of all later operations are known, too. A stopped
    operation gets nothing, and its waiting messages are not kept.
    """
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
async def test_the_log_shows_messages_that_go_the_short_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every message of a burst, in order, before it is delivered."""
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
async def test_invalid_json_is_found_by_the_consumer_that_takes_it(hole: str) -> None:
    """It costs this event alone, whatever else is on the connection."""
    it = await Running.begin(Way(Routes, Counted()), NEWER, [PATIENTLY, EAGERLY])
    await it.hear(*as_sent(NEWER, "1", 0))
    await it.hear(*as_sent(NEWER, "1", 1), COMPACT.write("next", "1", hole))
    await it.hear(*as_sent(NEWER, "1", 2), *as_sent(NEWER, "12", 3))
    assert ["3"] == it.got[1].told

    it.got[0].may_go_on.set()
    await settle()

    assert it.connection.reason is None
    first, second, wrong, third = it.got[0].told
    assert ("0", "1", "2") == (first, second, third)
    assert wrong.startswith("TransportProtocolError: the server sent an invalid result: ")
    await it.end()


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
