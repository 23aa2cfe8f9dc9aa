"""One live connection over a wire in memory: keep-alive: silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from doubles import on_virtual_time, pass_time
from gqlwire._connection.keepalive import Limits
from gqlwire._protocols import Apollo, GraphQLTransportWS
from gqlwire.errors import (
    KeepAliveTimeout,
    Phase,
)
from spelling import says

if TYPE_CHECKING:
    pass
from connecting import ACK, HOST, KA, PING, PONG, RESULT, Ending, asked, dying, hear, opened


@on_virtual_time
async def test_a_silent_server_is_dead_after_the_keep_alive_timeout() -> None:
    """Everything that waits is told at once, and the socket is dropped, not closed politely."""
    connection, wire, ending = dying(
        GraphQLTransportWS(), Limits(silence=30.0), answers_close=False
    )
    _, reply = asked(connection)

    with pytest.raises(KeepAliveTimeout, match=r"nothing for 30 seconds .*keep_alive_timeout") as e:
        await reply

    assert 30.0 == pytest.approx(ending.time)
    assert (30.0, HOST, Phase.OPEN) == (e.value.limit, e.value.host, e.value.phase)
    assert "abort" in wire.asked
    await connection.wait_gone()


@pytest.mark.parametrize(
    "sign",
    [
        says("next", id="0", payload=RESULT),
        says("complete", id="0"),
        says("connection_error"),
        PING,
        PONG,
        KA,
        None,
    ],
    ids=["result", "complete", "complaint", "ping", "pong", "stray", "frame"],
)
@on_virtual_time
async def test_anything_that_comes_counts_as_life(sign: bytes | None) -> None:
    """Frames that are no messages, too."""
    connection, _, ending = dying(GraphQLTransportWS(), Limits(silence=30.0))
    for _ in range(3):
        await pass_time(20.0)
        hear(connection, *([] if sign is None else [sign]))

    await connection.wait_gone()

    assert 90.0 == pytest.approx(ending.time)


@on_virtual_time
async def test_in_apollos_protocol_silence_counts_from_the_first_ka() -> None:
    """gqlgen's first comes after 25 seconds; some servers send none."""
    connection, _, ending = dying(Apollo(), Limits(silence=10.0))
    await pass_time(25.0)
    hear(connection, says("data", id="0", payload=RESULT))
    await pass_time(25.0)
    assert [] == ending.times

    hear(connection, KA)
    await connection.wait_gone()

    assert 60.0 == pytest.approx(ending.time)


@on_virtual_time
async def test_in_apollos_protocol_data_counts_as_life_without_further_kas() -> None:
    """gql killed a busy feed whose server sent no `ka`."""
    connection, _, ending = dying(Apollo(), Limits(silence=10.0))
    hear(connection, KA)
    for _ in range(10):
        await pass_time(9.0)
        hear(connection, says("data", id="0", payload=RESULT))

    await connection.wait_gone()

    assert 100.0 == pytest.approx(ending.time)


@on_virtual_time
async def test_a_ka_before_the_acknowledgement_starts_the_watch_with_it() -> None:
    """Hasura's comes first."""
    ending = Ending()
    connection, _ = opened(Apollo(), limits=Limits(silence=10.0), on_end=ending)
    hear(connection, KA)
    await pass_time(100.0)
    assert [] == ending.times

    hear(connection, ACK)
    await connection.wait_gone()

    assert 110.0 == pytest.approx(ending.time)


@on_virtual_time
async def test_the_first_ka_starts_the_watch_though_a_ping_is_far_off() -> None:
    """The two limits do not get in each other's way."""
    connection, _, ending = dying(Apollo(), Limits(ping_interval=1_000.0, silence=10.0))
    await pass_time(5.0)
    hear(connection, KA)

    await connection.wait_gone()

    assert 15.0 == pytest.approx(ending.time)


@on_virtual_time
async def test_keep_alive_checks_start_with_the_acknowledgement() -> None:
    """The time before it has a limit of its own."""
    ending = Ending()
    opened(
        GraphQLTransportWS(),
        limits=Limits(ping_interval=1.0, silence=10.0),
        on_end=ending,
    )
    await pass_time(1_000.0)

    assert [] == ending.times
