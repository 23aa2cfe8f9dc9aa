"""Which protocol is spoken, by what was offered and what the server picked."""

from __future__ import annotations

import pytest

from gqlwire._protocols import (
    DIALECTS,
    Apollo,
    Dialect,
    GraphQLTransportWS,
    NotOffered,
    Row,
    Setup,
    Undecided,
    choose,
    default_offer,
    subprotocols,
)
from spelling import says

NEWER, OLDER = "graphql-transport-ws", "graphql-ws"


def test_the_newer_protocol_is_offered_first() -> None:
    """Servers that speak both mostly take the first."""
    assert (NEWER, OLDER) == default_offer()


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
        ((NEWER, OLDER), "", Undecided),
        ((NEWER, OLDER), " , ", Undecided),
        # What was not offered, but could have been.
        ((NEWER,), OLDER, Apollo),
        ((OLDER,), NEWER, GraphQLTransportWS),
        # Some servers change the case.
        ((NEWER, OLDER), "GraphQL-Transport-WS", GraphQLTransportWS),
        ((NEWER, OLDER), "GRAPHQL-WS", Apollo),
        # Some repeat the offer, or a part of it.
        ((NEWER, OLDER), f"{NEWER}, {OLDER}", Undecided),
        ((NEWER,), f"{NEWER}, {OLDER}", GraphQLTransportWS),
        ((NEWER, OLDER), f"mqtt,{OLDER}", Apollo),
    ],
)
def test_the_servers_pick_decides(
    offered: tuple[str, ...], selected: str | None, expected: type[Dialect]
) -> None:
    """Each pair of offer and answer has one protocol."""
    assert expected is type(choose(offered, selected))


@pytest.mark.parametrize(
    ("offered", "selected", "is_forced"),
    [
        ((NEWER, OLDER), "mqtt", False),
        ((NEWER,), "mqtt", False),
        ((NEWER,), "mqtt", True),
        ((NEWER,), OLDER, True),
        ((OLDER,), NEWER, True),
    ],
)
def test_a_pick_that_was_not_offered_is_an_error(
    offered: tuple[str, ...], selected: str, is_forced: bool
) -> None:
    """RFC 6455, section 4.1; a protocol that the user ruled out is one, too."""
    with pytest.raises(NotOffered) as told:
        choose(offered, selected, is_forced=is_forced)

    assert selected == told.value.name


@pytest.mark.parametrize("selected", [NEWER, None])
@pytest.mark.parametrize("answers", [True, False])
def test_whether_pings_are_answered_is_handed_on(selected: str | None, answers: bool) -> None:
    """To the newer protocol, and to the one that may become it."""
    dialect = choose(default_offer(), selected, Setup(answer_pings=answers))
    dialect.receive(says("ping"))

    assert answers is bool(dialect.outbox)


def test_each_connection_has_a_conversation_of_its_own() -> None:
    """Nothing of one shows in the next."""
    first = choose(default_offer(), NEWER)
    first.receive(says("connection_ack"))

    assert first.phase is not choose(default_offer(), NEWER).phase


# --- A third protocol ------------------------------------------------------------------------

VARIANT = "a variant of Apollo's"


class Variant(Apollo):
    """What some servers speak under the name of Apollo's protocol."""

    name = VARIANT
    own_types = frozenset({"start_ack"})


@pytest.fixture
def a_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register it. It is not offered by default."""
    monkeypatch.setitem(DIALECTS, VARIANT, Row(OLDER, Variant, is_offered=False))


@pytest.mark.usefixtures("a_variant")
def test_a_protocol_that_is_not_offered_by_default_is_spoken_if_it_is_named() -> None:
    """Its name is the user's word for it, and not what is on the wire."""
    assert (NEWER, OLDER) == default_offer()
    assert (OLDER,) == subprotocols([VARIANT])
    assert [Variant, Variant] == [type(choose((VARIANT,), said)) for said in (OLDER, None)]


@pytest.mark.usefixtures("a_variant")
@pytest.mark.parametrize(
    ("first", "expected"),
    [("start_ack", VARIANT), ("ka", OLDER), ("ping", VARIANT), ("connection_ack", VARIANT)],
)
def test_the_first_message_decides_between_protocols_of_one_subprotocol(
    first: str, expected: str
) -> None:
    """The server picked a name that two protocols have; no other is possible."""
    offered = (NEWER, VARIANT, OLDER)
    assert (NEWER, OLDER) == subprotocols(offered)

    dialect = choose(offered, OLDER)
    dialect.receive(says(first))

    assert expected == dialect.name
