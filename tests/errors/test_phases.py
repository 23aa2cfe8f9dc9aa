"""How a connection ends at each of its phases, and who is told; and what does not end it."""

import asyncio
import json
import socket
from typing import Any

import pytest

from conftest import NEWER, OLDER
from gqlwire._protocols import GraphQLTransportWS
from gqlwire.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectionRejected,
    Phase,
    TransportConnectionFailed,
    TransportProtocolError,
    TransportServerError,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.certificates import Certificates, client_context, server_context
from servers.fake import Peer, RawPeer, Refusal, fake, raw_fake
from support import BOUND, QUERY, TICKS, connected, failure, leaves_nothing, message, tick

tidy = pytest.fixture(autouse=True)(leaves_nothing)

START = {NEWER: "subscribe", OLDER: "start"}
EVENT = {NEWER: "next", OLDER: "data"}
PROTOCOLS = pytest.mark.parametrize("protocol", [NEWER, OLDER])

MEANINGS = {
    1000: "normal closure",
    1001: "the server is going away",
    1002: "protocol error; often: subprotocol not acceptable",
    1011: "internal server error",
    1012: "the server is restarting",
    4400: "bad request: a message was invalid, or connection_init was refused",
    4401: "unauthorized: the credentials are missing, wrong or expired",
    4403: "forbidden: the server refused the credentials",
    4406: "subprotocol not acceptable",
    4408: "connection_init arrived too late",
    4429: "too many requests or connections",
    4500: "internal server error",
}
EARLY = {
    4408: "gqlwire had sent connection_init immediately; the server may have refused it",
    4500: "the server failed to check connection_init",
}
CODES = pytest.mark.parametrize("code", [*MEANINGS, 1006])


def host_of(server: Any) -> str:
    return f"127.0.0.1:{server.port}"


async def hang_up(peer: RawPeer, code: int) -> None:
    """With a close frame, or for 1006 without one."""
    if code == 1006:
        peer.abort()
    else:
        await peer.close(code, "so there")


def check_end(told: ConnectionClosed, host: str, phase: Phase, code: int) -> None:
    when = " before it acknowledged connection_init" if phase is Phase.INIT else ""
    reason = "" if code == 1006 else "so there"
    assert (host, phase, code, reason) == (told.host, told.phase, told.code, told.reason)
    assert told.status is None
    if code == 1006:
        sentence = f"the connection to {host} was lost{when}: no close frame arrived (1006)"
    else:
        meanings = {**MEANINGS, **EARLY} if phase is Phase.INIT else MEANINGS
        sentence = f"{host} closed the connection{when}: {code} so there ({meanings[code]})"
    assert sentence == str(told)


# --- The server hangs up -------------------------------------------------------------------------


@PROTOCOLS
@CODES
async def test_a_server_that_hangs_up_before_its_acknowledgement(protocol: str, code: int) -> None:
    """connect() raises its code and words, and the meaning of the code."""

    async def script(peer: RawPeer) -> None:
        await peer.expect("connection_init")
        await hang_up(peer, code)

    async with raw_fake(script) as server:
        transport = WebsocketsTransport(server.url, subprotocols=[protocol])
        told = await failure(ConnectionClosed, transport.connect())

    check_end(told, host_of(server), Phase.INIT, code)
    assert Phase.CLOSED is transport.phase
    assert 1 == server.connections


@PROTOCOLS
@CODES
async def test_a_server_that_hangs_up_later(protocol: str, code: int) -> None:
    """All that waits gets the reason at once, each its own copy; what comes later gets it, too."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        starts = [await peer.expect(START[protocol]) for _ in range(5)]
        await peer.send_text(tick(starts[4]["id"], 1, EVENT[protocol]))
        await hang_up(peer, code)

    async with raw_fake(script) as server, connected(server, subprotocols=[protocol]) as transport:
        queries = [transport.execute(QUERY), transport.execute(QUERY)]
        streams = [transport.subscribe(TICKS) for _ in range(3)]
        steps = [*map(anext, streams[:2]), steps_of(streams[2], 2)]
        waiters = [transport.wait_closed(), transport.wait_closed()]
        async with asyncio.timeout(BOUND):
            *told, _, _ = await asyncio.gather(
                *(failure(ConnectionClosed, each) for each in [*queries, *steps]), *waiters
            )
        told.append(await failure(ConnectionClosed, transport.execute(QUERY)))
        told.append(await failure(ConnectionClosed, anext(transport.subscribe(TICKS))))
        told.append(await failure(ConnectionClosed, transport.send_ping()))
        told.append(await failure(ConnectionClosed, transport.send_pong()))

        assert 9 == len({id(each) for each in told})
        for each in told:
            check_end(each, host_of(server), Phase.OPEN, code)
        for stream in streams:
            await failure(StopAsyncIteration, anext(stream))


async def steps_of(stream: Any, count: int) -> None:
    for _ in range(count):
        await anext(stream)


async def test_each_way_to_be_refused_reads_differently(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each names the host, and no two say the same of it."""
    sentences = []

    async def refused_by(server: Any, **options: Any) -> None:
        async with server:
            transport = WebsocketsTransport(server.url, **options)
            told = await failure_of_connect(transport)
            assert host_of(server) == told.host
            sentences.append(str(told).replace(told.host, "HOST"))

    for code in [4401, 4403, 4429]:
        await refused_by(raw_fake(lambda peer, code=code: peer.close(code)))
    for status in [401, 403, 429]:
        await refused_by(fake(Peer.ack, refuse=Refusal(status)))
    await refused_by(raw_fake(lambda peer: peer.send(error_message("no"))))
    expired = fake(Peer.ack, ssl=server_context(certificates.expired))
    await refused_by(expired, ssl=client_context(certificates.ca))
    told = await failure_of_connect(WebsocketsTransport(expired.url))
    sentences.append(str(told).replace(told.host, "HOST"))

    async def getaddrinfo(*args: Any, **options: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    told = await failure_of_connect(WebsocketsTransport("ws://nonexistent.invalid/"))
    sentences.append(str(told).replace("nonexistent.invalid:80", "HOST"))

    assert all("HOST" in sentence for sentence in sentences)
    assert len(sentences) == len(set(sentences)) == 10, sentences


async def failure_of_connect(transport: WebsocketsTransport) -> TransportConnectionFailed:
    with pytest.raises(TransportConnectionFailed) as caught:
        async with asyncio.timeout(BOUND):
            await transport.connect()
    return caught.value


# --- connection_error, and the acknowledgement ---------------------------------------------------


def error_message(payload: Any) -> dict[str, Any]:
    return {"type": "connection_error", "payload": payload}


@PROTOCOLS
@pytest.mark.parametrize(
    ("fields", "said", "payload"),
    [
        ({"payload": {"message": "no"}}, '{"message": "no"}', {"message": "no"}),
        ({"payload": "no"}, '"no"', "no"),
        ({"payload": ["no"]}, '["no"]', ["no"]),
        ({"payload": None}, "null", None),
        ({}, "(it gave no reason)", None),
    ],
)
async def test_a_connection_error_instead_of_an_acknowledgement(
    protocol: str, fields: dict[str, Any], said: str, payload: Any
) -> None:
    """Is a refusal that keeps its payload; that the server hangs up afterwards changes nothing."""

    async def script(peer: RawPeer) -> None:
        await peer.expect("connection_init")
        await peer.send({"type": "connection_error", **fields})
        await peer.close(1011, "refused")

    async with raw_fake(script) as server:
        transport = WebsocketsTransport(server.url, subprotocols=[protocol])
        told = await failure(ConnectionRejected, transport.connect())

    assert isinstance(told, TransportServerError)
    assert (host_of(server), Phase.INIT, payload) == (told.host, told.phase, told.payload)
    assert (None, None, "") == (told.code, told.status, told.reason)
    assert f"{told.host} refused connection_init: {said}" == str(told)
    assert payload == transport.payloads["connection_error"]
    assert 1 == server.connections


@PROTOCOLS
async def test_a_server_that_never_acknowledges(protocol: str) -> None:
    """`ack_timeout`, whatever else it says meanwhile; it is not left connected."""
    ended = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.expect("connection_init")
        await peer.send({"type": "ka" if protocol == OLDER else "ping"})
        await peer.send({"type": EVENT[protocol], "id": "1", "payload": {"data": None}})
        await peer.closed()
        ended.set()

    async with raw_fake(script) as server:
        transport = WebsocketsTransport(server.url, subprotocols=[protocol], ack_timeout=0.1)
        started = asyncio.get_running_loop().time()
        told = await failure(AckTimeout, transport.connect())
        assert 0.09 < asyncio.get_running_loop().time() - started < 1
        await asyncio.wait_for(ended.wait(), BOUND)

    assert (host_of(server), Phase.INIT, 0.1) == (told.host, told.phase, told.limit)
    assert isinstance(told, TimeoutError)
    stray = {"type": EVENT[protocol], "id": "1", "payload": {"data": None}}
    assert (
        f"{told.host} did not acknowledge connection_init within 0.1 seconds (ack_timeout); "
        f"before that, it sent {json.dumps(stray)}"
    ) == str(told)


@PROTOCOLS
async def test_an_acknowledgement_may_come_early_and_twice(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Before `connection_init` was read, and again: that is logged once, and nothing else."""

    async def script(peer: RawPeer) -> None:
        for n in range(3):
            await peer.send_text(message("connection_ack", payload={"n": n}))
        await peer.expect("connection_init")
        start = await peer.expect(START[protocol])
        await peer.send_text(tick(start["id"], "fine", EVENT[protocol]))

    async with raw_fake(script) as server, connected(server, subprotocols=[protocol]) as transport:
        assert {"ticks": "fine"} == (await transport.execute(QUERY)).data
        assert {"n": 0} == transport.payloads["connection_ack"]

    assert ["connection_ack"] == [
        record.args[1] for record in caplog.records if record.name == "gqlwire"
    ]


@PROTOCOLS
async def test_a_connection_error_later_on_only_reports(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection goes on; but if it then ends, the error tells of it."""

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        start = await peer.expect(START[protocol])
        await peer.send(error_message({"message": "I could not read that"}))
        await peer.send_text(tick(start["id"], "fine", EVENT[protocol]))
        await peer.expect(START[protocol])
        await peer.close(1011, "enough")

    async with raw_fake(script) as server, connected(server, subprotocols=[protocol]) as transport:
        assert {"ticks": "fine"} == (await transport.execute(QUERY)).data
        told = await failure(ConnectionClosed, transport.execute(QUERY))

    complaint = '{"message": "I could not read that"}'
    assert (
        f"{told.host} closed the connection: 1011 enough (internal server error); "
        f"before that, it sent connection_error: {complaint}"
    ) == str(told)
    assert [f"{told.host} sent connection_error: {complaint}"] == caplog.messages


# --- What ends it from within --------------------------------------------------------------------


async def test_a_fault_of_our_own_reader_ends_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, as an error that says whose fault it is and has it as its cause; 1011 goes out."""
    fault = ZeroDivisionError("ours")

    def receive(*args: Any) -> None:
        raise fault

    left = asyncio.get_running_loop().create_future()

    async def script(peer: RawPeer) -> None:
        await peer.ack()
        ids = [(await peer.expect("subscribe"))["id"] for _ in range(2)]
        monkeypatch.setattr(GraphQLTransportWS, "receive", receive)
        await peer.send_text(tick(ids[0], 1))
        left.set_result(await peer.closed())

    async with raw_fake(script) as server, connected(server) as transport:
        async with asyncio.timeout(BOUND):
            *told, _ = await asyncio.gather(
                failure(TransportConnectionFailed, transport.execute(QUERY)),
                failure(TransportConnectionFailed, anext(transport.subscribe(TICKS))),
                transport.wait_closed(),
            )
            assert (1011, "") == await left

    for each in told:
        assert each.__cause__ is fault
        assert (host_of(server), Phase.OPEN, 1011) == (each.host, each.phase, each.code)
        assert (
            f"an error in gqlwire's own reader ended the connection to {each.host}: "
            f"ZeroDivisionError('ours')"
        ) == str(each)


@PROTOCOLS
@pytest.mark.parametrize("phase", [Phase.INIT, Phase.OPEN])
@pytest.mark.parametrize("text", ["", "so what", "[]", "null", "7", '{"type":"next"', "x" * 999])
async def test_text_that_is_not_an_object_ends_the_connection(
    protocol: str, phase: Phase, text: str
) -> None:
    """The error shows how it began; we close with 1002."""
    left = asyncio.get_running_loop().create_future()

    async def script(peer: RawPeer) -> None:
        if phase is Phase.OPEN:
            await peer.ack()
            await peer.expect(START[protocol])
        await peer.send_text(text)
        left.set_result(await peer.closed())

    async def use(transport: WebsocketsTransport) -> None:
        await transport.connect()
        await transport.execute(QUERY)

    async with raw_fake(script) as server:
        transport = WebsocketsTransport(server.url, subprotocols=[protocol])
        told = await failure(TransportProtocolError, use(transport))
        assert (1002, "") == await asyncio.wait_for(left, BOUND)
        await transport.close()

    assert str(told).startswith("the server sent a message that is not ")
    assert repr(text[:120]) in str(told)
    assert len(str(told)) < 250
