"""A server that named no protocol: its first word tells which one it speaks."""

from __future__ import annotations

import pytest

from gqlwire._protocols import Apollo, GraphQLTransportWS, Setup, events
from gqlwire.errors import Phase, TransportProtocolError
from spelling import REQUEST, guessing, opened, says, sent

NEWER, OLDER = GraphQLTransportWS.name, Apollo.name


def test_the_older_protocol_is_assumed_until_the_server_has_spoken() -> None:
    """Servers that name none are mostly that old."""
    undecided = guessing()

    assert (OLDER, Phase.INIT) == (undecided.name, undecided.phase)
    assert undecided.keep_alive.from_first_sign is True
    assert [] == sent(undecided)


@pytest.mark.parametrize("payload", [None, {"token": "t"}])
def test_the_opening_is_one_that_both_accept(payload: dict[str, str] | None) -> None:
    """So the conversation can begin before it is known which one it is."""
    openings = []
    for dialect in (guessing(init_payload=payload), Apollo(Setup(init_payload=payload))):
        dialect.connection_init()
        openings += sent(dialect)

    assert [{"type": "connection_init", "payload": payload or {}}] * 2 == openings


def test_its_opening_is_shown_without_the_payload() -> None:
    """It holds the credentials."""
    undecided = guessing(init_payload={"token": "t"})
    undecided.connection_init()

    [shown] = map(undecided.redacted, undecided.outbox)
    assert b'{"type":"connection_init","payload":"<redacted>"}' == shown


@pytest.mark.parametrize("word", ["ping", "pong"])
def test_a_ping_or_a_pong_shows_the_newer_protocol(word: str) -> None:
    """The older protocol has no such messages."""
    undecided = guessing()

    event = undecided.receive(says(word))

    assert isinstance(event, events.Pinged | events.Ponged)
    assert NEWER == undecided.name
    assert undecided.keep_alive.from_first_sign is False


@pytest.mark.parametrize(
    "message",
    [says("ka"), says("connection_ack"), says("connection_error"), says("welcome"), b"{}"],
)
def test_any_other_first_message_shows_the_older_protocol(message: bytes) -> None:
    """`ka` for certain, an acknowledgement as the best guess."""
    undecided = guessing()

    undecided.receive(message)

    assert OLDER == undecided.name
    assert events.Stray("ping") == undecided.receive(says("ping")) or (
        Phase.CLOSED is undecided.phase
    )


@pytest.mark.parametrize(
    "type", [b"null", b"1", b"1.5", b"true", b"[]", b'["ping"]', b"{}", b'"\\ud800"', b"NaN"]
)
def test_a_first_message_of_an_invalid_type_is_a_stray(type: bytes) -> None:
    """One odd message ends nothing, not even as the first."""
    undecided = guessing()

    assert isinstance(undecided.receive(b'{"type":%s}' % type), events.Stray)
    assert isinstance(undecided.receive(says("connection_ack")), events.Acknowledged)


@pytest.mark.parametrize("message", [b"", b"[]", b'"ping"', b"1", b"hello", b"\xff\xfe"])
def test_a_first_message_that_is_not_a_json_object_is_refused(message: bytes) -> None:
    """As either protocol refuses it."""
    with pytest.raises(TransportProtocolError, match="the server sent a message that is not"):
        guessing().receive(message)


def test_the_first_message_decides_for_good() -> None:
    """What comes later is judged by the one that was chosen."""
    undecided = guessing()
    undecided.receive(says("ping"))
    undecided.receive(says("connection_ack"))

    assert events.Stray("ka") == undecided.receive(says("ka"))
    assert NEWER == undecided.name
    assert Phase.OPEN is undecided.phase


def test_the_ping_that_shows_the_newer_protocol_is_answered() -> None:
    """With its payload, as ever."""
    undecided = guessing()
    undecided.receive(says("ping", payload={"n": 1}))

    assert [{"type": "pong", "payload": {"n": 1}}] == sent(undecided)


def test_the_answer_to_pings_can_be_left_to_the_user() -> None:
    """The choice is handed on."""
    undecided = guessing(answer_pings=False)
    undecided.receive(says("ping"))

    assert [] == sent(undecided)


@pytest.mark.parametrize(
    ("first_word", "start", "stop", "result"),
    [("ping", "subscribe", "complete", "next"), ("ka", "start", "stop", "data")],
)
def test_operations_are_those_of_the_chosen_protocol(
    first_word: str, start: str, stop: str, result: str
) -> None:
    """Words and all."""
    undecided = guessing()
    undecided.receive(says(first_word))
    opened(undecided)

    undecided.subscribe("1", REQUEST)
    request = {"query": "subscription { n }"}
    assert [{"type": start, "id": "1", "payload": request}] == sent(undecided)
    assert isinstance(undecided.receive(says(result, id="1", payload={})), events.Result)
    undecided.complete("1")
    assert [{"type": stop, "id": "1"}] == sent(undecided)


def test_our_pings_are_those_of_the_chosen_protocol() -> None:
    """There are none before the choice, and none in the older protocol."""
    undecided = guessing()
    undecided.ping()
    undecided.pong()
    assert [] == sent(undecided)

    undecided.receive(says("pong"))

    undecided.ping()
    assert [{"type": "ping"}] == sent(undecided)
    undecided.pong({"n": 1})
    assert [{"type": "pong", "payload": {"n": 1}}] == sent(undecided)


def test_before_the_server_has_spoken_the_end_is_silent() -> None:
    """A word of the one might be an offence in the other."""
    undecided = guessing()

    undecided.close()
    assert [] == sent(undecided)
    assert Phase.CLOSED is undecided.phase


def test_after_the_server_has_spoken_the_end_is_that_of_its_protocol() -> None:
    """The older one has a word for it, the newer one has none."""
    older, newer = guessing(), guessing()
    older.receive(says("ka"))
    newer.receive(says("pong"))

    older.close()
    assert [{"type": "connection_terminate"}] == sent(older)
    newer.close()
    assert [] == sent(newer)
    assert (Phase.CLOSED, Phase.CLOSED) == (older.phase, newer.phase)


def test_messages_after_an_end_before_the_choice_are_ignored() -> None:
    """Even an acknowledgement, in either protocol."""
    for first in (says("ping"), says("connection_ack"), says("nonsense")):
        undecided = guessing()
        undecided.close()

        assert undecided.receive(first) is None
        assert undecided.receive(says("connection_ack")) is None
        assert [] == sent(undecided)
        assert Phase.CLOSED is undecided.phase
