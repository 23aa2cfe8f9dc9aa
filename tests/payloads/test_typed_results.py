"""`result_type`, `parse_float` and `scalars`, through clients and sessions, with real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest
from graphql import build_schema

import gqlwire
from conftest import OLDER, SPEAKERS, Speaker
from gqlwire import AsyncClientSession, Client, ExecutionResult, Scalar
from gqlwire.errors import (
    IncompleteResult,
    ResultMismatch,
    TransportQueryError,
)
from servers.fake import Peer, fake
from servers.launch import Server

PRECISE = "0.1000000000000000055511151231257827"


class Tick(msgspec.Struct):
    seq: int
    pad: str = ""


class Ticks(msgspec.Struct):
    ticks: Tick


@dataclass
class Counted:
    countdown: int


class Greeting(TypedDict):
    hello: str


class Model(pydantic.BaseModel):
    hello: str


class Flaky(msgspec.Struct):
    value: str | None


class Flakies(msgspec.Struct):
    flaky: Flaky | None


TICKS = "subscription ($n: Int!) { ticks(count: $n, size: 3) { seq pad } }"
FLAKY = "subscription { flaky(count: 3) { value } }"


# --- Real servers ----------------------------------------------------------------------------

# Strawberry runs nothing but subscriptions in Apollo's protocol.
ANSWERING = [pair for pair in SPEAKERS if pair != ("strawberry", OLDER)]


async def test_a_subscription_yields_events_of_the_result_type(session: AsyncClientSession) -> None:
    """From each server, in each protocol."""
    ticks = session.subscribe(TICKS, variable_values={"n": 3}, result_type=Ticks)
    counted = session.subscribe("subscription { countdown(from: 2) }", result_type=Counted)

    assert [Ticks(Tick(n, "xxx")) for n in range(3)] == [event async for event in ticks]
    assert [Counted(n) for n in (2, 1, 0)] == [event async for event in counted]


@pytest.mark.parametrize("speaker", ANSWERING, indirect=True, ids="/".join)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Greeting, {"hello": "Hello, world!"}),
        (Model, Model(hello="Hello, world!")),
        (dict[str, str], {"hello": "Hello, world!"}),
        (None, {"hello": "Hello, world!"}),
    ],
)
async def test_a_query_returns_the_result_type(speaker: Speaker, kind: Any, expected: Any) -> None:
    """A TypedDict or a model, for example; None means no type."""
    async with speaker.client() as session:
        assert expected == await session.execute("{ hello }", result_type=kind)


async def test_the_first_event_of_a_subscription_has_the_type(session: AsyncClientSession) -> None:
    """`execute` takes that one."""
    found = await session.execute(TICKS, variable_values={"n": 3}, result_type=Ticks)

    assert Ticks(Tick(0, "xxx")) == found


async def test_an_event_with_errors_raises_though_there_is_a_type(
    session: AsyncClientSession,
) -> None:
    """As it does without a type; the next step continues."""
    events = session.subscribe(FLAKY, result_type=Flakies)

    assert Flakies(Flaky("v0")) == await anext(events)
    with pytest.raises(TransportQueryError, match="flaky 1") as caught:
        await anext(events)
    assert {"flaky": {"value": None}} == caught.value.data
    assert Flakies(Flaky("v2")) == await anext(events)


async def test_whole_results_have_data_of_the_type(session: AsyncClientSession) -> None:
    """With the errors beside it."""
    events = session.subscribe(FLAKY, result_type=Flakies, get_execution_result=True)
    found = [(event.data, len(event.errors or [])) async for event in events]

    expected = [(Flakies(Flaky(value)), n) for value, n in (("v0", 0), (None, 1), ("v2", 0))]
    assert expected == found
    first = await session.execute(FLAKY, result_type=Flakies, get_execution_result=True)
    assert ExecutionResult(Flakies(Flaky("v0"))) == first


async def test_a_misfit_of_an_answer_is_raised_by_execute(strawberry: Server) -> None:
    """It is about this answer only."""
    async with gqlwire.connect(strawberry.url) as session:
        with pytest.raises(ResultMismatch, match=r"^the data at \$\.hello does not fit") as caught:
            await session.execute("{ hello }", result_type=dict[str, int])
        assert {"hello": "Hello, world!"} == await session.execute("{ hello }")

    assert ("$.hello", {"hello": "Hello, world!"}) == (caught.value.path, caught.value.data)


class Money:
    def __init__(self, amount: str, currency: str) -> None:
        self.amount = Decimal(amount)
        self.currency = currency

    @classmethod
    def parse(cls, text: str) -> Money:
        return cls(*text.split())

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class Echo(msgspec.Struct):
    money: Money
    day: date
    price: Decimal


MONEY = {Money: Scalar(decode=Money.parse, encode=str)}


async def test_scalars_go_both_ways(strawberry: Server) -> None:
    """One's own, and those that are known anyhow."""
    document = """query E($m: String!, $d: String!, $p: String!) {
        money: echoString(value: $m) day: echoString(value: $d) price: echoString(value: $p)
    }"""
    values = {"m": Money("1.50", "EUR"), "d": date(2024, 2, 29), "p": Decimal("1.10")}
    async with gqlwire.connect(strawberry.url, scalars=MONEY) as session:
        found = await session.execute(document, variable_values=values, result_type=Echo)

    assert ("1.50 EUR", date(2024, 2, 29)) == (str(found.money), found.day)
    assert "Decimal('1.10')" == repr(found.price)
    assert isinstance(values["m"], Money)


async def test_one_operation_with_its_own_connection_takes_a_type(strawberry: Server) -> None:
    """`execute_async` and `subscribe_async`."""
    client = gqlwire.connect(strawberry.url)
    variables = {"n": 2}

    assert {"hello": "Hello, world!"} == await client.execute_async(
        "{ hello }", result_type=Greeting
    )
    events = client.subscribe_async(TICKS, variable_values=variables, result_type=Ticks)
    assert [Ticks(Tick(n, "xxx")) for n in range(2)] == [event async for event in events]


def test_plain_scripts_have_types(strawberry: Server) -> None:
    """`execute` and `subscribe` of the client; whole results, too."""
    client = Client(
        transport=gqlwire.connect(strawberry.url).transport, scalars=MONEY, parse_float=Decimal
    )

    assert Model(hello="Hello, world!") == client.execute("{ hello }", result_type=Model)
    whole = client.execute("{ hello }", result_type=Model, get_execution_result=True)
    assert ExecutionResult(Model(hello="Hello, world!")) == whole
    events = client.subscribe(TICKS, variable_values={"n": 2}, result_type=Ticks)
    assert [Ticks(Tick(n, "xxx")) for n in range(2)] == list(events)


# --- What a server may send ------------------------------------------------------------------


@asynccontextmanager
async def answering(*payloads: str, **options: Any) -> AsyncIterator[AsyncClientSession]:
    """A session with a server that answers each operation with all of these, in JSON."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        while True:
            start = await peer.expect("subscribe")
            for payload in payloads:
                id = start["id"]
                await peer.send_text(f'{{"id":"{id}","type":"next","payload":{payload}}}')
            await peer.send({"id": start["id"], "type": "complete"})

    async with fake(script) as server, gqlwire.connect(server.url, **options) as session:
        yield session


async def test_a_misfit_ends_its_step_only() -> None:
    """The next step takes the next event."""
    payloads = [f'{{"data":{{"ticks":{{"seq":{seq}}}}}}}' for seq in ("1", '"two"', "3")]
    async with answering(*payloads) as session:
        events = session.subscribe("subscription { ticks { seq } }", result_type=Ticks)

        assert Ticks(Tick(1)) == await anext(events)
        with pytest.raises(ResultMismatch) as caught:
            await anext(events)
        assert ("$.ticks.seq", {"ticks": {"seq": "two"}}) == (caught.value.path, caught.value.data)
        assert Ticks(Tick(3)) == await anext(events)
        assert [] == [event async for event in events]
        assert 3 == events.delivered


async def test_a_misfit_in_a_batch_comes_after_the_events_before_it() -> None:
    """The events after it come next."""
    payloads = [f'{{"data":{{"ticks":{{"seq":{seq}}}}}}}' for seq in ("1", '"two"', "3")]
    async with answering(*payloads) as session:
        batches = session.subscribe("subscription { ticks { seq } }", result_type=Ticks).batches()
        found: list[Any] = []
        for _ in range(5):
            try:
                found += await anext(batches)
            except ResultMismatch as misfit:
                found += [misfit.path]
            except StopAsyncIteration:
                break

    assert [Ticks(Tick(1)), "$.ticks.seq", Ticks(Tick(3))] == found


async def test_a_part_of_a_result_is_not_converted_to_the_type() -> None:
    """Without `get_execution_result`, a part must not be taken for the whole."""
    async with answering('{"data":{"ticks":{"seq":1}},"hasNext":true}', '{"hasNext":false}') as s:
        events = s.subscribe("subscription { ticks { seq } }", result_type=Ticks)

        for _ in range(2):
            with pytest.raises(IncompleteResult, match="get_execution_result=True"):
                await anext(events)


PRICE = f'{{"data":{{"price":{PRECISE}}}}}'


class Price(msgspec.Struct):
    price: Decimal


Ask = Callable[..., Awaitable[Any]]


def by_execute(session: AsyncClientSession) -> Ask:
    return session.execute


def by_subscribe(session: AsyncClientSession) -> Ask:
    async def ask(document: str, **options: Any) -> Any:
        return await anext(session.subscribe(document, **options))

    return ask


@pytest.mark.parametrize("way", [by_execute, by_subscribe])
async def test_numbers_keep_their_digits(way: Callable[[AsyncClientSession], Ask]) -> None:
    """By an annotation, for one operation, or for all of a client."""
    async with answering(PRICE) as session:
        ask = way(session)
        exact = {"price": Decimal(PRECISE)}
        assert Price(Decimal(PRECISE)) == await ask("{ price }", result_type=Price)
        assert exact == await ask("{ price }", parse_float=Decimal)
        whole = await ask("{ price }", parse_float=Decimal, get_execution_result=True)
        assert ExecutionResult(exact) == whole
        assert {"price": 0.1} == await ask("{ price }")
    async with answering(PRICE, parse_float=Decimal) as session:
        ask = way(session)
        assert exact == await ask("{ price }")
        assert exact == await ask("{ price }", parse_float=None)
        assert {"price": 0.1} == await ask("{ price }", parse_float=float)


async def test_a_number_beyond_floats_is_not_infinite() -> None:
    """Untyped it is a Decimal, and where a float was asked for it is a misfit."""
    async with answering('{"data":{"price":1e400}}') as session:
        expected = {"price": Decimal("1e400")}
        assert expected == await session.execute("{ price }")
        result = await session.execute("{ price }", get_execution_result=True)
        assert expected == result.data
        with pytest.raises(ResultMismatch, match="Number out of range"):
            await session.execute("{ price }", result_type=dict[str, float])


# --- What cannot be --------------------------------------------------------------------------


class Unreadable:
    pass


async def test_a_type_that_cannot_be_read_is_refused_before_anything_is_sent() -> None:
    """By `execute`, and by `subscribe` itself."""
    heard: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        heard.append(start["payload"]["query"])
        payload = {"data": {"ticks": {"seq": 1}}}
        await peer.send({"id": start["id"], "type": "next", "payload": payload})
        await peer.send({"id": start["id"], "type": "complete"})

    async with fake(script) as server, gqlwire.connect(server.url) as session:
        with pytest.raises(TypeError, match="Unreadable cannot be a result_type"):
            await session.execute("{ first }", result_type=Unreadable)
        with pytest.raises(TypeError, match="Unreadable cannot be a result_type"):
            session.subscribe("subscription { second }", result_type=Unreadable)
        with pytest.raises(TypeError, match="cannot be sent as JSON"):
            session.subscribe("subscription { third }", variable_values={"a": Unreadable()})
        assert Ticks(Tick(1)) == await session.execute("{ last }", result_type=Ticks)

    assert ["{ last }"] == heard


SCHEMA = """
scalar Day
type Query { day: Day price: Float }
type Subscription { day: Day }
"""


async def test_a_type_and_the_schema_do_not_both_convert() -> None:
    """Asked for both, it is refused; where the client converts by default, the type wins."""
    schema = build_schema(SCHEMA)
    schema.type_map["Day"].parse_value = lambda text: f"parsed {text}"
    payload = '{"data":{"day":"2024-02-29","price":0.10}}'
    document = "{ day price }"
    async with answering(payload, schema=schema, parse_results=True) as session:
        with pytest.raises(ValueError, match="parse_result=True cannot be combined"):
            await session.execute(document, result_type=dict[str, Any], parse_result=True)

        typed = await session.execute(document, result_type=dict[str, date | float])
        parsed = await session.execute(document, parse_float=Decimal)
        whole = await session.execute(document, get_execution_result=True)

    assert {"day": date(2024, 2, 29), "price": 0.1} == typed
    assert "{'day': 'parsed 2024-02-29', 'price': Decimal('0.10')}" == repr(parsed)
    assert ExecutionResult({"day": "parsed 2024-02-29", "price": 0.1}) == whole
