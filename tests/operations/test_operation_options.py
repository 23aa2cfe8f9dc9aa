"""The options of operations: each is declared once, and type checkers know the same ones."""

import pytest

from gqlwire import Buffer, Overflow
from gqlwire._operations.options import (
    USUAL_TERMS,
    ExecuteOptions,
    RequestOptions,
    SubscribeOptions,
    Terms,
)


def test_type_checkers_know_the_options_of_subscribe() -> None:
    """`tell_reconnects` is an argument of its own, as it changes the type of the events."""
    declared = set(Terms.__struct_fields__) - {"tell_reconnects"}

    assert declared == SubscribeOptions.__optional_keys__ - RequestOptions.__optional_keys__


def test_only_execute_has_a_timeout_for_the_whole_operation() -> None:
    """A subscription has one for each event."""
    own = ExecuteOptions.__optional_keys__ - RequestOptions.__optional_keys__

    assert {"timeout", "idempotent"} == own
    assert set() == own & SubscribeOptions.__optional_keys__


@pytest.mark.parametrize("options", [{}, {"operation_name": "A"}, {"variable_values": {"a": 1}}])
def test_subscriptions_without_options_share_their_terms(options: dict[str, object]) -> None:
    """There may be very many of them."""
    assert Terms.of(options) is USUAL_TERMS


def test_given_options_are_in_the_terms() -> None:
    """Written as in a call: a buffer may be a number of events, an overflow a str."""
    terms = Terms.of({"buffer": 7, "overflow": "latest", "survive": False}, tell_reconnects=True)

    assert Terms(Buffer(7), Overflow.LATEST, survive=False, tell_reconnects=True) == terms


@pytest.mark.parametrize("name", Terms.__struct_fields__[2:-1])
def test_each_option_arrives_by_its_name(name: str) -> None:
    """None is dropped on the way."""
    given: object = 7.5 if name.endswith("_timeout") else object()

    assert getattr(Terms.of({name: given}), name) is given


def test_an_unknown_overflow_is_refused() -> None:
    """As `Overflow` does it."""
    with pytest.raises(ValueError, match="somewhere"):
        Terms.of({"overflow": "somewhere"})
