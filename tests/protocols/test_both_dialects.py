"""What holds in both protocols, told once and run over each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from gqlwire._json import NOTHING
from gqlwire._protocols import Setup, events
from gqlwire.errors import Phase, TransportProtocolError
from spelling import NEWER, REQUEST, Spelling, both, opened, says, sent

pytestmark = both

RESULT = {"data": {"n": 1}}
ERROR = {"message": "no"}


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


# --- Before and at the acknowledgement -------------------------------------------------------


def test_connection_init_without_a_payload_is_that_of_the_reference_client(
    spelling: Spelling,
) -> None:
    """The older protocol's has an empty one. Strawberry rejects a payload of null."""
    dialect = spelling.make()
    dialect.connection_init()

    payload: dict[str, Any] = {} if spelling is NEWER else {"payload": {}}
    assert [{"type": "connection_init", **payload}] == sent(dialect)


@pytest.mark.parametrize("payload", [{}, {"token": "t"}, {"headers": {"a": None}}])
def test_the_init_payload_goes_out_as_it_is(spelling: Spelling, payload: dict[str, Any]) -> None:
    """Servers want different shapes, so ours is the user's, an empty one, too."""
    dialect = spelling.make(Setup(init_payload=payload))
    dialect.connection_init()

    assert [{"type": "connection_init", "payload": payload}] == sent(dialect)


def test_the_acknowledgement_opens_the_conversation(spelling: Spelling) -> None:
    """From `connection_ack` on operations may run."""
    dialect = spelling.make()

    event = dialect.receive(says("connection_ack"))

    assert isinstance(event, events.Acknowledged)
    assert NOTHING == event.payload
    assert Phase.OPEN is dialect.phase


@pytest.mark.parametrize("payload", [None, {}, {"server": 1}, "hello"])
def test_the_payload_of_the_acknowledgement_is_kept_even_null(
    spelling: Spelling, payload: Any
) -> None:
    """`payload: null` is legal there (enisdenjo/graphql-ws #348)."""
    event = spelling.make().receive(says("connection_ack", payload=payload))

    assert isinstance(event, events.Acknowledged)
    assert raw(payload) == event.payload


def test_a_second_acknowledgement_is_a_stray(spelling: Spelling) -> None:
    """It means nothing, and changes nothing."""
    dialect = opened(spelling.make(), "1")

    assert events.Stray("connection_ack") == dialect.receive(says("connection_ack"))
    assert Phase.OPEN is dialect.phase
    assert dialect.receive(says(spelling.result, id="1", payload=RESULT)) is not None


@pytest.mark.parametrize("word", ["result", "error", "complete"])
def test_a_message_of_an_operation_before_the_acknowledgement_is_a_stray(
    spelling: Spelling, word: str
) -> None:
    """Nothing can have been asked by then."""
    dialect = spelling.make()
    type = spelling.result if word == "result" else word

    assert events.Stray(type) == dialect.receive(says(type, id="1", payload=[ERROR]))
    assert Phase.INIT is dialect.phase


@pytest.mark.parametrize("payload", ["4400: invalid token", {"message": "no"}, ["no"], None])
def test_a_connection_error_before_the_acknowledgement_refuses_us(
    spelling: Spelling, payload: Any
) -> None:
    """Whatever its payload is: Hasura's is a string, and it says so in both protocols."""
    dialect = spelling.make()

    event = dialect.receive(says("connection_error", payload=payload))

    assert isinstance(event, events.Complaint)
    assert raw(payload) == event.payload
    assert Phase.CLOSED is dialect.phase


def test_a_connection_error_without_a_payload_refuses_us(spelling: Spelling) -> None:
    """Strawberry's has none."""
    dialect = spelling.make()

    event = dialect.receive(says("connection_error"))

    assert isinstance(event, events.Complaint)
    assert NOTHING == event.payload
    assert Phase.CLOSED is dialect.phase


def test_a_connection_error_with_id_null_refuses_us(spelling: Spelling) -> None:
    """The server of subscriptions-transport-ws writes `"id": null`."""
    dialect = spelling.make()

    event = dialect.receive(says("connection_error", id=None, payload={"message": "no"}))

    assert isinstance(event, events.Complaint)
    assert Phase.CLOSED is dialect.phase


def test_an_error_without_an_id_before_the_acknowledgement_refuses_us(spelling: Spelling) -> None:
    """AppSync refuses connections like that (enisdenjo/graphql-ws #602)."""
    dialect = spelling.make()
    payload = {"errors": [{"errorType": "UnauthorizedException"}]}

    event = dialect.receive(says("error", payload=payload))

    assert isinstance(event, events.Complaint)
    assert raw(payload) == event.payload
    assert Phase.CLOSED is dialect.phase


# --- Operations ------------------------------------------------------------------------------


def test_an_operation_is_started_with_the_request_as_payload(spelling: Spelling) -> None:
    """The id is ours, the payload goes out as it was encoded."""
    dialect = opened(spelling.make())
    dialect.subscribe("7", REQUEST)

    assert [{"type": spelling.start, "id": "7", "payload": json.loads(REQUEST)}] == sent(dialect)


def test_a_result_reaches_its_operation_undecoded(spelling: Spelling) -> None:
    """The payload is kept as the server wrote it."""
    dialect = opened(spelling.make(), "1", "2")

    event = dialect.receive(
        b'{"id":"2","type":"%s","payload":{ "data" : 1.50 }}' % spelling.result.encode()
    )

    assert isinstance(event, events.Result)
    assert ("2", b'{ "data" : 1.50 }') == (event.id, bytes(event.payload))


def test_results_go_on_until_the_server_completes(spelling: Spelling) -> None:
    """After `complete` the id means nothing."""
    dialect = opened(spelling.make(), "1")
    message = says(spelling.result, id="1", payload=RESULT)

    assert isinstance(dialect.receive(message), events.Result)
    assert isinstance(dialect.receive(message), events.Result)
    assert isinstance(dialect.receive(says("complete", id="1")), events.Completed)
    assert dialect.receive(message) is None


def test_complete_with_payload_null_completes(spelling: Spelling) -> None:
    """subscriptions-transport-ws writes `"payload": null` there."""
    dialect = opened(spelling.make(), "1")

    event = dialect.receive(says("complete", id="1", payload=None))

    assert isinstance(event, events.Completed)
    assert "1" == event.id


@pytest.mark.parametrize(
    "payload",
    [[ERROR], [], ERROR, {"errors": [ERROR]}, {"errors": []}, "no", None],
    ids=["list", "empty list", "object", "object with errors", "errors: []", "string", "null"],
)
def test_an_error_of_any_shape_ends_its_operation_and_no_other(
    spelling: Spelling, payload: Any
) -> None:
    """Mercurius sends lists where objects belong, Ballerina the reverse, Hasura strings."""
    dialect = opened(spelling.make(), "1", "2")

    event = dialect.receive(says("error", id="1", payload=payload))

    assert isinstance(event, events.Failed)
    assert ("1", raw(payload)) == (event.id, event.payload)
    dialect.complete("1")
    assert [] == sent(dialect)
    assert dialect.receive(says(spelling.result, id="2", payload=RESULT)) is not None


def test_an_error_without_a_payload_ends_its_operation(spelling: Spelling) -> None:
    """That something failed is news enough."""
    event = opened(spelling.make(), "1").receive(says("error", id="1"))

    assert isinstance(event, events.Failed)
    assert NOTHING == event.payload


def test_complete_after_error_is_ignored(spelling: Spelling) -> None:
    """Hasura does it on purpose (hasura/graphql-engine #776)."""
    dialect = opened(spelling.make(), "1")
    dialect.receive(says("error", id="1", payload=[ERROR]))

    assert dialect.receive(says("complete", id="1")) is None


def test_a_second_end_of_any_kind_is_ignored(spelling: Spelling) -> None:
    """An operation ends once."""
    dialect = opened(spelling.make(), "1")
    dialect.receive(says("complete", id="1"))

    assert dialect.receive(says("complete", id="1")) is None
    assert dialect.receive(says("error", id="1", payload=[ERROR])) is None


@pytest.mark.parametrize("word", ["result", "error", "complete"])
def test_late_messages_of_a_stopped_operation_are_ignored(spelling: Spelling, word: str) -> None:
    """They were under way when our stop went out; so was the server's answer to it."""
    dialect = opened(spelling.make(), "1")
    dialect.complete("1")

    late = says(spelling.result if word == "result" else word, id="1", payload=RESULT)

    assert dialect.receive(late) is None


@pytest.mark.parametrize("word", ["result", "error", "complete"])
@pytest.mark.parametrize("id", ["42", "", "9f1c", "1 "])
def test_messages_for_ids_that_were_never_ours_are_ignored(
    spelling: Spelling, word: str, id: str
) -> None:
    """Also where the id resembles one of ours."""
    dialect = opened(spelling.make(), "1")

    odd = says(spelling.result if word == "result" else word, id=id, payload=RESULT)

    assert dialect.receive(odd) is None
    assert dialect.receive(says(spelling.result, id="1", payload=RESULT)) is not None


@pytest.mark.parametrize("word", ["result", "error", "complete"])
def test_a_numeric_id_that_is_echoed_is_our_id(spelling: Spelling, word: str) -> None:
    """The first Apollo client sent numbers, so some servers answer with numbers."""
    dialect = opened(spelling.make(), "1")

    event = dialect.receive(
        says(spelling.result if word == "result" else word, id=1, payload=RESULT)
    )

    assert isinstance(event, events.Result | events.Failed | events.Completed)
    assert "1" == event.id


@pytest.mark.parametrize("id", [None, 1.5, ["1"], {"id": "1"}])
def test_a_result_without_a_valid_id_is_a_stray(spelling: Spelling, id: Any) -> None:
    """It belongs to no operation, and ends none."""
    dialect = opened(spelling.make(), "1")

    event = dialect.receive(says(spelling.result, id=id, payload=RESULT))

    assert events.Stray(f"{spelling.result} without an id") == event
    assert dialect.receive(says(spelling.result, id="1", payload=RESULT)) is not None


def test_complete_with_id_null_is_a_stray(spelling: Spelling) -> None:
    """It ends nothing."""
    dialect = opened(spelling.make(), "1")

    assert events.Stray("complete without an id") == dialect.receive(says("complete", id=None))
    dialect.complete("1")
    assert [{"type": spelling.stop, "id": "1"}] == sent(dialect)


@pytest.mark.parametrize("rest", [{}, {"id": None}], ids=["no id", "id null"])
def test_an_error_without_an_id_complains_and_ends_nothing(
    spelling: Spelling, rest: dict[str, Any]
) -> None:
    """AppSync reports so what it could not read."""
    dialect = opened(spelling.make(), "1")
    payload = {"errors": [{"errorType": "UnsupportedOperation"}]}

    event = dialect.receive(says("error", **rest, payload=payload))

    assert isinstance(event, events.Complaint)
    assert raw(payload) == event.payload
    assert Phase.OPEN is dialect.phase
    assert dialect.receive(says(spelling.result, id="1", payload=RESULT)) is not None


@pytest.mark.parametrize("payload", ["JWT expired", {"message": "bad"}, None])
def test_a_connection_error_later_on_only_reports(spelling: Spelling, payload: Any) -> None:
    """It "does not disconnect the client" (Apollo's PROTOCOL.md); Hasura's JWT expiry is one."""
    dialect = opened(spelling.make(), "1")

    event = dialect.receive(says("connection_error", payload=payload))

    assert isinstance(event, events.Complaint)
    assert raw(payload) == event.payload
    assert Phase.OPEN is dialect.phase
    assert dialect.receive(says(spelling.result, id="1", payload=RESULT)) is not None


@pytest.mark.parametrize("payload", [None, "gone", [], {}, 1])
def test_a_result_with_a_bad_payload_is_left_to_its_operation(
    spelling: Spelling, payload: Any
) -> None:
    """`payload: null` and the like cost the one operation, and that elsewhere."""
    event = opened(spelling.make(), "1").receive(says(spelling.result, id="1", payload=payload))

    assert isinstance(event, events.Result)
    assert raw(payload) == event.payload


def test_a_result_without_a_payload_is_left_to_its_operation(spelling: Spelling) -> None:
    """The same for a payload that is missing."""
    event = opened(spelling.make(), "1").receive(says(spelling.result, id="1"))

    assert isinstance(event, events.Result)
    assert NOTHING == event.payload


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b'"\\ud800"', b'{"n":[-Infinity]}'])
def test_a_payload_with_nan_or_a_lone_surrogate_reaches_its_operation(
    spelling: Spelling, text: bytes
) -> None:
    """Neither is JSON, and servers write both."""
    dialect = opened(spelling.make(), "1")
    type = spelling.result.encode()

    event = dialect.receive(b'{"type":"%s","id":"1","payload":{"data":%s}}' % (type, text))

    assert isinstance(event, events.Result)
    # NaN is equal to nothing, its text is.
    assert json.dumps({"data": json.loads(text)}) == json.dumps(json.loads(bytes(event.payload)))


@pytest.mark.parametrize("text", [b"NaN", b'["\\udfff"]'])
def test_an_error_with_nan_or_a_lone_surrogate_ends_its_operation(
    spelling: Spelling, text: bytes
) -> None:
    """One bad message ends at most its own operation."""
    dialect = opened(spelling.make(), "1", "2")

    event = dialect.receive(b'{"type":"error","id":"1","payload":%s}' % text)

    assert isinstance(event, events.Failed)
    assert dialect.receive(says(spelling.result, id="2", payload=RESULT)) is not None


def test_unknown_keys_are_ignored(spelling: Spelling) -> None:
    """A server may have more to say than the protocol asks."""
    dialect = opened(spelling.make(), "1")

    event = dialect.receive(says(spelling.result, id="1", payload=RESULT, version=2, at=None))

    assert isinstance(event, events.Result)


def test_the_table_itself_knows_no_results_of_the_dead(spelling: Spelling) -> None:
    """`receive` has a shorter way for results; the long way says the same."""
    dialect = opened(spelling.make(), "1")
    make = spelling.module._BY_TYPE[spelling.result]

    assert make("1") == dialect._conversation.step(make("1"))
    assert dialect._conversation.step(make("2")) is None


# --- Our own words ---------------------------------------------------------------------------


def test_an_operation_is_stopped_once(spelling: Spelling) -> None:
    """The second time there is nothing to stop."""
    dialect = opened(spelling.make(), "1")

    dialect.complete("1")
    assert [{"type": spelling.stop, "id": "1"}] == sent(dialect)
    dialect.complete("1")
    assert [] == sent(dialect)


def test_an_operation_that_was_never_started_is_not_stopped(spelling: Spelling) -> None:
    """Some servers close the socket for it (strawberry-graphql #1731)."""
    dialect = opened(spelling.make())
    dialect.complete("1")

    assert [] == sent(dialect)


@pytest.mark.parametrize("type", ["complete", "error"])
def test_an_operation_that_the_server_has_ended_is_not_stopped(
    spelling: Spelling, type: str
) -> None:
    """For the same reason."""
    dialect = opened(spelling.make(), "1")
    dialect.receive(says(type, id="1", payload=[ERROR]))

    dialect.complete("1")
    assert [] == sent(dialect)


def test_nothing_means_anything_after_the_end(spelling: Spelling) -> None:
    """A closed conversation has no operations, and no phase after it."""
    dialect = opened(spelling.make(), "1")
    dialect.close()
    sent(dialect)

    for late in (
        says(spelling.result, id="1", payload=RESULT),
        says("complete", id="1"),
        says("connection_ack"),
        says("connection_error"),
        says("nonsense"),
    ):
        assert dialect.receive(late) is None
    dialect.complete("1")
    assert [] == sent(dialect)
    assert Phase.CLOSED is dialect.phase


# --- What is no message ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "type"),
    [
        (says("start_ack", id="1"), "start_ack"),
        (says("welcome"), "welcome"),
        (says("", id="1"), ""),
        (b'{"type":null}', "None"),
        (b'{"type":17}', "17"),
        (b'{"type":["next"]}', "['next']"),
        (b'{"type":{}}', "{}"),
        (b"{}", "None"),
        (b'{"data":{"n":1}}', "None"),
    ],
)
@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
def test_an_unknown_type_is_a_stray(
    spelling: Spelling, message: bytes, type: str, is_open: bool
) -> None:
    """AppSync's `start_ack` is one, a message that is none is another; neither harms anybody."""
    dialect = opened(spelling.make(), "1") if is_open else spelling.make()
    before = dialect.phase

    assert events.Stray(type) == dialect.receive(message)
    assert before is dialect.phase


@pytest.mark.parametrize("message", [b"[]", b'"x"', b"1", b"null", b"true", b"NaN", b'["next"]'])
@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
def test_json_that_is_not_an_object_is_refused_with_an_excerpt(
    spelling: Spelling, message: bytes, is_open: bool
) -> None:
    """A server that sends it speaks another protocol."""
    dialect = opened(spelling.make(), "1") if is_open else spelling.make()

    with pytest.raises(TransportProtocolError, match="not a JSON object") as caught:
        dialect.receive(message)

    assert message.decode() in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b" ",
        b"hello",
        b"<html>",
        b"{",
        b'{"type":"next"',
        b"{'type':'next'}",
        b'{"type":"next"}{"type":"next"}',
        b"\x00\x01\x02",
        b"\xff\xfe\xfd",
        b'{"type":"\xff"}',
        b'{"type":"complete","id":"\xc3\x28"}',
    ],
)
@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
def test_garbage_and_text_that_is_not_utf8_are_refused_with_an_excerpt(
    spelling: Spelling, message: bytes, is_open: bool
) -> None:
    """Text that is no JSON at all may fail the connection, with a word about what it was."""
    dialect = opened(spelling.make(), "1") if is_open else spelling.make()

    with pytest.raises(TransportProtocolError, match="not JSON: "):
        dialect.receive(message)


@pytest.mark.parametrize("word", ["result", "error"])
def test_a_payload_that_is_not_utf8_costs_its_operation_at_most(
    spelling: Spelling, word: str
) -> None:
    """The wire refuses such text before; here it is a payload like any other."""
    dialect = opened(spelling.make(), "1", "2")
    type = (spelling.result if word == "result" else word).encode()

    event = dialect.receive(b'{"type":"%s","id":"1","payload":"\xff"}' % type)

    assert isinstance(event, events.Result | events.Failed)
    assert dialect.receive(says(spelling.result, id="2", payload=RESULT)) is not None


@pytest.mark.parametrize("depth", [10, 500, 2_000, 100_000])
@pytest.mark.parametrize("place", ["type", "id", "payload"])
def test_deep_nesting_is_refused_or_harmless(spelling: Spelling, depth: int, place: str) -> None:
    """A pile of brackets is no way to crash us."""
    message = {"type": spelling.result, "id": "1", "payload": 0, place: "@"}
    pile = b"[" * depth + b"]" * depth
    dialect = opened(spelling.make(), "1")

    try:
        event = dialect.receive(json.dumps(message).encode().replace(b'"@"', pile))
    except TransportProtocolError:
        event = None

    assert event is None or isinstance(event, events.Result | events.Stray)


def test_a_message_may_be_longer_than_any_excerpt(spelling: Spelling) -> None:
    """The error shows its beginning and tells its length."""
    with pytest.raises(TransportProtocolError, match=r"… \(100000 bytes\)") as caught:
        spelling.make().receive(b"x" * 100_000)

    assert 300 > len(str(caught.value))
