"""The payload of a ping was decoded although nobody asked for it, and kept after the close: 838 MiB
for 29 MiB of JSON. The text of an error was as long as what the server sent.

Payloads are kept as they came, with a limit, and decoded when somebody asks. Texts are cut.
"""

from __future__ import annotations

import json
import logging
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from doubles import settle
from gqlwire import RetryPolicy
from gqlwire.errors import (
    ConnectionRejected,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
)
from gqlwire.errors.reasons import blamed, connection_closed, interrupted, not_acknowledged
from gqlwire.errors.text import escape_args
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    QUERY,
    TICKS,
    VirtualServer,
    begun,
    complains,
    keeping,
    kept,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
MIB = 1024 * 1024
TEXT = 4_500
MANY = b"[" + b",".join([b"{}"] * 300_000) + b"]"  # 64 bytes for each two, if it is decoded
NAMES = ["connection_ack", "ping", "pong", "connection_error"]


def traced(work: Callable[[], object]) -> tuple[int, int]:
    """How much memory `work` keeps, and how much it needs at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@tidily
async def test_k6_a_ping_of_mebibytes(server: VirtualServer) -> None:
    """It is noted, and neither decoded nor kept."""
    text = b'{"type":"ping","payload":%s}' % (b"[" + b",".join([MANY] * 5) + b"]")
    async with kept(server, answer_pings=False) as it:
        held, peak = traced(lambda: server.peer.say(text))

        assert held < MIB
        assert peak < 4 * len(text)
        assert it.session.transport.payloads["ping"] is None
        assert it.session.transport.ping_received.is_set()


@pytest.mark.parametrize("name", NAMES[1:])
@tidily
async def test_k6_a_payload_is_decoded_when_asked_for(server: VirtualServer, name: str) -> None:
    """Below the limit, and after the close as well."""
    text = b'{"type":"%s","payload":%s}' % (name.encode(), MANY)
    async with kept(server, answer_pings=False) as it:
        held, peak = traced(lambda: server.peer.say(text))

        assert held < 2 * len(text)
        assert peak < 4 * len(text)
    assert [{}] * 300_000 == it.session.transport.payloads[name]


@pytest.mark.parametrize("name", NAMES)
@BOTH
@tidily
async def test_k6_kind_each_payload_has_the_limit(
    server: VirtualServer, spelling: Spelling, name: str
) -> None:
    """Whichever message has it; the next one of the name takes its place."""
    async with kept(server, spelling=spelling) as it:
        payloads = it.session.transport.payloads
        keep: Any = server.peer.connection.telemetry.signals.payloads.keep
        for size, is_kept in ((MIB - 2, True), (MIB - 1, False), (1, True)):
            keep(name, json.dumps("x" * size).encode())
            assert ("x" * size if is_kept else None) == payloads[name]
        assert set(payloads) >= {name}
        assert name in repr(payloads)


@BOTH
@tidily
async def test_k6_the_text_of_a_long_error(server: VirtualServer, spelling: Spelling) -> None:
    """Of a query, a subscription and a result; `errors` has all of it."""
    long = "x" * (2 * MIB)
    async with kept(server, spelling=spelling) as it:
        query = await begun(it.session.execute(QUERY))
        server.peer.refuse(long)
        events = it.session.subscribe(TICKS)
        with pytest.raises(TransportQueryError) as refused:
            await query
        await started(events, server.peer)
        step = await begun(anext(events))
        server.peer.say(server.peer.result({"data": None, "errors": [{"message": long}]}))
        with pytest.raises(TransportQueryError) as failed:
            await step
        await events.aclose()

    for error in (refused.value, failed.value):
        assert len(str(error)) < TEXT
        assert len(repr(error)) < TEXT
        assert error.errors
        assert long == error.errors[0]["message"]


LONG = "x" * 100_000
ERRORS: dict[str, Any] = {
    "message": [{"message": LONG}],
    "no message": [{LONG: LONG}],
    "a message of another kind": [{"message": [LONG, {LONG: LONG}]}],
    "text": [LONG],
    "a long path": [{"message": "m", "path": [LONG, LONG]}],
    "many steps": [{"message": "m", "path": ["x"] * 100_000}],
    "many errors": [{"message": LONG}] * 1000,
    "digits": [10**4000],
    "not printable": ["\x00" * 100_000],
    "wide": ["\U000e0001" * 100_000],
}


@pytest.mark.parametrize("errors", ERRORS.values(), ids=ERRORS)
def test_k6_kind_errors_of_any_shape(errors: list[Any]) -> None:
    """The text has a limit, and says first what the server said."""
    error = TransportQueryError.of(errors)

    assert 0 < len(str(error)) < 12 * TEXT  # ten characters for one that is escaped
    assert errors is error.errors
    if len(errors) > 1:
        assert str(error).endswith("(and 999 more)")


def test_k6_kind_any_error() -> None:
    """Those that quote a hint, a reason or another error; and causes, which a traceback shows."""
    cause = ValueError(LONG)
    escape_args(cause)
    lost = connection_closed(host="h", phase="open", code=4000, reason=LONG, hint=LONG)  # type: ignore[arg-type]
    texts = [
        str(error)
        for error in (
            cause,
            lost,
            TransportError(LONG),
            blamed(lost, 2),
            interrupted("h", "mutation", lost),
            not_acknowledged("h", 1.0, LONG),
        )
    ]

    assert [] == [text for text in texts if len(text) > TEXT]


@BOTH
@tidily
async def test_k6_kind_what_the_log_and_a_rejection_say(
    server: VirtualServer, spelling: Spelling, caplog: pytest.LogCaptureFixture
) -> None:
    """A `connection_error` before and after the acknowledgement, and a refusal to continue."""
    caplog.set_level(logging.DEBUG, "gqlwire")
    server.will(complains({"message": LONG}))
    it = keeping(server, spelling=spelling)
    with pytest.raises(ConnectionRejected) as rejected:
        await it.lasting.connect()
    assert len(str(rejected.value)) < TEXT
    assert {"message": LONG} == rejected.value.payload

    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.hang_up(1012)
        await it.session.wait_ready()
        step = await begun(anext(events))
        server.peer.refuse(LONG)
        server.peer.say({"type": "connection_error", "payload": LONG})
        await settle()
        step.cancel()
        await events.aclose()
    assert caplog.records
    assert [] == [r.getMessage()[:80] for r in caplog.records if len(r.getMessage()) > TEXT]


UNREADABLE = {
    "no JSON": b'{"a":"%s"' % (b"x" * MIB),
    "too deep": b"[" * MIB,
    "no object": b'["%s"]' % (b"x" * MIB),
    "no text of its own": b"\x00" * MIB,
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
@BOTH
@tidily
async def test_k6_kind_the_message_that_ended_a_connection(
    server: VirtualServer, spelling: Spelling, text: bytes
) -> None:
    """Its error is kept; neither its frames nor its causes keep the message."""
    async with kept(server, RetryPolicy(should_retry=lambda _: False), spelling=spelling) as it:
        tracemalloc.start()
        try:
            server.peer.say(bytes(bytearray(text)))
            await settle()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert isinstance(it.lasting.failure, TransportProtocolError)
        assert held < MIB // 4


@BOTH
@tidily
async def test_k6_kind_what_is_beside_a_payload(server: VirtualServer, spelling: Spelling) -> None:
    """An event that waits in a buffer keeps its payload, which is counted, and no more."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        words = spelling.result.encode(), server.peer.id.encode(), b"x" * (MIB // 8)
        text = b'{"payload":{"data":{"n":1}},"type":"%s","id":"%s","pad":"%s"}' % words
        held, _ = traced(lambda: [server.peer.say(bytes(bytearray(text))) for _ in range(16)])

        assert 16 == events.buffered
        assert held < 16 * len(text) // 8
        assert [{"n": 1}] * 16 == [await anext(events) for _ in range(16)]
        await events.aclose()
