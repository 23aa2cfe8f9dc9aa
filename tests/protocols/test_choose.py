"""Which protocol is spoken, by what was offered and what the server picked."""

from __future__ import annotations

import pytest

from gqlwire._protocols import SUBPROTOCOLS, Apollo, Dialect, GraphQLTransportWS, Undecided, choose
from spelling import says

NEWER, OLDER = "graphql-transport-ws", "graphql-ws"


def test_the_newer_protocol_is_offered_first() -> None:
    """Servers that speak both mostly take the first."""
    assert (NEWER, OLDER) == SUBPROTOCOLS


@pytest.mark.parametrize(
    ("offered", "selected", "expected"),
    [
        ((NEWER, OLDER), NEWER, GraphQLTransportWS),
        ((NEWER, OLDER), OLDER, Apollo),
        ((NEWER,), NEWER, GraphQLTransportWS),
        ((OLDER,), OLDER, Apollo),
        # No answer to an offer of one means that one.
        ((NEWER,), None, GraphQLTransportWS),
        ((OLDER,), None, Apollo),
        # No answer to an offer of both leaves it open.
        ((NEWER, OLDER), None, Undecided),
        # What was not offered is no answer.
        ((NEWER, OLDER), "mqtt", Undecided),
        ((NEWER, OLDER), "", Undecided),
        ((NEWER,), OLDER, GraphQLTransportWS),
        ((OLDER,), NEWER, Apollo),
        ((NEWER,), "mqtt", GraphQLTransportWS),
        # Names compare exactly (RFC 6455, section 4.1); only the header's name does not.
        ((NEWER, OLDER), "GraphQL-Transport-WS", Undecided),
    ],
)
def test_the_servers_pick_decides_if_it_was_on_offer(
    offered: tuple[str, ...], selected: str | None, expected: type[Dialect]
) -> None:
    """Each pair of offer and answer has one protocol."""
    assert expected is type(choose(offered, selected))


@pytest.mark.parametrize("selected", [NEWER, None])
@pytest.mark.parametrize("answers", [True, False])
def test_whether_pings_are_answered_is_handed_on(selected: str | None, answers: bool) -> None:
    """To the newer protocol, and to the one that may become it."""
    dialect = choose(SUBPROTOCOLS, selected, answer_pings=answers)
    dialect.receive(says("ping"))

    assert answers is (dialect.reply() is not None)


def test_each_connection_has_a_conversation_of_its_own() -> None:
    """Nothing of one shows in the next."""
    first = choose(SUBPROTOCOLS, NEWER)
    first.receive(says("connection_ack"))

    assert first.phase is not choose(SUBPROTOCOLS, NEWER).phase
