"""Only type-checked, never run: what a checker sees of the public face."""

from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypedDict, assert_type

import msgspec
import pydantic

import gqlwire
from gqlwire import (
    AsyncClientSession,
    Attempt,
    Buffer,
    Change,
    Checkpoint,
    Client,
    Counters,
    ExecutionResult,
    Failure,
    FileCheckpoint,
    GraphQLRequest,
    Health,
    Hooks,
    Merged,
    Overflow,
    Reconnected,
    RetryPolicy,
    Scalar,
    Subscription,
    SubscriptionHealth,
    gql,
)
from gqlwire.errors import (
    HandshakeRejected,
    IncompleteResult,
    OperationInterrupted,
    Phase,
    TransportError,
)
from gqlwire.retry import Action
from gqlwire.transport.exceptions import (
    ResultMismatch,
    TransportConnectionFailed,
    TransportQueryError,
)
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
    assert_type(await events.next(), dict[str, Any])
    assert_type(await events.batches().next(timeout=1), list[dict[str, Any]])
    async with session.subscribe("{ a }", get_execution_result=True) as results:
        assert_type(await anext(results), ExecutionResult)


async def one_by_one(client: Client) -> None:
    assert_type(await client.execute_async("{ a }"), dict[str, Any])
    assert_type(client.execute("{ a }"), dict[str, Any])
    assert_type(client.subscribe_async("{ a }"), AsyncGenerator[Any, None])
    assert_type(client.subscribe("{ a }"), Generator[Any, None, None])


class Struct(msgspec.Struct):
    a: int


@dataclass
class Data:
    a: int


class Keys(TypedDict):
    a: int


class Model(pydantic.BaseModel):
    a: int


async def typed(session: AsyncClientSession, whole: bool) -> None:
    assert_type(await session.execute("{ a }", result_type=Struct), Struct)
    assert_type(await session.execute("{ a }", result_type=Data, parse_float=Decimal), Data)
    assert_type(await session.execute("{ a }", result_type=Keys), Keys)
    assert_type(await session.execute("{ a }", result_type=Model), Model)
    assert_type(await session.execute("{ a }", result_type=dict[str, Data]), dict[str, Data])
    assert_type(await session.execute("{ a }", result_type=None), dict[str, Any])
    assert_type(
        await session.execute("{ a }", result_type=Data, get_execution_result=True),
        ExecutionResult[Data | None],
    )
    assert_type(
        await session.execute("{ a }", result_type=Data, get_execution_result=whole),
        Data | ExecutionResult,
    )
    # A union is no type[...], but may be said on the left.
    either: Data | None = await session.execute("{ a }", result_type=Data | None)
    print(either)

    events = session.subscribe("{ a }", result_type=Struct, buffer=1, overflow="latest")
    assert_type(events, Subscription[Struct])
    async for event in events:
        assert_type(event, Struct)
    async for keys in session.subscribe("{ a }", result_type=Keys):
        assert_type(keys, Keys)
    results = session.subscribe("{ a }", result_type=Keys, get_execution_result=True)
    assert_type(results, Subscription[ExecutionResult[Keys | None]])
    union: Subscription[Data | Keys] = session.subscribe("{ a }", result_type=Data | Keys)
    assert_type(await anext(union), Data | Keys)
    whole_ones: Subscription[ExecutionResult] = session.subscribe(
        "{ a }", get_execution_result=True
    )
    assert_type((await anext(whole_ones)).data, Any)


async def merged(session: AsyncClientSession) -> None:
    many = gqlwire.merge(session.subscribe("{ a }", result_type=Struct) for _ in range(3))
    assert_type(many, Merged[Struct])
    async for subscription, event in many:
        assert_type(subscription, Subscription[Struct])
        assert_type(event, Struct)
    many.add(session.subscribe("{ a }", result_type=Struct))
    assert_type(many.current, Subscription[Struct] | None)
    assert_type(await many.next(timeout=0.5), tuple[Subscription[Struct], Struct])
    plain = gqlwire.merge([session.subscribe("{ a }")])
    assert_type(await anext(plain), tuple[Subscription[dict[str, Any]], dict[str, Any]])


def token(attempt: Attempt) -> dict[str, str]:
    assert_type(attempt.failure, TransportError | None)
    return {"token": "new" if attempt.refresh else "old"}


async def signed(attempt: Attempt) -> str:
    return f"ws://h/?n={attempt.number}"


def judge(failure: TransportError) -> bool | float | Action | None:
    return Action.LATER if isinstance(failure, HandshakeRejected) else None


async def told(event: Reconnected) -> None:
    assert_type(event.failure, TransportError)


def surviving() -> None:
    policy = RetryPolicy(attempts=3, elapsed=60, connects_per_hour=20, should_retry=judge)
    hooks = Hooks(
        connecting=lambda attempt: print(attempt.number),
        connected=lambda event: print(event.ack_payload, event.connection, event.host),
        disconnected=lambda event: print(event.failure, event.will_retry, event.delay, event.why),
        reconnected=told,
    )
    client = gqlwire.connect(
        signed,
        init_payload=token,
        headers=lambda attempt: None if attempt.refresh else [("a", "b")],
        retry=policy,
        retry_queries=True,
        idle_close_after=30,
        max_subscriptions_per_connection=100,
        hooks=hooks,
    )
    assert_type(client, Client)
    assert_type(gqlwire.connect(["ws://a/", "ws://b/"]), Client)
    WebsocketsTransport(url=("ws://a/", "ws://b/"), headers=lambda at: {"n": str(at.url_index)})
    transport = WebsocketsTransport(url=signed, headers=token, init_payload=token)
    Client(transport=transport, reconnecting=True, retry=policy, hooks=hooks)
    assert_type(policy.judge(TransportError()), tuple[Action, float | None])


async def kept_alive(client: Client) -> None:
    session = await client.connect_async(reconnecting=True)
    assert_type(session.state, Phase)
    async for change in session.states():
        assert_type(change, Change)
        assert_type(change.delay, float | None)
    await session.wait_ready()
    await session.reconnect("a new token")
    session.terminate()
    assert_type(session.counters, Counters)
    assert_type(session.counters.reconnects, dict[str, int])
    assert_type(session.health(), Health)
    assert_type(session.health().connections[0].subscriptions[0], SubscriptionHealth)
    assert_type(session.health().connections[0].last_failure, Failure | None)
    assert_type(session.health().problems(max_event_age=60), list[str])
    assert_type(session.health().to_dict(), dict[str, Any])
    assert_type(session.counters.unknown_messages, dict[str, int])
    assert_type(await session.execute("{ a }", timeout=None, idempotent=True), dict[str, Any])


def behind(last: Struct, variables: dict[str, Any]) -> dict[str, Any]:
    return {**variables, "after": last.a}


class Elsewhere:
    """A checkpoint need not be one of ours."""

    def load(self) -> bytes | None:
        return None

    def save(self, event: bytes, /) -> None: ...


class Remote:
    """A checkpoint in a database."""

    async def load(self) -> bytes | None:
        return None

    async def save(self, event: bytes, /) -> None: ...


async def resumed(session: AsyncClientSession, is_told: bool) -> None:
    file = FileCheckpoint("a.json", fsync=True)
    assert_type(await file.load(), bytes | None)
    kept: Checkpoint = file
    for checkpoint in (kept, Elsewhere(), Remote()):
        events = session.subscribe(
            "{ a }",
            result_type=Struct,
            resume=behind,
            key=lambda event: event.a,
            key_memory=10,
            checkpoint=checkpoint,
            checkpoint_every=timedelta(seconds=5),
            on_reconnect=told,
            first_event_timeout=1,
            idle_timeout=2.5,
            survive=True,
        )
        assert_type(events, Subscription[Struct])
        assert_type(await events.acknowledge(), None)
        assert_type(events.duplicates, int)
        assert_type(events.pauses, int)

    marked = session.subscribe("{ a }", result_type=Struct, tell_reconnects=True)
    assert_type(marked, Subscription[Struct | Reconnected])
    async for event in marked:
        if isinstance(event, Reconnected):
            assert_type(event.gap_seconds, float)
        else:
            assert_type(event, Struct)
    plain = session.subscribe("{ a }", tell_reconnects=True)
    assert_type(plain, Subscription[dict[str, Any] | Reconnected])
    assert_type(session.subscribe("{ a }", tell_reconnects=is_told), Subscription[Any])


def interruptions(interrupted: OperationInterrupted) -> None:
    assert_type(interrupted.maybe_executed, bool)


def ends(end: TransportError, part: IncompleteResult) -> None:
    assert_type(end.maybe_executed, bool)
    assert_type(part.errors, Sequence[Any] | None)


def parts(result: ExecutionResult) -> None:
    assert_type(result.is_part, bool)
    assert_type(result.pending, Sequence[Any] | None)


async def typed_one_by_one(client: Client) -> None:
    assert_type(await client.execute_async("{ a }", result_type=Data), Data)
    assert_type(client.execute("{ a }", result_type=Data), Data)
    assert_type(
        client.execute("{ a }", result_type=Data, get_execution_result=True), Data | ExecutionResult
    )
    assert_type(client.subscribe_async("{ a }", result_type=Data), AsyncGenerator[Data, None])
    assert_type(client.subscribe("{ a }", result_type=Data), Generator[Data, None, None])


class Money:
    def __init__(self, text: str) -> None: ...


def scalars() -> None:
    money = Scalar(decode=Money, encode=str)
    Client(scalars={Money: money}, parse_float=Decimal)
    gqlwire.connect("ws://h/", scalars={Money: Scalar(decode=Money)}, parse_float=Decimal)


def plain_results(result: ExecutionResult) -> ExecutionResult:
    assert_type(result.data, Any)
    assert_type(ExecutionResult({"a": 1}).data_or_raise(), dict[str, int])
    return result


def misfits(misfit: ResultMismatch) -> None:
    assert_type(misfit.path, str)


def failures(error: TransportConnectionFailed, refusal: TransportQueryError) -> None:
    assert_type(error.code, int | None)
    assert_type(error.reason, str)
    assert_type(error.status, int | None)
    assert_type(refusal.query_id, str | None)
