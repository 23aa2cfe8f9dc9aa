"""One live connection over a wire in memory: the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from doubles import on_virtual_time
from gqlwire._protocols import GraphQLTransportWS, Setup
from gqlwire._streams.reply import Reply
from spelling import Spelling, both, says

if TYPE_CHECKING:
    pass
from connecting import HOST, PING, PONG, acked, hear, logged, opened


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
    opened(spelling.make(Setup(init_payload={"token": "secret"})))

    assert [
        f'{HOST} > {{"type":"connection_init","payload":"<redacted>"}}',
    ] == logged(caplog)
    assert "secret" not in caplog.text


@on_virtual_time
async def test_other_messages_before_the_acknowledgement_are_logged_unchanged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only the init message has a secret in it."""
    caplog.set_level(logging.DEBUG)
    connection, _ = opened(GraphQLTransportWS(Setup(init_payload={"token": "secret"})))
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
async def test_the_log_can_be_switched_on_during_a_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From the next burst on; checking the logger for every message is too expensive."""
    caplog.set_level(logging.INFO)
    connection, _ = acked(GraphQLTransportWS())
    hear(connection, PONG)
    assert [] == logged(caplog)

    caplog.set_level(logging.DEBUG)
    hear(connection)
    hear(connection, PONG)

    assert [f'{HOST} < {{"type": "pong"}}'] == logged(caplog)
