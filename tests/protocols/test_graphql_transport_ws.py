"""What only graphql-transport-ws has: pings both ways, and no word for goodbye."""

from __future__ import annotations

from typing import Any

import pytest

from gqlwire._protocols import GraphQLTransportWS, KeepAliveRule, Setup, events
from gqlwire._protocols.graphql_transport_ws import SERVER_SAYS
from gqlwire.errors import Phase
from spelling import opened, says, sent


def test_its_name_is_that_of_the_subprotocol() -> None:
    """The npm library of the authors is called otherwise, which misleads many."""
    assert "graphql-transport-ws" == GraphQLTransportWS.name


def test_silence_counts_from_the_acknowledgement() -> None:
    """There is no `ka` that would have to come first."""
    assert KeepAliveRule() == GraphQLTransportWS().keep_alive


# --- Pings and pongs -------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [{}, {"n": 1}, None, "x", [1, 2]])
@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
def test_a_ping_is_answered_with_its_own_payload(payload: Any, is_open: bool) -> None:
    """At any time: Hasura pings before it acknowledges, even before our init."""
    dialect = opened(GraphQLTransportWS()) if is_open else GraphQLTransportWS()
    before = dialect.phase

    event = dialect.receive(says("ping", payload=payload))

    assert isinstance(event, events.Pinged)
    assert [{"type": "pong", "payload": payload}] == sent(dialect)
    assert before is dialect.phase


def test_the_answer_to_a_ping_without_a_payload_has_none() -> None:
    """Not null: nothing."""
    dialect = GraphQLTransportWS()
    dialect.receive(says("ping"))

    assert [{"type": "pong"}] == sent(dialect)


def test_a_ping_is_answered_once() -> None:
    """What comes after it has no answer."""
    dialect = GraphQLTransportWS()
    dialect.receive(says("ping"))
    dialect.receive(says("pong"))

    assert [{"type": "pong"}] == sent(dialect)


def test_nothing_but_a_ping_has_an_answer() -> None:
    """A pong that was answered would go back and forth for ever."""
    dialect = GraphQLTransportWS()

    for message in (says("pong"), says("connection_ack"), says("nonsense"), says("next", id="1")):
        dialect.receive(message)
        assert [] == sent(dialect)


def test_the_answer_can_be_left_to_the_user() -> None:
    """With `answer_pings=False` the ping is told, and no more."""
    dialect = GraphQLTransportWS(Setup(answer_pings=False))

    event = dialect.receive(says("ping", payload={"n": 1}))

    assert isinstance(event, events.Pinged)
    assert [] == sent(dialect)


@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
def test_an_unsolicited_pong_is_a_sign_of_life(is_open: bool) -> None:
    """gqlgen sends such pongs as its keep-alive."""
    dialect = opened(GraphQLTransportWS()) if is_open else GraphQLTransportWS()
    before = dialect.phase

    event = dialect.receive(says("pong", payload={"n": 1}))

    assert isinstance(event, events.Ponged)
    assert b'{"n": 1}' == bytes(event.payload)
    assert before is dialect.phase


def test_a_closed_conversation_answers_no_ping() -> None:
    """After the end nothing that arrives means anything."""
    dialect = opened(GraphQLTransportWS())
    dialect.close()

    assert dialect.receive(says("ping")) is None
    assert [] == sent(dialect)


@pytest.mark.parametrize("word", ["ping", "pong"])
@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
def test_we_may_ping_and_pong_at_any_time(word: str, is_open: bool) -> None:
    """With a payload, an empty one, or none."""
    dialect = opened(GraphQLTransportWS()) if is_open else GraphQLTransportWS()
    say = getattr(dialect, word)

    say()
    say({})
    say({"n": 1})

    assert [{"type": word, **rest} for rest in ({}, {"payload": {}}, {"payload": {"n": 1}})] == (
        sent(dialect)
    )


# --- The end ---------------------------------------------------------------------------------


def test_closing_sends_no_message() -> None:
    """The socket closes with 1000, and that is all."""
    dialect = opened(GraphQLTransportWS(), "1")

    dialect.close()
    assert [] == sent(dialect)
    assert Phase.CLOSED is dialect.phase


# --- The table -------------------------------------------------------------------------------


def test_the_table_has_two_phases_and_leads_out_of_them_only_to_a_third() -> None:
    """A phase that the table lacks is the end."""
    reachable = {phase for says in SERVER_SAYS.values() for phase in says.values()}

    assert {Phase.INIT, Phase.OPEN} == set(SERVER_SAYS)
    assert {Phase.INIT, Phase.OPEN, Phase.CLOSED} == reachable


@pytest.mark.parametrize("word", ["ka", "data", "start_ack", "connection_terminate"])
def test_words_of_the_other_protocol_are_strays(word: str) -> None:
    """A server that mixes them up harms nobody."""
    dialect = opened(GraphQLTransportWS(), "1")

    assert events.Stray(word) == dialect.receive(says(word, id="1", payload={"data": 1}))


@pytest.mark.parametrize("word", ["connection_init", "subscribe"])
def test_our_own_words_are_strays_from_a_server(word: str) -> None:
    """What only a client says means nothing here."""
    dialect = opened(GraphQLTransportWS(), "1")

    assert events.Stray(word) == dialect.receive(says(word, id="1", payload={}))
