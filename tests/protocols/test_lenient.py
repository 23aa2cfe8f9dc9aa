"""Servers as they are: what can be read is read, and what cannot is told with an excerpt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct

from gqlwire._json import NOTHING, decode_payload, errors_of, excerpt
from gqlwire._protocols import events, lenient
from gqlwire.errors import TransportProtocolError


class Nothing(Struct):
    """Has no parts."""


class Said(Struct):
    """Has a payload, and belongs to no operation."""

    payload: Raw = NOTHING


TYPES = {
    "nothing": Nothing,
    "said": Said,
    "result": events.Result,
    "failed": events.Failed,
    "completed": events.Completed,
}


def read(text: bytes) -> Any:
    return lenient.read(text, TYPES, nameless=Said)


# --- Messages --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"type":"nothing","payload":1}', Nothing()),
        (b'{"type":"said","id":5}', Said()),
        (b'{"type":"said","payload":{"n": 1}}', Said(Raw(b'{"n": 1}'))),
        (b'{"type":"said","payload":null}', Said(Raw(b"null"))),
        (b'{"type":"result","id":"1","payload":[]}', events.Result("1", Raw(b"[]"))),
        (b'{"type":"result","id":1}', events.Result("1")),
        (b'{"type":"completed","id":-1,"payload":0}', events.Completed("-1")),
    ],
)
def test_a_message_of_a_known_type_is_made(text: bytes, message: Struct) -> None:
    """By its `type`, with the parts that this one has."""
    assert message == read(text)


def test_an_id_beyond_any_machine_integer_is_an_id() -> None:
    """Ids are opaque, even where they are numbers."""
    assert events.Completed(str(2**70)) == read(b'{"type":"completed","id":%d}' % 2**70)


@pytest.mark.parametrize("id", [b"null", b"1.5", b"[]", b"{}", b"NaN"])
def test_a_message_that_lacks_its_id_is_a_stray(id: bytes) -> None:
    """The stray says what is missing."""
    assert events.Stray("result without an id") == read(b'{"type":"result","id":%s}' % id)


def test_an_error_that_names_no_operation_is_a_nameless_one() -> None:
    """It is about the connection."""
    assert Said(Raw(b'"no"')) == read(b'{"type":"failed","payload":"no"}')


@pytest.mark.parametrize("type", [b'"unheard"', b"null", b"[]", b'{"a":1}', b"1", b"NaN"])
def test_a_message_of_an_unknown_type_is_a_stray(type: bytes) -> None:
    """Whatever stands there for a type."""
    assert events.Stray(str(json.loads(type))) == read(b'{"type":%s}' % type)


def test_nan_and_lone_surrogates_are_read() -> None:
    """Python's own reader takes them, and other payloads come through unharmed."""
    message = read(b'{"type":"result","id":"1","payload":{"a":NaN,"b":"\\ud800","c":"\xc3\xa9"}}')

    assert isinstance(message, events.Result)
    assert {"a": pytest.approx(float("nan"), nan_ok=True), "b": "\ud800", "c": "é"} == json.loads(
        bytes(message.payload)
    )


def test_a_message_with_nan_and_no_payload_has_none() -> None:
    """The lenient reader does not invent one."""
    assert Said() == read(b'{"type":"said","other":NaN}')


@pytest.mark.parametrize("text", [b"", b"{", b"hello", b"\xff", b'{"type":"said",}'])
def test_invalid_json_is_refused(text: bytes) -> None:
    """The cause is kept."""
    with pytest.raises(TransportProtocolError, match="not JSON") as caught:
        read(text)

    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("text", [b"[]", b"[NaN]", b'"x"', b"1", b"null", b"NaN"])
def test_json_that_is_not_an_object_is_refused(text: bytes) -> None:
    """Even where only the lenient reader can read it."""
    with pytest.raises(TransportProtocolError, match="not a JSON object"):
        read(text)


@pytest.mark.parametrize("text", [b'{"type":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_nesting_that_shows_no_type_is_refused(text: bytes) -> None:
    """With the error of the tree, not with Python's."""
    with pytest.raises(TransportProtocolError, match="nested too deeply") as caught:
        read(text)

    assert isinstance(caught.value.__cause__, RecursionError)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize("order", [("type", "id", "payload"), ("payload", "id", "type")])
def test_a_message_that_is_nested_too_deeply_is_read_but_for_its_payload(
    order: tuple[str, ...],
) -> None:
    """Of which nothing is lost."""
    parts = {"type": b'"result"', "id": b"7", "payload": b'{"data": %s}' % DEEP}
    text = b"{%s}" % b" , ".join(b'"%s" : %s' % (key.encode(), parts[key]) for key in order)

    assert events.Result("7", Raw(parts["payload"])) == read(text)
    assert Said(Raw(DEEP)) == read(b'{"payload":%s,"type":"said"}' % DEEP)


@pytest.mark.parametrize("payload", [b"{]", b'"a\nb"', rb'"\x"', b'{"data":1', b"{}}", b"", b"nil"])
@pytest.mark.parametrize("id", [b'"7"', b"7"])
def test_a_message_that_is_no_json_fails_its_operation(payload: bytes, id: bytes) -> None:
    """If it shows which one that is. Its payload cannot be read either."""
    text = b'{"type":"result","id":%s,"payload":%s}' % (id, payload)

    assert events.Result("7", Raw(text)) == read(text)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert events.Failed("7", Raw(b'{"id":"7","type":"failed",')) == read(
        b'{"id":"7","type":"failed",'
    )
    assert events.Completed("7") == read(b'{"id":"7","type":"completed"')
    with pytest.raises(TransportProtocolError, match="not JSON"):
        read(b'{"type":"said","id":%s,"payload":%s}' % (id, b"{]"))


# --- Excerpts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "''"),
        (b"hello", "'hello'"),
        (b"two\nlines", r"'two\nlines'"),
        (b"\xff\x00", r"'\\xff\x00'"),
        (b"x" * 120, "'" + "x" * 120 + "'"),
        (b"x" * 121, "'" + "x" * 120 + "'… (121 bytes)"),
        ("é".encode() * 60 + b"x", "'" + "é" * 60 + "'… (121 bytes)"),
        (b"x" + "é".encode() * 60, "'x" + "é" * 59 + r"\\xc3'… (121 bytes)"),
    ],
)
def test_an_excerpt_is_one_short_line(text: bytes, expected: str) -> None:
    """The beginning, with what cannot be shown escaped, and the length if that was not all."""
    assert expected == excerpt(text)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_an_excerpt_of_anything_can_be_printed(text: bytes) -> None:
    """On one line, in any terminal."""
    assert excerpt(text).isprintable()


# --- Payloads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", None),
        (b"null", None),
        (b'{"n":1}', {"n": 1}),
        (b"[1]", [1]),
        (b'"\\ud800"', "\ud800"),
        (b"-Infinity", float("-inf")),
    ],
)
def test_a_payload_of_any_shape_is_decoded(payload: bytes, expected: Any) -> None:
    """None where there is none."""
    assert expected == decode_payload(Raw(payload))


@pytest.mark.parametrize("payload", [b"{", b"hello", b'"\xff"', b"1" * 5000])
def test_a_payload_that_cannot_be_read_is_a_value_error(payload: bytes) -> None:
    """As the callers expect it."""
    with pytest.raises(ValueError, match=r"."):
        decode_payload(Raw(payload))


# --- Errors ----------------------------------------------------------------------------------

ONE, TWO = {"message": "one"}, {"message": "two", "path": ["a", 0]}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        # graphql-transport-ws; Mercurius on graphql-ws, too
        ([ONE, TWO], [ONE, TWO]),
        ([], []),
        # graphql-ws
        (TWO, [TWO]),
        ({}, [{}]),
        # Ballerina, AppSync
        ({"errors": [ONE, TWO]}, [ONE, TWO]),
        ({"errors": []}, []),
        ({"errors": [ONE], "data": None}, [ONE]),
        # an object that only looks like it
        ({"errors": "many"}, [{"errors": "many"}]),
        ({"errors": {"message": "one"}}, [{"errors": {"message": "one"}}]),
        # Hasura
        ("start received before init", [{"message": "start received before init"}]),
        ("", [{"message": ""}]),
        # nobody yet
        (None, []),
        (17, [{"message": "17"}]),
        (False, [{"message": "False"}]),
        (["one", None], ["one", None]),
    ],
)
def test_errors_are_a_list_whatever_their_shape(payload: Any, expected: list[Any]) -> None:
    """Each shape was seen from some server."""
    assert expected == errors_of(Raw(json.dumps(payload).encode()))


def test_a_missing_payload_has_no_errors() -> None:
    """The caller still reports that there was an error."""
    assert [] == errors_of(NOTHING)


def test_errors_that_are_nested_too_deeply_are_shown() -> None:
    """And called so."""
    [error] = errors_of(Raw(b"[" * 100_000))

    assert error["message"].startswith("unreadable error, nested too deeply: '[[[")


@pytest.mark.parametrize("payload", [b"{", b'"\xff"'])
def test_errors_that_cannot_be_read_are_shown(payload: bytes) -> None:
    """An excerpt is better than nothing."""
    [error] = errors_of(Raw(payload))

    assert f"unreadable error: {excerpt(payload)}" == error["message"]


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_errors_of_anything_are_a_list(payload: bytes) -> None:
    """No payload is so odd that it raises."""
    assert isinstance(errors_of(Raw(payload)), list)


def test_a_type_that_is_nested_too_deeply_for_its_name_is_a_stray() -> None:
    """It can be read, and not be written into a counter."""
    type: list[Any] = []
    for _ in range(100_000):
        type = [type]

    assert "(nested too deeply)" == lenient.word(type)
