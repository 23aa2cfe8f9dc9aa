"""`execute` returned the first part of a result (`@defer`, `@stream`) as if it were all of it.

A part is never taken for the whole: `execute` raises and carries what came, and a subscription with
`get_execution_result=True` gets every part with all that is needed to merge it.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

import gqlwire
from gqlwire import ExecutionResult, gql
from gqlwire._payloads.result import decode_result
from gqlwire.errors import IncompleteResult, TransportQueryError
from servers.fake import Peer, fake
from spelling import Spelling, both
from support import failure
from virtual_server import VirtualServer, begun, kept, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)

DEFER = "{ slow { a ... @defer { b } } }"
STREAM = "{ list @stream(initialCount: 1) }"
NOT_FOUND = {"message": "no", "path": ["slow"]}

# What servers send, one list for each operation.
GENERATIONS: dict[str, list[dict[str, Any]]] = {
    # The draft of 2023 and later: graphql-js 17.0.0-alpha.3 and later, Apollo Server 5 with it.
    "pending, defer": [
        {
            "data": {"slow": {"a": "a"}},
            "pending": [{"id": "0", "path": ["slow"], "label": "late"}],
            "hasNext": True,
        },
        {
            "incremental": [{"id": "0", "subPath": [], "data": {"b": "b"}}],
            "completed": [{"id": "0"}],
            "hasNext": False,
        },
    ],
    "pending, stream": [
        {"data": {"list": [0]}, "pending": [{"id": "0", "path": ["list"]}], "hasNext": True},
        {"incremental": [{"id": "0", "items": [1, 2]}], "hasNext": True},
        {"completed": [{"id": "0", "errors": [NOT_FOUND]}], "hasNext": False},
    ],
    "pending without hasNext": [
        {"data": {"list": [0]}, "pending": [{"id": "0", "path": ["list"]}]},
        {"pending": [{"id": "1", "path": ["list", 0]}]},
        {"incremental": [{"id": "0", "items": [1]}]},
        {"completed": [{"id": "0"}, {"id": "1"}]},
    ],
    # The draft of 2022: graphql-js 17.0.0-alpha.2, Apollo Server 4, graphql-java, Hot Chocolate 13.
    "incremental, defer": [
        {"data": {"slow": {"a": "a"}}, "hasNext": True},
        {
            "incremental": [{"label": "late", "path": ["slow"], "data": {"b": "b"}}],
            "hasNext": False,
        },
    ],
    "incremental, stream": [
        {"data": {"list": [0]}, "hasNext": True},
        {"incremental": [{"path": ["list", 1], "items": [1, 2]}], "hasNext": True},
        {"hasNext": False},
    ],
    "incremental in the first": [
        {
            "data": {"list": [0]},
            "incremental": [{"path": ["list", 1], "items": [1]}],
            "hasNext": False,
        }
    ],
    # Before: one part of data in each result. Hot Chocolate 12, graphql-js 15.4.0-experimental.
    "path, defer": [
        {"data": {"slow": {"a": "a"}}, "hasNext": True},
        {"label": "late", "path": ["slow"], "data": {"b": "b"}, "hasNext": False},
    ],
    "path, stream": [
        {"data": {"list": [0]}, "hasNext": True},
        {"path": ["list", 1], "data": 1, "errors": [NOT_FOUND], "hasNext": True},
        {"path": ["list", 2], "items": [2], "extensions": {"t": 1}, "hasNext": True},
        {"hasNext": False},
    ],
    "errors in the first": [
        {"data": {"slow": None}, "errors": [NOT_FOUND], "hasNext": True},
        {"hasNext": False},
    ],
    "no data in the first": [{"hasNext": True}, {"data": {"slow": 1}, "hasNext": False}],
}
each_generation = pytest.mark.parametrize("parts", GENERATIONS.values(), ids=GENERATIONS)


def kept_of(result: ExecutionResult) -> dict[str, Any]:
    """What a result has of a payload, by the names of the wire."""
    found = {
        "data": result.data,
        "errors": result.errors,
        "extensions": result.extensions,
        "incremental": None if result.path is not None else result.incremental or None,
        "hasNext": result.has_next,
        "pending": result.pending,
        "completed": result.completed,
        "path": result.path,
        "label": result.label,
    }
    if result.path is not None:
        assert result.incremental is not None
        [part] = result.incremental
        assert (result.path, result.label) == (part["path"], part.get("label"))
        found.update({name: part[name] for name in ("data", "items") if name in part})
    return {name: value for name, value in found.items() if value is not None}


# --- As reported ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("document", "name", "data"),
    [
        (DEFER, "incremental, defer", {"slow": {"a": "a"}}),
        (STREAM, "incremental, stream", {"list": [0]}),
        (DEFER, "pending, defer", {"slow": {"a": "a"}}),
        (STREAM, "pending, stream", {"list": [0]}),
    ],
)
@tidily
async def test_h1_execute_does_not_cut_a_result_short(
    server: VirtualServer, spelling: Spelling, document: str, name: str, data: Any
) -> None:
    """It raises, has what came, and the server is told to stop."""
    async with kept(server, spelling=spelling) as it:
        asking = await begun(it.session.execute(document))
        for part in GENERATIONS[name]:
            server.peer.say(server.peer.result(part))
        with pytest.raises(IncompleteResult, match="in parts") as caught:
            await asking
        assert data == caught.value.data
        assert data == caught.value.result.data
        assert server.peer.started == server.peer.stopped


@both
@tidily
async def test_h2_pending_and_completed_are_kept(server: VirtualServer, spelling: Spelling) -> None:
    """Beside `incremental`, so that a program can merge by hand."""
    parts = GENERATIONS["pending, defer"]
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(DEFER, get_execution_result=True)
        step = await begun(anext(events))
        server.peer.say(*(server.peer.result(part) for part in parts))
        server.peer.complete()
        found = [await step, *[event async for event in events]]

    assert [parts[0]["pending"], None] == [result.pending for result in found]
    assert [None, parts[1]["completed"]] == [result.completed for result in found]
    assert parts[1]["incremental"] == found[1].incremental


# --- All generations, all ways to take them ------------------------------------------------------


class Slow(msgspec.Struct):
    slow: dict[str, str]


WAYS: list[dict[str, Any]] = [
    {},
    {"get_execution_result": True},
    {"result_type": Slow},
    {"result_type": Slow, "get_execution_result": True},
    {"parse_float": float},
    {"parse_result": True},
]


@both
@each_generation
@pytest.mark.parametrize("options", WAYS, ids=" ".join)
@tidily
async def test_h1_kind_execute_raises_whatever_the_format(
    server: VirtualServer, spelling: Spelling, parts: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    """And before it looks at the type, which the first part need not fit. It works on after it."""
    async with kept(server, spelling=spelling) as it:
        asking = await begun(it.session.execute(DEFER, **options))
        server.peer.say(*(server.peer.result(part) for part in parts))
        with pytest.raises(IncompleteResult) as caught:
            await asking
        told = caught.value
        assert kept_of(told.result) == parts[0]
        assert (told.data, told.errors) == (parts[0].get("data"), parts[0].get("errors"))
        assert told.maybe_executed

        asking = await begun(it.session.execute(DEFER))
        server.peer.answer({"slow": 1}, server.peer.started[-1])
        assert {"slow": 1} == await asking


@both
@each_generation
@tidily
async def test_h1_kind_the_transport_raises_as_well(
    server: VirtualServer, spelling: Spelling, parts: list[dict[str, Any]]
) -> None:
    """As it has no `subscribe` that takes the rest of a query unless it is asked."""
    async with kept(server, spelling=spelling) as it:
        transport = it.session.transport
        asking = await begun(transport.execute(gql(DEFER)))
        server.peer.say(server.peer.result(parts[0]))
        with pytest.raises(IncompleteResult) as caught:
            await asking

    assert kept_of(caught.value.result) == parts[0]


@both
@each_generation
@pytest.mark.parametrize("way", ["steps", "batches", "merge"])
@tidily
async def test_h2_kind_a_subscription_gets_all_parts(
    server: VirtualServer, spelling: Spelling, parts: list[dict[str, Any]], way: str
) -> None:
    """One event for each, with everything that the server sent."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(DEFER, get_execution_result=True)
        step = await begun(anext(events))
        server.peer.say(*(server.peer.result(part) for part in parts))
        server.peer.complete()
        found = [await step]
        if way == "steps":
            found += [event async for event in events]
        elif way == "batches":
            found += [event async for batch in events.batches() for event in batch]
        else:
            found += [event async for _, event in gqlwire.merge([events])]

    assert parts == [kept_of(result) for result in found]
    assert [True] * len(parts) == [
        result.is_part or (result.has_next is False and result.data is not None) for result in found
    ]


@both
@each_generation
@tidily
async def test_h1_kind_a_plain_subscription_hides_no_part(
    server: VirtualServer, spelling: Spelling, parts: list[dict[str, Any]]
) -> None:
    """Each raises, and the next step takes the next one; a whole event between them is an event."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(DEFER)
        step = await begun(anext(events))
        whole = {"data": {"slow": {}}}
        server.peer.say(*(server.peer.result(part) for part in (*parts, whole)))
        server.peer.complete()
        found: list[Any] = []
        while True:
            try:
                found.append(await step)
            except IncompleteResult as part:
                found.append(kept_of(part.result))
            except StopAsyncIteration:
                break
            step = await begun(anext(events))

    last = parts[-1]
    expected = [*parts, {"slow": {}}]
    if last.get("data") is not None and len(last) == 2 and last.get("hasNext") is False:
        expected[-2] = last["data"]  # which is whole
    assert expected == found


@pytest.mark.parametrize(
    "payload",
    [
        {"data": {"n": 1}},
        {"data": {"n": 1}, "hasNext": False},
        {"data": {"n": 1}, "hasNext": None},
        {"data": {"n": 1}, "pending": [], "incremental": [], "completed": [], "hasNext": False},
        {"data": None},
        {"data": None, "hasNext": False},
        {"data": {"n": 1}, "label": "a"},
    ],
)
def test_h1_kind_a_whole_result_is_none_of_it(payload: dict[str, Any]) -> None:
    """Whatever it has beside its data."""
    result = decode_result(Raw(json.dumps(payload).encode()))

    assert payload["data"] == result.data_or_raise()


def test_h1_kind_errors_without_data_are_the_end_of_it() -> None:
    """Although the server says that there is no more."""
    payload = {"errors": [NOT_FOUND], "hasNext": False}

    with pytest.raises(TransportQueryError):
        decode_result(Raw(json.dumps(payload).encode())).data_or_raise()


marks = st.fixed_dictionaries(
    {},
    optional={
        "pending": st.lists(st.just({"id": "0", "path": []}), max_size=2),
        "completed": st.lists(st.just({"id": "0"}), max_size=2),
        "incremental": st.lists(st.just({"id": "0", "data": {}}), max_size=2),
        "hasNext": st.booleans(),
    },
)
values = st.sampled_from(['{"n":1}', '{"n":NaN}', r'{"n":"\ud800"}', "null"])


@given(marks, values)
def test_h1_kind_whatever_announces_more_is_a_part(more: dict[str, Any], data: str) -> None:
    """In JSON that only the lenient reader reads as well."""
    text = "".join(f',"{name}":{json.dumps(value)}' for name, value in more.items())
    result = decode_result(Raw(f'{{"data":{data}{text}}}'.encode()))

    announces = any(more.get(name) for name in ("pending", "completed", "incremental", "hasNext"))
    is_empty = data == "null" and more.get("incremental") is not None
    assert result.is_part is (announces or is_empty)
    assert more == {
        name: value
        for name, value in {
            "pending": result.pending,
            "completed": result.completed,
            "incremental": result.incremental,
            "hasNext": result.has_next,
        }.items()
        if value is not None
    }


@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
async def test_h1_over_sockets(protocol: str) -> None:
    """On a real server, which is told to stop once."""
    is_newer = protocol == "graphql-transport-ws"

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe" if is_newer else "start")
        for part in GENERATIONS["pending, stream"]:
            kind = "next" if is_newer else "data"
            await peer.send({"id": start["id"], "type": kind, "payload": part})
        stop = await peer.expect("complete" if is_newer else "stop")
        assert start["id"] == stop["id"]

    async with (
        fake(script, subprotocols=(protocol,)) as server,
        gqlwire.connect(server.url, proxy=None) as session,
    ):
        told = await failure(IncompleteResult, session.execute(STREAM))

    assert {"list": [0]} == told.data
