"""What `resume` returned was sent as it was, or ignored if it was None. `resume` could change the
variables of the program.

Right: anything but variables raises TypeError, which says what to return; `resume` gets a copy.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import pytest
from saving import FROM, Memory, Remote, begun, lose, until, variables_of

from gqlwire import GraphQLRequest
from spelling import Spelling, both
from virtual_server import VirtualServer, kept, started, tidily, virtual_server

if TYPE_CHECKING:
    from collections.abc import Callable

served = pytest.fixture(name="server")(virtual_server)

WRONG: dict[str, Any] = {
    "None": None,
    "list": [("after", 1)],
    "str": '{"after": 1}',
    "int": 7,
    "tuple": ("after", 1),
    "set": {"after"},
    "event": type("Event", (), {})(),
    "request": GraphQLRequest(FROM),
}


async def coroutine(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
    return variables


# --- What it returns -----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", WRONG)
@tidily
async def test_f5_what_is_no_variables_is_a_type_error(
    server: VirtualServer, name: str, spelling: Spelling
) -> None:
    """It ends its subscription, and nothing is sent for it."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(FROM, resume=lambda last, variables: WRONG[name])
        await started(events, server.peer, 1)
        await lose(it, server)

        with pytest.raises(TypeError, match=r"^resume= returned \w+: return a dict with all vari"):
            await anext(events)
        assert events.is_over
        assert [] == server.peer.started


@pytest.mark.parametrize("name", WRONG)
async def test_f5_kind_it_is_so_after_a_restart(server: VirtualServer, name: str) -> None:
    """The first step raises it; nothing is sent."""
    for checkpoint in (Memory(b'{"data":{"n":1}}'), Remote(b'{"data":{"n":1}}')):
        async with server.client() as session:
            events = session.subscribe(
                FROM, resume=lambda last, variables: WRONG[name], checkpoint=checkpoint
            )
            with pytest.raises(TypeError, match=r"^resume= returned \w+: return a dict"):
                await anext(events)
            assert [] == server.peer.started


@tidily
async def test_f5_kind_a_coroutine_function_is_named(server: VirtualServer) -> None:
    """And its coroutine is closed: there is no warning of Python's."""
    async with kept(server) as it:
        resume: Any = coroutine
        events = it.session.subscribe(FROM, resume=resume)
        await started(events, server.peer, 1)
        await lose(it, server)

        with pytest.raises(TypeError, match=r"resume= of .* must not be a coroutine function"):
            await anext(events)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"after": 5},
        types.MappingProxyType({"after": 5}),
        {"after": None},
        {"after": {"seq": [1, 2, {"x": "y"}]}},
    ],
)
@tidily
async def test_f5_kind_any_mapping_is_variables(server: VirtualServer, answer: Any) -> None:
    """An empty one as well: the feed may need none."""
    async with kept(server) as it:
        events = it.session.subscribe(
            FROM, variable_values={"after": -1}, resume=lambda last, variables: answer
        )
        await started(events, server.peer, 1)
        await lose(it, server)

        assert [dict(answer) or None] == variables_of(server)
        await events.aclose()


# --- What it is given ----------------------------------------------------------------------------


def clears(variables: dict[str, Any]) -> None:
    variables.clear()


def changes_a_part(variables: dict[str, Any]) -> None:
    variables["filter"]["price"]["min"] = 99


def changes_a_list(variables: dict[str, Any]) -> None:
    variables["filter"]["tags"].append("c")


def changes_within_a_list(variables: dict[str, Any]) -> None:
    variables["filter"]["parts"][0]["x"] = 99


def adds(variables: dict[str, Any]) -> None:
    variables["added"] = variables["filter"]


CHANGES: list[Callable[[dict[str, Any]], None]] = [
    clears,
    changes_a_part,
    changes_a_list,
    changes_within_a_list,
    adds,
]


def given_variables() -> dict[str, Any]:
    return {
        "after": -1,
        "filter": {"price": {"min": 1}, "tags": ["a", "b"], "parts": [{"x": 1}, (2, 3)]},
    }


@both
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("where", ["option", "request"])
@tidily
async def test_f5_resume_gets_a_copy(
    server: VirtualServer, change: Any, where: str, spelling: Spelling
) -> None:
    """Of lists and dicts in it as well; what it changes is not seen the next time."""
    asked: list[dict[str, Any]] = []

    def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
        assert variables == given_variables()
        asked.append(variables)
        change(variables)
        return {"after": last["n"]}

    async with kept(server, spelling=spelling) as it:
        mine = given_variables()
        if where == "option":
            events = it.session.subscribe(FROM, variable_values=mine, resume=resume)
        else:
            request = GraphQLRequest(FROM, variable_values=mine)
            events = it.session.subscribe(request, resume=resume)
        await started(events, server.peer, 1)
        for _ in range(3):
            await lose(it, server)
        assert mine == given_variables()
        assert [{"after": 1}] == variables_of(server)

        assert 3 == len(asked)
        await events.aclose()


@tidily
async def test_f5_kind_the_program_may_change_its_variables(server: VirtualServer) -> None:
    """`resume` gets those of the time of `subscribe`."""
    mine = {"after": -1, "tags": ["a"]}
    async with kept(server) as it:
        events = it.session.subscribe(
            FROM, variable_values=mine, resume=lambda last, variables: variables
        )
        await started(events, server.peer, 1)
        mine["after"], mine["tags"] = 50, []
        await lose(it, server)

        assert [{"after": -1, "tags": ["a"]}] == variables_of(server)
        await events.aclose()


async def test_f5_kind_deep_variables_are_copied(server: VirtualServer) -> None:
    """Deeper than any recursion goes."""
    deep: Any = []
    for _ in range(3_000):
        deep = [deep]

    def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
        assert variables["deep"] is not deep
        return {"after": last["n"]}

    async with server.client() as session:
        events = session.subscribe(
            FROM,
            variable_values={"deep": deep},
            resume=resume,
            checkpoint=Memory(b'{"data":{"n":1}}'),
        )
        step = await begun(events)
        assert [{"after": 1}] == variables_of(server)
        await events.aclose()
        await until(step.done)
