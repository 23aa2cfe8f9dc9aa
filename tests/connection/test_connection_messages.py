"""One live connection over a wire in memory: odd messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from doubles import on_virtual_time, settle
from gqlwire._connection.telemetry import Signals
from gqlwire._protocols import GraphQLTransportWS
from gqlwire.errors import (
    ConnectionClosed,
)
from spelling import Spelling, both, says

if TYPE_CHECKING:
    pass
from connecting import HOST, RESULT, acked, asked, hear


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
    } == connection.telemetry.strays
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
async def test_a_connection_error_later_on_is_logged_and_kept_for_the_end(
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
    assert f"before that, it sent connection_error: {json.dumps(payload)}" in str(caught.value)


@both
@on_virtual_time
async def test_an_error_without_an_id_later_on_ends_nothing(
    spelling: Spelling, caplog: pytest.LogCaptureFixture
) -> None:
    """AppSync sends such errors."""
    connection, _ = acked(spelling.make())
    id, reply = asked(connection)
    hear(connection, says("error", payload={"errors": []}), says("error", id=None))
    assert "connection_error" in caplog.text

    hear(connection, says(spelling.result, id=id, payload=RESULT))
    assert RESULT == json.loads(bytes(await reply or b""))
