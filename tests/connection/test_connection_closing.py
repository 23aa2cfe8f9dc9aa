"""One live connection over a wire in memory: closing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from doubles import on_virtual_time, pass_time, settle
from gqlwire._connection.connection import Connection
from gqlwire._protocols import Apollo, GraphQLTransportWS
from gqlwire.errors import (
    CloseTimeout,
    Phase,
    TransportClosed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gqlwire._protocols import Dialect
from connecting import HOST, Ending, acked, asked, now, opened


@pytest.mark.parametrize(
    ("make", "goodbye"),
    [(GraphQLTransportWS, []), (Apollo, [{"type": "connection_terminate"}])],
    ids=["graphql-transport-ws", "apollo"],
)
@on_virtual_time
async def test_closing_says_goodbye_as_the_protocol_has_it(
    make: Callable[[], Dialect], goodbye: list[dict[str, str]]
) -> None:
    """Then the socket closes with 1000."""
    connection, wire = acked(make())

    await connection.close()

    assert (goodbye, ["close"], 1000) == (wire.said, wire.asked, wire.close_code)
    assert Phase.CLOSED is connection.phase


@pytest.mark.parametrize("make", [GraphQLTransportWS, Apollo])
@on_virtual_time
async def test_only_we_say_goodbye(make: Callable[[], Dialect]) -> None:
    """Who was closed by the server has nothing more to say."""
    connection, wire = acked(make())
    connection.closed(1001, "")

    assert [] == wire.sent


@on_virtual_time
async def test_closing_ends_operations_with_transport_closed() -> None:
    """The error says in which phase it was closed."""
    connection, _ = acked(GraphQLTransportWS())
    _, reply = asked(connection)
    await settle()

    await connection.close()

    with pytest.raises(TransportClosed, match=r"was closed by close\(\)") as caught:
        await reply
    assert (HOST, Phase.OPEN) == (caught.value.host, caught.value.phase)


@on_virtual_time
async def test_a_server_that_does_not_answer_the_close_frame_is_dropped_in_time() -> None:
    """The error names the limit; the socket is gone all the same."""
    connection, wire = acked(GraphQLTransportWS(), answers_close=False, close_timeout=3.0)
    begun = now()

    with pytest.raises(CloseTimeout, match=r"did not answer .* within 3 seconds") as caught:
        await connection.close()

    assert 3.0 == pytest.approx(now() - begun)
    assert (["close", "abort"], Phase.CLOSED) == (wire.asked, connection.phase)
    failure = caught.value
    assert (3.0, HOST, Phase.CLOSING) == (failure.limit, failure.host, failure.phase)


@on_virtual_time
async def test_the_close_handshake_is_bounded_after_a_failure_too() -> None:
    """A reader that failed waits no longer for the server than `close()` does."""
    connection, wire = acked(GraphQLTransportWS(), answers_close=False, close_timeout=3.0)
    begun = now()
    connection.received(b"garbage")

    await connection.wait_gone()

    assert 3.0 == pytest.approx(now() - begun)
    assert ["close", "abort"] == wire.asked


@on_virtual_time
async def test_without_a_limit_the_server_is_waited_for() -> None:
    """That is what None means."""
    connection, wire = acked(GraphQLTransportWS(), answers_close=False, close_timeout=None)
    closing = asyncio.ensure_future(connection.close())
    await pass_time(86_400.0)
    assert not closing.done()

    connection.gone()
    await closing
    assert ["close"] == wire.asked


@on_virtual_time
async def test_closing_twice_is_harmless() -> None:
    """At the same time, or later. Each call returns when the socket is gone."""
    connection, wire = acked(Apollo(), answers_close=False)
    closing = [asyncio.ensure_future(connection.close()) for _ in range(3)]
    await settle()
    assert not any(task.done() for task in closing)

    connection.closed(1006, "")
    connection.gone()
    await asyncio.gather(*closing)
    await connection.close()

    assert (["close"], [{"type": "connection_terminate"}]) == (wire.asked, wire.said)


@on_virtual_time
async def test_only_the_first_of_several_close_calls_raises_close_timeout() -> None:
    """For the other calls the connection is closed, and nothing is wrong."""
    connection, _ = acked(GraphQLTransportWS(), answers_close=False)
    closing = [asyncio.ensure_future(connection.close()) for _ in range(3)]

    results = await asyncio.gather(*closing, return_exceptions=True)
    await connection.close()

    assert [CloseTimeout, type(None), type(None)] == [type(result) for result in results]


@on_virtual_time
async def test_cancelling_close_drops_the_socket() -> None:
    """Who cannot wait for the goodbye leaves nothing behind all the same."""
    connection, wire = acked(GraphQLTransportWS(), answers_close=False, close_timeout=3.0)
    closing = asyncio.ensure_future(connection.close())
    await settle()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    await connection.wait_gone()
    assert ["close", "abort"] == wire.asked


@on_virtual_time
async def test_a_socket_that_is_gone_is_not_dropped_later() -> None:
    """The alarm is off."""
    connection, wire = acked(GraphQLTransportWS(), close_timeout=3.0)
    await connection.close()
    await pass_time(100.0)

    assert ["close"] == wire.asked


@on_virtual_time
async def test_a_socket_is_gone_once() -> None:
    """To be told twice is harmless."""
    connection, _ = acked(GraphQLTransportWS())
    await connection.close()
    connection.gone()

    assert Phase.CLOSED is connection.phase


def test_a_connection_whose_loop_is_closed_is_an_orphan() -> None:
    """It cannot even end; whoever has it must know."""
    kept: list[Connection] = []

    @on_virtual_time
    async def open_and_leave() -> None:
        kept.append(acked(GraphQLTransportWS())[0])
        assert kept[0].is_orphaned is False

    open_and_leave()

    assert kept[0].is_orphaned is True


@on_virtual_time
async def test_discarding_drops_the_socket_without_ceremony() -> None:
    """For a connection that came to nothing."""
    ending = Ending()
    connection, wire = opened(Apollo(), answers_close=False, on_end=ending)
    waiting = asyncio.ensure_future(connection.acknowledged(10.0))
    await settle()
    before = now()

    await connection.discard()

    with pytest.raises(TransportClosed, match="was cancelled"):
        await waiting
    assert before == now()
    assert ["connection_init"] == [said["type"] for said in wire.said]
    assert "abort" in wire.asked
    assert (1, Phase.CLOSED) == (len(ending.times), connection.phase)


@on_virtual_time
async def test_discarding_does_not_wait_for_a_goodbye_that_is_under_way() -> None:
    """It is dropped, now."""
    connection, wire = opened(GraphQLTransportWS(), answers_close=False)
    connection.received(b"garbage")
    before = now()

    await connection.discard()

    assert before == now()
    assert ["close", "abort"] == wire.asked
