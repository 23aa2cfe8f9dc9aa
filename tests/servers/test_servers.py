"""The servers of the other tests, through a plain websockets client: gqlwire has no part in it."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    build_client_schema,
    build_schema,
    get_introspection_query,
    introspection_from_schema,
    lexicographic_sort_schema,
    print_schema,
)
from websockets.exceptions import ConnectionClosed, InvalidMessage

from servers import launch
from servers.certificates import Certificates, client_context
from servers.launch import (
    Server,
    start_node_apollo,
    start_node_graphql_ws,
    start_strawberry,
)
from servers.plain import LEGACY, MODERN, Talk, dial, talk
from servers.scripted import Message

STARTERS: dict[str, Callable[..., Server]] = {
    "strawberry": start_strawberry,
    "graphql-ws": start_node_graphql_ws,
    "apollo": start_node_apollo,
}
pytestmark = pytest.mark.long

PAIRS = [
    ("strawberry", MODERN),
    ("strawberry", LEGACY),
    ("graphql-ws", MODERN),
    ("apollo", LEGACY),
]
ANSWERING = [pair for pair in PAIRS if pair != ("strawberry", LEGACY)]


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[..., Server]]:
    """Each with its flags started once, as that takes longer than any test."""
    running: dict[tuple[Any, ...], Server] = {}

    def server(name: str, **flags: Any) -> Server:
        key = name, *flags.items()
        if key not in running:
            running[key] = STARTERS[name](**flags)
        return running[key]

    yield server
    for started in running.values():
        started.close()


Servers = Callable[..., Server]


# What every server does


@pytest.mark.parametrize(("name", "protocol"), ANSWERING)
async def test_schema_is_the_common_one(servers: Servers, name: str, protocol: str) -> None:
    """Each server describes itself as the common schema file does."""
    file = Path(launch.__file__).with_name("schema.graphql")
    common = introspection_from_schema(build_schema(file.read_text()), descriptions=False)

    async with talk(servers(name), protocol) as client:
        answer = await client.execute(get_introspection_query(descriptions=False))

    printed = [
        print_schema(lexicographic_sort_schema(build_client_schema(introspection)))
        for introspection in (common, answer["data"])
    ]
    assert printed[0] == printed[1]


@pytest.mark.parametrize(("name", "protocol"), ANSWERING)
@pytest.mark.parametrize(
    ("query", "data"),
    [
        ("{ hello }", {"hello": "Hello, world!"}),
        ('{ hello(name: "you") }', {"hello": "Hello, you!"}),
        ("{ hello(name: null) }", {"hello": "Hello, world!"}),
        ("{ echoInt(value: -3) }", {"echoInt": -3}),
        ('{ echoString(value: "é\\n") }', {"echoString": "é\n"}),
        ("{ slow(ms: 1) }", {"slow": "done"}),
        ("{ nothing }", {"nothing": None}),
        ("{ large(bytes: 300000) }", {"large": "x" * 300_000}),
        ('{ header(name: "x-TEST") }', {"header": "here"}),
        ('{ header(name: "absent") }', {"header": None}),
        ("{ initPayload }", {"initPayload": '{"a":[1,"é"]}'}),
    ],
)
async def test_query(servers: Servers, name: str, protocol: str, query: str, data: Message) -> None:
    """Each query of the schema gives the same data on each server."""
    headers = {"X-Test": "here"}
    init = {"a": [1, "é"]}
    async with talk(servers(name), protocol, init, additional_headers=headers) as client:
        assert {"data": data} == await client.execute(query)


@pytest.mark.parametrize(("name", "protocol"), ANSWERING)
async def test_absent_init_payload(servers: Servers, name: str, protocol: str) -> None:
    """A connection_init without payload is told from one with an empty payload."""
    async with talk(servers(name), protocol) as client:
        assert {"initPayload": None} == (await client.execute("{ initPayload }"))["data"]
    async with talk(servers(name), protocol, {}) as client:
        assert {"initPayload": "{}"} == (await client.execute("{ initPayload }"))["data"]


@pytest.mark.parametrize(("name", "protocol"), ANSWERING)
async def test_field_error(servers: Servers, name: str, protocol: str) -> None:
    """A field that raises gives data with null and the message."""
    async with talk(servers(name), protocol) as client:
        answer = await client.execute('{ fail(message: "no luck") }')
    assert {"fail": None} == answer["data"]
    assert [("no luck", ["fail"])] == [(e["message"], e["path"]) for e in answer["errors"]]


@pytest.mark.parametrize(("name", "protocol"), ANSWERING)
async def test_mutation(servers: Servers, name: str, protocol: str) -> None:
    """The counter of a server is shared by its connections."""
    async with talk(servers(name), protocol) as first, talk(servers(name), protocol) as second:
        before = (await first.execute("{ counter }"))["data"]["counter"]
        await first.execute("mutation { increment }")
        answer = await second.execute("mutation ($by: Int) { increment(by: $by) }", {"by": 10})
    assert {"data": {"increment": before + 11}} == answer


@pytest.mark.parametrize("name", STARTERS)
async def test_record(servers: Servers, name: str) -> None:
    """A server counts how often it was given each key."""
    server = servers(name)
    async with talk(server, server.protocols[0]) as client:
        for count in (1, 2):
            answer = await client.execute('mutation { record(key: "twice") }')
            assert {"data": {"record": count}} == answer
        await client.execute('mutation { record(key: "once") }')
        answer = await client.execute('{ recorded(keys: ["once", "never", "twice"]) }')
    assert {"data": {"recorded": [1, 0, 2]}} == answer


@pytest.mark.parametrize("name", STARTERS)
async def test_sockets(servers: Servers, name: str) -> None:
    """A server counts its connections: a client that leaves is one less."""
    server = servers(name)
    async with talk(server, server.protocols[0]) as watcher:
        await watcher.until("{ sockets }", 1)
        async with talk(server, server.protocols[-1]):
            await watcher.until("{ sockets }", 2)
        await watcher.until("{ sockets }", 1)


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_countdown(servers: Servers, name: str, protocol: str) -> None:
    """A finite subscription gives its events in order, then completes."""
    async with talk(servers(name), protocol) as client:
        await client.start("subscription ($from: Int!) { countdown(from: $from) }", {"from": 3})
        expected = [{"data": {"countdown": number}} for number in (3, 2, 1, 0)]
        assert expected == await client.rest()


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_ticks(servers: Servers, name: str, protocol: str) -> None:
    """Ticks carry their number and a pad of the size that was asked for."""
    async with talk(servers(name), protocol) as client:
        await client.start("subscription { ticks(count: 3, size: 2) { seq pad } }")
        expected = [{"data": {"ticks": {"seq": seq, "pad": "xx"}}} for seq in range(3)]
        assert expected == await client.rest()


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_feed_after(servers: Servers, name: str, protocol: str) -> None:
    """What is past comes at once, what is to come when it is due, and `until` is the last."""
    feed = "subscription ($since: Float!) { feed(since: $since, intervalMs: 20, %s) { seq } }"
    due = time.time()
    async with talk(servers(name), protocol) as client:
        await client.start(feed % "after: 2, until: 7", {"since": due - 0.1})
        events = await client.rest()
    assert [3, 4, 5, 6, 7] == [event["data"]["feed"]["seq"] for event in events]
    assert time.time() >= due - 0.1 + 7 * 0.02


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_feed_from_now(servers: Servers, name: str, protocol: str) -> None:
    """Without `after`, what is past is missed."""
    async with talk(servers(name), protocol) as client:
        feed = "subscription ($since: Float!) { feed(since: $since, intervalMs: 1000) { seq } }"
        since = time.time() - 100.5
        await client.start(feed, {"since": since})
        event = await client.event()
        assert 100 < event["data"]["feed"]["seq"] <= time.time() - since


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_flaky(servers: Servers, name: str, protocol: str) -> None:
    """An event with errors carries its data too, and the stream goes on."""
    async with talk(servers(name), protocol) as client:
        await client.start("subscription { flaky(count: 3) { seq value } }")
        events = await client.rest()
    values = [event["data"]["flaky"] for event in events]
    errors = [[error["message"] for error in event.get("errors", [])] for event in events]
    expected = [{"seq": 0, "value": "v0"}, {"seq": 1, "value": None}, {"seq": 2, "value": "v2"}]
    assert expected == values
    assert [[], ["flaky 1"], []] == errors


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_messages(servers: Servers, name: str, protocol: str) -> None:
    """What one connection publishes reaches the subscriber on another; none is left at the end."""
    publish = 'mutation { publish(topic: "error", message: "hey") }'
    server = servers(name)
    async with talk(server, server.protocols[0]) as speaker:
        async with talk(server, protocol) as listener:
            await listener.start('subscription { messages(topic: "error") }')
            await speaker.until(publish, 1)
            assert {"data": {"messages": "hey"}} == await listener.event()
        await speaker.until(publish, 0)


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
@pytest.mark.parametrize(
    "field",
    [
        "ticks(count: -1, intervalMs: 0)",
        "ticks(count: -1, intervalMs: 3600000)",
        "feed(since: 0, intervalMs: 1, after: 0)",
        "feed(since: 0, intervalMs: 2000000000, after: 0)",
    ],
    ids=["busy", "waiting", "busy feed", "waiting feed"],
)
@pytest.mark.parametrize("how", ["stop", "leave"])
async def test_stop_ends_the_resolver(
    servers: Servers, name: str, protocol: str, field: str, how: str
) -> None:
    """A stopped or abandoned endless subscription ends on the server, busy or waiting."""
    server = servers(name)
    query = f"subscription {{ {field} {{ seq }} }}"
    async with talk(server, server.protocols[0]) as watcher:
        stopped = (await watcher.execute("{ stopped }"))["data"]["stopped"]
        async with talk(server, protocol) as client:
            await client.start(query)
            await client.event()
            await watcher.until("{ active }", 1)
            if how == "stop":
                await client.stop()
                await watcher.until("{ active }", 0)
        await watcher.until("{ active }", 0)
        await watcher.until("{ stopped }", stopped + 1)


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_stop_in_one_go_with_start(servers: Servers, name: str, protocol: str) -> None:
    """What is stopped before it could begin does not run."""
    server = servers(name)
    async with talk(server, server.protocols[0]) as watcher, talk(server, protocol) as client:
        for number in range(20):
            await client.start("subscription { ticks(count: -1) { seq } }", id=f"{number}")
            await client.stop(f"{number}")
        await client.start("subscription { countdown(from: 0) }", id="last")
        while (await client.receive())["id"] != "last":
            pass
        await watcher.until("{ active }", 0)


# What is each server's own


async def test_strawberry_legacy_refuses_queries(servers: Servers) -> None:
    """Strawberry answers a query on the legacy protocol with an error."""
    async with talk(servers("strawberry"), LEGACY) as client:
        await client.start("{ hello }")
        message = await client.receive()
    expected = {"type": "error", "id": "1", "payload": {"message": "queries are not allowed"}}
    assert expected == message


@pytest.mark.parametrize(
    ("name", "protocol", "types"),
    [
        ("strawberry", MODERN, ["next", "complete"]),
        ("strawberry", LEGACY, ["data", "complete"]),
        ("graphql-ws", MODERN, ["error"]),
        ("apollo", LEGACY, ["error"]),
    ],
)
async def test_explode(servers: Servers, name: str, protocol: str, types: list[str]) -> None:
    """A source that raises after its first event: each server has its own way to say so."""
    async with talk(servers(name), protocol) as client:
        await client.start("subscription { explode }")
        assert {"data": {"explode": 1}} == await client.event()
        received = [await client.receive() for _ in types]
    assert types == [message["type"] for message in received]
    assert "exploded" in json.dumps(received[0])


@pytest.mark.parametrize(
    ("name", "offered", "answer"),
    [
        ("strawberry", [MODERN, LEGACY], MODERN),
        ("strawberry", [LEGACY, MODERN], LEGACY),
        ("graphql-ws", [LEGACY, MODERN], MODERN),
        ("apollo", [LEGACY, MODERN], LEGACY),
    ],
)
async def test_negotiation(servers: Servers, name: str, offered: list[str], answer: str) -> None:
    """What each server picks when the client offers both protocols."""
    async with dial(servers(name).url, offered) as socket:
        assert answer == socket.subprotocol


async def test_apollo_echoes_a_protocol_that_it_does_not_speak(servers: Servers) -> None:
    """Apollo's server answers with the first offer even if unknown, then closes with 1002."""
    async with dial(servers("apollo").url, [MODERN, LEGACY]) as socket:
        assert MODERN == socket.subprotocol
        await socket.wait_closed()
    assert 1002 == socket.close_code


@pytest.mark.parametrize("protocol", [MODERN, LEGACY])
async def test_strawberry_with_one_protocol(protocol: str) -> None:
    """Strawberry can be told to speak one protocol only."""
    with start_strawberry(protocols=[protocol]) as server:
        assert (protocol,) == server.protocols
        async with dial(server.url) as socket:
            assert protocol == socket.subprotocol


# What the flags do


async def first_words(server: Server, protocol: str, init: Message, **options: Any) -> Any:
    """The type of the answer to init, or the close code and reason."""
    async with dial(server.url, [protocol], **options) as socket:
        await socket.send(json.dumps({"type": "connection_init", "payload": init}))
        try:
            message = json.loads(await socket.recv())
        except ConnectionClosed:
            return socket.close_code, socket.close_reason
        if message["type"] != "connection_error":
            return message["type"]
        await socket.wait_closed()
        return message["payload"], socket.close_code


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_token(servers: Servers, name: str, protocol: str) -> None:
    """The token is taken from the init payload or the header; without it init is rejected."""
    refusal = (4403, "Forbidden") if protocol == MODERN else ({"message": "Forbidden"}, 1011)
    header = {"Authorization": "Bearer secret"}
    server = servers(name, token="secret")
    assert "connection_ack" == await first_words(server, protocol, {"token": "secret"})
    granted = await first_words(server, protocol, {}, additional_headers=header)
    assert "connection_ack" == granted
    assert refusal == await first_words(server, protocol, {})
    assert refusal == await first_words(server, protocol, {"token": "guess"})


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_tokens_expire(name: str, protocol: str) -> None:
    """A stale token is refused, and a connection is closed when its token expires."""
    refusal = (4403, "Forbidden") if protocol == MODERN else ({"message": "Forbidden"}, 1011)
    with STARTERS[name](tokens_expire=True) as server:
        for token in (None, "guess", time.time() - 0.1):
            assert refusal == await first_words(server, protocol, {"token": token})
        assert refusal == await first_words(server, protocol, {})
        for seconds in (0.2, 2, 20):  # until it is long enough to be taken on a busy machine
            end = time.time() + seconds
            async with dial(server.url, [protocol]) as socket:
                init = {"type": "connection_init", "payload": {"token": end}}
                await socket.send(json.dumps(init))
                await socket.wait_closed()
            if socket.close_code not in (4403, 1011):
                break
        assert (4401, "Token expired") == (socket.close_code, socket.close_reason)
        # A timer of Node's may ring a millisecond early.
        assert time.time() >= end - 0.002


@pytest.mark.parametrize("name", STARTERS)
async def test_ledger(name: str, tmp_path: Path) -> None:
    """With a ledger, what is recorded outlives SIGKILL."""
    with STARTERS[name](ledger=tmp_path / "ledger") as server:
        for count in (1, 2):
            async with talk(server, server.protocols[0]) as client:
                answer = await client.execute('mutation { record(key: "é") }')
                assert {"data": {"record": count}} == answer
                server.kill()
            server.restart()


@pytest.mark.parametrize("name", ["strawberry", "apollo"])
async def test_keep_alive_messages(name: str) -> None:
    """With keep_alive_ms the legacy servers send ka, again and again."""
    with STARTERS[name](keep_alive_ms=20) as server:
        async with talk(server, LEGACY) as client:
            for _ in range(3):
                assert {"type": "ka"} == json.loads(await client.socket.recv())


@pytest.mark.parametrize("name", ["strawberry", "graphql-ws"])
async def test_init_timeout(name: str) -> None:
    """A client that never sends connection_init is closed with 4408."""
    with STARTERS[name](init_timeout_ms=50) as server:
        async with dial(server.url, [MODERN]) as socket:
            await socket.wait_closed()
    assert 4408 == socket.close_code


def extensions(client: Talk) -> str:
    assert client.socket.response is not None
    return client.socket.response.headers.get("Sec-WebSocket-Extensions", "")


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_deflate(name: str, protocol: str, servers: Servers) -> None:
    """permessage-deflate is negotiated with the flag, and only with it."""
    deflating = servers(name, deflate=True)
    async with talk(deflating, protocol, compression="deflate") as client:
        assert extensions(client).startswith("permessage-deflate")
        await client.start("subscription { ticks(count: 1, size: 5000) { pad } }")
        assert [{"data": {"ticks": {"pad": "x" * 5000}}}] == await client.rest()
    async with talk(servers(name), protocol, compression="deflate") as client:
        assert "" == extensions(client)


@pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto"])
async def test_uvicorn_implementations(ws: str) -> None:
    """Strawberry runs on the WebSocket implementations of uvicorn."""
    if ws == "wsproto":
        pytest.importorskip("wsproto")
    with start_strawberry(ws=ws) as server:
        async with talk(server, MODERN) as client:
            assert {"data": {"hello": "Hello, world!"}} == await client.execute("{ hello }")


@pytest.mark.parametrize(("name", "protocol"), PAIRS)
async def test_tls_with_client_certificate(
    servers: Servers, name: str, protocol: str, certificates: Certificates
) -> None:
    """A server with client_ca serves who shows a certificate of that authority, and no one else."""
    tls = {"cert": certificates.server.cert, "key": certificates.server.key}
    server = servers(name, **tls, client_ca=certificates.ca)
    assert server.url.startswith("wss://")
    trusted = client_context(certificates.ca, certificates.client)
    async with talk(server, protocol, ssl=trusted) as client:
        await client.start("subscription { countdown(from: 0) }")
        assert [{"data": {"countdown": 0}}] == await client.rest()
    for pair in (None, certificates.other_client):
        # In TLS 1.3 the refusal comes after the client's side of the handshake is done.
        with pytest.raises((ssl.SSLError, ConnectionError, InvalidMessage)):
            async with talk(server, protocol, ssl=client_context(certificates.ca, pair)):
                pass


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("other_ca", "unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
        ("wrong_host", "not valid for '127\\.0\\.0\\.1'"),
    ],
)
async def test_bad_certificates(which: str, message: str, certificates: Certificates) -> None:
    """Each bad certificate is refused by a client for the reason it was made for."""
    pair, ca = certificates.server, certificates.ca
    if which == "other_ca":
        ca = certificates.other_ca
    else:
        pair = getattr(certificates, which)

    with (
        start_strawberry(cert=pair.cert, key=pair.key) as server,
        pytest.raises(ssl.SSLCertVerificationError, match=message),
    ):
        await dial(server.url, ssl=client_context(ca))
