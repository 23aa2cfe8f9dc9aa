"""Queries, mutations and subscriptions against real servers, each in the protocols it speaks."""

import asyncio
import gc
import json
from collections.abc import Callable

import pytest
from graphql import GraphQLError

import gqlwire
from conftest import OLDER, SPEAKERS, Speaker
from gqlwire import AsyncClientSession, ExecutionResult, GraphQLRequest, Subscription, gql
from gqlwire.errors import OperationTimeout, TransportClosed, TransportQueryError
from servers.launch import Server, start_strawberry
from support import BOUND

TICKS = "subscription { ticks(count: -1, intervalMs: 5) { seq } }"


# Strawberry runs nothing but subscriptions in Apollo's protocol.
answers_queries = pytest.mark.parametrize(
    "speaker",
    [pair for pair in SPEAKERS if pair != ("strawberry", OLDER)],
    ids="/".join,
    indirect=True,
)


async def until_stopped(speaker: Speaker, before: int, *, count: int = 1) -> None:
    """Wait until the server has seen `count` more subscriptions end, and none is left."""
    async with speaker.observer() as observer, asyncio.timeout(BOUND):
        while True:
            seen = await observer.execute("{ active stopped }")
            if seen["active"] == 0 and seen["stopped"] >= before + count:
                assert before + count == seen["stopped"]
                return
            await asyncio.sleep(0)


async def stopped(speaker: Speaker) -> int:
    async with speaker.observer() as observer:
        return int((await observer.execute("{ stopped }"))["stopped"])


# --- Queries and mutations ------------------------------------------------------------------------


@answers_queries
async def test_a_query_returns_its_data(speaker: Speaker, session: AsyncClientSession) -> None:
    """`execute` returns `data` as a dict."""

    assert {"hello": "Hello, world!"} == await session.execute("{ hello }")


@answers_queries
async def test_variables_reach_the_server(speaker: Speaker, session: AsyncClientSession) -> None:
    """Variables go with a request, or beside it, and the latter win."""
    document = "query Echo($value: String!) { echoString(value: $value) }"
    request = GraphQLRequest(document, variable_values={"value": 'é \U0001f680 " \\ \n'})

    first = await session.execute(request)
    second = await session.execute(request, variable_values={"value": "other"})

    assert {"echoString": 'é \U0001f680 " \\ \n'} == first
    assert {"echoString": "other"} == second


@answers_queries
async def test_the_operation_name_chooses(speaker: Speaker, session: AsyncClientSession) -> None:
    """Of several operations in a document the named one runs."""
    request = gql("query A { echoInt(value: 1) } query B { echoInt(value: 2) }")
    request.operation_name = "B"

    assert {"echoInt": 2} == await session.execute(request)


@answers_queries
async def test_a_mutation_runs_once(speaker: Speaker, session: AsyncClientSession) -> None:
    """A mutation has its effect, once."""
    before = (await session.execute("{ counter }"))["counter"]

    answer = await session.execute("mutation { increment(by: 3) }")

    assert {"increment": before + 3} == answer
    assert {"counter": before + 3} == await session.execute("{ counter }")


@answers_queries
async def test_null_is_a_result(speaker: Speaker, session: AsyncClientSession) -> None:
    """A field that is null is no error."""

    assert {"nothing": None} == await session.execute("{ nothing }")


@answers_queries
async def test_errors_are_raised_with_the_data(
    speaker: Speaker, session: AsyncClientSession
) -> None:
    """Errors in a result raise TransportQueryError, which keeps the data and the list."""

    with pytest.raises(TransportQueryError) as caught:
        await session.execute('{ fail(message: "out of eggs") hello }')

    assert {"fail": None, "hello": "Hello, world!"} == caught.value.data
    assert ["out of eggs"] == [error["message"] for error in caught.value.errors or ()]
    assert caught.value.query_id is None
    assert "out of eggs (at fail)" == str(caught.value)


@answers_queries
async def test_the_whole_result_is_had_on_request(
    speaker: Speaker, session: AsyncClientSession
) -> None:
    """With get_execution_result, errors are in the result and nothing is raised."""

    result = await session.execute('{ fail(message: "no") hello }', get_execution_result=True)

    assert isinstance(result, ExecutionResult)
    assert {"fail": None, "hello": "Hello, world!"} == result.data
    assert ["no"] == [error["message"] for error in result.errors or ()]


async def test_a_refused_operation_raises_and_leaves_the_others(
    speaker: Speaker, session: AsyncClientSession
) -> None:
    """An `error` message ends its operation with a TransportQueryError that has the id."""
    running = session.subscribe(TICKS)
    await anext(running)

    with pytest.raises(TransportQueryError) as caught:
        await anext(session.subscribe("subscription { noSuchField }"))

    # subscriptions-transport-ws says it in a `data` message, which is no end yet.
    assert (caught.value.query_id is None) == (speaker.server.name == "apollo")
    assert "noSuchField" in str(caught.value)
    assert {"seq"} == set((await anext(running))["ticks"])
    await running.aclose()


async def test_a_syntax_error_is_found_before_anything_is_sent(
    speaker: Speaker, session: AsyncClientSession
) -> None:
    """Strawberry would close the whole socket on it."""
    running = session.subscribe(TICKS)
    await anext(running)

    with pytest.raises(GraphQLError, match="Syntax Error"):
        await session.execute("{ hello ")
    with pytest.raises(GraphQLError, match="no operation named 'C'"):
        await session.execute("query A { hello } query B { hello }", operation_name="C")
    with pytest.raises(GraphQLError, match="set operation_name"):
        session.subscribe("query A { hello } query B { hello }")

    assert {"seq"} == set((await anext(running))["ticks"])
    await running.aclose()


@answers_queries
async def test_a_hundred_concurrent_queries_share_the_socket(
    speaker: Speaker, session: AsyncClientSession
) -> None:
    """Each gets its own answer."""
    document = "query Echo($value: Int!) { echoInt(value: $value) }"

    answers = await asyncio.gather(
        *(session.execute(document, variable_values={"value": n}) for n in range(100))
    )

    assert [{"echoInt": n} for n in range(100)] == answers


@answers_queries
async def test_a_large_result_comes_whole(speaker: Speaker, session: AsyncClientSession) -> None:
    """Five megabytes are no matter."""

    answer = await session.execute("{ large(bytes: 5000000) }")

    assert "x" * 5_000_000 == answer["large"]


@answers_queries
async def test_a_query_that_takes_too_long_times_out(speaker: Speaker) -> None:
    """OperationTimeout names the host and the limit; the connection goes on."""
    async with speaker.client(execute_timeout=0.2) as session:
        with pytest.raises(OperationTimeout) as caught:
            await session.execute("{ slow(ms: 60000) }")
        answer = await session.execute("{ hello }")

    assert isinstance(caught.value, TimeoutError)
    assert 0.2 == caught.value.limit
    assert f"127.0.0.1:{speaker.server.port} did not answer the query within 0.2 seconds" in str(
        caught.value
    )
    assert {"hello": "Hello, world!"} == answer


# --- Subscriptions --------------------------------------------------------------------------------


async def test_a_subscription_yields_until_it_completes(session: AsyncClientSession) -> None:
    """`async for` ends when the server completes."""
    events = [event async for event in session.subscribe("subscription { countdown(from: 3) }")]

    assert [{"countdown": n} for n in (3, 2, 1, 0)] == events


async def test_many_subscriptions_share_the_socket(session: AsyncClientSession) -> None:
    """Each gets its own events, all of them, in order."""

    async def collect(count: int) -> list[int]:
        document = f"subscription {{ ticks(count: {count}) {{ seq }} }}"
        return [event["ticks"]["seq"] async for event in session.subscribe(document)]

    counts = [5, 50, 500, 1, 0, 20]

    assert [list(range(count)) for count in counts] == await asyncio.gather(*map(collect, counts))


@answers_queries
async def test_queries_run_inside_a_subscription(
    speaker: Speaker, session: AsyncClientSession
) -> None:
    """A consumer may execute amid its own `async for`."""
    answers = [
        await session.execute(
            "query Echo($value: Int!) { echoInt(value: $value) }",
            variable_values={"value": event["countdown"]},
        )
        async for event in session.subscribe("subscription { countdown(from: 2) }")
    ]

    assert [{"echoInt": n} for n in (2, 1, 0)] == answers


async def test_published_messages_arrive(speaker: Speaker) -> None:
    """What another connection publishes comes in order and unharmed."""
    topic = f"{speaker.server.name}/{speaker.protocol}"
    text = "héllo \U0001f680"
    document = "subscription M($topic: String!) { messages(topic: $topic) }"
    publish = (
        "mutation P($topic: String!, $text: String!) { publish(topic: $topic, message: $text) }"
    )
    async with speaker.client() as session, speaker.observer() as observer:
        events = session.subscribe(document, variable_values={"topic": topic})
        first = asyncio.ensure_future(anext(events))
        variables = {"topic": topic, "text": f"{text} 0"}
        while not (await observer.execute(publish, variable_values=variables))["publish"]:
            await asyncio.sleep(0)
        for n in (1, 2):
            variables = {"topic": topic, "text": f"{text} {n}"}
            assert {"publish": 1} == await observer.execute(publish, variable_values=variables)
        received = [await first, await anext(events), await anext(events)]
        await events.aclose()

    assert [{"messages": f"{text} {n}"} for n in range(3)] == received


async def test_an_event_with_errors_does_not_end_the_subscription(
    session: AsyncClientSession,
) -> None:
    """Who catches the error can go on iterating."""
    events = session.subscribe("subscription { flaky(count: 4) { seq value } }")
    seen: list[object] = []
    for _ in range(3):
        try:
            async for event in events:
                seen += [event["flaky"]["value"]]
        except TransportQueryError as error:
            seen.append((str(error), error.query_id, error.data and error.data["flaky"]["seq"]))

    errors = [(f"flaky {n} (at flaky.value)", None, n) for n in (1, 3)]
    assert ["v0", errors[0], "v2", errors[1]] == seen


async def test_an_event_with_errors_is_an_event_on_request(session: AsyncClientSession) -> None:
    """With get_execution_result nothing is raised for it."""
    document = "subscription { flaky(count: 4) { seq value } }"

    events = [event async for event in session.subscribe(document, get_execution_result=True)]

    assert ["v0", None, "v2", None] == [event.data["flaky"]["value"] for event in events]
    assert [False, True, False, True] == [bool(event.errors) for event in events]


async def test_a_source_that_fails_raises_the_servers_error(session: AsyncClientSession) -> None:
    """Earlier events arrive, then a TransportQueryError has the server's message."""
    events = session.subscribe("subscription { explode }")

    assert {"explode": 1} == await anext(events)
    with pytest.raises(TransportQueryError, match="exploded"):
        await anext(events)
    with pytest.raises(StopAsyncIteration):
        await anext(events)


# --- Stopping: each way, the server sees it once --------------------------------------------------


async def stop_by_aclose(events: Subscription[object]) -> None:
    await events.aclose()
    await events.aclose()


async def stop_by_leaving(events: Subscription[object]) -> None:
    async with events:
        pass


async def stop_by_cancelling(events: Subscription[object]) -> None:
    async def drain() -> None:
        async for _ in events:
            pass

    task = asyncio.ensure_future(drain())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("stop", [stop_by_aclose, stop_by_leaving, stop_by_cancelling])
async def test_ending_a_subscription_stops_it_on_the_server(
    speaker: Speaker, stop: Callable[[Subscription[object]], object]
) -> None:
    """The server sees the source ended, while the connection lives on."""
    before = await stopped(speaker)
    async with speaker.client() as session:
        events = session.subscribe(TICKS)
        await anext(events)
        await stop(events)
        await until_stopped(speaker, before)


async def test_a_break_stops_it_on_the_server(speaker: Speaker) -> None:
    """Nothing holds the subscription after the loop, so it is finalized."""
    before = await stopped(speaker)
    async with speaker.client() as session:
        async for _ in session.subscribe(TICKS):
            break
        await until_stopped(speaker, before)


async def test_garbage_collection_stops_it_on_the_server(speaker: Speaker) -> None:
    """A subscription that only a cycle holds ends with the cycle."""
    before = await stopped(speaker)
    async with speaker.client() as session:
        holder: dict[str, object] = {"events": session.subscribe(TICKS)}
        holder["self"] = holder
        await anext(holder["events"])
        del holder
        gc.collect()
        await until_stopped(speaker, before)


async def test_closing_stops_everything_on_the_server(speaker: Speaker) -> None:
    """Whoever still waits gets TransportClosed."""
    before = await stopped(speaker)
    async with speaker.client() as session:
        running = [session.subscribe(TICKS) for _ in range(3)]
        for events in running:
            await anext(events)

    for events in running:
        with pytest.raises(TransportClosed):
            async for _ in events:
                pass
    await until_stopped(speaker, before, count=3)


async def test_the_first_event_of_a_subscription_can_be_executed(speaker: Speaker) -> None:
    """`execute` takes one event, and stops the rest."""
    before = await stopped(speaker)
    async with speaker.client() as session:
        assert {"ticks": {"seq": 0}} == await session.execute(TICKS)
        await until_stopped(speaker, before)


# --- Credentials, headers, acknowledgement --------------------------------------------------------


@answers_queries
async def test_headers_reach_the_server(speaker: Speaker) -> None:
    """They are those of the upgrade request."""
    async with speaker.client(headers={"Authorization": "token"}) as session:
        answer = await session.execute('{ header(name: "authorization") }')

    assert {"header": "token"} == answer


@answers_queries
@pytest.mark.parametrize("payload", [None, {}, {"Authorization": "token", "nested": {"a": [1]}}])
async def test_the_init_payload_reaches_the_server(
    speaker: Speaker, payload: dict[str, object] | None
) -> None:
    """It arrives as it is; None leaves it out."""
    async with speaker.client(init_payload=payload) as session:
        said = (await session.execute("{ initPayload }"))["initPayload"]

    if speaker.protocol == OLDER and payload is None:
        assert said in (None, "{}")  # subscriptions-transport-ws cannot tell the two apart
    else:
        assert payload == (None if said is None else json.loads(said))


async def test_the_protocol_is_detected(speaker: Speaker) -> None:
    """Without being told, both ends find one that the server speaks."""
    async with gqlwire.connect(speaker.server.url) as session:
        events = [event async for event in session.subscribe("subscription { countdown(from: 1) }")]
        answer = await session.execute("{ hello }")
        chosen = session.transport.subprotocol

    assert [{"countdown": 1}, {"countdown": 0}] == events
    assert {"hello": "Hello, world!"} == answer
    assert speaker.server.protocols[0] == chosen


@pytest.fixture(scope="module")
def guarded() -> Server:
    with start_strawberry(token="s3cret") as server:
        yield server


@pytest.mark.parametrize(
    "options",
    [{"headers": {"Authorization": "Bearer s3cret"}}, {"init_payload": {"token": "s3cret"}}],
    ids=["header", "init payload"],
)
async def test_both_ways_of_authentication_work(
    guarded: Server, options: dict[str, dict[str, str]]
) -> None:
    """By HTTP header, or by the payload of connection_init."""
    for protocol in guarded.protocols:
        async with gqlwire.connect(guarded.url, subprotocols=[protocol], **options) as session:
            event = await anext(session.subscribe("subscription { countdown(from: 1) }"))

        assert {"countdown": 1} == event
