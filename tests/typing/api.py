"""Only type-checked, never run: what a checker sees of the public face."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, assert_type

import gqlwire
from gqlwire import (
    AsyncClientSession,
    Buffer,
    Client,
    ExecutionResult,
    GraphQLRequest,
    Overflow,
    Subscription,
    gql,
)
from gqlwire.transport.exceptions import TransportConnectionFailed, TransportQueryError
from gqlwire.transport.websockets import WebsocketsTransport


async def sessions() -> None:
    async with Client(transport=WebsocketsTransport(url="ws://h/")) as session:
        assert_type(session, AsyncClientSession)
    async with gqlwire.connect("ws://h/", headers={"a": "b"}, ping_interval=1.5) as other:
        assert_type(other, AsyncClientSession)
    assert_type(await gqlwire.connect("ws://h/").connect_async(), AsyncClientSession)


async def operations(session: AsyncClientSession, whole: bool) -> None:
    assert_type(gql("{ a }"), GraphQLRequest)
    assert_type(await session.execute("{ a }"), dict[str, Any])
    assert_type(await session.execute("{ a }", get_execution_result=True), ExecutionResult)
    assert_type(
        await session.execute("{ a }", get_execution_result=whole),
        dict[str, Any] | ExecutionResult,
    )
    events = session.subscribe("{ a }", buffer=Buffer(events=1), overflow=Overflow.LATEST)
    assert_type(events, Subscription[dict[str, Any]])
    async for event in events:
        assert_type(event, dict[str, Any])
    async with session.subscribe("{ a }", get_execution_result=True) as results:
        assert_type(await anext(results), ExecutionResult)


async def one_by_one(client: Client) -> None:
    assert_type(await client.execute_async("{ a }"), dict[str, Any])
    assert_type(client.execute("{ a }"), dict[str, Any])
    assert_type(client.subscribe_async("{ a }"), AsyncGenerator[Any, None])
    assert_type(client.subscribe("{ a }"), Generator[Any, None, None])


def failures(error: TransportConnectionFailed, refusal: TransportQueryError) -> None:
    assert_type(error.code, int | None)
    assert_type(error.reason, str)
    assert_type(error.status, int | None)
    assert_type(refusal.query_id, str | None)
