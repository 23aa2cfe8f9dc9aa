"""What is asked, and how it goes out."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from graphql import GraphQLError, GraphQLSyntaxError, build_schema, parse, print_ast
from hypothesis import given, settings
from hypothesis import strategies as st

from gqlwire import GraphQLRequest, gql
from gqlwire._payloads import request

TWO = "query One { a } mutation Two { b } fragment F on Query { c }"


# --- Documents -------------------------------------------------------------------------------


def test_a_str_is_sent_as_it_was_written() -> None:
    """Comments, commas and all: nothing is printed anew."""
    document = "# look\nquery   ,, { hello }  \n"

    assert document == GraphQLRequest(document).payload["query"]


def test_a_tree_is_sent_as_text() -> None:
    """A `DocumentNode` of graphql-core does as well."""
    node = parse("{ hello }")

    made = GraphQLRequest(node)

    assert print_ast(node) == made.payload["query"]
    assert node is made.document


def test_a_tree_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked."""
    printed = []
    monkeypatch.setattr("graphql.print_ast", lambda node: printed.append(node) or "{ hello }")
    node = parse("{ hello }")

    for _ in range(3):
        GraphQLRequest(node)

    assert [node] == printed


def test_a_str_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check costs once per distinct document."""
    parsed = []
    monkeypatch.setattr("graphql.parse", lambda text: parsed.append(text) or parse(text))
    document = "{ parsed_once_in_this_test }"

    for _ in range(3):
        GraphQLRequest(document)

    assert [document] == parsed


def test_trees_that_are_made_in_passing_are_not_kept_for_ever() -> None:
    """The memory of printed trees is bounded, and never mistakes one for another."""
    for number in range(3 * request._PRINTED_AT_MOST):
        assert f"f{number}" in GraphQLRequest(parse(f"{{ f{number} }}")).source

    assert request._PRINTED_AT_MOST == len(request._printed)


@pytest.mark.parametrize("document", ["", "   ", "{", "query {", "{ a } }", "subscription", "🦀"])
def test_a_syntax_error_is_found_before_anything_is_sent(document: str) -> None:
    """Strawberry closes the whole socket on one."""
    with pytest.raises(GraphQLSyntaxError):
        GraphQLRequest(document)


def test_a_syntax_error_is_found_each_time() -> None:
    """It is not remembered as good."""
    for _ in range(2):
        with pytest.raises(GraphQLError):
            gql("{ once")


@pytest.mark.parametrize("document", [None, 1, b"{ a }", ["{ a }"], {"query": "{ a }"}])
def test_an_argument_that_is_not_a_document_is_a_type_error(document: Any) -> None:
    """The message names its type."""
    with pytest.raises(TypeError, match=type(document).__name__):
        GraphQLRequest(document)


def test_the_document_can_be_replaced() -> None:
    """gql's DSL users do that; what is no tree is refused."""
    made = GraphQLRequest("{ a }")
    made.document = parse("subscription { b }")

    assert ("subscription", print_ast(parse("subscription { b }"))) == (made.kind, made.source)
    with pytest.raises(TypeError, match="str"):
        made.document = "{ a }"


def test_gql_makes_a_request() -> None:
    """The short name for it."""
    assert "{ a }" == gql("{ a }").source


# --- Kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "name", "kind"),
    [
        ("{ a }", None, "query"),
        ("query { a }", None, "query"),
        ("query One { a }", None, "query"),
        ("query One { a }", "One", "query"),
        ("mutation { a }", None, "mutation"),
        ("subscription { a }", None, "subscription"),
        ("fragment F on Query { a } subscription { ...F }", None, "subscription"),
        (TWO, "One", "query"),
        (TWO, "Two", "mutation"),
    ],
)
def test_the_kind_of_the_operation_is_known(document: str, name: str | None, kind: str) -> None:
    """Before it is sent; by its name where there are several."""
    assert kind == GraphQLRequest(document, operation_name=name).kind


@pytest.mark.parametrize(
    ("document", "name", "words"),
    [
        (TWO, None, r"several operations \(One, Two\): set operation_name"),
        (TWO, "Three", r"no operation named 'Three' \(it has: One, Two\)"),
        ("{ a }", "One", r"no operation named 'One' \(it has: none has a name\)"),
        ("fragment F on Query { a }", None, "no operation, only fragments or definitions"),
        ("type T { a: Int }", None, "no operation, only fragments or definitions"),
    ],
)
def test_an_operation_that_cannot_be_chosen_is_an_error_before_sending(
    document: str, name: str | None, words: str
) -> None:
    """The message names those that there are. Strawberry would close the socket."""
    with pytest.raises(GraphQLError, match=words):
        _ = GraphQLRequest(document, operation_name=name).kind


# --- What goes out ---------------------------------------------------------------------------


def test_empty_parts_are_left_out() -> None:
    """A server need not know the keys."""
    made = GraphQLRequest("{ a }", variable_values={}, operation_name=None, extensions={})

    assert {"query": "{ a }"} == json.loads(made.encode())


def test_all_parts_go_out_under_the_names_of_the_specification() -> None:
    """GraphQL over HTTP spells them so, and both protocols follow."""
    made = GraphQLRequest(
        "query One($n: Int) { a(n: $n) }",
        variable_values={"n": 1},
        operation_name="One",
        extensions={"persistedQuery": {"version": 1}},
    )

    expected = {
        "query": "query One($n: Int) { a(n: $n) }",
        "variables": {"n": 1},
        "operationName": "One",
        "extensions": {"persistedQuery": {"version": 1}},
    }
    assert expected == json.loads(made.encode())
    assert expected == made.payload


class Colour(Enum):
    """An enum of somebody's."""

    RED = "red"


@dataclass
class Point:
    """A dataclass of somebody's."""

    x: int


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (datetime(2024, 2, 29, 12, 30, tzinfo=UTC), "2024-02-29T12:30:00Z"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        (Point(1), {"x": 1}),
        ((1, 2), [1, 2]),
        (2**53 + 1, 2**53 + 1),
        ("é\n\u2028", "é\n\u2028"),
    ],
)
def test_variables_of_common_types_can_be_written(value: Any, written: Any) -> None:
    """What has a plain form in JSON goes out in it."""
    sent = json.loads(GraphQLRequest("{ a }", variable_values={"v": value}).encode())

    assert {"v": written} == sent["variables"]


@pytest.mark.parametrize("value", [object(), {1, object()}, 1j, math.nan, {(1, 2): 3}])
def test_variables_that_cannot_be_written_are_a_type_error(value: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(TypeError, match="cannot be sent as JSON"):
        GraphQLRequest("{ a }", variable_values={"v": value}).encode()


def test_variables_without_end_are_a_type_error() -> None:
    """A list that contains itself is one such."""
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(TypeError, match="cannot be sent as JSON"):
        GraphQLRequest("{ a }", variable_values={"v": loop}).encode()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), json_values, min_size=1))
def test_variables_arrive_as_they_were(values: dict[str, Any]) -> None:
    """Whatever JSON can hold."""
    sent = json.loads(GraphQLRequest("{ a }", variable_values=values).encode())

    assert values == sent["variables"]


# --- Requests of requests --------------------------------------------------------------------


def test_a_request_made_of_a_request_takes_its_missing_parts() -> None:
    """Each part separately; the first request stays as it was."""
    first = GraphQLRequest(TWO, variable_values={"n": 1}, operation_name="One", extensions={"e": 1})

    same = GraphQLRequest(first)
    other = GraphQLRequest(first, variable_values={}, operation_name="Two", extensions={"e": 2})

    assert first.payload == same.payload
    assert {"query": TWO, "operationName": "Two", "extensions": {"e": 2}} == other.payload
    assert {"n": 1} == first.variable_values


def test_variables_are_serialized_by_the_schema() -> None:
    """The request with the values is a new one."""
    schema = build_schema("scalar Money type Query { a(m: Money): Int }")
    schema.type_map["Money"].serialize = lambda value: f"{value} EUR"
    asked = GraphQLRequest("query ($m: Money) { a(m: $m) }", variable_values={"m": 5})

    serialized = asked.serialize_variable_values(schema)

    assert ({"m": "5 EUR"}, {"m": 5}) == (serialized.variable_values, asked.variable_values)


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ("{\n  a\n}", "GraphQLRequest('{ a }')"),
        ("{ " + "a " * 60 + "}", "GraphQLRequest('{ " + "a " * 29 + "…')"),
    ],
)
def test_a_request_shows_the_beginning_of_its_document(document: str, shown: str) -> None:
    """On one line, without the variables, which may be secret."""
    asked = GraphQLRequest(document, variable_values={"password": "s"})

    assert shown == repr(asked)


def test_graphql_core_is_loaded_with_the_first_document() -> None:
    """Not before."""
    script = (
        "import sys, gqlwire\n"
        "assert 'graphql' not in sys.modules\n"
        "gqlwire.gql('{ a }')\n"
        "assert 'graphql' in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", script], check=True)
