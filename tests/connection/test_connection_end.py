"""One live connection over a wire in memory: the end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from doubles import next_event, on_virtual_time, pass_time, settle
from gqlwire._connection.connection import Connection
from gqlwire._connection.keepalive import Limits
from gqlwire._protocols import GraphQLTransportWS
from gqlwire._streams.reply import Reply
from gqlwire.errors import (
    AckTimeout,
    ConnectionClosed,
    Phase,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
    TransportProtocolError,
)
from spelling import REQUEST, Spelling, both, guessing, says

if TYPE_CHECKING:
    from collections.abc import Callable

from connecting import (
    ACK,
    HOST,
    KA,
    PING,
    PONG,
    RESULT,
    Ending,
    acked,
    asked,
    hear,
    now,
    opened,
    subscribed,
    we_close,
)


def server_closes(connection: Connection) -> None:
    connection.closed(1001, "bye")


def line_breaks(connection: Connection) -> None:
    connection.closed(1006, "")


def reader_fails(connection: Connection) -> None:
    connection.failed(TransportConnectionFailed("our own fault", host=HOST), 1011)


def garbage_comes(connection: Connection) -> None:
    connection.received(b"garbage")


ENDS = [
    (server_closes, ConnectionClosed),
    (line_breaks, ConnectionClosed),
    (reader_fails, TransportConnectionFailed),
    (garbage_comes, TransportProtocolError),
    (we_close, TransportClosed),
]


ends = pytest.mark.parametrize(("end", "kind"), ENDS, ids=lambda it: getattr(it, "__name__", ""))


@both
@ends
@on_virtual_time
async def test_the_end_reaches_everything_that_waits_immediately(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """Replies, streams and senders that wait. Each gets an error of its own, all for one reason."""
    ending = Ending()
    connection, _ = acked(spelling.make(), on_end=ending)
    connection.writable(False)
    _, reply = asked(connection)
    _, stream = subscribed(connection)
    event = asyncio.ensure_future(next_event(stream))
    ready = asyncio.ensure_future(connection.ready_to_send())
    await settle()
    before = now()

    end(connection)
    done, pending = await asyncio.wait([reply, event, ready])

    assert (before, set()) == (now(), pending)
    failures = [task.exception() for task in done]
    assert [kind] * 3 == [type(failure) for failure in failures]
    assert {str(connection.reason)} == {str(failure) for failure in failures}
    assert 4 == len({id(failure) for failure in [*failures, connection.reason]})
    assert 1 == len(ending.times)


@both
@ends
@on_virtual_time
async def test_the_end_interrupts_the_wait_for_the_acknowledgement(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """With the reason of the end, and not with a timeout."""
    connection, _ = opened(spelling.make())
    waiting = asyncio.ensure_future(connection.acknowledged(10.0))
    await settle()
    before = now()

    end(connection)

    with pytest.raises(kind):
        await waiting
    assert before == now()


@both
@ends
@on_virtual_time
async def test_buffered_events_come_before_the_reason_of_the_end(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """Nothing that arrived is lost."""
    connection, _ = acked(spelling.make())
    id, stream = subscribed(connection)
    hear(connection, *[says(spelling.result, id=id, payload=RESULT)] * 2)

    end(connection)
    await settle()

    assert RESULT == json.loads(bytes(await next_event(stream)))
    assert RESULT == json.loads(bytes(await next_event(stream)))
    with pytest.raises(kind):
        await next_event(stream)


@both
@ends
@on_virtual_time
async def test_a_connection_ends_once_for_the_first_reason(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """Whatever happens afterwards."""
    ending = Ending()
    connection, wire = acked(spelling.make(), on_end=ending, limits=Limits(silence=1.0))
    end(connection)
    await settle()
    reason = connection.reason

    for later, _ in ENDS:
        later(connection)
    await pass_time(100.0)
    await connection.close()
    await connection.discard()

    assert kind is type(reason)
    assert reason is connection.reason
    assert 1 == len(ending.times)
    assert 1 == wire.asked.count("close")
    assert Phase.CLOSED is connection.phase


@both
@ends
@on_virtual_time
async def test_nothing_is_done_with_a_connection_that_is_over(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """What would need it raises the reason; what would only tidy up is silent."""
    connection, wire = acked(spelling.make())
    id, _ = subscribed(connection)
    end(connection)
    await settle()
    wire.sent.clear()

    for use in (
        lambda: connection.start(REQUEST, Reply(connection.gate)),
        connection.ping,
        connection.pong,
    ):
        with pytest.raises(kind):
            use()
    with pytest.raises(kind):
        await connection.ready_to_send()
    connection.stop(id)
    connection.forget(id)

    assert ([], []) == (wire.sent, [it for it in wire.asked if it == "ping"])


@both
@ends
@on_virtual_time
async def test_messages_after_the_end_are_ignored(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """Garbage as well; nothing is answered."""
    connection, wire = acked(spelling.make(), answers_close=False)
    id, stream = subscribed(connection)
    end(connection)
    await settle()
    reason = connection.reason
    wire.sent.clear()

    hear(
        connection,
        says(spelling.result, id=id, payload=RESULT),
        says("complete", id=id),
        says("connection_error", payload="late"),
        ACK,
        PING,
        PONG,
        KA,
        b"garbage",
    )
    connection.ponged()

    assert (0, []) == (stream.buffered, wire.sent)
    assert (reason, Phase.CLOSING) == (connection.reason, connection.phase)
    assert kind is type(reason)
    connection.gone()


@pytest.mark.parametrize("first", [PING, KA, ACK])
@on_virtual_time
async def test_a_connection_that_ended_before_the_server_spoke_stays_over(first: bytes) -> None:
    """Which protocol it would have been does not matter any more."""
    connection, wire = opened(guessing(), answers_close=False)
    we_close(connection)
    await asyncio.sleep(0)
    said = len(wire.sent)

    hear(connection, first, ACK)

    assert Phase.CLOSING is connection.phase
    assert said == len(wire.sent)


@on_virtual_time
async def test_an_acknowledgement_that_comes_too_late_opens_nothing() -> None:
    """The timeout has ended it."""
    connection, _ = opened(GraphQLTransportWS(), answers_close=False)
    with pytest.raises(AckTimeout):
        await connection.acknowledged(1.0)

    hear(connection, ACK)

    assert Phase.CLOSING is connection.phase
    with pytest.raises(AckTimeout):
        await connection.acknowledged(1.0)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1009, 1011])
@on_virtual_time
async def test_our_close_frame_has_the_code_of_the_failure(code: int) -> None:
    """So the server learns what was wrong."""
    connection, wire = acked(GraphQLTransportWS())
    connection.failed(TransportProtocolError("no"), code)

    assert (["close"], code) == (wire.asked, wire.close_code)
