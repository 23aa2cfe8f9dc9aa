"""One live connection over a wire in memory: opening."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from doubles import on_virtual_time, pass_time, settle
from gqlwire._connection.connection import Connection
from gqlwire._connection.telemetry import Signals
from gqlwire._protocols import Apollo, GraphQLTransportWS, Setup
from gqlwire.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectionRejected,
    Phase,
    TransportProtocolError,
)
from spelling import NEWER, Spelling, both, says

if TYPE_CHECKING:
    pass
from connecting import ACK, HOST, KA, acked, hear, now, opened


@both
@pytest.mark.parametrize("payload", [None, {}, {"token": "t"}])
@on_virtual_time
async def test_init_goes_out_as_soon_as_the_socket_is_open(
    spelling: Spelling, payload: dict[str, str] | None
) -> None:
    """Servers close with 4408 if it is late."""
    connection, wire = opened(spelling.make(Setup(init_payload=payload)))

    usual = None if spelling is NEWER else {}
    payload = usual if payload is None else payload
    rest = {} if payload is None else {"payload": payload}
    assert [{"type": "connection_init", **rest}] == wire.said
    assert Phase.INIT is connection.phase


@both
@on_virtual_time
async def test_before_the_socket_is_open_it_is_in_the_handshake(spelling: Spelling) -> None:
    """And knows its protocol by then."""
    connection = Connection(spelling.make(), host=HOST)

    assert Phase.HANDSHAKE is connection.phase
    assert spelling.make().name == connection.subprotocol


@both
@pytest.mark.parametrize("payload", [{"server": 1}, None, "hello"])
@on_virtual_time
async def test_the_acknowledgement_opens_it_and_its_payload_is_kept(
    spelling: Spelling, payload: Any
) -> None:
    """In both protocols, null included; who waits for it goes on at once."""
    signals = Signals()
    connection, _ = opened(spelling.make(), signals=signals)
    waiting = asyncio.ensure_future(connection.acknowledged(10.0))
    await settle()
    before = now()

    hear(connection, says("connection_ack", payload=payload))
    await waiting

    assert before == now()
    assert Phase.OPEN is connection.phase
    assert {"connection_ack": payload} == signals.payloads
    await connection.acknowledged(10.0)


@on_virtual_time
async def test_without_an_acknowledgement_in_time_it_ends() -> None:
    """The error names the limit, the host and the phase, and is a TimeoutError."""
    connection, wire = opened(GraphQLTransportWS())
    begun = now()

    with pytest.raises(AckTimeout, match=r"did not acknowledge .* within 2.5 seconds") as caught:
        await connection.acknowledged(2.5)

    assert 2.5 == pytest.approx(now() - begun)
    failure = caught.value
    assert (2.5, HOST, Phase.INIT) == (failure.limit, failure.host, failure.phase)
    assert isinstance(failure, TimeoutError)
    assert "close" in wire.asked


@on_virtual_time
async def test_without_a_limit_the_acknowledgement_is_waited_for() -> None:
    """For days, if need be."""
    connection, _ = opened(GraphQLTransportWS())
    waiting = asyncio.ensure_future(connection.acknowledged(None))
    await pass_time(86_400.0)
    assert not waiting.done()

    hear(connection, ACK)
    await waiting


@on_virtual_time
async def test_cancelling_the_wait_for_the_acknowledgement_keeps_the_connection() -> None:
    """Another task may wait for it."""
    connection, _ = opened(GraphQLTransportWS())
    waiting = asyncio.ensure_future(connection.acknowledged(10.0))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    hear(connection, ACK)
    await connection.acknowledged(10.0)


@both
@pytest.mark.parametrize(
    ("rest", "payload", "words"),
    [
        ({"payload": "4400: bad token"}, "4400: bad token", '"4400: bad token"'),
        ({"payload": {"message": "no"}}, {"message": "no"}, '{"message": "no"}'),
        ({"payload": None}, None, "null"),
        ({}, None, "it gave no reason"),
        ({"id": None, "payload": ["no"]}, ["no"], '["no"]'),
    ],
    ids=["string", "object", "null", "nothing", "id null"],
)
@on_virtual_time
async def test_a_connection_error_instead_of_the_acknowledgement_is_a_refusal(
    spelling: Spelling, rest: dict[str, Any], payload: Any, words: str
) -> None:
    """Its payload is kept, whatever it is."""
    signals = Signals()
    connection, wire = opened(spelling.make(), signals=signals)
    waiting = asyncio.ensure_future(connection.acknowledged(10.0))
    await settle()

    hear(connection, says("connection_error", **rest))

    with pytest.raises(ConnectionRejected) as caught:
        await waiting
    assert payload == caught.value.payload
    assert words in str(caught.value)
    assert HOST in str(caught.value)
    assert (HOST, Phase.INIT) == (caught.value.host, caught.value.phase)
    assert payload == signals.payloads["connection_error"]
    assert ["close"] == wire.asked


@both
@on_virtual_time
async def test_an_error_without_an_id_instead_of_the_acknowledgement_is_a_refusal(
    spelling: Spelling,
) -> None:
    """AppSync says it so."""
    connection, _ = opened(spelling.make())
    hear(connection, says("error", payload={"errors": [{"errorType": "Unauthorized"}]}))

    with pytest.raises(ConnectionRejected, match="Unauthorized"):
        await connection.acknowledged(10.0)


@on_virtual_time
async def test_a_refusal_is_the_reason_though_a_close_frame_follows() -> None:
    """The reference server of Apollo's protocol closes with 1011 a moment later."""
    connection, _ = opened(Apollo())
    hear(connection, says("connection_error", payload={"message": "no"}))
    connection.closed(1011, "")

    with pytest.raises(ConnectionRejected):
        await connection.acknowledged(10.0)


@both
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (4400, '{"server_error_msg":"4400: Connection initialization failed: no"}'),
        (1000, '{"server_error_msg":"4400: Connection initialization fai'),
        (4401, ""),
        (4403, "Invalid token"),
        (4429, "Too many open connections"),
        (1006, ""),
    ],
)
@on_virtual_time
async def test_a_close_before_the_acknowledgement_raises_its_code_and_reason(
    spelling: Spelling, code: int, reason: str
) -> None:
    """Hasura refuses an init with 1000 and JSON that is cut off; Tibber with 4403."""
    connection, _ = opened(spelling.make())
    waiting = asyncio.ensure_future(connection.acknowledged(10.0))
    await settle()

    connection.closed(code, reason)

    with pytest.raises(ConnectionClosed) as caught:
        await waiting
    failure = caught.value
    assert (code, reason, Phase.INIT, HOST) == (
        failure.code,
        failure.reason,
        failure.phase,
        failure.host,
    )
    assert str(code) in str(failure)
    assert reason in str(failure)


@on_virtual_time
async def test_a_ping_before_the_acknowledgement_is_answered() -> None:
    """Hasura pings first, and acknowledges then."""
    connection, wire = opened(GraphQLTransportWS())
    hear(connection, says("ping", payload={"n": 1}), says("pong"))

    assert {"type": "pong", "payload": {"n": 1}} == wire.said[-1]
    hear(connection, ACK)
    await connection.acknowledged(10.0)


@on_virtual_time
async def test_a_ka_before_the_acknowledgement_is_accepted() -> None:
    """Hasura sends it even before our init."""
    connection, _ = opened(Apollo())
    hear(connection, KA, KA, ACK)

    await connection.acknowledged(10.0)


@both
@pytest.mark.parametrize("text", [b"[]", b'"x"', b"1", b"garbage", b"\xff\xfe", b""])
@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
@on_virtual_time
async def test_text_that_is_not_a_json_object_ends_the_connection_with_an_excerpt(
    spelling: Spelling, text: bytes, is_open: bool
) -> None:
    """Nothing else that a server sends ends it."""
    connection, wire = acked(spelling.make()) if is_open else opened(spelling.make())
    hear(connection, text)

    with pytest.raises(TransportProtocolError, match="the server sent a message that is not"):
        await connection.acknowledged(10.0)
    assert 1002 == wire.close_code
