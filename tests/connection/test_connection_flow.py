"""One live connection over a wire in memory: reading and writing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from doubles import next_event, on_virtual_time, pass_time, settle
from gqlwire._connection.keepalive import Limits
from gqlwire._protocols import GraphQLTransportWS
from gqlwire._streams.stream import Buffer, EventStream, Overflow
from gqlwire.errors import (
    KeepAliveTimeout,
)
from spelling import Spelling, both, says

if TYPE_CHECKING:
    pass
from connecting import PONG, RESULT, acked, asked, dying, hear, opened, subscribed, we_close


@both
@on_virtual_time
async def test_a_full_stream_pauses_the_socket_and_its_consumer_resumes_it(
    spelling: Spelling,
) -> None:
    """So a server that is too quick waits."""
    connection, wire = acked(spelling.make())
    id, stream = subscribed(connection, Buffer(2))
    hear(connection, *[says(spelling.result, id=id, payload=RESULT)] * 3)
    assert ["pause"] == wire.asked

    await next_event(stream)
    await next_event(stream)

    assert ["pause", "resume"] == wire.asked


@both
@on_virtual_time
async def test_a_consumer_may_ask_while_its_own_buffer_is_full(spelling: Spelling) -> None:
    """Reading goes on for the answer: no deadlock."""
    connection, wire = acked(spelling.make())
    id, _ = subscribed(connection, Buffer(1))
    hear(connection, *[says(spelling.result, id=id, payload=RESULT)] * 2)
    assert ["pause"] == wire.asked

    asked_id, reply = asked(connection)
    await settle()
    assert ["pause", "resume"] == wire.asked
    hear(
        connection,
        says(spelling.result, id=id, payload=RESULT),
        says(spelling.result, id=asked_id, payload=RESULT),
    )

    assert RESULT == json.loads(bytes(await reply or b""))


@both
@on_virtual_time
async def test_a_sender_that_waits_resumes_reading(spelling: Spelling) -> None:
    """A server that cannot write may stop reading: each side would wait for the other."""
    connection, wire = acked(spelling.make())
    id, _ = subscribed(connection, Buffer(1))
    hear(connection, *[says(spelling.result, id=id, payload=RESULT)] * 2)
    connection.writable(False)
    assert ["pause"] == wire.asked

    ready = asyncio.ensure_future(connection.ready_to_send())
    await settle()
    resumed = list(wire.asked)
    connection.writable(True)
    await ready

    assert ["pause", "resume"] == resumed


@on_virtual_time
async def test_the_end_resumes_reading() -> None:
    """Or the server's close frame would never be read."""
    connection, wire = acked(GraphQLTransportWS())
    id, _ = subscribed(connection, Buffer(1))
    hear(connection, *[says("next", id=id, payload=RESULT)] * 2)

    await connection.close()

    assert ["pause", "resume", "close"] == wire.asked


@on_virtual_time
async def test_reading_does_not_pause_while_the_connection_opens_or_closes() -> None:
    """The connection itself waits for a message then."""
    for make in (opened, acked):
        connection, wire = make(GraphQLTransportWS(), answers_close=False)
        stream = EventStream(connection.gate, Buffer(1), Overflow.BLOCK)
        if make is acked:
            we_close(connection)
            await asyncio.sleep(0)
        for _ in range(2):
            stream.put(Raw(b"1"))

        assert "pause" not in wire.asked
        connection.gone()


@on_virtual_time
async def test_a_pause_of_our_own_is_not_taken_for_the_servers_silence() -> None:
    """What we do not read we cannot hear; the time begins anew with the reading."""
    connection, wire, ending = dying(GraphQLTransportWS(), Limits(silence=10.0))
    id, stream = subscribed(connection, Buffer(1))
    hear(connection, *[says("next", id=id, payload=RESULT)] * 2)
    assert ["pause"] == wire.asked

    await pass_time(95.0)
    assert [] == ending.times
    await next_event(stream)
    await next_event(stream)
    await pass_time(9.0)
    assert [] == ending.times

    await connection.wait_gone()
    assert 105.0 == pytest.approx(ending.time)


@on_virtual_time
async def test_a_ping_resumes_reading_until_something_comes() -> None:
    """Or its pong could not be heard."""
    connection, wire, ending = dying(GraphQLTransportWS(), Limits(ping_interval=10.0))
    id, _ = subscribed(connection, Buffer(1))
    hear(connection, *[says("next", id=id, payload=RESULT)] * 2)
    await pass_time(10.5)
    assert ["pause", "resume"] == wire.asked

    # What comes before the pong is put into the full stream all the same.
    hear(connection, says("next", id=id, payload=RESULT), PONG)
    assert (["pause", "resume"], 0.5) == (wire.asked, pytest.approx(connection.latency))

    hear(connection, says("next", id=id, payload=RESULT))
    assert (["pause", "resume", "pause"], []) == (wire.asked, ending.times)


@on_virtual_time
async def test_a_ping_out_of_a_pause_that_nothing_follows_is_death() -> None:
    """A consumer that sleeps must not hide that the server is dead."""
    connection, _, ending = dying(GraphQLTransportWS(), Limits(ping_interval=10.0))
    id, _ = subscribed(connection, Buffer(1))
    hear(connection, *[says("next", id=id, payload=RESULT)] * 2)

    await connection.wait_gone()

    assert isinstance(connection.reason, KeepAliveTimeout)
    assert 15.0 == pytest.approx(ending.time)


@on_virtual_time
async def test_a_sender_waits_until_the_socket_has_room() -> None:
    """Then every waiting sender continues."""
    connection, _ = acked(GraphQLTransportWS())
    await connection.ready_to_send()
    connection.writable(False)
    connection.writable(False)
    waiting = [asyncio.ensure_future(connection.ready_to_send()) for _ in range(2)]
    await settle()
    assert not any(task.done() for task in waiting)

    connection.writable(True)
    connection.writable(True)

    await asyncio.gather(*waiting)


@on_virtual_time
async def test_cancelling_one_waiting_sender_leaves_the_others() -> None:
    """They wait for the same thing."""
    connection, _ = acked(GraphQLTransportWS())
    connection.writable(False)
    one, other = (asyncio.ensure_future(connection.ready_to_send()) for _ in range(2))
    await settle()
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one

    connection.writable(True)
    await other


@on_virtual_time
async def test_a_socket_that_fills_up_again_is_waited_for_again() -> None:
    """Being woken is no promise."""
    connection, _ = acked(GraphQLTransportWS())
    connection.writable(False)
    waiting = asyncio.ensure_future(connection.ready_to_send())
    await settle()
    connection.writable(True)
    connection.writable(False)
    await settle()
    assert not waiting.done()

    connection.writable(True)
    await waiting
