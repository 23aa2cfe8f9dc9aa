import datetime as dt
import enum
import ipaddress
import json
from decimal import Decimal
from typing import Any

import graphql
import pytest
from graphql import GraphQLError, GraphQLSchema
from hypothesis import given, settings
from hypothesis import strategies as st

from gqlwire._payloads.schema import (
    ResultParser,
    build_schema_from,
    introspection_document,
    parse_result,
    serialize_variables,
    validate,
)

SDL = """
scalar Datetime
scalar Money
scalar JSON
scalar Network

enum Color { RED GREEN }
enum Size { SMALL LARGE }
enum Mood { GLAD GRIM }

interface Node { id: ID! at: Datetime! twin: Node }
interface Priced { price: Money }
type Event implements Node & Priced {
  id: ID! at: Datetime! twin: Node price: Money color: Color grid: [[Datetime]!] extra: JSON
  child: Event children: [Event!] by: Result
}
type Actor implements Node { id: ID! at: Datetime! twin: Node paid: [Money] size: Size }
union Result = Event | Actor

input Window { from: Datetime to: Datetime inner: Window colors: [Color!] note: String }

type Query {
  event(
    at: Datetime, required: Datetime!, dates: [Datetime!], grid: [[Datetime]], color: Color,
    size: Size, mood: Mood, colors: [Color!], window: Window, windows: [Window!], count: Int,
    text: String, extra: JSON, networks: [Network!]
  ): Event
  events: [Event]
  node: Node
  nodes: [Node]
  results: [Result!]!
  now: Datetime!
  mood: Mood
  size: Size
  version: String
}
type Mutation { pay(amount: Money!): Event }
type Subscription { tick: Datetime! event: Event }
"""


class Color(enum.Enum):
    """The internal values of Color are these members."""

    RED = "r"
    GREEN = "g"


class Size(enum.IntEnum):
    """The internal values of Size are the values of these members."""

    SMALL = 1
    LARGE = 2


class Foreign(enum.Enum):
    """A member that only its value relates to Size."""

    BIG = 2


def custom_scalar(schema: GraphQLSchema, name: str) -> Any:
    scalar = schema.type_map[name]
    assert isinstance(scalar, graphql.GraphQLScalarType)
    return scalar


def isoformat(value: dt.datetime) -> str:
    return value.isoformat()


def make_schema() -> GraphQLSchema:
    schema = build_schema_from(SDL)
    datetime_type = custom_scalar(schema, "Datetime")
    datetime_type.serialize = isoformat
    datetime_type.parse_value = dt.datetime.fromisoformat
    money_type = custom_scalar(schema, "Money")
    money_type.serialize = str
    money_type.parse_value = Decimal
    custom_scalar(schema, "Network").serialize = str
    internal_values: dict[str, dict[str, object]] = {
        "Color": {"RED": Color.RED, "GREEN": Color.GREEN},
        "Size": {"SMALL": 1, "LARGE": 2},
        "Mood": {"GLAD": None, "GRIM": [0]},
    }
    for name, values in internal_values.items():
        enum_type = schema.type_map[name]
        assert isinstance(enum_type, graphql.GraphQLEnumType)
        for value_name, internal in values.items():
            enum_type.values[value_name].value = internal
    window_type = schema.type_map["Window"]
    assert isinstance(window_type, graphql.GraphQLInputObjectType)
    window_type.fields["from"].out_name = "from_"
    return schema


SCHEMA = make_schema()
WHEN = dt.datetime(2024, 2, 29, 12, 30)
LATER = dt.datetime(2031, 1, 1)
WHEN_TEXT = "2024-02-29T12:30:00"
LATER_TEXT = "2031-01-01T00:00:00"


def parsed(document: str, data: dict[str, Any] | None, operation_name: str | None = None) -> Any:
    return parse_result(SCHEMA, graphql.parse(document), data, operation_name)


def serialized(type_: str, value: object) -> object:
    document = graphql.parse(f"query ($v: {type_}) {{ event(v: $v) {{ id }} }}")
    return serialize_variables(SCHEMA, document, {"v": value})["v"]


class TestBuildSchemaFrom:
    def test_takes_sdl(self) -> None:
        """SDL text becomes a schema."""
        schema = build_schema_from("type Query { hello: String }")
        assert graphql.print_schema(schema) == "type Query {\n  hello: String\n}"

    def test_hands_a_schema_back(self) -> None:
        """A schema is not copied: what the user attached to it is kept."""
        assert build_schema_from(SCHEMA) is SCHEMA

    def test_takes_the_answer_to_the_introspection_query(self) -> None:
        """What a server answers to the introspection document makes the same schema."""
        answer = graphql.graphql_sync(SCHEMA, introspection_document())
        assert answer.data is not None
        schema = build_schema_from(answer.data)
        assert graphql.print_schema(schema) == graphql.print_schema(build_schema_from(SDL))

    @pytest.mark.parametrize(
        ("source", "error"),
        [
            ("type Query {", GraphQLError),
            ("type Query { hello: Missing }", TypeError),
            ({"data": {"__schema": {}}}, TypeError),
        ],
        ids=["syntax", "unknown type", "not introspection data"],
    )
    def test_refuses_a_source_that_makes_no_schema(
        self, source: str | dict[str, Any], error: type[Exception]
    ) -> None:
        """Immediately."""
        with pytest.raises(error):
            build_schema_from(source)


class TestIntrospectionDocument:
    def test_asks_for_descriptions_by_default(self) -> None:
        """The plain document is valid and asks for descriptions only."""
        document = introspection_document()
        validate(SCHEMA, graphql.parse(document))
        assert ("description" in document, "specifiedByURL" in document) == (True, False)

    def test_passes_its_arguments_on(self) -> None:
        """Arguments choose what is asked for."""
        document = introspection_document(descriptions=False, specified_by_url=True)
        assert ("description" in document, "specifiedByURL" in document) == (False, True)

    def test_refuses_unknown_arguments(self) -> None:
        """An argument that graphql-core does not know is a TypeError."""
        with pytest.raises(TypeError, match="no_such_argument"):
            introspection_document(no_such_argument=True)


class TestValidate:
    def test_accepts_a_valid_document(self) -> None:
        """A document that fits the schema passes in silence."""
        validate(SCHEMA, graphql.parse('{ event(required: "2024-02-29") { id } }'))

    def test_raises_the_first_error_only(self) -> None:
        """Of several errors the first is raised, with its place."""
        document = graphql.parse("{\n  now\n  nope\n  neither\n}")
        with pytest.raises(GraphQLError) as caught:
            validate(SCHEMA, document)
        assert caught.value.message.startswith("Cannot query field 'nope' on type 'Query'.")
        assert [(at.line, at.column) for at in caught.value.locations or ()] == [(3, 3)]

    def test_refuses_an_invalid_schema(self) -> None:
        """A schema that breaks GraphQL's rules is named as the cause."""
        schema = build_schema_from("type Thing { id: ID }")
        with pytest.raises(TypeError, match="Query root type must be provided"):
            validate(schema, graphql.parse("{ now }"))


class TestSerializeVariables:
    @pytest.mark.parametrize(
        ("type_", "value", "expected"),
        [
            ("Datetime", WHEN, WHEN_TEXT),
            ("Datetime!", WHEN, WHEN_TEXT),
            ("Datetime", None, None),
            ("Datetime!", None, None),
            ("Money", Decimal("1.50"), "1.50"),
            ("JSON", {"any": [1, None]}, {"any": [1, None]}),
            ("[Datetime!]!", [WHEN, LATER], [WHEN_TEXT, LATER_TEXT]),
            ("[Datetime]", (WHEN, None), [WHEN_TEXT, None]),
            ("[Datetime]", {WHEN}, [WHEN_TEXT]),
            ("[Datetime]", [], []),
            ("[Datetime]", None, None),
            ("[Datetime]", WHEN, [WHEN_TEXT]),
            ("[[Datetime]]", WHEN, [[WHEN_TEXT]]),
            ("[[Datetime]]", [WHEN, [LATER], None], [[WHEN_TEXT], [LATER_TEXT], None]),
            ("[Network!]", ipaddress.ip_network("10.0.0.0/30"), ["10.0.0.0/30"]),
            ("Int", 3, 3),
            ("Int", "not a number", "not a number"),
            ("[Int]", 3, [3]),
            ("String", b"bytes", b"bytes"),
            ("Unknown", WHEN, WHEN),
            ("[Unknown!]", [WHEN], [WHEN]),
            ("Event", {"at": WHEN}, {"at": WHEN}),
        ],
    )
    def test_scalars_and_lists(self, type_: str, value: object, expected: object) -> None:
        """Custom scalars are serialized wherever lists hold them; the rest is left alone."""
        assert expected == serialized(type_, value)

    @pytest.mark.parametrize(
        ("type_", "value", "expected"),
        [
            ("Color", Color.GREEN, "GREEN"),
            ("Color", "GREEN", "GREEN"),
            ("Color", "g", "GREEN"),
            ("Size", Size.LARGE, "LARGE"),
            ("Size", 2, "LARGE"),
            ("Size", "LARGE", "LARGE"),
            ("Size", Foreign.BIG, "LARGE"),
            ("Mood", "GLAD", "GLAD"),
            ("Mood", [0], "GRIM"),
            ("Mood", "GRIM", "GRIM"),
            ("[Color!]", Color.RED, ["RED"]),
            ("[Color]", [Color.RED, None, "GREEN"], ["RED", None, "GREEN"]),
        ],
        ids=str,
    )
    def test_enums(self, type_: str, value: object, expected: object) -> None:
        """An enum is given as member, name, internal value, or the value of a member."""
        assert expected == serialized(type_, value)

    def test_a_member_goes_by_its_name_where_values_are_names(self) -> None:
        """With a schema from SDL or introspection, a member means the enum value of its name."""
        schema = build_schema_from(SDL)
        document = graphql.parse("query ($color: Color) { now }")
        expected = {"color": "GREEN"}
        assert expected == serialize_variables(schema, document, {"color": Color.GREEN})

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"from": WHEN, "to": None}, {"from": WHEN_TEXT, "to": None}),
            ({"from_": WHEN, "note": "x"}, {"from": WHEN_TEXT, "note": "x"}),
            ({"from": WHEN, "from_": LATER}, {"from": WHEN_TEXT, "from_": LATER}),
            ({"nope": WHEN}, {"nope": WHEN}),
            ({"inner": {"inner": {"to": WHEN}}}, {"inner": {"inner": {"to": WHEN_TEXT}}}),
            ({"colors": Color.RED}, {"colors": ["RED"]}),
            ({}, {}),
            ("not an object", "not an object"),
        ],
        ids=[
            "by field name",
            "by out_name",
            "field name wins",
            "unknown field",
            "nested",
            "one value for a list",
            "empty",
            "no mapping",
        ],
    )
    def test_input_objects(self, value: object, expected: object) -> None:
        """Fields of input objects are serialized and named as the wire names them."""
        assert expected == serialized("Window", value)

    def test_lists_of_input_objects(self) -> None:
        """One input object for a list of them is a list of one."""
        assert serialized("[Window!]", {"to": WHEN}) == [{"to": WHEN_TEXT}]

    def test_the_input_is_not_changed(self) -> None:
        """The caller's values, at any depth, are as they were."""
        document = graphql.parse("query ($w: [Window]) { now }")
        values = {"w": [{"from_": WHEN, "inner": {"colors": [Color.RED]}}]}
        serialize_variables(SCHEMA, document, values)
        assert values == {"w": [{"from_": WHEN, "inner": {"colors": [Color.RED]}}]}

    def test_only_declared_variables_that_are_given(self) -> None:
        """Undeclared variables are left alone and absent ones stay absent."""
        document = graphql.parse("query ($at: Datetime, $to: Datetime) { now }")
        expected = {"at": WHEN_TEXT, "other": WHEN}
        assert expected == serialize_variables(SCHEMA, document, {"at": WHEN, "other": WHEN})

    def test_no_variables_declared(self) -> None:
        """An operation without variables makes a new, equal dict."""
        values = {"x": 1}
        result = serialize_variables(SCHEMA, graphql.parse("{ now }"), values)
        assert (result, result is values) == ({"x": 1}, False)

    def test_the_operation_is_chosen_by_name(self) -> None:
        """Of several operations the named one declares the types."""
        document = graphql.parse("query A($v: Money) { now } query B($v: Datetime) { now }")
        expected = {"v": WHEN_TEXT}
        assert expected == serialize_variables(SCHEMA, document, {"v": WHEN}, "B")

    @pytest.mark.parametrize(
        ("type_", "value", "start"),
        [
            (
                "Datetime",
                "today",
                "Variable '$v': cannot serialize as 'Datetime': 'str' object has no attribute",
            ),
            (
                "Window",
                {"inner": {"from_": "today"}},
                "Variable '$v.inner.from_': cannot serialize as 'Datetime': 'str' object has no",
            ),
            (
                "[Window]",
                [{}, {"inner": {"colors": ["BLUE"]}}],
                "Variable '$v[1].inner.colors[0]': cannot serialize as 'Color': Enum 'Color'",
            ),
        ],
    )
    def test_a_refused_value_is_named(self, type_: str, value: object, start: str) -> None:
        """A value that a converter refuses raises an error that says where it stands."""
        with pytest.raises(GraphQLError) as caught:
            serialized(type_, value)
        assert caught.value.message.startswith(start), caught.value.message
        assert caught.value.original_error is caught.value.__cause__ is not None

    def test_an_interrupt_is_not_swallowed(self) -> None:
        """What is no refusal of a value passes through a converter untouched."""
        schema = make_schema()

        def serialize(_: object) -> str:
            raise KeyboardInterrupt

        custom_scalar(schema, "Money").serialize = serialize
        with pytest.raises(KeyboardInterrupt):
            serialize_variables(schema, graphql.parse("query ($v: Money) { now }"), {"v": 1})


FRAGMENTS = """
fragment Times on Node { at ...Twin }
fragment Twin on Node { twin { at } }
fragment Price on Event { price color }
"""

PARSED = {
    "scalar": ("{ now }", {"now": WHEN_TEXT}, {"now": WHEN}),
    "alias": ("{ a: now b: now }", {"a": WHEN_TEXT, "b": None}, {"a": WHEN, "b": None}),
    "enum": (
        "{ size event { color } }",
        {"size": "LARGE", "event": {"color": "RED"}},
        {"size": 2, "event": {"color": Color.RED}},
    ),
    "enum without internal value": ("{ mood }", {"mood": "GLAD"}, {"mood": "GLAD"}),
    "enum with unhashable value": ("{ mood }", {"mood": "GRIM"}, {"mood": [0]}),
    "nothing for non-null": ("{ now results { id } }", {"now": None}, {"now": None}),
    "nested object": (
        "{ event { at child { price color extra } } }",
        {"event": {"at": WHEN_TEXT, "child": {"price": "1.50", "color": "RED", "extra": [{}]}}},
        {
            "event": {
                "at": WHEN,
                "child": {"price": Decimal("1.50"), "color": Color.RED, "extra": [{}]},
            }
        },
    ),
    "list of objects": (
        "{ events { at } }",
        {"events": [{"at": WHEN_TEXT}, None, {"at": LATER_TEXT}]},
        {"events": [{"at": WHEN}, None, {"at": LATER}]},
    ),
    "list of lists": (
        "{ event { grid } }",
        {"event": {"grid": [[WHEN_TEXT, None], [], [LATER_TEXT]]}},
        {"event": {"grid": [[WHEN, None], [], [LATER]]}},
    ),
    "inline fragments": (
        "{ ... { now } ... on Query { event { ... @include(if: true) { at } } } }",
        {"now": WHEN_TEXT, "event": {"at": WHEN_TEXT}},
        {"now": WHEN, "event": {"at": WHEN}},
    ),
    "nested fragment spreads": (
        "{ node { ...Times ...Twin } }" + FRAGMENTS,
        {"node": {"at": WHEN_TEXT, "twin": {"at": LATER_TEXT}}},
        {"node": {"at": WHEN, "twin": {"at": LATER}}},
    ),
    "one response key selected several times": (
        "{ event { id child { at } } ...More event { ...Price } }"
        "fragment More on Query { event { child { price } } }" + FRAGMENTS,
        {"event": {"child": {"at": WHEN_TEXT, "price": "2"}, "color": "RED", "price": "1"}},
        {
            "event": {
                "child": {"at": WHEN, "price": Decimal(2)},
                "color": Color.RED,
                "price": Decimal(1),
            }
        },
    ),
    "interface with __typename": (
        "{ node { __typename at ...Price ... on Actor { paid size } } }" + FRAGMENTS,
        {"node": {"__typename": "Actor", "at": WHEN_TEXT, "paid": ["1", None], "size": "SMALL"}},
        {"node": {"__typename": "Actor", "at": WHEN, "paid": [Decimal(1), None], "size": 1}},
    ),
    "interface without __typename": (
        "{ nodes { at ...Price ... on Actor { paid } } }" + FRAGMENTS,
        {"nodes": [{"at": WHEN_TEXT, "paid": ["1"]}, {"at": WHEN_TEXT, "color": "RED"}]},
        {"nodes": [{"at": WHEN, "paid": [Decimal(1)]}, {"at": WHEN, "color": Color.RED}]},
    ),
    "union with __typename under an alias": (
        "{ results { kind: __typename ... on Node { at } ... on Event { price } } }",
        {"results": [{"kind": "Event", "at": WHEN_TEXT, "price": "1"}]},
        {"results": [{"kind": "Event", "at": WHEN, "price": Decimal(1)}]},
    ),
    "one key, two types, with __typename": (
        "{ results { ... on Event { __typename v: at } ... on Actor { __typename v: size } } }",
        {
            "results": [
                {"__typename": "Actor", "v": "LARGE"},
                {"__typename": "Event", "v": WHEN_TEXT},
            ]
        },
        {"results": [{"__typename": "Actor", "v": 2}, {"__typename": "Event", "v": WHEN}]},
    ),
    "one key, two types, one of an interface": (
        "{ results { __typename ... on Priced { v: price } ... on Actor { v: size } } }",
        {"results": [{"__typename": "Actor", "v": "LARGE"}, {"__typename": "Event", "v": "1"}]},
        {"results": [{"__typename": "Actor", "v": 2}, {"__typename": "Event", "v": Decimal(1)}]},
    ),
    "one key, two types, without __typename": (
        "{ results { ... on Event { v: at w: at } ... on Actor { v: size } } }",
        {"results": [{"v": "LARGE"}, {"v": WHEN_TEXT, "w": WHEN_TEXT}]},
        {"results": [{"v": "LARGE"}, {"v": WHEN_TEXT, "w": WHEN}]},
    ),
    "one key, object and scalar": (
        "{ results { ... on Event { v: child { at } } ... on Actor { v: size } } }",
        {"results": [{"v": {"at": WHEN_TEXT}}]},
        {"results": [{"v": {"at": WHEN_TEXT}}]},
    ),
    "one key, objects of two types": (
        "{ nodes { ... on Event { v: child { at x: price } } ... on Actor { v: twin { at } } } }",
        {"nodes": [{"v": {"at": WHEN_TEXT, "x": "1"}}]},
        {"nodes": [{"v": {"at": WHEN, "x": Decimal(1)}}]},
    ),
    "__typename of an unknown type": (
        "{ node { __typename at ...Price } }" + FRAGMENTS,
        {"node": {"__typename": "Newcomer", "at": WHEN_TEXT, "price": "1"}},
        {"node": {"__typename": "Newcomer", "at": WHEN, "price": Decimal(1)}},
    ),
    "__typename of a type that does not belong": (
        "{ node { __typename at } }",
        {"node": {"__typename": "Query", "at": WHEN_TEXT}},
        {"node": {"__typename": "Query", "at": WHEN}},
    ),
    "__typename of no type at all": (
        "{ node { __typename at } }",
        {"node": {"__typename": 7, "at": WHEN_TEXT}},
        {"node": {"__typename": 7, "at": WHEN}},
    ),
    "introspection": (
        "{ __typename __schema { types { name } } now }",
        {"__typename": "Query", "__schema": {"types": [{"name": "Datetime"}]}, "now": WHEN_TEXT},
        {"__typename": "Query", "__schema": {"types": [{"name": "Datetime"}]}, "now": WHEN},
    ),
    "fields nobody knows": (
        "{ nope version event { nope } results { nope } now }",
        {"nope": {"at": WHEN_TEXT}, "more": 1, "event": {"nope": 1}, "results": [{"nope": 1}]},
        {"nope": {"at": WHEN_TEXT}, "more": 1, "event": {"nope": 1}, "results": [{"nope": 1}]},
    ),
    "fragments nobody knows": (
        "{ ...Missing ... on Nowhere { now } ... on Window { from } now }",
        {"now": WHEN_TEXT, "from": WHEN_TEXT},
        {"now": WHEN, "from": WHEN_TEXT},
    ),
    "a fragment that spreads itself": (
        "{ event { ...Self } } fragment Self on Event { at child { ...Self } ...Self }",
        {"event": {"at": WHEN_TEXT, "child": {"at": WHEN_TEXT, "child": None}}},
        {"event": {"at": WHEN, "child": {"at": WHEN, "child": None}}},
    ),
    "object without a selection": (
        "{ event }",
        {"event": {"at": WHEN_TEXT}},
        {"event": {"at": WHEN_TEXT}},
    ),
    "built-in scalar of another kind": (
        "{ version event { id } }",
        {"version": 3, "event": {"id": 1.5}},
        {"version": 3, "event": {"id": 1.5}},
    ),
    "mutation": (
        "mutation { pay(amount: 1) { price } }",
        {"pay": {"price": "1"}},
        {"pay": {"price": Decimal(1)}},
    ),
    "subscription": ("subscription { tick }", {"tick": WHEN_TEXT}, {"tick": WHEN}),
    "no data": ("{ now }", None, None),
}


class TestParseResult:
    @pytest.mark.parametrize(("document", "data", "expected"), PARSED.values(), ids=PARSED.keys())
    def test_values(
        self, document: str, data: dict[str, Any] | None, expected: dict[str, Any] | None
    ) -> None:
        """Custom scalars and enums are parsed, the rest is as it came, the order too."""
        before = json.dumps(data)
        result = parsed(document, data)
        assert expected == result
        assert before == json.dumps(data), "the input was changed"
        assert list(data or ()) == list(result or ())

    def test_the_result_is_new(self) -> None:
        """Even where nothing needs parsing the caller gets a dict of their own."""
        data = {"version": "1"}
        result = parsed("{ version }", data)
        assert (result, result is data) == (data, False)

    def test_the_operation_is_chosen_by_name(self) -> None:
        """Of several operations the named one says what the response keys are."""
        document = "query A { v: size } query B { v: now }"
        assert parsed(document, {"v": WHEN_TEXT}, "B") == {"v": WHEN}

    def test_no_data_needs_no_operation(self) -> None:
        """A result without data is None whatever the document holds."""
        assert parsed("query A { now } query B { now }", None) is None

    def test_a_root_type_that_the_schema_lacks(self) -> None:
        """Where the schema has no such root, data passes as it came."""
        schema = build_schema_from("type Query { now: String }")
        document = graphql.parse("subscription { ... { tick } }")
        assert parse_result(schema, document, {"tick": 1}) == {"tick": 1}

    @pytest.mark.parametrize(
        ("operation_name", "message"),
        [
            (None, "The document does not hold one operation only."),
            ("C", "The document does not hold operation 'C'."),
        ],
    )
    def test_an_operation_that_cannot_be_chosen(
        self, operation_name: str | None, message: str
    ) -> None:
        """A missing or ambiguous operation is an error both ways."""
        document = graphql.parse("query A { now } query B { now }")
        with pytest.raises(GraphQLError) as caught:
            parse_result(SCHEMA, document, {}, operation_name)
        assert message == caught.value.message
        with pytest.raises(GraphQLError) as caught:
            serialize_variables(SCHEMA, document, {}, operation_name)
        assert message == caught.value.message

    @pytest.mark.parametrize(
        ("document", "data", "path", "message"),
        [
            ("{ now }", [], None, "Result: expected an object, found a list."),
            (
                "{ event { at } }",
                {"event": [{"at": WHEN_TEXT}]},
                ["event"],
                "Result at 'event': expected an object, found a list.",
            ),
            (
                "{ es: events { child { at } } }",
                {"es": [{"child": None}, {"child": "x"}]},
                ["es", 1, "child"],
                "Result at 'es[1].child': expected an object, found a string.",
            ),
            (
                "{ events { at } }",
                {"events": {"at": WHEN_TEXT}},
                ["events"],
                "Result at 'events': expected a list for '[Event]', found an object.",
            ),
            (
                "{ event { grid } }",
                {"event": {"grid": [[], 3.5]}},
                ["event", "grid", 1],
                "Result at 'event.grid[1]': expected a list for '[Datetime]', found a number.",
            ),
            (
                "{ results { id } }",
                {"results": True},
                ["results"],
                "Result at 'results': expected a list for '[Result!]', found a boolean.",
            ),
            (
                "{ version }",
                {"version": {}},
                ["version"],
                "Result at 'version': expected 'String', found an object.",
            ),
            (
                "{ version }",
                {"version": [1]},
                ["version"],
                "Result at 'version': expected 'String', found a list.",
            ),
        ],
    )
    def test_another_shape(
        self, document: str, data: Any, path: list[str | int] | None, message: str
    ) -> None:
        """Data of another shape than the schema's raises an error that names the path."""
        with pytest.raises(GraphQLError) as caught:
            parsed(document, data)
        assert (path, message) == (caught.value.path, caught.value.message)

    @pytest.mark.parametrize(
        ("document", "data", "path", "start"),
        [
            (
                "{ event { grid } }",
                {"event": {"grid": [[WHEN_TEXT, "soon"]]}},
                ["event", "grid", 0, 1],
                "Result at 'event.grid[0][1]': cannot parse as 'Datetime': Invalid isoformat",
            ),
            (
                "{ event { price } }",
                {"event": {"price": "much"}},
                ["event", "price"],
                "Result at 'event.price': cannot parse as 'Money': ",
            ),
            (
                "{ size }",
                {"size": "HUGE"},
                ["size"],
                "Result at 'size': cannot parse as 'Size': Value 'HUGE' does not exist in 'Size'",
            ),
            (
                "{ size }",
                {"size": 1},
                ["size"],
                "Result at 'size': cannot parse as 'Size': Enum 'Size' cannot represent non-string",
            ),
        ],
    )
    def test_a_refused_value(
        self, document: str, data: dict[str, Any], path: list[str | int], start: str
    ) -> None:
        """A value that a converter refuses raises an error that names the path and the reason."""
        with pytest.raises(GraphQLError) as caught:
            parsed(document, data)
        assert path == caught.value.path
        assert caught.value.message.startswith(start), caught.value.message
        assert caught.value.original_error is caught.value.__cause__ is not None


class TestResultParser:
    def test_serves_many_results(self) -> None:
        """One parser takes result after result, of varying types, without mixing them."""
        document = "{ node { __typename ... on Event { v: at } ... on Actor { v: size } } }"
        parser = ResultParser(SCHEMA, graphql.parse(document))
        kinds = [("Event", WHEN_TEXT, WHEN), ("Actor", "LARGE", 2)] * 2
        for kind, text, value in kinds:
            expected = {"node": {"__typename": kind, "v": value}}
            assert expected == parser.parse({"node": {"__typename": kind, "v": text}})
        assert parser.parse(None) is None


DATETIMES = st.datetimes(timezones=st.none() | st.just(dt.UTC))
MONEY = st.decimals(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


def maybe_list(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(st.none() | values, max_size=3)


LEAVES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "Event": {
        "id": st.text(),
        "at": DATETIMES,
        "price": st.none() | MONEY,
        "color": st.none() | st.sampled_from(Color),
        "grid": st.none() | st.lists(st.lists(st.none() | DATETIMES, max_size=2), max_size=2),
        "extra": JSON_VALUES,
    },
    "Actor": {
        "id": st.text(),
        "at": DATETIMES,
        "paid": maybe_list(MONEY),
        "size": st.none() | st.sampled_from(Size),
    },
}
OBJECTS = {
    "Event": {"child": "Event", "children": "[Event]", "by": "Result", "twin": "Result"},
    "Actor": {"twin": "Result"},
}


def to_wire(value: Any) -> Any:
    """What a server would send for a Python value: told by the value alone, not by the schema."""
    match value:
        case dt.datetime():
            return value.isoformat()
        case Decimal():
            return str(value)
        case Color() | Size():
            return value.name
        case list():
            return [to_wire(item) for item in value]
        case dict():
            return {key: to_wire(item) for key, item in value.items()}
    return value


class Documents:
    """Draws documents together with data that answers them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.fragments: list[str] = []
        self.keys = 0

    def document(self) -> tuple[str, dict[str, Any]]:
        selections, values = self.object("Event", depth=2)
        text = f"subscription {{ event {{ {selections} }} }} {' '.join(self.fragments)}"
        return text, {"event": self.draw(values)}

    def object(self, type_: str, depth: int) -> tuple[str, st.SearchStrategy[Any]]:
        """Draw selections on an object type, and the strategy of what answers them."""
        answers: dict[str, st.SearchStrategy[Any]] = {}
        selections = []
        names = st.sampled_from(sorted(LEAVES[type_]))
        for name in self.draw(st.lists(names, min_size=1, max_size=4)):
            key = self.key(name)
            answers[key] = LEAVES[type_][name]
            selections.append(self.wrapped(type_, f"{key}: {name}"))
        if depth:
            name = self.draw(st.sampled_from(sorted(OBJECTS[type_])))
            key = self.key("object")
            inner, answers[key] = self.field(OBJECTS[type_][name], depth - 1)
            selections.append(self.wrapped(type_, f"{key}: {name} {{ {inner} }}"))
        return " ".join(selections), st.fixed_dictionaries(answers)

    def field(self, type_: str, depth: int) -> tuple[str, st.SearchStrategy[Any]]:
        """Draw selections on an object, a list of them, or an abstract type."""
        if type_ != "Result":
            selections, values = self.object(type_.strip("[]"), depth)
            return selections, maybe_list(values) if type_[0] == "[" else st.none() | values
        parts = []
        choices = []
        typename = self.draw(st.booleans())
        for member in ("Event", "Actor"):
            selections, values = self.object(member, depth)
            parts.append(f"... on {member} {{ {selections} }}")
            known = st.just({"__typename": member} if typename else {})
            choices.append(st.builds(lambda a, b: a | b, known, values))
        return " ".join(["__typename"] * typename + parts), st.none() | st.one_of(choices)

    def key(self, name: str) -> str:
        self.keys += 1
        return f"{name}{self.keys}"

    def wrapped(self, type_: str, selection: str) -> str:
        """Put a selection into no fragment, an inline one, or a named one."""
        kind = self.draw(st.sampled_from(["plain", "inline", "typed", "twice", "named"]))
        if kind == "named":
            name = self.key("F")
            self.fragments.append(f"fragment {name} on {type_} {{ {selection} }}")
            return f"...{name}"
        return {
            "plain": selection,
            "inline": f"... {{ {selection} }}",
            "typed": f"... on {type_} {{ {selection} }}",
            "twice": f"{selection} ... on {type_} {{ ... {{ {selection} }} }}",
        }[kind]


@st.composite
def answered_documents(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    return Documents(draw).document()


class TestRoundTrip:
    @settings(deadline=None)
    @given(answered_documents())
    def test_results(self, answered: tuple[str, dict[str, Any]]) -> None:
        """Whatever a valid document asks for, the originals of what was sent come back."""
        text, original = answered
        document = graphql.parse(text)
        validate(SCHEMA, document)
        wire = json.loads(json.dumps(to_wire(original)))
        assert original == parse_result(SCHEMA, document, wire)

    @settings(deadline=None)
    @given(
        st.recursive(
            st.fixed_dictionaries(
                {},
                optional={
                    "from": st.none() | DATETIMES,
                    "to": st.none() | DATETIMES,
                    "colors": st.none() | st.lists(st.sampled_from(Color), max_size=3),
                    "note": st.none() | st.text(),
                },
            ),
            lambda inner: st.fixed_dictionaries({"inner": inner, "to": DATETIMES}),
            max_leaves=3,
        )
    )
    def test_variables(self, window: dict[str, Any]) -> None:
        """Input objects of any nesting reach the wire as a server reads them."""
        assert to_wire(window) == serialized("Window!", window)
        assert [to_wire(window)] == serialized("[Window!]", [window])
