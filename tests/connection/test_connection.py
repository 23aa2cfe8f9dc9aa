"""One live connection over a wire in memory: what it says, what it hears, how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from doubles import MemoryWire, RecordingOwner, on_virtual_time, pass_time, settle
from gqlwire._connection.connection import Connection
from gqlwire._connection.keepalive import Limits
from gqlwire._connection.telemetry import Signals
from gqlwire._payloads.result import decode_result
from gqlwire._protocols import Apollo, GraphQLTransportWS, Undecided
from gqlwire._streams.reply import Reply
from gqlwire._streams.stream import Buffer, EventStream, Overflow
from gqlwire.errors import (
    AckTimeout,
    CloseTimeout,
    ConnectionClosed,
    ConnectionRejected,
    KeepAliveTimeout,
    Phase,
    SlowConsumer,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
)
from spelling import NEWER, OLDER, REQUEST, Spelling, both, says

if TYPE_CHECKING:
    from collections.abc import Callable

    from gqlwire._protocols import Dialect

HOST = "h.example:443"
ACK = says("connection_ack")
PING = says("ping")
PONG = says("pong")
KA = says("ka")
RESULT = {"data": {"n": 1}}


def opened(
    dialect: Dialect, *, answers_close: bool = True, **options: Any
) -> tuple[Connection, MemoryWire]:
    """Open a connection; the server has said nothing yet."""
    wire = MemoryWire(answers_close=answers_close)
    connection = Connection(dialect, host=HOST, **options)
    wire.handler = connection
    connection.opened(wire)
    return connection, wire


def acked(
    dialect: Dialect, *, answers_close: bool = True, **options: Any
) -> tuple[Connection, MemoryWire]:
    """Open a connection that the server has acknowledged; forget what was said until then."""
    connection, wire = opened(dialect, answers_close=answers_close, **options)
    hear(connection, ACK)
    wire.sent.clear()
    return connection, wire


def hear(connection: Connection, *messages: bytes) -> None:
    """Let the server say something, in one burst."""
    for message in messages:
        connection.received(message)
    connection.heard()


def subscribed(
    connection: Connection, buffer: Buffer | None = None, overflow: Overflow = Overflow.BLOCK
) -> tuple[str, EventStream]:
    stream = EventStream(connection.gate, buffer or Buffer(), overflow)
    return connection.start(REQUEST, stream), stream


def asked(connection: Connection) -> tuple[str, asyncio.Task[Raw | None]]:
    reply = Reply(connection.gate)
    id = connection.start(REQUEST, reply)
    return id, asyncio.ensure_future(reply.get())


def now() -> float:
    return asyncio.get_running_loop().time()


class Ending:
    """When, and how often, a connection ended."""

    def __init__(self) -> None:
        self.begun = now()
        self.times: list[float] = []

    def __call__(self, connection: Connection) -> None:
        assert connection.reason is not None
        self.times.append(now() - self.begun)

    @property
    def time(self) -> float:
        [time] = self.times
        return time


# --- Opening ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("payload", [None, {}, {"token": "t"}])
@on_virtual_time
async def test_init_goes_out_as_soon_as_the_socket_is_open(
    spelling: Spelling, payload: dict[str, str] | None
) -> None:
    """Servers close with 4408 if it is late."""
    connection, wire = opened(spelling.make(), init_payload=payload)

    rest = {} if payload is None else {"payload": payload}
    assert [{"type": "connection_init", **rest}] == wire.said
    assert Phase.INIT is connection.phase


@both
@on_virtual_time
async def test_before_the_socket_is_open_it_is_in_the_handshake(spelling: Spelling) -> None:
    """And knows its protocol by then."""
    connection = Connection(spelling.make(), host=HOST)

    assert Phase.HANDSHAKE is connection.phase
    assert spelling.make().subprotocol == connection.subprotocol


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
async def test_cancelling_who_waits_for_the_acknowledgement_leaves_the_connection() -> None:
    """Another may wait for it."""
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
async def test_a_close_before_the_acknowledgement_is_told_with_code_and_reason(
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
async def test_a_ka_before_the_acknowledgement_is_no_obstacle() -> None:
    """Hasura sends it even before our init."""
    connection, _ = opened(Apollo())
    hear(connection, KA, KA, ACK)

    await connection.acknowledged(10.0)


@both
@pytest.mark.parametrize("text", [b"[]", b'"x"', b"1", b"garbage", b"\xff\xfe", b""])
@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
@on_virtual_time
async def test_what_is_no_json_object_ends_the_connection_with_an_excerpt(
    spelling: Spelling, text: bytes, is_open: bool
) -> None:
    """Nothing else that a server says does."""
    connection, wire = acked(spelling.make()) if is_open else opened(spelling.make())
    hear(connection, text)

    with pytest.raises(TransportProtocolError, match="the server sent a message that is not"):
        await connection.acknowledged(10.0)
    assert 1002 == wire.close_code


# --- Operations ------------------------------------------------------------------------------


@both
@on_virtual_time
async def test_results_reach_the_operation_that_they_are_of(spelling: Spelling) -> None:
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

    assert {"data": 1} == json.loads(bytes(await first.get()))
    assert {"data": 2} == json.loads(bytes(await second.get()))
    assert (False, True) == (first.over, second.over)


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
    """It is its consumer who finds out; a payload that is cut off ends even the message."""
    connection, _ = acked(spelling.make())
    id, reply = asked(connection)
    other, well = asked(connection)
    message = b'{"type":"%s","id":"%s"' % (spelling.result.encode(), id.encode())
    message += b',"payload":%s}' % payload if payload else b"}"
    if payload == b'{"data":':
        hear(connection, message)
        assert isinstance(connection.reason, TransportProtocolError)
        for waiting in (reply, well):
            with pytest.raises(TransportProtocolError):
                await waiting
        return

    hear(connection, message, says(spelling.result, id=other, payload=RESULT))

    with pytest.raises(TransportProtocolError, match="result that is none"):
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
    assert (None, {}) == (connection.reason, connection.strays)
    with pytest.raises(TransportQueryError, match="said nothing about it"):
        await first.get()
    with pytest.raises(StopAsyncIteration):
        await second.get()


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

    assert (None, {}) == (connection.reason, connection.strays)


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
async def test_an_operation_that_was_given_up_is_told_nothing_more(spelling: Spelling) -> None:
    """Not even of the connection's end: nobody is there any more, and nothing is kept for it."""
    connection, _ = acked(spelling.make())
    stopped, first = subscribed(connection)
    forgotten, second = subscribed(connection)
    connection.stop(stopped)
    connection.forget(forgotten)

    await connection.close()

    assert (False, False) == (first.over, second.over)


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
    await slow.get()
    with pytest.raises(SlowConsumer):
        await slow.get()
    hear(connection, says(spelling.result, id=other, payload=RESULT))
    await quick.get()


# --- Odd messages ----------------------------------------------------------------------------


@both
@on_virtual_time
async def test_strays_are_counted_and_logged_once_per_type(
    spelling: Spelling, caplog: pytest.LogCaptureFixture
) -> None:
    """They harm nobody."""
    connection, wire = acked(spelling.make())
    id, reply = asked(connection)
    wire.sent.clear()
    hear(
        connection,
        says("start_ack", id=id),
        says("start_ack", id=id),
        says("welcome"),
        b"{}",
        says(spelling.result, id=None, payload=RESULT),
        says("complete"),
        says("start_ack"),
    )

    assert {
        "start_ack": 3,
        "welcome": 1,
        "None": 1,
        f"{spelling.result} without an id": 1,
        "complete without an id": 1,
    } == connection.strays
    logged = [record.getMessage() for record in caplog.records if record.name == "gqlwire"]
    assert 5 == len(logged)
    assert 1 == sum("type start_ack" in text for text in logged)
    assert all(HOST in text for text in logged)
    assert [] == wire.sent
    hear(connection, says(spelling.result, id=id, payload=RESULT))
    assert RESULT == json.loads(bytes(await reply or b""))


@on_virtual_time
async def test_the_log_shows_no_more_than_the_beginning_of_a_strays_type(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may be a megabyte."""
    connection, _ = acked(GraphQLTransportWS())
    hear(connection, says("x" * 1_000_000))

    assert 300 > len(caplog.records[-1].getMessage())


@both
@pytest.mark.parametrize("payload", ["JWT expired", {"message": "bad"}, None])
@on_virtual_time
async def test_a_complaint_amid_the_conversation_is_logged_and_kept_for_the_end(
    spelling: Spelling, payload: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Hasura complains of an expired JWT, and closes later."""
    signals = Signals()
    connection, _ = acked(spelling.make(), signals=signals)
    _, reply = asked(connection)
    await settle()
    hear(connection, says("connection_error", payload=payload))
    assert (None, payload) == (connection.reason, signals.payloads["connection_error"])
    assert "connection_error" in caplog.text

    connection.closed(1000, "")

    with pytest.raises(ConnectionClosed) as caught:
        await reply
    assert f"it had complained: {json.dumps(payload)}" in str(caught.value)


@both
@on_virtual_time
async def test_an_error_without_an_id_amid_the_conversation_ends_nothing(
    spelling: Spelling, caplog: pytest.LogCaptureFixture
) -> None:
    """AppSync's."""
    connection, _ = acked(spelling.make())
    id, reply = asked(connection)
    hear(connection, says("error", payload={"errors": []}), says("error", id=None))
    assert "connection_error" in caplog.text

    hear(connection, says(spelling.result, id=id, payload=RESULT))
    assert RESULT == json.loads(bytes(await reply or b""))


# --- The end ---------------------------------------------------------------------------------


def server_closes(connection: Connection) -> None:
    connection.closed(1001, "bye")


def line_breaks(connection: Connection) -> None:
    connection.closed(1006, "")


def reader_fails(connection: Connection) -> None:
    connection.failed(TransportConnectionFailed("our own fault", host=HOST), 1011)


def garbage_comes(connection: Connection) -> None:
    connection.received(b"garbage")


def we_close(connection: Connection) -> None:
    closing = asyncio.ensure_future(connection.close())
    closing.add_done_callback(asyncio.Future.result)


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
async def test_everything_that_waits_gets_the_reason_at_once(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """Replies, streams and who waits to send; each an error of its own, all for one reason."""
    ending = Ending()
    connection, _ = acked(spelling.make(), on_end=ending)
    connection.writable(False)
    _, reply = asked(connection)
    _, stream = subscribed(connection)
    event = asyncio.ensure_future(stream.get())
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
async def test_who_waits_for_the_acknowledgement_gets_the_reason_at_once(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """And not the timeout of it."""
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
async def test_what_was_buffered_comes_before_the_reason(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """Nothing that arrived is lost."""
    connection, _ = acked(spelling.make())
    id, stream = subscribed(connection)
    hear(connection, *[says(spelling.result, id=id, payload=RESULT)] * 2)

    end(connection)
    await settle()

    assert RESULT == json.loads(bytes(await stream.get()))
    assert RESULT == json.loads(bytes(await stream.get()))
    with pytest.raises(kind):
        await stream.get()


@both
@ends
@on_virtual_time
async def test_it_ends_once_for_the_first_reason(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """Whatever happens to it afterwards."""
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
async def test_what_arrives_after_the_end_is_ignored(
    spelling: Spelling, end: Callable[[Connection], None], kind: type[TransportError]
) -> None:
    """Messages under way, garbage among them; nothing is answered."""
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
    connection, wire = opened(Undecided(), answers_close=False)
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
async def test_what_cannot_be_used_is_told_to_the_server_by_its_code(code: int) -> None:
    """It stands in our close frame."""
    connection, wire = acked(GraphQLTransportWS())
    connection.failed(TransportProtocolError("no"), code)

    assert (["close"], code) == (wire.asked, wire.close_code)


# --- Closing ---------------------------------------------------------------------------------


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
async def test_the_close_handshake_is_bounded_whoever_begins_it() -> None:
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
    """At the same time, or later; both return when the socket is no more."""
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
async def test_one_call_is_told_that_the_server_did_not_play_along() -> None:
    """The one that began it; for the others it is closed, and that is all."""
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

    with pytest.raises(TransportClosed, match="was given up"):
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


# --- Keep-alive: silence ---------------------------------------------------------------------


def dying(
    dialect: Dialect, limits: Limits, **options: Any
) -> tuple[Connection, MemoryWire, Ending]:
    ending = Ending()
    connection, wire = acked(dialect, limits=limits, on_end=ending, **options)
    return connection, wire, ending


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
async def test_in_apollos_protocol_silence_is_no_death_before_the_first_ka() -> None:
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
async def test_before_the_acknowledgement_nobody_watches() -> None:
    """That time has a limit of its own."""
    ending = Ending()
    opened(
        GraphQLTransportWS(),
        limits=Limits(ping_interval=1.0, silence=10.0),
        on_end=ending,
    )
    await pass_time(1_000.0)

    assert [] == ending.times


# --- Keep-alive: pings -----------------------------------------------------------------------


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
    assert limits.patience == caught.value.limit


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
async def test_a_ping_of_the_users_is_watched_too() -> None:
    """If a pong timeout was asked for."""
    connection, wire, ending = dying(GraphQLTransportWS(), Limits(pong_timeout=5.0))
    await pass_time(100.0)
    connection.ping({"n": 1})
    assert {"type": "ping", "payload": {"n": 1}} == wire.said[-1]

    await connection.wait_gone()

    assert 105.0 == pytest.approx(ending.time)


@both
@on_virtual_time
async def test_nobody_watches_over_a_connection_that_has_ended(spelling: Spelling) -> None:
    """No ping is due on it, and it does not die a second time."""
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
async def test_pings_and_pongs_of_the_server_are_told() -> None:
    """Their payloads are kept, and the events are the user's to clear."""
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
async def test_a_pong_frame_is_told_like_a_pong() -> None:
    """Apollo's protocol has no other."""
    signals = Signals()
    connection, _ = acked(Apollo(), signals=signals)
    connection.ponged()

    assert signals.pong_received.is_set()


@on_virtual_time
async def test_the_answer_to_pings_can_be_left_to_the_user() -> None:
    """Who sends it, with whatever payload."""
    signals = Signals()
    connection, wire = acked(GraphQLTransportWS(answer_pings=False), signals=signals)
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


# --- Reading and writing ---------------------------------------------------------------------


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

    await stream.get()
    await stream.get()

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
async def test_who_waits_to_send_makes_reading_go_on(spelling: Spelling) -> None:
    """A server that cannot write may not read either: each would wait for the other."""
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
async def test_reading_does_not_pause_before_the_acknowledgement_or_amid_goodbye() -> None:
    """The connection itself waits for something then."""
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
    await stream.get()
    await stream.get()
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
async def test_who_sends_waits_until_the_socket_takes_it() -> None:
    """All who wait go on when it does."""
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
async def test_cancelling_one_who_waits_to_send_leaves_the_others() -> None:
    """They share what they wait for."""
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


# --- Which protocol --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "spelling"), [(PING, NEWER), (KA, OLDER), (ACK, OLDER)], ids=["ping", "ka", "ack"]
)
@on_virtual_time
async def test_a_server_that_named_no_protocol_is_found_out(
    first: bytes, spelling: Spelling
) -> None:
    """By its first word; that it was a guess can be seen."""
    connection, wire = opened(Undecided())
    assert connection.was_guessed is True
    hear(connection, first, ACK)
    wire.sent.clear()

    id, reply = asked(connection)
    hear(connection, says(spelling.result, id=id, payload=RESULT))

    assert spelling.make().subprotocol == connection.subprotocol
    assert [spelling.start] == [said["type"] for said in wire.said]
    assert RESULT == json.loads(bytes(await reply or b""))


@both
@on_virtual_time
async def test_a_protocol_that_the_server_named_is_no_guess(spelling: Spelling) -> None:
    """There is nothing to find out."""
    connection, _ = opened(spelling.make())

    assert connection.was_guessed is False


# --- The log ---------------------------------------------------------------------------------


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.name == "gqlwire.wire"]


@on_virtual_time
async def test_messages_are_logged_on_a_logger_of_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both ways, at DEBUG, and nowhere else."""
    caplog.set_level(logging.DEBUG)
    connection, _ = acked(GraphQLTransportWS())
    hear(connection, says("ping", payload={"n": 1}))

    assert [
        f'{HOST} > {{"type":"connection_init"}}',
        f'{HOST} < {{"type": "connection_ack"}}',
        f'{HOST} < {{"type": "ping", "payload": {{"n": 1}}}}',
        f'{HOST} > {{"type":"pong","payload":{{"n": 1}}}}',
    ] == logged(caplog)
    assert {logging.DEBUG} == {it.levelno for it in caplog.records}
    assert {"gqlwire.wire"} == {it.name for it in caplog.records if "gqlwire" in it.name}


@both
@on_virtual_time
async def test_the_init_payload_is_not_logged(
    spelling: Spelling, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds the credentials."""
    caplog.set_level(logging.DEBUG)
    opened(spelling.make(), init_payload={"token": "secret"})

    assert [
        f'{HOST} > {{"type":"connection_init","payload":"<redacted>"}}',
    ] == logged(caplog)
    assert "secret" not in caplog.text


@on_virtual_time
async def test_what_else_is_said_before_the_acknowledgement_is_logged_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only the init has a secret in it."""
    caplog.set_level(logging.DEBUG)
    connection, _ = opened(GraphQLTransportWS(), init_payload={"token": "secret"})
    hear(connection, PING)

    assert f'{HOST} > {{"type":"pong"}}' == logged(caplog)[-1]
    assert "secret" not in caplog.text


@on_virtual_time
async def test_long_messages_are_cut_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Their length is told."""
    caplog.set_level(logging.DEBUG)
    connection, wire = acked(GraphQLTransportWS())
    hear(connection, says("next", id="0", payload={"data": "é" * 1_000}))
    connection.start(b'{"query":"%s"}' % (b"x" * 1_000), Reply(connection.gate))

    received, sent = logged(caplog)[-2:]
    assert "… (" in received
    assert f"… ({len(wire.sent[-1])} bytes)" in sent
    assert 600 > max(len(received), len(sent))


@on_virtual_time
async def test_the_log_can_be_switched_on_amid_a_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the next burst on; to look for each message would be dear."""
    caplog.set_level(logging.INFO)
    connection, _ = acked(GraphQLTransportWS())
    hear(connection, PONG)
    assert [] == logged(caplog)

    caplog.set_level(logging.DEBUG)
    hear(connection)
    hear(connection, PONG)

    assert [f'{HOST} < {{"type": "pong"}}'] == logged(caplog)
