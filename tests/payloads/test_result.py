"""From the payload of a result, in whatever shape, to what a user gets."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from gqlwire._payloads.result import ExecutionResult, decode_result
from gqlwire.errors import IncompleteResult, TransportProtocolError, TransportQueryError

ERROR = {"message": "no", "path": ["a"]}


def decode(payload: Any) -> ExecutionResult:
    return decode_result(Raw(json.dumps(payload).encode()))


# --- Shapes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"data": {"n": 1}}, ExecutionResult({"n": 1})),
        ({"data": None}, ExecutionResult(None)),
        ({"data": {}}, ExecutionResult({})),
        ({"data": {"n": 1}, "errors": None}, ExecutionResult({"n": 1})),
        ({"data": {"n": 1}, "errors": []}, ExecutionResult({"n": 1})),
        ({"data": {"n": None}, "errors": [ERROR]}, ExecutionResult({"n": None}, [ERROR])),
        ({"data": None, "errors": [ERROR]}, ExecutionResult(None, [ERROR])),
        ({"errors": [ERROR]}, ExecutionResult(None, [ERROR])),
        ({"data": {}, "extensions": {"t": 1}}, ExecutionResult({}, None, {"t": 1})),
        ({"data": 1, "more": "keys", "label": None}, ExecutionResult(1)),
        # Errors in other shapes than a list: some backends are like that.
        ({"data": None, "errors": ERROR}, ExecutionResult(None, [ERROR])),
        ({"errors": "boom"}, ExecutionResult(None, [{"message": "boom"}])),
        ({"errors": {"errors": [ERROR]}}, ExecutionResult(None, [ERROR])),
        ({"errors": {}}, ExecutionResult(None, [{}])),
    ],
)
def test_a_result_is_decoded(payload: Any, expected: ExecutionResult) -> None:
    """Data, errors and extensions, each as the server sent it."""
    assert expected == decode(payload)


PART = {"path": ["a"], "data": {"n": 1}}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"data": {}, "hasNext": True}, ExecutionResult({}, has_next=True)),
        ({"hasNext": False}, ExecutionResult(has_next=False, incremental=[])),
        (
            {"incremental": [PART], "hasNext": True},
            ExecutionResult(has_next=True, incremental=[PART]),
        ),
        ({"incremental": [PART]}, ExecutionResult(incremental=[PART])),
        # The form before 2022: each part is a payload of its own.
        (
            {**PART, "hasNext": True},
            ExecutionResult(has_next=True, incremental=[PART], path=["a"]),
        ),
        (
            {"path": ["a"], "errors": [ERROR]},
            ExecutionResult(
                errors=[ERROR], incremental=[{"path": ["a"], "data": None}], path=["a"]
            ),
        ),
    ],
)
def test_a_part_of_a_result_is_kept_as_it_came(payload: Any, expected: ExecutionResult) -> None:
    """`@defer` and `@stream` come in parts; they are not merged."""
    assert expected == decode(payload)


def test_a_first_result_that_brings_parts_along_keeps_its_data() -> None:
    """graphql-js puts into it what is ready by then."""
    payload = {"data": {"n": 1}, "incremental": [PART], "hasNext": True}

    result = decode(payload)

    assert ({"n": 1}, [PART], True) == (result.data, result.incremental, result.has_next)


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        1,
        True,
        {},
        {"dat": 1},
        {"extensions": {}},
        {"errors": []},
        {"errors": None},
        [{"data": 1}],
    ],
)
def test_a_payload_that_is_not_a_result_is_refused_with_an_excerpt(payload: Any) -> None:
    """`payload: null` and the like fail their operation, and the error shows the payload."""
    with pytest.raises(TransportProtocolError, match="invalid result") as caught:
        decode(payload)

    assert json.dumps(payload) in str(caught.value)


def test_no_payload_is_refused() -> None:
    """And called so."""
    with pytest.raises(TransportProtocolError, match="no payload"):
        decode_result(Raw())


@pytest.mark.parametrize(
    "payload",
    [b"{", b"garbage", b'{"data":"\xff"}', b'{"data":%s}' % (b"1" * 5_000)],
)
def test_an_unreadable_payload_is_refused_with_its_cause(payload: bytes) -> None:
    """Also numbers that Python does not convert."""
    with pytest.raises(TransportProtocolError, match="cannot be read") as caught:
        decode_result(Raw(payload))

    assert caught.value.__cause__ is not None


def test_a_payload_that_is_nested_too_deeply_is_called_so() -> None:
    """It may be valid JSON."""
    with pytest.raises(TransportProtocolError, match="nested too deeply to be read") as caught:
        decode_result(Raw(b'{"data":%s%s}' % (b"[" * 100_000, b"]" * 100_000)))

    assert isinstance(caught.value.__cause__, RecursionError)


# --- What only the lenient reader can read ---------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (rb'{"data":{"s":"\ud800"}}', ExecutionResult({"s": "\ud800"})),
        (rb'{"data":{"n":-Infinity}}', ExecutionResult({"n": float("-inf")})),
        (
            rb'{"data":-Infinity,"errors":[{"message":"no"}],"extensions":{"t":1}}',
            ExecutionResult(float("-inf"), [{"message": "no"}], {"t": 1}),
        ),
        (rb'{"data":-Infinity,"errors":null}', ExecutionResult(float("-inf"))),
        (rb'{"data":1,"hasNext":"yes"}', ExecutionResult(1)),
        (
            rb'{"data":-Infinity,"hasNext":true}',
            ExecutionResult(float("-inf"), has_next=True),
        ),
    ],
)
def test_infinity_and_lone_surrogates_in_data_are_read(
    payload: bytes, expected: ExecutionResult
) -> None:
    """Neither is JSON, and servers write both."""
    assert expected == decode_result(Raw(payload))


def test_nan_in_data_is_read() -> None:
    """Some servers' floats are like that."""
    data = decode_result(Raw(b'{"data":{"price":NaN}}')).data

    assert {"price": pytest.approx(float("nan"), nan_ok=True)} == data


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (rb'{"data":null,"errors":[{"message":"\ud800"}]}', "\ud800"),
        (rb'{"errors":[{"message":"\ud800"}]}', "\ud800"),
        (rb'{"data":NaN,"errors":[{"message":"\udfff!"}]}', "\udfff!"),
        (rb'{"data":"\ud800","errors":"\ud800"}', "\ud800"),
    ],
)
def test_a_lone_surrogate_in_errors_is_read(payload: bytes, message: str) -> None:
    """An error message that quotes such input has one in it."""
    errors = decode_result(Raw(payload)).errors

    assert errors is not None
    assert message == errors[0]["message"]


def test_numbers_beyond_a_machines_integers_are_read() -> None:
    """In data and in errors, by whichever reader."""
    for payload in (
        b'{"data":%d,"errors":[{"n":%d}]}' % (2**80, 2**80),
        b'{"data":%d,"errors":[{"n":%d}],"extensions":NaN}' % (2**80, 2**80),
    ):
        result = decode_result(Raw(payload))
        assert (2**80, [{"n": 2**80}]) == (result.data, result.errors)


def test_a_number_beyond_floats_is_a_decimal() -> None:
    """It is not infinite; only what is said in errors does not matter that much."""
    result = decode_result(Raw(b'{"data":[-1e400,1.5],"errors":[{"n":1e400}],"extensions":1E999}'))

    expected = ExecutionResult([Decimal("-1e400"), 1.5], [{"n": float("inf")}], Decimal("1e999"))
    assert expected == result


# --- Any payload -----------------------------------------------------------------------------

numbers = st.integers() | st.floats() | st.just(2**70)
texts = st.text(max_size=6) | st.text(st.characters(min_codepoint=0xD7F0, max_codepoint=0xE010))
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
results = st.fixed_dictionaries(
    {},
    optional={
        "data": anything,
        "errors": anything | st.lists(st.fixed_dictionaries({"message": texts})),
        "extensions": anything,
        "hasNext": anything,
    },
)


parts = st.fixed_dictionaries(
    {}, optional={"data": anything, "path": anything, "incremental": anything, "hasNext": anything}
)


@settings(deadline=None)
@given(st.binary() | (anything | parts).map(lambda it: json.dumps(it).encode()))
def test_any_payload_is_a_result_or_refused_with_our_own_error(payload: bytes) -> None:
    """Nothing else gets out."""
    try:
        result = decode_result(Raw(payload))
    except TransportProtocolError as refused:
        assert "invalid result" in str(refused)  # noqa: PT017  # others fail the test by themselves
    else:
        assert isinstance(result, ExecutionResult)


@settings(deadline=None)
@given(results)
def test_anything_that_looks_like_a_result_is_one_or_refused(payload: dict[str, Any]) -> None:
    """And what it has for data is what was sent."""
    try:
        result = decode(payload)
    except TransportProtocolError:
        assert "data" not in payload
        assert payload.get("errors") in (None, [], {"errors": []})
        return

    assert json.dumps(payload.get("data")) == json.dumps(result.data)
    assert result.errors is None or isinstance(result.errors, list)
    assert bool(result.errors) is bool(payload.get("errors") not in (None, [], {"errors": []}))


# --- Data, or the error ----------------------------------------------------------------------


def test_data_without_errors_is_the_result() -> None:
    """Null, too."""
    assert ({"n": 1}, None) == (
        ExecutionResult({"n": 1}).data_or_raise(),
        ExecutionResult().data_or_raise(),
    )


def test_errors_are_raised_with_the_data_that_came_along() -> None:
    """The text is the first error's."""
    result = ExecutionResult({"n": None}, [ERROR], {"t": 1})

    with pytest.raises(TransportQueryError, match=r"^no \(at a\)$") as caught:
        result.data_or_raise()

    failure = caught.value
    assert ({"n": None}, [ERROR], {"t": 1}, None) == (
        failure.data,
        failure.errors,
        failure.extensions,
        failure.query_id,
    )


@pytest.mark.parametrize("payload", [{"incremental": [PART]}, {"hasNext": False}, PART])
def test_a_further_part_of_a_result_is_not_taken_for_data(payload: Any) -> None:
    """Without `get_execution_result`, a part must not be taken for the whole."""
    with pytest.raises(IncompleteResult, match="get_execution_result=True"):
        decode(payload).data_or_raise()


def test_the_first_part_of_a_result_is_not_the_result() -> None:
    """It is in the error."""
    with pytest.raises(IncompleteResult) as caught:
        decode({"data": {"n": 1}, "hasNext": True}).data_or_raise()

    assert {"n": 1} == caught.value.data
