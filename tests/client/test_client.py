"""`Client`: sessions, the schema, plain scripts, closing."""

import asyncio
import logging
import signal
import subprocess
import sys
import threading
from datetime import date
from enum import Enum

import pytest
from graphql import GraphQLError, GraphQLSchema, build_schema, parse

import gqlwire
from conftest import NEWER
from gqlwire import AsyncClientSession, Client, ExecutionResult, GraphQLRequest, gql
from gqlwire.errors import (
    ConnectionRefused,
    TransportAlreadyConnected,
    TransportClosed,
    TransportQueryError,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, fake
from servers.launch import Server
from support import BOUND

COUNTDOWN = gql("subscription { countdown(from: 2) }")
COUNTED = [{"countdown": n} for n in (2, 1, 0)]


def client_of(server: Server, **options: object) -> Client:
    return Client(transport=WebsocketsTransport(url=server.url), **options)


# --- Connecting -----------------------------------------------------------------------------------


async def test_a_client_is_a_context(strawberry: Server) -> None:
    """Entering connects, leaving closes; what is left then raises TransportClosed."""
    client = client_of(strawberry)
    async with client as session:
        assert isinstance(session, AsyncClientSession)
        assert client.session is session
        assert {"hello": "Hello, world!"} == await session.execute(gql("{ hello }"))

    assert client.session is None
    with pytest.raises(TransportClosed, match=r"was closed by close\(\)"):
        await session.execute("{ hello }")


async def test_a_client_can_be_connected_by_hand(strawberry: Server) -> None:
    """`connect_async` and `close_async`; closing twice is harmless; and again."""
    client = client_of(strawberry)
    for _ in range(2):
        session = await client.connect_async()
        assert COUNTED == [event async for event in session.subscribe(COUNTDOWN)]
        await client.close_async()
        await client.close_async()


async def test_connecting_twice_is_refused(strawberry: Server) -> None:
    """The first connection goes on."""
    async with client_of(strawberry) as session:
        with pytest.raises(TransportAlreadyConnected, match="is already connected"):
            await session.transport.connect()
        assert {"hello": "Hello, world!"} == await session.execute("{ hello }")


async def test_using_a_session_before_connecting_raises() -> None:
    """The error says what is missing."""
    transport = WebsocketsTransport(url="ws://127.0.0.1:1/graphql")

    with pytest.raises(TransportClosed, match=r"not connected: connect\(\) first"):
        await transport.execute(gql("{ hello }"))
    await transport.close()
    await transport.wait_closed()


async def test_a_client_without_a_transport_only_validates() -> None:
    """It says so when it is to connect."""
    client = Client(schema="type Query { a: Int }")
    client.validate(gql("{ a }"))

    with pytest.raises(GraphQLError, match="Cannot query field 'b'"):
        client.validate("{ b }")
    with pytest.raises(ValueError, match="no transport"):
        await client.connect_async()
    with pytest.raises(ValueError, match="no schema"):
        Client().validate("{ a }")


def test_one_source_of_the_schema_is_enough() -> None:
    """Two would contradict each other."""
    with pytest.raises(ValueError, match="one of schema, introspection"):
        Client(schema="type Query { a: Int }", fetch_schema_from_transport=True)


async def test_leaving_warns_of_a_server_that_does_not_say_goodbye(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What happened inside the `async with` matters more; so nothing is raised over it."""
    from servers.fake import raw_fake

    async def script(peer: object) -> None:
        await peer.ack()
        await peer.reader.read()

    async with raw_fake(script) as server:
        with pytest.raises(ZeroDivisionError):
            async with gqlwire.connect(server.url, close_timeout=0.05):
                raise ZeroDivisionError
        transport = WebsocketsTransport(server.url, close_timeout=0.05)
        await transport.connect()
        with pytest.raises(gqlwire.errors.CloseTimeout) as caught:
            await transport.close()
        await transport.close()

    assert isinstance(caught.value, TimeoutError)
    assert 0.05 == caught.value.limit
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert 1 == len(warnings)
    assert "did not answer the close frame within 0.05 seconds" in warnings[0]


# --- The schema -----------------------------------------------------------------------------------


async def test_the_schema_is_fetched_on_request(node_graphql_ws: Server) -> None:
    """Then requests are validated before they are sent."""
    client = client_of(node_graphql_ws, fetch_schema_from_transport=True)
    async with client as session:
        assert isinstance(client.schema, GraphQLSchema)
        assert client.introspection is not None
        assert "__schema" in client.introspection
        with pytest.raises(GraphQLError, match="Cannot query field 'nonsense'"):
            await session.execute("{ nonsense }")
        with pytest.raises(GraphQLError, match="Cannot query field 'nonsense'"):
            session.subscribe("subscription { nonsense }")
        assert {"hello": "Hello, world!"} == await session.execute("{ hello }")


async def test_an_introspection_that_fails_closes_the_connection() -> None:
    """Nothing is left of a client that could not be entered."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        errors = [{"message": "introspection is disabled"}]
        await peer.send({"id": start["id"], "type": "error", "payload": errors})
        assert (1000, "") == await peer.closed()

    async with fake(script) as server:
        client = gqlwire.connect(server.url, fetch_schema_from_transport=True)
        with pytest.raises(TransportQueryError, match="introspection is disabled"):
            await client.connect_async()


class Color(Enum):
    RED = "#f00"


SDL = """
scalar Day
enum Color { RED GREEN }
type Query { day(of: Day!, color: Color): Day  color: Color }
type Subscription { days: Day }
"""


def schema_with_days() -> GraphQLSchema:
    schema = build_schema(SDL)
    schema.type_map["Day"].serialize = lambda day: day.isoformat()
    schema.type_map["Day"].parse_value = date.fromisoformat
    return schema


async def days(peer: Peer) -> None:
    await peer.ack()
    query = await peer.expect("subscribe")
    assert {"of": "2026-11-22"} == query["payload"]["variables"]
    payload: dict[str, object] = {"data": {"next": "2026-11-23", "color": "RED"}}
    await peer.send({"id": query["id"], "type": "next", "payload": payload})
    await peer.send({"id": query["id"], "type": "complete"})
    events = await peer.expect("subscribe")
    for day in ("2026-01-01", "2026-01-02"):
        await peer.send({"id": events["id"], "type": "next", "payload": {"data": {"days": day}}})
    await peer.send({"id": events["id"], "type": "complete"})


@pytest.mark.parametrize("where", ["client", "call"])
async def test_custom_scalars_are_converted_both_ways(where: str) -> None:
    """By the client's settings, or for one call."""
    settings = {"serialize_variables": True, "parse_results": True} if where == "client" else {}
    both = {} if settings else {"serialize_variables": True, "parse_result": True}
    back = {} if settings else {"parse_result": True}
    document = "query Q($of: Day!) { next: day(of: $of) color }"
    async with (
        fake(days) as server,
        gqlwire.connect(server.url, schema=schema_with_days(), **settings) as session,
    ):
        answer = await session.execute(document, variable_values={"of": date(2026, 11, 22)}, **both)
        events = [event async for event in session.subscribe("subscription { days }", **back)]

    assert {"next": date(2026, 11, 23), "color": "RED"} == answer
    assert [{"days": date(2026, 1, 1)}, {"days": date(2026, 1, 2)}] == events


async def test_introspection_serves_as_a_schema(node_graphql_ws: Server) -> None:
    """The answer of an earlier introspection query, kept somewhere."""
    client = client_of(node_graphql_ws, fetch_schema_from_transport=True)
    async with client:
        kept = client.introspection

    other = Client(introspection=kept)

    other.validate("{ hello }")
    with pytest.raises(GraphQLError):
        other.validate("{ nonsense }")


# --- One operation, one connection ----------------------------------------------------------------


async def test_one_operation_connects_and_closes(strawberry: Server) -> None:
    """`execute_async` and `subscribe_async`."""
    client = client_of(strawberry)

    assert {"hello": "Hello, world!"} == await client.execute_async("{ hello }")
    assert COUNTED == [event async for event in client.subscribe_async(COUNTDOWN)]
    assert "closed" == client.transport.phase


def test_plain_scripts_need_no_loop(strawberry: Server) -> None:
    """`execute` and `subscribe` block, again and again."""
    client = client_of(strawberry)
    request = GraphQLRequest(
        "query E($v: String!) { echoString(value: $v) }", variable_values={"v": "x"}
    )

    assert {"echoString": "x"} == client.execute(request)
    assert COUNTED == list(client.subscribe(COUNTDOWN))
    result = client.execute("{ hello }", get_execution_result=True)
    assert ExecutionResult({"hello": "Hello, world!"}) == result


def test_a_blocking_subscription_can_be_left(strawberry: Server) -> None:
    """The connection is closed, and no thread is left."""
    events = client_of(strawberry).subscribe("subscription { ticks(count: -1) { seq } }")

    for event in events:
        if event["ticks"]["seq"] == 3:
            break
    events.close()

    assert "gqlwire" not in [thread.name for thread in threading.enumerate()]


def test_blocking_calls_raise_the_same_errors_as_async_calls(strawberry: Server) -> None:
    """Of queries, of subscriptions, and of connections."""
    client = client_of(strawberry)

    with pytest.raises(TransportQueryError, match="no eggs"):
        client.execute('{ fail(message: "no eggs") }')
    with pytest.raises(TransportQueryError, match="flaky 1"):
        list(client.subscribe("subscription { flaky(count: 3) { value } }"))
    with pytest.raises(ConnectionRefused):
        gqlwire.connect("ws://127.0.0.1:1/graphql").execute("{ hello }")


async def test_blocking_calls_work_where_a_loop_runs(strawberry: Server) -> None:
    """As in a notebook: the loop of the caller is not touched, only its thread waits."""
    assert {"hello": "Hello, world!"} == client_of(strawberry).execute("{ hello }")


SCRIPT = """
import sys, gqlwire
events = gqlwire.connect(sys.argv[1]).subscribe("subscription { ticks(count: -1) { seq } }")
try:
    for event in events:
        print(event["ticks"]["seq"], flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_an_interrupt_ends_a_blocking_subscription(strawberry: Server) -> None:
    """Ctrl-C reaches the script as KeyboardInterrupt, and nothing hangs."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, strawberry.url], stdout=subprocess.PIPE, text=True
    ) as script:
        assert script.stdout is not None
        try:
            assert "0\n" == script.stdout.readline()
            script.send_signal(signal.SIGINT)
            rest, _ = script.communicate(timeout=BOUND)
        finally:
            script.kill()

    assert rest.endswith("interrupted\n")
    assert 0 == script.returncode


LEFT_OPEN = """
import sys, gqlwire
events = gqlwire.connect(sys.argv[1]).subscribe("subscription { ticks(count: -1) { seq } }")
print(next(events)["ticks"]["seq"])
"""


def test_a_script_may_end_with_a_subscription_open(strawberry: Server) -> None:
    """The connection is closed as the interpreter ends; nothing hangs, nothing is complained of."""
    script = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN, strawberry.url],
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )

    assert (0, "0\n", "") == (script.returncode, script.stdout, script.stderr)


# --- Requests -------------------------------------------------------------------------------------


async def test_documents_come_in_three_forms(strawberry: Server) -> None:
    """A str, what gql() returns, and graphql-core's tree."""
    async with client_of(strawberry) as session:
        for document in ("{ hello }", gql("{ hello }"), parse("{ hello }")):
            assert {"hello": "Hello, world!"} == await session.execute(document)
        with pytest.raises(TypeError, match="not int"):
            await session.execute(5)
        with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
            await session.execute("{ hello }", nonsense=1)


async def test_a_string_goes_out_as_it_was_written() -> None:
    """Nothing is printed anew, comments and all; extensions go along."""
    sent = []

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe")
        sent.append(start["payload"])
        await peer.send({"id": start["id"], "type": "next", "payload": {"data": None}})
        await peer.send({"id": start["id"], "type": "complete"})

    document = "# why\nquery   A { a }"
    async with fake(script) as server, gqlwire.connect(server.url) as session:
        answer = await session.execute(
            document,
            operation_name="A",
            variable_values={"d": date(2026, 1, 1)},
            extensions={"trace": "1"},
        )

    assert answer is None
    assert [
        {
            "query": document,
            "operationName": "A",
            "variables": {"d": "2026-01-01"},
            "extensions": {"trace": "1"},
        }
    ] == sent


async def test_variables_that_json_cannot_hold_are_refused(strawberry: Server) -> None:
    """Before anything is sent."""
    async with client_of(strawberry) as session:
        with pytest.raises(TypeError, match="cannot be sent as JSON"):
            await session.execute("{ hello }", variable_values={"a": object()})


# --- What gql's transport offers besides ----------------------------------------------------------


async def test_the_acknowledgement_is_kept_for_both_protocols() -> None:
    """Its payload, and the headers of the answer in any case."""

    async def script(peer: Peer) -> None:
        await peer.ack(payload={"session": 7})
        await peer.closed()

    for protocol in ("graphql-transport-ws", "graphql-ws"):
        async with (
            fake(script, subprotocols=(protocol,), headers={"X-Served-By": "fake"}) as server,
            gqlwire.connect(server.url) as session,
        ):
            assert {"session": 7} == session.transport.payloads["connection_ack"]
            assert protocol == session.transport.subprotocol
            assert "fake" == session.transport.response_headers["x-served-by"]


async def test_messages_that_mean_nothing_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By type, and logged once for each."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        for type in ("start_ack", "start_ack", "hello"):
            await peer.send({"type": type})
        start = await peer.expect("subscribe")
        await peer.send({"id": start["id"], "type": "next", "payload": {"data": {"n": 1}}})
        await peer.send({"id": start["id"], "type": "complete"})

    async with fake(script) as server:
        client = gqlwire.connect(server.url)
        assert {} == client.transport.unknown_messages
        async with client as session:
            await session.execute("{ n }")
            assert {"start_ack": 2, "hello": 1} == session.transport.unknown_messages

    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert 2 == len(warnings)


TWO_LOOPS = """
import asyncio, sys
from gqlwire import gql
from gqlwire.transport.websockets import WebsocketsTransport
transport = WebsocketsTransport(sys.argv[1])
asyncio.run(transport.connect())

async def again():
    await transport.close()
    await transport.connect()
    result = await transport.execute(gql("{ hello }"))
    await transport.close()
    return result.data

print(asyncio.run(again()))
"""


def test_a_transport_outlives_its_loop(strawberry: Server) -> None:
    """A script that did not close before its loop ended can connect anew in the next."""
    script = subprocess.run(
        [sys.executable, "-c", TWO_LOOPS, strawberry.url],
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )

    assert (0, "{'hello': 'Hello, world!'}\n") == (script.returncode, script.stdout)


async def test_pings_can_be_sent_and_seen(node_graphql_ws: Server) -> None:
    """`send_ping`, `pong_received`, `payloads` and `latency`."""
    async with gqlwire.connect(node_graphql_ws.url, subprotocols=[NEWER]) as session:
        transport = session.transport
        assert transport.latency is None
        await transport.send_ping({"n": 1})
        await asyncio.wait_for(transport.pong_received.wait(), BOUND)

        assert {"n": 1} == transport.payloads["pong"]
        assert 0 < transport.latency < BOUND


async def test_logging_is_quiet_and_keeps_secrets(
    strawberry: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A line when it connects and one when it ends; frames only on gqlwire.wire, without the
    payload of connection_init and without headers."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("gqlwire.wire").setLevel(logging.DEBUG)
    url = strawberry.url + "?token=s3cret"
    async with gqlwire.connect(
        url, headers={"Authorization": "s3cret"}, init_payload={"token": "s3cret"}
    ) as session:
        await session.execute("{ large(bytes: 5000) }")

    ours = [record for record in caplog.records if record.name.startswith("gqlwire")]
    info = [record.getMessage() for record in ours if record.name == "gqlwire"]
    wire = [record.getMessage() for record in ours if record.name == "gqlwire.wire"]
    assert "s3cret" not in caplog.text
    host = f"127.0.0.1:{strawberry.port}"
    assert f"connected to {strawberry.url} (graphql-transport-ws)" == info[0]
    assert info[1].startswith(f"disconnected from {host}: ")
    assert 2 == len(info)
    assert f'{host} > {{"type":"connection_init","payload":"<redacted>"}}' == wire[0]
    assert '"connection_ack"' in wire[1]
    assert max(map(len, wire)) < 600
    assert not [record for record in caplog.records if record.name.startswith("picows")]


async def test_frames_are_not_logged_unless_asked_for(
    strawberry: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even with everything else at INFO."""
    caplog.set_level(logging.INFO)
    logging.getLogger("gqlwire.wire").setLevel(logging.NOTSET)
    async with client_of(strawberry) as session:
        await session.execute("{ hello }")

    assert not [record for record in caplog.records if record.name == "gqlwire.wire"]
