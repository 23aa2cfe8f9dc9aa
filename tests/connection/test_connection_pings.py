"""One live connection over a wire in memory: keep-alive: pings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from doubles import on_virtual_time, pass_time
from gqlwire._connection.keepalive import Limits
from gqlwire._connection.telemetry import Signals
from gqlwire._protocols import Apollo, GraphQLTransportWS, Setup
from gqlwire._streams.stream import Buffer
from gqlwire.errors import (
    ConnectionClosed,
    KeepAliveTimeout,
)
from spelling import Spelling, both, says

if TYPE_CHECKING:
    pass
from connecting import KA, PING, PONG, RESULT, acked, asked, dying, hear, subscribed


@on_virtual_time
async def test_pings_go_out_on_a_fixed_timer_however_busy_the_feed_is() -> None:
    """async-graphql closes a connection on which only the server talks (3008)."""
    connection, wire, ending = dying(GraphQLTransportWS(), Limits(ping_interval=10.0))
    for _ in range(350):
        await pass_time(0.1)
        hear(connection, says("next", id="0", payload=RESULT))

    assert ([{"type": "ping"}] * 3, []) == (wire.said, ending.times)


@on_virtual_time
async def test_in_apollos_protocol_a_ping_is_a_ping_frame() -> None:
    """The protocol has no message for it."""
    connection, wire, _ = dying(Apollo(), Limits(ping_interval=10.0))
    for _ in range(7):
        await pass_time(5.0)
        hear(connection)

    assert (["ping"] * 3, []) == (wire.asked, wire.sent)


@both
@pytest.mark.parametrize(
    ("limits", "death"),
    [
        (Limits(ping_interval=10.0), 15.0),
        (Limits(ping_interval=10.0, pong_timeout=2.0), 12.0),
        (Limits(ping_interval=10.0, pong_timeout=25.0), 35.0),
    ],
    ids=["half the interval by default", "shorter", "longer than the interval"],
)
@on_virtual_time
async def test_a_ping_that_nothing_follows_is_death(
    spelling: Spelling, limits: Limits, death: float
) -> None:
    """In both protocols, after the pong timeout."""
    connection, _, ending = dying(spelling.make(), limits)
    _, reply = asked(connection)

    with pytest.raises(KeepAliveTimeout, match=r"after a ping \(pong_timeout\)") as caught:
        await reply

    assert death == pytest.approx(ending.time)
    assert limits.after_ping == caught.value.limit


@both
@on_virtual_time
async def test_anything_that_follows_a_ping_is_life(spelling: Spelling) -> None:
    """The Graph ignored ping frames, and its feed went on all the same."""
    connection, _, ending = dying(spelling.make(), Limits(ping_interval=10.0))
    for _ in range(10):
        await pass_time(4.1)
        hear(connection, says(spelling.result, id="0", payload=RESULT))

    assert [] == ending.times
    await connection.wait_gone()
    assert 55.0 == pytest.approx(ending.time)


@on_virtual_time
async def test_a_ping_of_the_user_has_the_pong_timeout_too() -> None:
    """If there is a pong timeout."""
    connection, wire, ending = dying(GraphQLTransportWS(), Limits(pong_timeout=5.0))
    await pass_time(100.0)
    connection.ping({"n": 1})
    assert {"type": "ping", "payload": {"n": 1}} == wire.said[-1]

    await connection.wait_gone()

    assert 105.0 == pytest.approx(ending.time)


@both
@on_virtual_time
async def test_keep_alive_checks_stop_when_a_connection_ends(spelling: Spelling) -> None:
    """No ping is due, and the connection does not end a second time."""
    connection, wire, ending = dying(
        spelling.make(), Limits(ping_interval=1.0, silence=5.0), answers_close=False
    )
    hear(connection, KA)
    connection.closed(1001, "")
    wire.sent.clear()

    await pass_time(9.0)

    assert ([], ["close"]) == (wire.sent, wire.asked)
    assert 0.0 == ending.time
    assert isinstance(connection.reason, ConnectionClosed)


@on_virtual_time
async def test_latency_is_the_last_round_trip() -> None:
    """In seconds; by pong messages."""
    connection, _ = acked(GraphQLTransportWS())
    assert connection.latency is None

    connection.ping()
    await pass_time(0.25)
    hear(connection, PONG)
    assert 0.25 == pytest.approx(connection.latency)

    await pass_time(50.0)
    hear(connection, PONG)
    assert 0.25 == pytest.approx(connection.latency)


@on_virtual_time
async def test_latency_is_measured_by_pong_frames_in_apollos_protocol() -> None:
    """There the wire tells of them."""
    connection, _ = acked(Apollo())
    connection.ping()
    await pass_time(0.5)
    connection.ponged()
    connection.heard()

    assert 0.5 == pytest.approx(connection.latency)


@on_virtual_time
async def test_pings_and_pongs_of_the_server_set_their_events() -> None:
    """Their payloads are kept. Only the user clears the events."""
    signals = Signals()
    connection, wire = acked(GraphQLTransportWS(), signals=signals)
    assert (False, False) == (signals.ping_received.is_set(), signals.pong_received.is_set())

    hear(connection, says("ping", payload={"a": 1}))
    assert (True, {"a": 1}) == (signals.ping_received.is_set(), signals.payloads["ping"])
    assert [{"type": "pong", "payload": {"a": 1}}] == wire.said

    hear(connection, says("pong", payload={"b": 2}))
    assert (True, {"b": 2}) == (signals.pong_received.is_set(), signals.payloads["pong"])

    hear(connection, PING)
    assert signals.payloads["ping"] is None


@pytest.mark.parametrize("payload", [b"NaN", b'"\\ud800"', b"1" * 5_000])
@on_virtual_time
async def test_a_ping_with_an_odd_payload_is_a_ping(payload: bytes) -> None:
    """What of it cannot be read is None."""
    signals = Signals()
    connection, _ = acked(GraphQLTransportWS(), signals=signals)
    hear(connection, b'{"type":"ping","payload":%s}' % payload)

    assert signals.ping_received.is_set()
    assert "ping" in signals.payloads
    assert connection.reason is None


@on_virtual_time
async def test_a_pong_frame_sets_the_event_like_a_pong_message() -> None:
    """Apollo's protocol has no pong message."""
    signals = Signals()
    connection, _ = acked(Apollo(), signals=signals)
    connection.ponged()

    assert signals.pong_received.is_set()


@on_virtual_time
async def test_the_answer_to_pings_can_be_left_to_the_user() -> None:
    """Who sends it, with whatever payload."""
    signals = Signals()
    connection, wire = acked(GraphQLTransportWS(Setup(answer_pings=False)), signals=signals)
    hear(connection, says("ping", payload={"a": 1}))
    assert (True, []) == (signals.ping_received.is_set(), wire.sent)

    connection.pong({"b": 2})
    assert [{"type": "pong", "payload": {"b": 2}}] == wire.said


@on_virtual_time
async def test_pings_are_answered_while_consumers_are_slow() -> None:
    """A full buffer is no reason for silence."""
    connection, wire = acked(GraphQLTransportWS())
    id, _ = subscribed(connection, Buffer(1))
    wire.sent.clear()
    hear(connection, *[says("next", id=id, payload=RESULT)] * 5, PING)

    assert [{"type": "pong"}] == wire.said


@on_virtual_time
async def test_a_flood_of_pings_does_not_fill_our_memory_with_pongs() -> None:
    """While the socket takes nothing, nothing is put into it for them."""
    connection, wire = acked(GraphQLTransportWS())
    connection.writable(False)
    hear(connection, *[PING] * 100)
    assert [] == wire.sent

    connection.writable(True)
    hear(connection, PING)
    assert [{"type": "pong"}] == wire.said
