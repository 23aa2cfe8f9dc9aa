"""Deep JSON in the file of a checkpoint was a RecursionError, and most introspection answers of
another shape were errors of graphql-core, or of Python.

Each is an error of gqlwire that says what cannot be read, and why.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import graphql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gqlwire import Client, FileCheckpoint
from gqlwire._payloads.schema import build_schema_of_answer
from gqlwire.errors import InvalidCheckpoint, TransportProtocolError
from spelling import NEWER, OLDER, Spelling
from virtual_server import VirtualServer, begun, kept, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)

BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])

SDL = """
type Query { a(x: Size = SMALL, i: In): [String!], n: Node, e: Either }
enum Size { SMALL LARGE }
input In { z: Int = 3 }
interface Node { id: ID! }
type Leaf implements Node { id: ID! }
union Either = Leaf
scalar Day
"""
ANSWER: Any = graphql.introspection_from_schema(graphql.build_schema(SDL))
PLACES = {each["name"]: place for place, each in enumerate(ANSWER["__schema"]["types"])}
GONE = object()


def of(name: str, *path: str | int) -> tuple[str | int, ...]:
    """The path of something in a type."""
    return ("__schema", "types", PLACES[name], *path)


def changed(path: tuple[str | int, ...], value: Any) -> Any:
    """The answer with another value at a path, or without it."""
    answer = copy.deepcopy(ANSWER)
    here = answer
    for step in path[:-1]:
        here = here[step]
    if value is GONE:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return answer


def nested(levels: int) -> Any:
    """The type of a field: a list of lists of …"""
    kind: Any = {"kind": "SCALAR", "name": "String"}
    for _ in range(levels):
        kind = {"kind": "LIST", "name": None, "ofType": kind}
    return kind


FIELD = of("Query", "fields", 0)
TYPE, ARG = (*FIELD, "type"), (*FIELD, "args", 0)
SHAPES = {
    "null": None,
    "nothing": {},
    "a list": [1],
    "a string": "schema",
    "no schema": {"__schema": None},
    "an empty schema": {"__schema": {}},
    "a schema that is a list": {"__schema": []},
    "types null": changed(("__schema", "types"), None),
    "types that are a string": changed(("__schema", "types"), "Query"),
    "types that are numbers": changed(("__schema", "types"), [1, 2]),
    "no types": changed(("__schema", "types"), []),
    "a type null": changed(of("Query"), None),
    "a type without its kind": changed(of("Query", "kind"), GONE),
    "an unknown kind": changed(of("Query", "kind"), "MAGIC"),
    "a kind that is a list": changed(of("Query", "kind"), []),
    "a name null": changed(of("Query", "name"), None),
    "a name that is a list": changed(of("Query", "name"), [1]),
    "a name that is none": changed(of("Query", "name"), "a b"),
    "fields null": changed(of("Query", "fields"), None),
    "fields that are numbers": changed(of("Query", "fields"), [3]),
    "a field's name that is a number": changed((*FIELD, "name"), 7),
    "a field's type null": changed(TYPE, None),
    "a field's type that is a string": changed(TYPE, "String"),
    "a field of a type that is not there": changed(TYPE, {"kind": "OBJECT", "name": "Nope"}),
    "a field of an input": changed(TYPE, {"kind": "INPUT_OBJECT", "name": "In"}),
    "arguments that are a number": changed((*FIELD, "args"), 4),
    "a default that is no value": changed((*ARG, "defaultValue"), "{{{"),
    "a default that is a number": changed((*ARG, "defaultValue"), 5),
    "a default that is nested too deeply": changed((*ARG, "defaultValue"), "[" * 100_000),
    "no query type": changed(("__schema", "queryType"), None),
    "a query type that is a string": changed(("__schema", "queryType"), "Query"),
    "a query type that is not there": changed(("__schema", "queryType"), {"name": "Nope"}),
    "a query type that is an enum": changed(("__schema", "queryType"), {"name": "Size"}),
    "values of an enum null": changed(of("Size", "enumValues"), None),
    "values of an enum that are numbers": changed(of("Size", "enumValues"), [1]),
    "members of a union that are strings": changed(of("Either", "possibleTypes"), ["Leaf"]),
    "interfaces that are a string": changed(of("Leaf", "interfaces"), "Node"),
    "fields of an input null": changed(of("In", "inputFields"), None),
    "directives that are numbers": changed(("__schema", "directives"), [1]),
}
# The JSON reader of newer Pythons reads some thousands of levels.
DEEP = [b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 100_000 + b"]" * 100_000]


# --- The row's own -------------------------------------------------------------------------------


@pytest.mark.parametrize("content", DEEP, ids=["objects", "lists"])
async def test_k11_a_checkpoint_with_deep_json(tmp_path: Path, content: bytes) -> None:
    """The error names the file, and says what to do."""
    path = tmp_path / "position"
    path.write_bytes(content)

    with pytest.raises(InvalidCheckpoint, match="delete the file") as told:
        await FileCheckpoint(path).load()
    assert str(path) in str(told.value)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@tidily
async def test_k11_an_introspection_answer_of_another_shape(
    server: VirtualServer, shape: Any
) -> None:
    """The error names the server and the cause; the session goes on, without a schema."""
    async with kept(server) as it:
        asking = await begun(it.session.fetch_schema())
        server.peer.answer(shape)
        with pytest.raises(TransportProtocolError, match="introspection query") as told:
            await asking

        assert server.url.split("/")[2] in str(told.value)
        assert len(str(told.value)) < 500
        assert told.value.maybe_executed
        asking = await begun(it.session.execute("{ nonsense }"))
        server.peer.answer({"nonsense": 1})
        assert {"nonsense": 1} == await asking


# --- Its kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff",
        b'{"a":',
        b"[" * 50_000,
        b'"\\ud800',
        b"9" * 10_000,
        b'{"gqlwire":2,"event":{}}\n',
        b'{"gqlwire":' + b"9" * 10_000,
        b"\xef\xbb\xbf{",
    ],
)
async def test_k11_kind_other_files(tmp_path: Path, content: bytes) -> None:
    """Whatever is in it that is no JSON, or of no version that is known."""
    path = tmp_path / "position"
    path.write_bytes(content)

    with pytest.raises(InvalidCheckpoint) as told:
        await FileCheckpoint(path).load()
    assert len(str(told.value)) < 500 + len(str(path))


@BOTH
@pytest.mark.parametrize("shape", ["types null", "no query type", "a list"])
@tidily
async def test_k11_kind_while_connecting(
    server: VirtualServer, spelling: Spelling, shape: str
) -> None:
    """With `fetch_schema_from_transport`: nothing is left of the connection."""
    server.on_start = lambda peer, started, _: peer.answer(SHAPES[shape], started)
    protocol = "graphql-transport-ws" if spelling is NEWER else "graphql-ws"
    client = Client(
        transport=server.transport(subprotocols=[protocol]), fetch_schema_from_transport=True
    )

    with pytest.raises(TransportProtocolError, match="introspection query"):
        await client.connect_async()
    assert client.schema is client.introspection is None
    assert not server.peer.is_open


@pytest.mark.parametrize(
    "shape",
    [name for name in SHAPES if name not in ("null", "a string", "no query type")],
)
def test_k11_kind_an_answer_that_the_user_gives(shape: str) -> None:
    """A wrong argument is a TypeError, as each is; a schema without a query type, later."""
    with pytest.raises(TypeError, match="introspection query"):
        Client(introspection=SHAPES[shape])


def test_k11_kind_a_type_that_is_nested_too_deeply() -> None:
    """From the server, or given."""
    deep = changed(TYPE, nested(3_000))

    with pytest.raises(TransportProtocolError, match="recursion"):
        build_schema_of_answer(deep, "server.example:80")
    with pytest.raises(TypeError, match="introspection query"):
        Client(introspection=deep)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def paths(value: Any, before: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of everything in a value."""
    steps: list[Any] = [*value] if isinstance(value, dict) else []
    steps += range(len(value)) if isinstance(value, list) else []
    found = [(*before, step) for step in steps]
    return found + [path for step in steps for path in paths(value[step], (*before, step))]


@given(path=st.sampled_from(paths(ANSWER)), value=anything | st.just(GONE))
def test_k11_kind_anything_anywhere(path: tuple[str | int, ...], value: Any) -> None:
    """It makes a schema that requests can be checked with, or the one error."""
    try:
        schema = build_schema_of_answer(changed(path, value), "server.example:80")
    except TransportProtocolError:
        return
    graphql.validate(schema, graphql.parse("{ a(i: {z: 1}) n { id ... on Leaf { id } } }"))


def test_k11_kind_a_good_answer_makes_a_schema() -> None:
    """From the server, or given."""
    made = build_schema_of_answer(json.loads(json.dumps(ANSWER)), "server.example:80")

    assert graphql.print_schema(graphql.build_schema(SDL)) == graphql.print_schema(made)
    assert Client(introspection=ANSWER).schema is not None


@tidily
async def test_k11_kind_a_schema_is_kept_if_the_next_answer_is_none(server: VirtualServer) -> None:
    """A session that asks again loses nothing."""
    async with kept(server) as it:
        for answer in (ANSWER, {"__schema": {"types": 3}}):
            asking = await begun(it.session.fetch_schema())
            server.peer.answer(answer)
            if answer is ANSWER:
                await asking
            else:
                with pytest.raises(TransportProtocolError):
                    await asking
        with pytest.raises(graphql.GraphQLError, match="nonsense"):
            await it.session.execute("{ nonsense }")
