"""One live connection over a wire in memory: which protocol."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from doubles import on_virtual_time
from spelling import NEWER, OLDER, Spelling, both, guessing, says

if TYPE_CHECKING:
    pass
from connecting import ACK, KA, PING, RESULT, asked, hear, opened


@pytest.mark.parametrize(
    ("first", "spelling"), [(PING, NEWER), (KA, OLDER), (ACK, OLDER)], ids=["ping", "ka", "ack"]
)
@on_virtual_time
async def test_a_server_that_named_no_protocol_is_found_out(
    first: bytes, spelling: Spelling
) -> None:
    """By its first word; that it was a guess can be seen."""
    connection, wire = opened(guessing())
    assert connection.was_guessed is True
    hear(connection, first, ACK)
    wire.sent.clear()

    id, reply = asked(connection)
    hear(connection, says(spelling.result, id=id, payload=RESULT))

    assert spelling.make().name == connection.subprotocol
    assert [spelling.start] == [said["type"] for said in wire.said]
    assert RESULT == json.loads(bytes(await reply or b""))


@both
@on_virtual_time
async def test_a_protocol_that_the_server_named_is_not_a_guess(spelling: Spelling) -> None:
    """There is nothing to find out."""
    connection, _ = opened(spelling.make())

    assert connection.was_guessed is False
