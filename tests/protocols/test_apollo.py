"""What only Apollo's protocol has: `ka`, a word for goodbye, and no pings."""

from __future__ import annotations

from typing import Any

import pytest

from gqlwire._protocols import Apollo, KeepAliveRule, events
from gqlwire._protocols.apollo import SERVER_SAYS
from gqlwire.errors import Phase
from spelling import opened, says, sent


def test_its_name_is_that_of_the_subprotocol() -> None:
    """The npm library of that name speaks the other protocol, which misleads many."""
    assert "graphql-ws" == Apollo.name


# --- Keep-alive ------------------------------------------------------------------------------


@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
def test_a_ka_is_a_sign_of_life_at_any_time(is_open: bool) -> None:
    """Hasura sends them before the acknowledgement, even before our init."""
    dialect = opened(Apollo(), "1") if is_open else Apollo()
    before = dialect.phase

    assert isinstance(dialect.receive(says("ka")), events.KeptAlive)
    assert before is dialect.phase


def test_a_ka_with_a_payload_is_a_sign_of_life() -> None:
    """Whatever hangs on it."""
    assert isinstance(Apollo().receive(says("ka", payload=None, id=None)), events.KeptAlive)


def test_a_ka_with_nan_in_it_is_a_sign_of_life() -> None:
    """What is read the lenient way means the same."""
    assert isinstance(Apollo().receive(b'{"type":"ka","payload":NaN}'), events.KeptAlive)


def test_silence_counts_only_once_the_server_has_given_a_sign() -> None:
    """Keep-alives count "only upon the first received" one (GQL_CONNECTION_KEEP_ALIVE)."""
    assert KeepAliveRule(from_first_sign=True) == Apollo().keep_alive


def test_the_client_has_no_word_for_a_sign_of_life() -> None:
    """No ping, no pong, and nothing of the server's asks for an answer."""
    dialect = opened(Apollo())
    dialect.receive(says("ka"))
    dialect.ping({"n": 1})
    dialect.pong()

    assert [] == sent(dialect)


# --- Operations ------------------------------------------------------------------------------


def test_the_servers_answer_to_our_stop_is_ignored() -> None:
    """The reference server answers `stop` with `complete`."""
    dialect = opened(Apollo(), "1")
    dialect.complete("1")

    assert dialect.receive(says("complete", id="1", payload=None)) is None


def test_validation_errors_that_come_as_data_are_a_result() -> None:
    """The reference server says so what the specification calls `error`."""
    payload = {"errors": [{"message": "Cannot query field"}]}

    event = opened(Apollo(), "1").receive(says("data", id="1", payload=payload))

    assert isinstance(event, events.Result)


# --- The end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_open", [False, True], ids=["before the ack", "after the ack"])
def test_goodbye_has_a_word(is_open: bool) -> None:
    """`connection_terminate` (GQL_CONNECTION_TERMINATE)."""
    dialect = opened(Apollo(), "1") if is_open else Apollo()

    dialect.close()
    assert [{"type": "connection_terminate"}] == sent(dialect)
    assert Phase.CLOSED is dialect.phase


# --- The table -------------------------------------------------------------------------------


def test_the_table_has_two_phases_and_leads_out_of_them_only_to_a_third() -> None:
    """A phase that the table lacks is the end."""
    reachable = {phase for says in SERVER_SAYS.values() for phase in says.values()}

    assert {Phase.INIT, Phase.OPEN} == set(SERVER_SAYS)
    assert {Phase.INIT, Phase.OPEN, Phase.CLOSED} == reachable


@pytest.mark.parametrize("word", ["next", "ping", "pong", "start_ack"])
@pytest.mark.parametrize("payload", [None, {"data": 1}])
def test_words_of_the_other_protocol_and_of_appsync_are_strays(word: str, payload: Any) -> None:
    """A server that mixes them up harms nobody, and gets no answer."""
    dialect = opened(Apollo(), "1")

    assert events.Stray(word) == dialect.receive(says(word, id="1", payload=payload))
    assert [] == sent(dialect)


@pytest.mark.parametrize("word", ["connection_init", "start", "stop", "connection_terminate"])
def test_our_own_words_are_strays_from_a_server(word: str) -> None:
    """What only a client says means nothing here."""
    dialect = opened(Apollo(), "1")

    assert events.Stray(word) == dialect.receive(says(word, id="1", payload={}))
