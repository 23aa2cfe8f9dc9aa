"""One live connection over a wire in memory: operations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from doubles import RecordingOwner, next_event, on_virtual_time
from gqlwire._payloads.result import decode_result
from gqlwire._streams.stream import Buffer, Overflow
from gqlwire.errors import (
    SlowConsumer,
    TransportProtocolError,
    TransportQueryError,
)
from spelling import REQUEST, Spelling, both, says

if TYPE_CHECKING:
    pass
from connecting import RESULT, acked, asked, hear, subscribed


@both
@on_virtual_time
async def test_results_reach_their_operation(spelling: Spelling) -> None:
    """Undecoded, in order, until it is complete."""
    connection, wire = acked(spelling.make())
    one, first = subscribed(connection)
    two, second = subscribed(connection)
    assert [
        {"type": spelling.start, "id": id, "payload": json.loads(REQUEST)} for id in (one, two)
    ] == wire.said

    hear(
        connection,
        says(spelling.result, id=two, payload={"data": 2}),
        says(spelling.result, id=one, payload={"data": 1}),
        says("complete", id=two),
    )

    assert {"data": 1} == json.loads(bytes(await next_event(first)))
    assert {"data": 2} == json.loads(bytes(await next_event(second)))
    assert (False, True) == (bool(first.over), bool(second.over))


@both
@on_virtual_time
async def test_ids_are_never_used_again_in_this_process(spelling: Spelling) -> None:
    """A server may still see an old connection of ours; hge rejects a second use."""
    seen: list[str] = []
    for _ in range(3):
        connection, _ = acked(spelling.make())
        for _ in range(3):
            seen.append(subscribed(connection)[0])
            connection.stop(seen[-1])

    assert len(seen) == len(set(seen))


@both
@on_virtual_time
async def test_the_servers_errors_reach_their_operation_and_no_other(spelling: Spelling) -> None:
    """As TransportQueryError with the operation's id."""
    connection, _ = acked(spelling.make())
    id, failing = asked(connection)
    other, well = asked(connection)
    hear(connection, says("error", id=id, payload=[{"message": "no"}, {"message": "never"}]))

    with pytest.raises(TransportQueryError, match=r"^no \(and 1 more\)$") as caught:
        await failing
    assert (id, [{"message": "no"}, {"message": "never"}]) == (
        caught.value.query_id,
        caught.value.errors,
    )
    hear(connection, says(spelling.result, id=other, payload=RESULT))
    assert RESULT == json.loads(bytes(await well or b""))


@both
@pytest.mark.parametrize(
    ("payload", "errors"),
    [
        ({"message": "no"}, [{"message": "no"}]),
        ({"errors": [{"message": "no"}]}, [{"message": "no"}]),
        ({"errors": []}, []),
        ([], []),
        ("no", [{"message": "no"}]),
        (None, []),
    ],
    ids=["object", "object with errors", "errors: []", "empty list", "string", "null"],
)
@on_virtual_time
async def test_errors_of_any_shape_reach_their_operation(
    spelling: Spelling, payload: Any, errors: list[Any]
) -> None:
    """And are a list when they do."""
    connection, _ = acked(spelling.make())
    id, failing = asked(connection)
    hear(connection, says("error", id=id, payload=payload))

    with pytest.raises(TransportQueryError) as caught:
        await failing
    assert errors == caught.value.errors
    assert connection.reason is None


@both
@pytest.mark.parametrize("payload", [b"null", b"[]", b'"x"', b"NaN", b'{"data":', b""])
@on_virtual_time
async def test_a_bad_payload_costs_its_own_operation_only(
    spelling: Spelling, payload: bytes
) -> None:
    """It is its consumer who finds out, even if the message is cut off with it."""
    connection, _ = acked(spelling.make())
    id, reply = asked(connection)
    other, well = asked(connection)
    message = b'{"type":"%s","id":"%s"' % (spelling.result.encode(), id.encode())
    message += b',"payload":%s}' % payload if payload else b"}"

    hear(connection, message, says(spelling.result, id=other, payload=RESULT))

    with pytest.raises(TransportProtocolError, match="invalid result"):
        decode_result(await reply or Raw())
    assert RESULT == json.loads(bytes(await well or b""))


@both
@on_virtual_time
async def test_a_numeric_id_that_is_echoed_is_our_id(spelling: Spelling) -> None:
    """Ids are compared as text."""
    connection, _ = acked(spelling.make())
    id, reply = asked(connection)
    hear(connection, says(spelling.result, id=int(id), payload=RESULT))

    assert RESULT == json.loads(bytes(await reply or b""))


@both
@on_virtual_time
async def test_late_messages_of_a_finished_operation_are_ignored(spelling: Spelling) -> None:
    """Complete after error, error after complete, results after either, or after our stop."""
    connection, wire = acked(spelling.make())
    failed, first = subscribed(connection)
    completed, second = subscribed(connection)
    stopped, third = subscribed(connection)
    connection.stop(stopped)
    hear(connection, says("error", id=failed, payload=[]), says("complete", id=completed))
    wire.sent.clear()

    for id in (failed, completed, stopped):
        hear(
            connection,
            says(spelling.result, id=id, payload=RESULT),
            says("error", id=id, payload=[{"message": "late"}]),
            says("complete", id=id),
        )

    assert ([0, 0, 0], []) == ([it.buffered for it in (first, second, third)], wire.sent)
    assert (None, {}) == (connection.reason, connection.telemetry.strays)
    with pytest.raises(TransportQueryError, match="without details"):
        await next_event(first)
    with pytest.raises(StopAsyncIteration):
        await next_event(second)


@both
@on_virtual_time
async def test_messages_for_ids_that_were_never_ours_are_ignored(spelling: Spelling) -> None:
    """They are no strays either: another client's, perhaps."""
    connection, _ = acked(spelling.make())
    hear(
        connection,
        says(spelling.result, id="0", payload=RESULT),
        says("error", id="never", payload=[]),
        says("complete", id=""),
    )

    assert (None, {}) == (connection.reason, connection.telemetry.strays)


@both
@on_virtual_time
async def test_an_operation_is_stopped_once(spelling: Spelling) -> None:
    """However often somebody gives it up."""
    connection, wire = acked(spelling.make())
    id, _ = subscribed(connection)
    wire.sent.clear()

    for _ in range(3):
        connection.stop(id)

    assert [{"type": spelling.stop, "id": id}] == wire.said


@both
@pytest.mark.parametrize("end", ["complete", "error"])
@on_virtual_time
async def test_an_operation_that_the_server_has_ended_is_not_stopped(
    spelling: Spelling, end: str
) -> None:
    """Old Strawberry closed the socket for it."""
    connection, wire = acked(spelling.make())
    id, _ = subscribed(connection)
    hear(connection, says(end, id=id, payload=[]))
    wire.sent.clear()

    connection.stop(id)

    assert [] == wire.sent


@both
@on_virtual_time
async def test_an_operation_that_is_forgotten_is_not_stopped(spelling: Spelling) -> None:
    """It has had its one result, and the server ends it by itself."""
    connection, wire = acked(spelling.make())
    id, stream = subscribed(connection)
    wire.sent.clear()

    connection.forget(id)
    connection.stop(id)
    hear(connection, says(spelling.result, id=id, payload=RESULT), says("complete", id=id))

    assert ([], 0) == (wire.sent, stream.buffered)


@both
@on_virtual_time
async def test_a_stopped_operation_gets_nothing_more(spelling: Spelling) -> None:
    """Not even the end of the connection: nobody waits for it, and nothing is kept for it."""
    connection, _ = acked(spelling.make())
    stopped, first = subscribed(connection)
    forgotten, second = subscribed(connection)
    connection.stop(stopped)
    connection.forget(forgotten)

    await connection.close()

    assert (False, False) == (bool(first.over), bool(second.over))


@both
@on_virtual_time
async def test_a_stream_that_overflows_stops_its_operation_and_no_other(
    spelling: Spelling,
) -> None:
    """The server is told at once, and once."""
    connection, wire = acked(spelling.make())
    id, slow = subscribed(connection, Buffer(1), Overflow.ERROR)
    slow.owner = RecordingOwner(lambda: connection.stop(id))
    other, quick = subscribed(connection)
    wire.sent.clear()

    hear(connection, *[says(spelling.result, id=id, payload=RESULT)] * 4)
    connection.stop(id)

    assert [{"type": spelling.stop, "id": id}] == wire.said
    await next_event(slow)
    with pytest.raises(SlowConsumer):
        await next_event(slow)
    hear(connection, says(spelling.result, id=other, payload=RESULT))
    await next_event(quick)
