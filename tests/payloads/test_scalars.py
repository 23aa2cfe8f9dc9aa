"""Types of one's own in variables, and which types can be had so. (Reading: `test_readers.py`.)"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import attrs
import msgspec
import pytest

from gqlwire import Client, GraphQLRequest, Scalar
from gqlwire._payloads.scalars import Scalars


class Money:
    """A type of somebody's."""

    def __init__(self, amount: str) -> None:
        self.amount = amount


class Euro(Money):
    """A kind of it."""


class Cents(int):
    """A number with a meaning."""


MONEY = Scalars({Money: Scalar(encode=lambda money: f"{money.amount} EUR")})


@dataclass
class Order:
    """An input object of somebody's."""

    limit: Money


class Bid(msgspec.Struct, rename="camel"):
    """Another one."""

    max_price: Money


def sent(scalars: Scalars, variables: dict[str, Any]) -> Any:
    """What a server reads of them."""
    plain = scalars.plain(variables)
    return json.loads(GraphQLRequest("{ a }", variable_values=plain).encode())["variables"]


# --- Writing ---------------------------------------------------------------------------------


def test_a_custom_scalar_is_encoded_wherever_it_is() -> None:
    """In lists, dicts, dataclasses, Structs, and as a derived class."""
    variables = {
        "one": Money("1"),
        "list": [Money("2"), None],
        "dict": {"a": {"b": Money("3")}},
        "order": Order(Money("4")),
        "bid": Bid(Money("5")),
        "euro": Euro("6"),
    }

    expected = {
        "one": "1 EUR",
        "list": ["2 EUR", None],
        "dict": {"a": {"b": "3 EUR"}},
        "order": {"limit": "4 EUR"},
        "bid": {"maxPrice": "5 EUR"},
        "euro": "6 EUR",
    }
    assert expected == sent(MONEY, variables)
    assert isinstance(variables["one"], Money)


def test_an_encoded_scalar_may_contain_other_scalars() -> None:
    """A Decimal as a string, and another scalar by its own rule."""
    scalars = Scalars(
        {
            Money: Scalar(encode=lambda money: [Cents(money.amount), Decimal("1.10")]),
            Cents: Scalar(encode=lambda cents: {"cents": int(cents)}),
        }
    )

    assert {"m": [{"cents": 5}, "1.10"]} == sent(scalars, {"m": Money("5")})


def test_the_encoder_of_the_nearest_class_is_used() -> None:
    """As methods do."""
    scalars = Scalars({Money: Scalar(encode=lambda _: "money"), Euro: Scalar(encode=lambda _: "€")})

    assert {"m": "money", "e": "€"} == sent(scalars, {"m": Money("1"), "e": Euro("1")})


class Side(Enum):
    """An enum of somebody's."""

    BUY = "buy"


COMMON = {
    "at": datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    "day": date(2024, 2, 29),
    "id": UUID(int=1),
    "amount": Decimal("1.10"),
    "side": Side.BUY,
    "bytes": b"ab",
    "tuple": (1, 2.5, None, True),
    "big": 2**70,
    "keys": {1: "int", Side.BUY: "enum"},
}


def test_other_values_are_encoded_as_without_scalars() -> None:
    """Dates, decimals, enums and the like."""
    assert sent(Scalars(), COMMON) == sent(MONEY, COMMON)


def test_without_encoders_variables_are_left_alone() -> None:
    """Nothing is walked through for nothing."""
    scalars = Scalars({Money: Scalar(decode=Money)})

    assert COMMON is scalars.plain(COMMON)
    assert COMMON is Scalars().plain(COMMON)


def fail(_: object) -> str:
    raise ValueError("no such currency")


@pytest.mark.parametrize(
    ("encode", "value", "words"),
    [
        (fail, Money("1"), "no such currency"),
        (lambda _: 1j, Money("1"), "Encoding objects of type complex is unsupported"),
        (lambda money: money, Money("1"), "recursion"),
        (str, object(), "Encoding objects of type object is unsupported"),
    ],
)
def test_a_value_that_cannot_be_encoded_is_a_type_error(
    encode: Callable[[Any], Any], value: object, words: str
) -> None:
    """The message has the reason."""
    with pytest.raises(TypeError, match=f"^the variables cannot be sent as JSON: .*{words}"):
        Scalars({Money: Scalar(encode=encode)}).plain({"v": value})


# --- Which types -----------------------------------------------------------------------------


class Named(NamedTuple):
    """Msgspec reads these itself."""

    a: int


class Keys(TypedDict):
    """These, too."""

    a: int


@attrs.define
class Attrs:
    """And these."""

    a: int


@pytest.mark.parametrize(
    "kind", [datetime, Decimal, UUID, str, dict, Side, Order, Bid, Attrs, Named, Keys]
)
def test_a_type_that_needs_no_scalar_is_refused(kind: type[Any]) -> None:
    """Its functions would never be called."""
    with pytest.raises(ValueError, match=f"{kind.__name__} is read and written without a Scalar"):
        Client(scalars={kind: Scalar(decode=kind)})


class Tags(OrderedDict[str, str]):
    """Msgspec writes it as a dict."""


class Key(UUID):
    """It writes it as a UUID."""


@pytest.mark.parametrize("kind", [Tags, Key])
def test_a_type_that_is_written_as_another_cannot_have_an_encoder(kind: type[Any]) -> None:
    """A decoder it can have."""
    with pytest.raises(ValueError, match=f"{kind.__name__} is written as the class"):
        Client(scalars={kind: Scalar(encode=str)})
    Client(scalars={kind: Scalar(decode=kind)})


class Moment(datetime):
    """A datetime that a server writes as a number."""


def test_a_class_derived_from_a_common_one_can_be_a_scalar() -> None:
    """For servers that write it otherwise."""
    scalars = Scalars({Moment: Scalar(encode=Moment.timestamp)})

    found = sent(scalars, {"at": Moment(2024, 2, 29, tzinfo=UTC), "day": date(2024, 2, 29)})

    assert {"at": 1709164800.0, "day": "2024-02-29"} == found


@pytest.mark.parametrize(
    "scalars", [{"Money": Scalar(decode=str)}, {Money: str}, {list[int]: Scalar(decode=str)}]
)
def test_an_invalid_table_of_scalars_is_a_type_error(scalars: Any) -> None:
    """Raised when the client is made."""
    with pytest.raises(TypeError, match="scalars must map types to Scalar objects"):
        Client(scalars=scalars)


def test_tables_with_the_same_scalars_are_equal() -> None:
    """So what was made for the one serves the other."""
    decode = Scalar(decode=str)

    assert Scalars({Money: decode, Cents: decode}) == Scalars({Cents: decode, Money: decode})
    assert hash(Scalars({Money: decode})) == hash(Scalars({Money: Scalar(decode=str)}))
    assert Scalars({Money: decode}) != Scalars({Money: Scalar(decode=repr)})
    assert Scalars() != {}
