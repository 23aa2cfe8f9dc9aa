"""Where gql fails, gqlwire does not: each case that was reproduced with it has a test.

Most are shown by tests that belong elsewhere; `FAULTS` tells which. Those about connections that
are kept alive are here.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from test_promises import GQL, TEST, functions_in

import gqlwire
from conftest import NEWER, OLDER
from gqlwire import AsyncClientSession, Attempt, Client, RetryPolicy
from gqlwire.errors import (
    ConnectionClosed,
    ConnectionRefused,
    HandshakeRejected,
    KeepAliveTimeout,
    OperationInterrupted,
    Phase,
    TransportClosed,
    TransportConnectionFailed,
    TransportProtocolError,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Fake, Peer, Refusal, fake
from servers.launch import Server, start_strawberry
from support import BOUND, failure, leaves_nothing, tick
from wire.proxies import Proxy, Stream

tidy = pytest.fixture(autouse=True)(leaves_nothing)

AT_ONCE = RetryPolicy(first_delay=0.01, longest_delay=0.05)
START = {NEWER: "subscribe", OLDER: "start"}
EVENT = {NEWER: "next", OLDER: "data"}
STOP = {NEWER: "complete", OLDER: "stop"}
PROTOCOLS = pytest.mark.parametrize("protocol", [NEWER, OLDER])
EVENTS = "subscription { ticks }"

# --- The list -------------------------------------------------------------------------------------

HERE = "tests/servers/test_gql_failures.py"

FAULTS = {
    1: ["tests/transport/test_negotiation_real.py::test_the_server_chooses"],
    2: [
        "tests/servers/test_against_servers.py::test_the_protocol_is_detected",
        "tests/transport/test_negotiation_real.py::test_a_server_that_chooses_a_protocol_that_it_does_not_speak",
    ],
    3: ["tests/connection/test_keepalive_real.py::test_the_servers_pings_are_answered"],
    4: [
        "tests/operations/test_stopping.py::test_an_operation_is_stopped_exactly_once_on_the_server"
    ],
    5: [
        "tests/docs/test_seed_page.py::test_text_that_is_not_a_json_object_ends_every_operation",
        f"{HERE}::test_an_unreadable_message_costs_the_connection_and_no_subscription",
        "tests/connection/test_odd_messages.py::test_an_error_of_any_shape_ends_its_operation",
    ],
    6: [
        "tests/servers/test_against_servers.py::test_an_event_with_errors_does_not_end_the_subscription"
    ],
    7: [f"{HERE}::test_a_server_that_closes_before_it_acknowledges_is_tried_again"],
    8: [
        f"{HERE}::test_a_dead_port_raises_immediately",
        f"{HERE}::test_attempts_that_are_counted_come_to_an_end",
    ],
    9: [
        f"{HERE}::test_a_missing_pong_makes_a_new_connection",
        f"{HERE}::test_a_missing_keep_alive_makes_a_new_connection",
    ],
    10: [
        f"{HERE}::test_a_mutation_is_sent_once",
        f"{HERE}::test_a_mutation_that_a_real_server_has_run_is_not_run_again",
    ],
    11: ["tests/connection/test_keepalive_real.py::test_any_message_is_a_sign_of_life"],
    12: [
        "tests/streams/test_slow_consumers.py::test_blocking_stops_the_server_and_loses_nothing",
        "tests/streams/test_slow_consumers.py::test_the_bound_counts_bytes_too",
        "tests/streams/test_slow_consumers.py::test_error_ends_with_the_numbers",
    ],
    13: ["tests/wire/test_goodbyes.py::test_our_close_frame_says_1000"],
    14: [
        "tests/protocols/test_both_dialects.py::test_messages_for_ids_that_were_never_ours_are_ignored"
    ],
    15: ["tests/docs/test_seed_page.py::test_the_parts_of_a_deferred_result_are_events"],
    16: ["tests/wire/test_goodbyes.py::test_the_servers_close_frame_is_answered"],
    17: [
        "tests/connection/test_odd_messages.py::test_an_error_of_any_shape_ends_its_operation",
        "tests/connection/test_odd_messages.py::test_an_event_whose_payload_is_not_a_result_fails_its_step",
        "tests/connection/test_odd_messages.py::test_a_stray_message_ends_no_operation",
    ],
    18: [
        "tests/errors/test_phases.py::test_a_server_that_hangs_up_later",
        "tests/errors/test_phases.py::test_a_server_that_hangs_up_before_its_acknowledgement",
    ],
    19: [
        f"{HERE}::test_a_refused_upgrade_raises_immediately",
        f"{HERE}::test_a_refusal_later_on_is_retried_with_new_credentials",
    ],
    20: [f"{HERE}::test_a_lost_connection_without_operations_is_replaced"],
    21: [
        f"{HERE}::test_a_subscription_continues_after_an_announced_restart",
        f"{HERE}::test_a_subscription_continues_after_a_real_server_is_killed",
    ],
    22: ["tests/servers/test_against_servers.py::test_a_large_result_comes_whole"],
}
"""By the number in docs/coming-from-gql.md: 1 to 16 were reproduced with gql 4.4.0."""

SEEN_BEFORE = {
    "the header sec-websocket-protocol in lower case": 1,
    "a ping before the acknowledgement": 3,
    "an error with payload [], an array as a message": 5,
    "an error with an object or a list, data null, id null, an unknown type": 17,
    "an event with errors": 6,
    "20,000 events, and a consumer that sleeps": 12,
    "close codes 4403, 1001, 4429": 18,
    "401 on the upgrade, reconnecting": 19,
    "an idle connection is lost, reconnecting": 20,
    "no pong comes, reconnecting": 9,
    "close 1012 with a live subscription": 21,
    "a mutation, and a server that crashes after it has it": 10,
    "a query that takes too long": 4,
    "Apollo's protocol, no ka, but data": 11,
    "a result of 1.1 MB": 22,
}
"""All that was reproduced with gql 4.3.0b3, and its number."""


def test_every_fault_has_tests_that_exist() -> None:
    """One at least."""
    named = [id for shown in FAULTS.values() for id in shown]
    missing = [
        id
        for id in named
        for path, _, name in [id.partition("::")]
        if name not in functions_in(path)
    ]

    assert [] == missing
    assert all(FAULTS.values())
    assert {*range(1, 17), *SEEN_BEFORE.values()} == FAULTS.keys()


def test_the_page_names_the_same_tests() -> None:
    """The table of docs/contributing/gql.md."""
    row = re.compile(r"^\| (\d+) \| .+ \| (`tests/.+) \|$", re.MULTILINE)
    told = {
        int(number): ["::".join(test) for test in TEST.findall(shown)]
        for number, shown in row.findall(GQL.read_text("utf-8"))
    }

    assert told == FAULTS


# --- What they share ------------------------------------------------------------------------------


def client_of(server: Fake | Server, **options: Any) -> Client:
    """A client as a user of gql makes it, with a policy that does not let a test wait."""
    kept = {name: options.pop(name) for name in ("retry", "retry_queries") if name in options}
    transport = WebsocketsTransport(server.url, **options)
    return Client(transport=transport, **{"retry": AT_ONCE, **kept})


@asynccontextmanager
async def kept(server: Fake | Server, **options: Any) -> AsyncIterator[AsyncClientSession]:
    """A session that reconnects."""
    client = client_of(server, **options)
    async with asyncio.timeout(BOUND):
        session = await client.connect_async(reconnecting=True)
    try:
        yield session
    finally:
        async with asyncio.timeout(BOUND):
            await client.close_async()


async def opened(session: AsyncClientSession, how: Callable[[], object]) -> list[Phase]:
    """Do something that costs the connection; the states up to the next one that is open."""
    states = session.states()
    how()
    passed = []
    async with asyncio.timeout(BOUND):
        async for change in states:
            passed.append(change.state)
            if change.state is Phase.OPEN:
                break
    return passed


async def serve_ticks(peer: Peer, protocol: str, *ticks: int) -> dict[str, Any]:
    """Acknowledge, and begin to answer one subscription; the message that began it."""
    await peer.ack()
    start = await peer.expect(START[protocol], skip=["ping"])
    for n in ticks:
        await peer.send_text(tick(start["id"], n, EVENT[protocol]))
    return start


async def ticks(session: AsyncClientSession, count: int) -> list[int]:
    """So many events, by one `async for`."""
    found: list[int] = []
    async with asyncio.timeout(BOUND), session.subscribe(EVENTS) as events:
        async for event in events:
            found.append(event["ticks"])
            if len(found) == count:
                break
    return found


# --- Coming back ----------------------------------------------------------------------------------


@PROTOCOLS
async def test_a_subscription_continues_after_an_announced_restart(protocol: str) -> None:
    """Close code 1012: the same `async for`, a new connection, a new id."""
    starts = []

    async def script(peer: Peer) -> None:
        first = len(server.peers) == 1
        starts.append(await serve_ticks(peer, protocol, *((0, 1) if first else (2, 3))))
        if first:
            await peer.close(1012)
        else:
            await peer.expect(STOP[protocol])

    async with fake(script) as server, kept(server, subprotocols=[protocol]) as session:
        assert [0, 1, 2, 3] == await ticks(session, 4)

    assert 2 == server.connections
    assert starts[0]["payload"] == starts[1]["payload"]
    assert starts[0]["id"] != starts[1]["id"]


@PROTOCOLS
async def test_a_subscription_continues_after_a_real_server_is_killed(protocol: str) -> None:
    """By SIGKILL, between its events; it starts again, from 0."""
    document = "subscription { ticks(count: -1, intervalMs: 5) { seq } }"
    seqs: list[int] = []
    with start_strawberry() as server:
        async with (
            kept(server, subprotocols=[protocol]) as session,
            session.subscribe(document) as events,
            asyncio.timeout(BOUND),
        ):
            async for event in events:
                seqs.append(event["ticks"]["seq"])
                if len(seqs) == 5:
                    server.kill()
                    await asyncio.to_thread(server.restart)
                if seqs.count(0) == 2 and seqs[-1] == 3:
                    break

    again = seqs.index(0, 1)
    assert [*range(again)] == seqs[:again]
    assert [0, 1, 2, 3] == seqs[again:]


async def test_a_lost_connection_without_operations_is_replaced() -> None:
    """Nobody calls: a real server is killed, and started again."""
    with start_strawberry() as server:
        async with kept(server) as session:

            async def awaited() -> list[Phase]:
                states = session.states()
                server.kill()
                passed = []
                async for change in states:
                    passed.append(change.state)
                    if change.state is Phase.WAITING and len(passed) == 2:
                        await asyncio.to_thread(server.restart)
                    if change.state is Phase.OPEN:
                        return passed
                raise AssertionError(passed)

            passed = await asyncio.wait_for(awaited(), BOUND)
            assert {"hello": "Hello, world!"} == await session.execute("{ hello }")

    assert [Phase.CLOSING, Phase.WAITING, Phase.CONNECT] == passed[:3]
    assert Phase.CLOSED not in passed


@PROTOCOLS
async def test_a_missing_pong_makes_a_new_connection(protocol: str) -> None:
    """At once, though nobody asks for anything; the subscriber only sees that it goes on."""

    async def script(peer: Peer) -> None:
        if len(server.peers) == 1:
            await serve_ticks(peer, protocol, 0)
            peer.pause_reading()
            await peer.closed()
        else:
            await serve_ticks(peer, protocol, 1)
            await peer.expect(STOP[protocol], skip=["ping"])

    options = {"ping_interval": 0.1, "subprotocols": [protocol]}
    async with fake(script) as server, kept(server, **options) as session:
        assert [0, 1] == await ticks(session, 2)


async def test_a_missing_keep_alive_makes_a_new_connection() -> None:
    """With nothing under way: no operation has to fail first."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        await peer.send({"type": "ka"})
        if len(server.peers) == 1:
            await peer.closed()
        while True:
            await asyncio.sleep(0.05)
            await peer.send({"type": "ka"})

    options = {"keep_alive_timeout": 0.3, "subprotocols": [OLDER]}
    async with fake(script) as server, kept(server, **options) as session:
        states = session.states()
        async with asyncio.timeout(BOUND):
            lost = await anext(states)
            passed = [(await anext(states)).state for _ in range(3)]
        assert isinstance(lost.failure, KeepAliveTimeout)
        assert [Phase.WAITING, Phase.CONNECT, Phase.OPEN] == passed


@PROTOCOLS
@pytest.mark.parametrize("text", ["[]", '"hello"', "hello"])
async def test_an_unreadable_message_costs_the_connection_and_no_subscription(
    protocol: str, text: str
) -> None:
    """We close with 1002, and begin anew; whoever waits for an answer is told."""

    async def script(peer: Peer) -> None:
        if len(server.peers) == 1:
            await serve_ticks(peer, protocol, 0)
            await peer.expect(START[protocol])
            await peer.send_text(text)
            assert (1002, "") == await peer.closed()
        else:
            await serve_ticks(peer, protocol, 1)
            await peer.expect(STOP[protocol])

    async with fake(script) as server, kept(server, subprotocols=[protocol]) as session:
        events = session.subscribe(EVENTS)
        assert {"ticks": 0} == await anext(events)
        told = await failure(OperationInterrupted, session.execute("{ hello }"))
        assert {"ticks": 1} == await asyncio.wait_for(anext(events), BOUND)
        await events.aclose()

    assert isinstance(told.__cause__, TransportProtocolError)


# --- Being refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_tried", "attempts"), [(False, 1), (True, 2)])
async def test_a_refused_upgrade_raises_immediately(is_tried: bool, attempts: int) -> None:
    """`connect_async` raises HTTP 401; with `initial=True`, after one attempt with other
    credentials.
    """
    asked: list[Attempt] = []

    def headers(attempt: Attempt) -> dict[str, str]:
        asked.append(attempt)
        return {"Authorization": "expired"}

    policy = RetryPolicy(initial=is_tried)
    async with fake(_never, refuse=Refusal(401)) as server:
        client = client_of(server, headers=headers, retry=policy)
        told = await failure(HandshakeRejected, client.connect_async(reconnecting=True))
        assert attempts == server.connections

    assert 401 == told.status
    assert [False, True][:attempts] == [attempt.refresh for attempt in asked]


@pytest.mark.parametrize("renewals", [1, 3])
async def test_a_refusal_later_on_is_retried_with_new_credentials(renewals: int) -> None:
    """A token that has expired is replaced; so is a new one that is refused, until one is not."""
    renewed = 0

    def headers(attempt: Attempt) -> dict[str, str]:
        nonlocal renewed
        renewed += attempt.refresh
        return {"Token": "new" if renewed == renewals else "old"}

    def refuse(request: Any) -> Refusal | None:
        is_expired = server.connections > 1 and request.headers["Token"] == "old"
        return Refusal(401) if is_expired else None

    async def script(peer: Peer) -> None:
        await serve_ticks(peer, NEWER, len(server.peers))
        if len(server.peers) == 1:
            await peer.close(1012)
        else:
            await peer.expect("complete")

    retry = RetryPolicy(first_delay=0.01, later=0.01)
    async with (
        fake(script, refuse=refuse) as server,
        kept(server, headers=headers, retry=retry) as session,
    ):
        assert [1, 2] == await ticks(session, 2)
        assert (2 + renewals, renewals) == (server.connections, renewed)


async def _never(peer: Peer) -> None:
    raise AssertionError("it was to be refused")


@pytest.mark.parametrize("times", [1, 3])
async def test_a_server_that_closes_before_it_acknowledges_is_tried_again(times: int) -> None:
    """However often; then the subscription goes on."""

    async def script(peer: Peer) -> None:
        place = len(server.peers)
        if 1 < place <= times + 1:
            await peer.expect("connection_init")
            await peer.close(1012, "not yet")
            return
        await serve_ticks(peer, NEWER, place)
        if place == 1:
            await peer.close(1012)
        else:
            await peer.expect("complete")

    async with fake(script) as server, kept(server) as session:
        assert [1, times + 2] == await ticks(session, 2)
        assert times + 2 == server.connections


@PROTOCOLS
async def test_a_subscription_may_end_with_its_connection(protocol: str) -> None:
    """With `survive=False` it gets the failure; the others, and the session, go on."""

    async def script(peer: Peer) -> None:
        await serve_ticks(peer, protocol, len(server.peers))
        if len(server.peers) == 1:
            await peer.expect(START[protocol])
            await peer.close(1012)
        else:
            await peer.expect(STOP[protocol])

    async with fake(script) as server, kept(server, subprotocols=[protocol]) as session:
        lasting = session.subscribe(EVENTS)
        assert {"ticks": 1} == await anext(lasting)
        told = await failure(ConnectionClosed, anext(session.subscribe(EVENTS, survive=False)))
        assert {"ticks": 2} == await asyncio.wait_for(anext(lasting), BOUND)
        await lasting.aclose()

    assert 1012 == told.code


@pytest.fixture
def dead(unused_tcp_port: int) -> WebsocketsTransport:
    """A transport to a port that nothing listens on."""
    return WebsocketsTransport(f"ws://127.0.0.1:{unused_tcp_port}/graphql")


async def test_a_dead_port_raises_immediately(dead: WebsocketsTransport) -> None:
    """The first connection fails as without `reconnecting`; nothing continues in the background."""
    client = Client(transport=dead, retry=AT_ONCE)

    await failure(ConnectionRefused, client.connect_async(reconnecting=True))

    assert client.session is None


async def test_attempts_that_are_counted_come_to_an_end(dead: WebsocketsTransport) -> None:
    """Where the first connection may be tried again, so often: the failure is told then."""
    tried: list[int] = []
    policy = RetryPolicy(first_delay=0.01, longest_delay=0.05, initial=True, attempts=3)
    hooks = gqlwire.Hooks(connecting=lambda attempt: tried.append(attempt.number))
    client = Client(transport=dead, retry=policy, hooks=hooks)

    await failure(ConnectionRefused, client.connect_async(reconnecting=True))

    assert [1, 2, 3, 4] == tried


async def test_a_server_that_comes_later_is_waited_for() -> None:
    """With `initial=True`, until it is there."""
    policy = RetryPolicy(first_delay=0.01, longest_delay=0.05, initial=True)
    with start_strawberry() as server:
        server.kill()
        client = client_of(server, retry=policy)
        connecting = asyncio.create_task(client.connect_async(reconnecting=True))
        await asyncio.to_thread(server.restart)
        async with asyncio.timeout(BOUND):
            session = await connecting
            assert {"hello": "Hello, world!"} == await session.execute("{ hello }")
            await client.close_async()


async def test_all_users_of_a_client_share_one_connection(strawberry: Server) -> None:
    """Nested, and at the same time; the last to leave closes it."""
    client = client_of(strawberry)

    async def ask() -> AsyncClientSession:
        async with client as session:
            assert {"hello": "Hello, world!"} == await session.execute("{ hello }")
            return session

    async with asyncio.timeout(BOUND):
        first, second = await asyncio.gather(ask(), ask())
        assert first is second
        await failure(TransportClosed, first.execute("{ hello }"))
        async with client as session:
            assert session is await ask()
            assert {"hello": "Hello, world!"} == await session.execute("{ hello }")
        await failure(TransportClosed, session.execute("{ hello }"))


# --- Mutations ------------------------------------------------------------------------------------


@PROTOCOLS
@pytest.mark.parametrize("retry_queries", [False, True])
async def test_a_mutation_is_sent_once(protocol: str, retry_queries: bool) -> None:
    """A server that hangs up as soon as it has it; each time."""
    sent: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect(START[protocol])
        sent.append(start["payload"]["query"])
        peer.abort()

    options = {"retry_queries": retry_queries, "subprotocols": [protocol]}
    async with fake(script) as server, kept(server, **options) as session:
        told = await failure(OperationInterrupted, session.execute("mutation { increment }"))
        async with asyncio.timeout(BOUND):
            await session.wait_ready()
        assert ["mutation { increment }"] == sent
        again = failure(OperationInterrupted, session.execute("mutation { increment }"))
        assert (await again).maybe_executed

    assert ["mutation { increment }"] * 2 == sent
    assert told.maybe_executed
    assert isinstance(told.__cause__, ConnectionClosed)
    assert (1006, Phase.OPEN) == (told.code, told.phase)


@PROTOCOLS
@pytest.mark.parametrize("kind", ["query", "mutation"])
async def test_repeatable_operations_are_repeated(protocol: str, kind: str) -> None:
    """A query with `retry_queries`, a mutation that is `idempotent`; the caller gets one answer."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        start = await peer.expect(START[protocol])
        assert f"{kind} {{ ticks }}" == start["payload"]["query"]
        if len(server.peers) < 3:
            peer.abort()
            return
        await peer.send_text(tick(start["id"], 7, EVENT[protocol]))
        await peer.send({"type": "complete", "id": start["id"]})

    options = {"retry_queries": kind == "query", "subprotocols": [protocol]}
    async with fake(script) as server, kept(server, **options) as session:
        asked = session.execute(f"{kind} {{ ticks }}", idempotent=kind == "mutation")
        assert {"ticks": 7} == await asyncio.wait_for(asked, BOUND)
        assert 3 == server.connections


class Relay(Proxy):
    """Carries bytes to one server; `cut` keeps its answers, and `drop` ends the connections."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._target = port
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        self._is_open.clear()

    def drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._is_open.set()

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        upstream, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, back]
        return _Held(upstream, self._is_open), back


class _Held:
    """A reader that hands out nothing until `is_open`."""

    def __init__(self, reader: asyncio.StreamReader, is_open: asyncio.Event) -> None:
        self._reader = reader
        self._is_open = is_open

    async def read(self, size: int) -> bytes:
        chunk = await self._reader.read(size)
        await self._is_open.wait()
        return chunk


@pytest.mark.parametrize("server", ["strawberry", "node_graphql_ws", "node_apollo"])
async def test_a_mutation_that_a_real_server_has_run_is_not_run_again(
    server: str, request: pytest.FixtureRequest
) -> None:
    """The answer is lost with the connection; who asked is told that it may have been run."""
    real: Server = request.getfixturevalue(server)
    async with gqlwire.connect(real.url) as observer, Relay(real.port) as relay:

        async def counted() -> int:
            answer = await observer.execute("{ counter }")
            return int(answer["counter"])

        before = await counted()
        url = f"ws://127.0.0.1:{relay.port}/graphql"
        async with gqlwire.connect(url, retry=AT_ONCE, proxy=None) as session:
            relay.cut()
            mutation = asyncio.create_task(session.execute("mutation { increment }"))
            async with asyncio.timeout(BOUND):
                while await counted() == before:
                    await asyncio.sleep(0)
            relay.drop()
            told = await failure(OperationInterrupted, mutation)
            async with asyncio.timeout(BOUND):
                await session.wait_ready()
            await session.execute("{ hello }")

            assert before + 1 == await counted()
            assert told.maybe_executed
            assert isinstance(told.__cause__, TransportConnectionFailed)
