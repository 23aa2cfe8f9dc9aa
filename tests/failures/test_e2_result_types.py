"""A checkpoint saved the converted event, so most types of results could not be saved or loaded.

Right: the payload is saved as it came, and read as an event of the feed is, whatever the type is.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
import pydantic
import pytest
from saving import Memory, Remote, begun, client_of, until, variables_of

import gqlwire
from gqlwire import ExecutionResult, FileCheckpoint, Scalar
from gqlwire.errors import InvalidCheckpoint, TransportQueryError
from spelling import Spelling, both
from virtual_server import VirtualServer, virtual_server

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Speaker
    from servers.launch import Server

served = pytest.fixture(name="server")(virtual_server)

TRADES = "subscription Trades($after: Int) { trade(after: $after) { seq price day } }"
DAY = datetime.date(2024, 5, 17)


class Trade(msgspec.Struct):
    seq: int
    price: float
    day: datetime.date


class Trades(msgspec.Struct, rename="camel"):
    trade: Trade


class Model(pydantic.BaseModel):
    class Part(pydantic.BaseModel):
        number: int = pydantic.Field(alias="seq")
        day: datetime.date

    trade: Part


@dataclass
class Tick:
    seq: int
    day: datetime.date


@dataclass
class Ticks:
    trade: Tick


class Plain(TypedDict):
    trade: dict[str, Any]


class Money:
    def __init__(self, amount: str) -> None:
        self.amount = amount


class Priced(msgspec.Struct):
    seq: int
    price: Money


class Prices(msgspec.Struct):
    trade: Priced


SDL = """
    scalar Day
    type Query { a: Int }
    type Trade { seq: Int price: Float day: Day }
    type Subscription { trade(after: Int): Trade }
"""


def schema_with_days() -> Any:
    from graphql import build_schema

    schema: Any = build_schema(SDL)
    schema.type_map["Day"].parse_value = datetime.date.fromisoformat
    return schema


PARSED = {"schema": schema_with_days(), "parse_results": True}
MONEY = {"scalars": {Money: Scalar(decode=lambda value: Money(str(value)))}}

# The options of the client and of `subscribe`, and what the last event is for `resume`.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], Any]] = {
    "plain": ({}, {}, lambda last: last["trade"]["seq"]),
    "struct": ({}, {"result_type": Trades}, lambda last: last.trade.seq),
    "dataclass": ({}, {"result_type": Ticks}, lambda last: last.trade.seq),
    "typed dict": ({}, {"result_type": Plain}, lambda last: last["trade"]["seq"]),
    "pydantic": ({}, {"result_type": Model}, lambda last: last.trade.number),
    "union": ({}, {"result_type": Model | Ticks}, lambda last: last.trade.number),
    "scalar": (MONEY, {"result_type": Prices}, lambda last: last.trade.seq),
    "decimal": ({}, {"parse_float": Decimal}, lambda last: last["trade"]["seq"]),
    "whole": ({}, {"get_execution_result": True}, lambda last: last.data["trade"]["seq"]),
    "whole struct": (
        {},
        {"result_type": Trades, "get_execution_result": True},
        lambda last: last.data.trade.seq,
    ),
    "parsed": (PARSED, {}, lambda last: last["trade"]["seq"]),
    "parsed whole": (
        PARSED,
        {"get_execution_result": True},
        lambda last: last.data["trade"]["seq"],
    ),
}


def trade(number: int) -> dict[str, Any]:
    return {"data": {"trade": {"seq": number, "price": 1.25, "day": "2024-05-17"}}}


async def lives_twice(
    server: VirtualServer, checkpoint: Any, client: Any, options: dict[str, Any], seq: Any
) -> tuple[list[Any], list[Any]]:
    """Take two events in each of two lives; the events, and what `resume` was given."""
    taken: list[Any] = []
    given: list[Any] = []

    def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
        given.append(last)
        return {"after": seq(last)}

    for life in range(2):
        async with client() as session:
            events = session.subscribe(TRADES, resume=resume, checkpoint=checkpoint, **options)
            async with events:
                step = await begun(events)
                server.peer.say(*(server.peer.result(trade(life * 2 + each)) for each in (1, 2)))
                taken += [await step, await anext(events)]
    return taken, given


@pytest.mark.parametrize("name", ["pydantic", "whole", "parsed"])
async def test_e2_a_file_holds_events_of_these_types(
    server: VirtualServer, name: str, tmp_path: Path
) -> None:
    """The next life of the program goes on from them."""
    settings, options, seq = KINDS[name]
    checkpoint = FileCheckpoint(tmp_path / "feed.json")

    taken, given = await lives_twice(
        server, checkpoint, lambda: server.client(**settings), options, seq
    )
    assert [1, 2, 3, 4] == [seq(event) for event in taken]
    assert [2] == [seq(event) for event in given]
    assert [{"after": 2}] == variables_of(server)
    assert type(taken[0]) is type(given[0])


@both
@pytest.mark.parametrize("name", KINDS)
async def test_e2_kind_whatever_the_type_is_the_payload_is_saved(
    server: VirtualServer, name: str, spelling: Spelling
) -> None:
    """`resume` gets after a restart what it gets of the live event, in both protocols."""
    settings, options, seq = KINDS[name]
    for checkpoint in (Memory(), Remote()):
        taken, given = await lives_twice(
            server, checkpoint, lambda: client_of(server, spelling, **settings), options, seq
        )
        assert [msgspec.json.encode(trade(number)) for number in (1, 2, 3, 4)] == [
            msgspec.json.encode(msgspec.json.decode(event)) for event in checkpoint.saved
        ]
        assert [2] == [seq(event) for event in given]
        assert type(taken[1]) is type(given[0])
        if name != "scalar":
            assert taken[1] == given[0]


async def test_e2_kind_the_payload_is_saved_as_it_came(server: VirtualServer) -> None:
    """White space, extensions and the order of keys are those of the server."""
    payload = b'{"extensions": {"a": 1}, "data":  {"trade": {"seq": 1.0, "price": 1e2}} }'
    memory = Memory()
    async with server.client() as session:
        events = session.subscribe(
            TRADES, resume=lambda last, given: given, checkpoint=memory, result_type=dict[str, Any]
        )
        async with events:
            step = await begun(events)
            head = b'{"type":"next","id":"%s","payload":' % str(events.id).encode()
            server.peer.say(head + payload + b"}")
            await step

    assert [payload] == memory.saved


@pytest.mark.parametrize(
    ("stored", "options", "words"),
    [
        (b'{"data":{"trade":{"seq":"x"}}}', {"result_type": Ticks}, r"\$.trade.seq"),
        (b'{"data":{"other":1}}', {"result_type": Model}, r"\$.trade"),
        (b'{"errors":[{"message":"no"}],"data":null}', {}, "no"),
        (b"{", {}, "invalid result"),
        (b"[" * 5_000, {}, "invalid result"),
        (b"", {}, "no payload"),
    ],
)
async def test_e2_kind_an_event_that_cannot_be_read_any_more_says_what_to_do(
    server: VirtualServer, stored: bytes, options: dict[str, Any], words: str
) -> None:
    """Such as after a change of the type. It does not start from the beginning in silence."""
    async with server.client() as session:
        events = session.subscribe(
            TRADES, resume=lambda last, given: given, checkpoint=Memory(stored), **options
        )
        with pytest.raises(InvalidCheckpoint, match=f"{words}.*delete the checkpoint"):
            await anext(events)
        assert [] == server.peer.started


@pytest.mark.parametrize("stored", [{"n": 1}, "text", 7, [b"x"]])
async def test_e2_kind_a_checkpoint_that_returns_something_else_says_so(
    server: VirtualServer, stored: Any
) -> None:
    """As one does that was written for gqlwire 0.1, which saved objects."""
    async with server.client() as session:
        events = session.subscribe(
            TRADES, resume=lambda last, given: given, checkpoint=Memory(stored)
        )
        with pytest.raises(TypeError, match=r"load\(\) of the checkpoint must return the bytes"):
            await anext(events)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_e2_kind_bytes_of_any_type_are_loaded(server: VirtualServer, kind: Any) -> None:
    """Drivers of databases return each of them."""
    memory = Memory(kind(b'{"data":{"trade":{"seq":5}}}'))
    async with server.client() as session:
        events = session.subscribe(
            TRADES,
            resume=lambda last, given: {"after": last["trade"]["seq"]},
            checkpoint=memory,
        )
        step = await begun(events)
        assert [{"after": 5}] == variables_of(server)
        step.cancel()
        with contextlib.suppress(BaseException):
            await step


@pytest.mark.parametrize("options", [{}, {"result_type": Trades}, {"result_type": Model}])
async def test_e2_kind_a_file_of_the_old_form_is_read(
    server: VirtualServer, options: dict[str, Any], tmp_path: Path
) -> None:
    """It held the data of the event. The next save writes the new form."""
    path = tmp_path / "feed.json"
    path.write_bytes(b'{"trade":{"seq":41,"price":1.5,"day":"2024-05-17"}}')
    asked: list[Any] = []

    def resume(last: Any, given: dict[str, Any]) -> dict[str, Any]:
        asked.append(last)
        return {"after": 41}

    async with server.client() as session:
        events = session.subscribe(
            TRADES, resume=resume, checkpoint=FileCheckpoint(path), **options
        )
        async with events:
            step = await begun(events)
            server.peer.say(server.peer.result(trade(42)))
            await step

    assert [{"after": 41}] == variables_of(server)
    assert 1 == len(asked)
    assert path.read_bytes().startswith(b'{"gqlwire":1,"event":{"data":')


async def test_e2_kind_the_program_may_change_the_event_that_it_was_given(
    server: VirtualServer,
) -> None:
    """`resume` gets it as it came."""
    memory = Memory()
    async with server.client(retry=None) as session:
        events = session.subscribe(
            TRADES,
            resume=lambda last, given: {"after": last["trade"]["seq"]},
            checkpoint=memory,
        )
        step = await begun(events)
        server.peer.say(server.peer.result(trade(7)))
        (await step).clear()
        await events.acknowledge()
        await events.aclose()

        assert b'"seq":7' in memory.saved[0]


async def test_e2_kind_an_event_with_errors_is_whole(server: VirtualServer) -> None:
    """With `get_execution_result` it is an event, and is saved as any other; without, it is not."""
    payload = {**trade(3), "errors": [{"message": "partly"}]}
    for is_whole in (True, False):
        memory = Memory()
        async with server.client() as session:
            events = session.subscribe(
                TRADES,
                resume=lambda last, given: given,
                checkpoint=memory,
                get_execution_result=is_whole,
            )
            async with events:
                step = await begun(events)
                server.peer.say(server.peer.result(payload))
                await until(step.done)
                if is_whole:
                    assert isinstance(step.result(), ExecutionResult)
                else:
                    assert isinstance(step.exception(), TransportQueryError)
        assert is_whole == bool(memory.saved)


# --- Real servers --------------------------------------------------------------------------------

FEED = gqlwire.gql(
    "subscription ($since: Float!, $after: Int) "
    "{ feed(since: $since, intervalMs: 1, after: $after) { seq } }"
)


class Numbered(pydantic.BaseModel):
    class Part(pydantic.BaseModel):
        seq: int

    feed: Part


async def test_e2_kind_a_feed_of_a_real_server_has_no_gap_over_restarts(
    speaker: Speaker, tmp_path: Path
) -> None:
    """In each life a connection is lost as well."""
    since, taken = time.time(), []
    for _ in range(3):
        async with speaker.client(retry=gqlwire.RetryPolicy(first_delay=0.01)) as session:
            feed = session.subscribe(
                FEED,
                result_type=Numbered,
                variable_values={"since": since, "after": -1},
                resume=lambda last, variables: {**variables, "after": last.feed.seq},
                checkpoint=FileCheckpoint(tmp_path / "feed.json"),
                checkpoint_every=7,
            )
            async with feed:
                async for event in feed:
                    taken.append(event.feed.seq)
                    if len(taken) % 10 == 0:
                        session.terminate()
                    if len(taken) % 25 == 0:
                        break

    assert taken == [*range(75)]


def test_e2_kind_a_blocking_loop_saves_too(strawberry: Server, tmp_path: Path) -> None:
    """Up to its last event, when it has ended."""
    checkpoint = FileCheckpoint(tmp_path / "feed.json")
    asked: list[Any] = []

    def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
        asked.append(last["countdown"])
        return variables

    for _ in range(2):
        found = gqlwire.connect(strawberry.url).subscribe(
            "subscription { countdown(from: 3) }", resume=resume, checkpoint=checkpoint
        )
        assert [3, 2, 1, 0] == [event["countdown"] for event in found]

    assert [0] == asked
