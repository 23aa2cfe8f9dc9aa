"""From a payload to the type that was asked for: the fast way, the long one, and misfits."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from conftest import examples
from gqlwire._json import UNREADABLE
from gqlwire._payloads import reader as reader_module
from gqlwire._payloads.reader import Reader, reader_for
from gqlwire._payloads.result import ExecutionResult
from gqlwire._payloads.scalars import Scalar, Scalars
from gqlwire.errors import (
    IncompleteResult,
    ResultMismatch,
    TransportProtocolError,
    TransportQueryError,
)

NO_SCALARS = Scalars()
PRECISE = "0.1000000000000000055511151231257827"


def reader(kind: Any, parse_float: Any = None, scalars: Scalars = NO_SCALARS) -> Reader[Any]:
    return reader_for(kind, scalars, parse_float)


def read(kind: Any, text: str, parse_float: Any = None, scalars: Scalars = NO_SCALARS) -> Any:
    """What a reader makes of `{"data": <text>}`."""
    return reader(kind, parse_float, scalars).read(Raw(f'{{"data":{text}}}'.encode()))


def mismatch(kind: Any, text: str, **more: Any) -> ResultMismatch:
    with pytest.raises(ResultMismatch) as caught:
        read(kind, text, **more)
    return caught.value


class Trade(msgspec.Struct):
    price: float
    size: int | None = None


class Trades(msgspec.Struct):
    trade: Trade


@dataclass
class DataTrade:
    price: float
    size: int | None = None


@dataclass
class DataTrades:
    trade: DataTrade


@attrs.define
class AttrsTrade:
    price: float
    size: int | None = None


@attrs.define
class AttrsTrades:
    trade: AttrsTrade


class DictTrade(TypedDict):
    price: float
    size: typing_extensions.NotRequired[int | None]


class DictTrades(TypedDict):
    trade: DictTrade


class ModelTrade(pydantic.BaseModel):
    price: float
    size: int | None = None


class ModelTrades(pydantic.BaseModel):
    trade: ModelTrade


@pydantic.dataclasses.dataclass
class ModelDataTrades:
    trade: ModelTrade


@dataclass
class DataModelTrades:
    """Nothing of pydantic's but for what is in it."""

    trade: ModelTrade


class DictModelTrades(typing_extensions.TypedDict):
    trade: ModelTrade


class ModelPair(pydantic.BaseModel):
    pair: tuple[int, int]


class OtherModel(pydantic.BaseModel):
    other: str


MSGSPECS = [
    (Trades, Trades(Trade(1.5, 2))),
    (DataTrades, DataTrades(DataTrade(1.5, 2))),
    (AttrsTrades, AttrsTrades(AttrsTrade(1.5, 2))),
    (DictTrades, {"trade": {"price": 1.5, "size": 2}}),
    (dict[str, Trade], {"trade": Trade(1.5, 2)}),
    (Trades | None, Trades(Trade(1.5, 2))),
]
PYDANTICS = [
    (ModelTrades, ModelTrades(trade=ModelTrade(price=1.5, size=2))),
    (ModelDataTrades, ModelDataTrades(ModelTrade(price=1.5, size=2))),
    (DataModelTrades, DataModelTrades(ModelTrade(price=1.5, size=2))),
    (DictModelTrades, {"trade": ModelTrade(price=1.5, size=2)}),
    (dict[str, ModelTrade], {"trade": ModelTrade(price=1.5, size=2)}),
    (ModelTrades | None, ModelTrades(trade=ModelTrade(price=1.5, size=2))),
    (OtherModel | ModelTrades, ModelTrades(trade=ModelTrade(price=1.5, size=2))),
]
KINDS = MSGSPECS + PYDANTICS


def named(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


# --- Types -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "expected"), KINDS, ids=named)
def test_data_is_converted_to_the_result_type(kind: Any, expected: Any) -> None:
    """Fields that the type does not have are left out."""
    more = "" if str(kind).startswith("dict[") else ',"other":[]'

    found = read(kind, f'{{"trade":{{"price":1.5,"size":2,"more":"keys"}}{more}}}')

    assert expected == found


def test_without_a_type_data_is_plain() -> None:
    """As it is with None in the place of a type."""
    assert {"trade": {"price": 1.5}} == read(None, '{"trade":{"price":1.5}}')


def test_null_is_data_if_the_type_allows_it() -> None:
    """And without a type."""
    assert None is read(Trades | None, "null")
    assert None is read(ModelTrades | None, "null")
    assert None is read(None, "null")


class Side(Enum):
    BUY = "BUY"


class Common(msgspec.Struct):
    at: datetime
    day: date
    amount: Decimal
    id: UUID
    side: Side


def test_common_scalars_are_known() -> None:
    """To msgspec, by their annotations."""
    text = (
        '{"at":"2024-02-29T12:30:00Z","day":"2024-02-29","amount":"1.10",'
        '"id":"00000000-0000-0000-0000-000000000001","side":"BUY"}'
    )

    expected = Common(
        datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        date(2024, 2, 29),
        Decimal("1.10"),
        UUID(int=1),
        Side.BUY,
    )
    assert expected == read(Common, text)


class Node(msgspec.Struct):
    """A type that contains itself."""

    name: str
    child: Node | None = None


def test_a_type_may_contain_itself() -> None:
    """Looking through it comes to an end."""
    assert Node("a", Node("b")) == read(Node, '{"name":"a","child":{"name":"b"}}')


def test_anything_may_be_an_object() -> None:
    """`object` is how strict programs write Any."""
    assert {"a": [1, None]} == read(dict[str, object], '{"a":[1,null]}')


class Unknown:
    """A class that nobody knows how to read."""


class WithUnknown(msgspec.Struct):
    nodes: list[Unknown | None]


class WithModel(msgspec.Struct):
    trade: ModelTrade


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (5, "5 cannot be a result_type: .*a dataclass, an attrs class, a TypedDict, a pydantic"),
        ("Trades", "Trades cannot be a result_type"),
        ([Trades], "cannot be a result_type"),
        (Unknown, "no scalar says how to read Unknown; see scalars of Client"),
        (WithUnknown, "WithUnknown cannot be a result_type: no scalar says how to read Unknown"),
        (Unknown | int, "cannot be a result_type: Type unions"),
        (WithModel, "WithModel cannot be a result_type: Unable to generate"),
    ],
)
def test_a_type_that_cannot_be_read_is_a_type_error(kind: Any, words: str) -> None:
    """Before there is a payload. The message says why, and which types work, in one line."""
    with pytest.raises(TypeError, match=words) as caught:
        reader(kind)

    assert "\n" not in str(caught.value)


def test_an_annotation_that_leads_nowhere_is_a_type_error() -> None:
    """As of a class that only exists in a function."""
    local = msgspec.defstruct("Local", [("nodes", "list[Nowhere]")])

    with pytest.raises(TypeError, match="name 'Nowhere' is not defined"):
        reader(local)


def test_a_reader_is_made_once() -> None:
    """For each type, with the same scalars and the same floats."""
    same = Scalars({Unknown: Scalar(decode=str)})
    other = Scalars({Unknown: Scalar(decode=repr)})

    assert reader(Trades) is reader(Trades)
    assert reader(Trades) is reader(Trades, float)
    assert reader(Trades) is not reader(Trades, Decimal)
    assert reader(Trades, None, same) is reader(
        Trades, None, Scalars({Unknown: Scalar(decode=str)})
    )
    assert reader(Trades, None, same) is not reader(Trades, None, other)
    # Equal, and yet pydantic prefers the first of two that fit.
    assert reader(OtherModel | ModelTrades) is not reader(ModelTrades | OtherModel)


def test_the_readers_that_are_kept_are_bounded() -> None:
    """A program that makes types in passing does not grow by it."""
    assert isinstance(reader_module._kept.cache_info().maxsize, int)


class Picky:
    """A float of somebody's that cannot be looked up."""

    __hash__ = None  # type: ignore[assignment]  # that is the point of it

    def __call__(self, text: str) -> str:
        return f"<{text}>"


def test_a_reader_that_cannot_be_looked_up_is_made_again() -> None:
    """It works like any other."""
    assert {"n": "<1.50>"} == read(None, '{"n":1.50}', Picky())


# --- The fast way and the long one -----------------------------------------------------------


@pytest.mark.parametrize("errors", ["null", "[]"])
@pytest.mark.parametrize("kind", [None, Trades, ModelTrades])
def test_empty_errors_count_as_no_errors(kind: Any, errors: str) -> None:
    """However the server writes them."""
    payload = f'{{"errors":{errors},"data":{{"trade":{{"price":1}}}},"extensions":{{"t":1}}}}'

    assert read(kind, '{"trade":{"price":1}}') == reader(kind).read(Raw(payload.encode()))


@pytest.mark.parametrize("kind", [None, Trades, ModelTrades, dict[str, int]])
@pytest.mark.parametrize("data", ['{"trade":{"price":1}}', "null", '{"trade":null}'])
def test_errors_come_before_all_else(kind: Any, data: str) -> None:
    """Whether or not the data fits; it comes along as plain objects."""
    payload = f'{{"data":{data},"errors":[{{"message":"no"}}],"extensions":{{"t":1}}}}'

    with pytest.raises(TransportQueryError, match=r"^no$") as caught:
        reader(kind).read(Raw(payload.encode()))

    found = caught.value
    assert (json.loads(data), {"t": 1}) == (found.data, found.extensions)
    assert None is found.__context__


@pytest.mark.parametrize("kind", [None, Trades, ModelTrades])
@pytest.mark.parametrize(
    "unusual", ['"hasNext":false', '"label":"a"', '"unknown":{}', '"hasNext":"yes"', '"path":1']
)
def test_unusual_keys_do_not_keep_data_from_being_read(kind: Any, unusual: str) -> None:
    """Servers add keys."""
    data = '{"trade":{"price":1}}'
    payload = f'{{"data":{data},{unusual}}}'

    assert read(kind, data) == reader(kind).read(Raw(payload.encode()))


@pytest.mark.parametrize("kind", [None, Trades, ModelTrades])
@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "no payload"),
        (b"[]", "not an object"),
        (b"{", "cannot be read"),
        (b"{}", "neither data nor errors"),
    ],
)
def test_a_payload_that_is_not_a_result_is_refused(kind: Any, payload: bytes, words: str) -> None:
    """With a type or without one, the error is the same."""
    with pytest.raises(TransportProtocolError, match=words):
        reader(kind).read(Raw(payload))


@pytest.mark.parametrize("kind", [None, Trades, ModelTrades])
@pytest.mark.parametrize(
    "payload",
    [
        b'{"data":{"trade":{"price":1}},"path":["a"]}',
        b'{"data":{"trade":{"price":1}},"hasNext":true}',
        b'{"data":{},"pending":[{"id":"0","path":[]}]}',
        b'{"incremental":[],"hasNext":false}',
    ],
)
def test_a_part_of_a_result_is_refused(kind: Any, payload: bytes) -> None:
    """With a type or without one, before the type is looked at."""
    with pytest.raises(IncompleteResult, match="get_execution_result=True"):
        reader(kind).read(Raw(payload))


def test_data_that_only_the_lenient_reader_can_read_is_converted() -> None:
    """NaN and lone surrogates are not valid JSON, and servers write both."""
    assert str(Trades(Trade(float("nan")))) == str(read(Trades, '{"trade":{"price":NaN}}'))
    assert Node("\ud800") == read(Node, r'{"name":"\ud800"}')
    assert {Side.BUY: "\ud800"} == read(dict[Side, str], r'{"BUY":"\ud800"}')
    found = read(ModelTrades, '{"trade":{"price":Infinity}}')
    assert ModelTrades(trade=ModelTrade(price=float("inf"))) == found


texts = st.text(max_size=4)
numbers = st.integers() | st.floats() | st.sampled_from([2**70, 10**400])
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
trades = st.fixed_dictionaries(
    {},
    optional={
        "trade": st.fixed_dictionaries(
            {"price": numbers | anything}, optional={"size": anything, "more": anything}
        )
        | anything,
        "other": anything,
    },
)
errors = st.lists(st.fixed_dictionaries({"message": texts})) | anything
payloads = st.fixed_dictionaries(
    {},
    optional={
        "data": trades | anything,
        "errors": st.none() | st.just([]) | errors,
        "extensions": anything,
        "path": anything,
        "hasNext": anything,
        "incremental": anything,
        "label": anything,
        "unknown": anything,
    },
)
LITERALS = ["1e400", "-1e400", "NaN", r'"\ud800"', PRECISE, "null", '"', "{", "]", ",", "\x00", "é"]


@st.composite
def spliced(draw: Callable[[Any], Any]) -> str:
    """A payload with something else in some place: numbers out of range, or no JSON any more."""
    text = json.dumps(draw(payloads))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 3)))
    return text[:start] + draw(st.sampled_from(LITERALS) | texts) + text[end:]


BOTH_WAYS = [
    *((kind, None) for kind in (None, *(kind for kind, _ in KINDS))),
    (dict[str, dict[str, Decimal]], None),
    (dict[str, Any], None),
    (int | str | list[float], None),
    (None, Decimal),
    (Trades, Decimal),
    (ModelTrades, Decimal),
]


def is_of_this_world(text: str) -> bool:
    """Whether no number in it has an exponent beyond those of Decimal, or thousands of digits."""
    return not re.search(r"\d{15}", text.replace(PRECISE, "").replace(str(10**400), ""))


@settings(deadline=None)
@given(text=payloads.map(json.dumps) | spliced() | st.text())
def test_the_fast_way_raises_only_errors_that_its_users_catch(text: str) -> None:
    """They catch nothing else."""
    for kind, parse_float in BOTH_WAYS:
        with contextlib.suppress(*UNREADABLE):
            assert hasattr(
                reader(kind, parse_float).decode(text.encode("utf-8", "replace")), "data"
            )


def outcome(take: Callable[[], Any]) -> tuple[str, str]:
    """What comes of it, to be compared: NaN is not equal to itself, and its text is."""
    try:
        return "returned", repr(take())
    except ResultMismatch as misfit:
        return "misfit", repr((str(misfit), misfit.path, misfit.data, misfit.extensions))
    except TransportQueryError as refusal:
        return "errors", repr((str(refusal), refusal.errors, refusal.data, refusal.extensions))
    except IncompleteResult as part:
        return "part", repr(part.result)
    except TransportProtocolError as unreadable:
        return "no result", str(unreadable)


@pytest.mark.parametrize(
    ("kind", "parse_float"), BOTH_WAYS, ids=lambda it: "" if it is None else named(it)
)
@settings(deadline=None, max_examples=examples(30))
@given(text=(payloads.map(json.dumps) | spliced() | st.text()).filter(is_of_this_world))
def test_the_fast_way_is_the_long_way(kind: Any, parse_float: Any, text: str) -> None:
    """Whatever comes: the same data, or the same error.

    (But for numbers that Python has no type for, which the fast way passes over where nobody asked
    for them. Text that is not UTF-8 does not come this far.)
    """
    one = reader(kind, parse_float)
    payload = Raw(text.encode("utf-8", "replace"))

    fast = outcome(lambda: one.read(payload))
    long = outcome(lambda: one.read_slowly(payload))

    assert long == fast


@pytest.mark.parametrize("kind", [None, *(kind for kind, _ in KINDS)], ids=named)
@pytest.mark.parametrize("more", ["", ',"errors":null', ',"errors":[]', ',"extensions":{"a":[1]}'])
def test_usual_payloads_take_the_fast_way(
    monkeypatch: pytest.MonkeyPatch, kind: Any, more: str
) -> None:
    """Nothing is decoded twice."""
    one = reader(kind)
    monkeypatch.setattr(reader_module, "decode_result", None)

    assert one.read(Raw(f'{{"data":{{"trade":{{"price":1.5}}}}{more}}}'.encode()))


# --- What does not fit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "path", "words"),
    [
        (Trades, '{"trade":{"price":"x"}}', "$.trade.price", "Expected `float`, got `str`"),
        (DataTrades, '{"trade":{"price":"x"}}', "$.trade.price", "Expected `float`, got `str`"),
        (AttrsTrades, '{"trade":{"price":"x"}}', "$.trade.price", "Expected `float`, got `str`"),
        (DictTrades, '{"trade":{"price":"x"}}', "$.trade.price", "Expected `float`, got `str`"),
        (Trades, '{"trade":{}}', "$.trade", "missing required field `price`"),
        (Trades, '{"trade":null}', "$.trade", "Expected `object`, got `null`"),
        (Trades, "null", "$", "Expected `object`, got `null`"),
        (Trades, "[]", "$", "Expected `object`, got `array`"),
        (dict[str, list[Trade]], '{"a":[],"b":[{"price":1},{}]}', "$.b[1]", "`price`"),
        (dict[str, dict[str, int]], '{"a":{},"b":{"c":1.5}}', "$.b[...]", "`int`, got `float`"),
        (dict[str, float], '{"a":1,"b":1e400}', "$[...]", "Number out of range"),
        (Trades, '{"trade":{"price":1e400}}', "$.trade.price", "Number out of range"),
        (ModelTrades, '{"trade":{"price":"x"}}', "$.trade.price", "valid number"),
        (ModelTrades, '{"trade":{}}', "$.trade.price", "Field required"),
        (ModelTrades, "null", "$", "an object"),
        (dict[str, list[ModelTrade]], '{"a":[{"price":1},{}]}', "$.a[1].price", "required"),
        (ModelTrades | OtherModel, '{"trade":{"price":"x"}}', "$.trade.price", "and 1 more"),
        (ModelTrades | OtherModel, "{}", "$.trade", "Field required (and 1 more)"),
        (ModelPair, '{"pair":[1]}', "$.pair[1]", "Field required"),
        (ModelPair, '{"pair":"x"}', "$.pair", "Input should be a valid"),
        (ModelPair, "[]", "$", "object"),
        (ModelTrades, '{"trade":{"price":NaN,"size":1.5}}', "$.trade.size", "valid integer"),
        (ModelTrades, r'{"trade":{"price":"\ud800"}}', "$.trade.price", "valid"),
    ],
)
def test_a_misfit_says_what_does_not_fit_and_where(
    kind: Any, text: str, path: str, words: str
) -> None:
    """The path begins at the data, and the data is kept."""
    found = mismatch(kind, text)

    plain = json.loads(text, parse_float=Decimal if "e400" in text else float)
    assert (path, repr(plain)) == (found.path, repr(found.data))
    assert str(found).startswith(f"the data at {path} does not fit {named(kind)}: ")
    assert words in str(found)
    assert found.__cause__ is not None


def test_a_misfit_keeps_the_extensions() -> None:
    """There were no errors."""
    payload = Raw(b'{"data":{"trade":1},"extensions":{"cost":2},"errors":[]}')

    with pytest.raises(ResultMismatch) as caught:
        reader(Trades).read(payload)

    found = caught.value
    assert ({"trade": 1}, {"cost": 2}, None) == (found.data, found.extensions, found.errors)


# --- Floats ----------------------------------------------------------------------------------


class Price(msgspec.Struct):
    price: Decimal


class ModelPrice(pydantic.BaseModel):
    price: Decimal
    plain: float = 0.0
    any: Any = None


@pytest.mark.parametrize("text", [PRECISE, "1e400", "12345678901234567890.12", "1.10", "-0.0", "7"])
def test_a_decimal_has_the_digits_that_were_sent(text: str) -> None:
    """By its annotation, or everywhere with `parse_float`."""
    expected = repr(Decimal(text))

    assert expected == repr(read(Price, f'{{"price":{text}}}').price)
    assert expected == repr(read(Price, f'{{"price":"{text}"}}').price)
    assert expected == repr(read(ModelPrice, f'{{"price":{text}}}', Decimal).price)
    untyped = read(None, f'{{"price":{text}}}', Decimal)["price"]
    assert (7 if text == "7" else Decimal(text)) == untyped
    assert text == "7" or expected == repr(untyped)


def test_parse_float_is_for_numbers_without_an_annotation() -> None:
    """A field that is a float stays one; integers stay integers."""
    found = read(ModelPrice, '{"price":1.50,"plain":1.50,"any":[1.50,2]}', Decimal)

    assert (
        "Decimal('1.50') 1.5 [Decimal('1.50'), 2]" == f"{found.price!r} {found.plain} {found.any}"
    )
    assert Trades(Trade(1.5)) == read(Trades, '{"trade":{"price":1.5}}', Decimal)
    assert [Decimal("1.50")] == read(list[Any], "[1.50]", Decimal)


def test_parse_float_also_serves_the_long_way() -> None:
    """NaN stays the float that it is."""
    payload = Raw(b'{"data":[0.10],"hasNext":false}')

    assert "[Decimal('0.10')]" == repr(reader(None, Decimal).read(payload))
    assert "[Decimal('0.10'), nan]" == repr(read(None, "[0.10,NaN]", Decimal))


def test_parse_float_that_fails_is_a_misfit() -> None:
    """In both ways."""

    def refuse(text: str) -> float:
        raise ValueError(f"not {text}")

    for text in ("[1.5]", "[1.5,NaN]"):
        assert "not 1.5" in str(mismatch(None, text, parse_float=refuse))


def test_a_number_beyond_decimals_cannot_be_read() -> None:
    """Not even Decimal has exponents of 19 digits."""
    beyond = "1E1000000000000000000"

    with pytest.raises(TransportProtocolError, match=f"cannot be read: the number {beyond}"):
        read(None, beyond)
    with pytest.raises(TransportProtocolError, match=f"cannot be read: the number {beyond}"):
        read(Price, f'{{"price":{beyond}}}')
    with contextlib.suppress(*UNREADABLE):
        reader(None, Decimal).decode(f'{{"data":{beyond}}}'.encode())


def test_no_number_is_made_infinite() -> None:
    """What no float can hold is a Decimal where nothing is said of its type."""
    assert [Decimal("1e400"), 1.5] == read(None, "[1e400,1.5]")
    digits = "1" * 400
    assert [Decimal(digits + ".5"), int(digits)] == read(None, f"[{digits}.5,{digits}]")


# --- Custom scalars --------------------------------------------------------------------------


class Money:
    """A type of somebody's: "1.50 EUR"."""

    def __init__(self, amount: Any, currency: str = "EUR") -> None:
        self.amount = Decimal(amount)
        self.currency = currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # not needed

    @classmethod
    def parse(cls, text: str) -> Money:
        amount, currency = text.split()
        return cls(amount, currency)


class Account(msgspec.Struct):
    balance: Money
    limits: list[Money | None] = []


MONEY = Scalars({Money: Scalar(decode=Money.parse)})


def test_a_custom_scalar_is_decoded() -> None:
    """Wherever an annotation names it; null is None where the annotation allows it."""
    expected = Account(Money("1.50"), [None, Money("2", "USD")])

    found = read(Account, '{"balance":"1.50 EUR","limits":[null,"2 USD"]}', scalars=MONEY)

    assert expected == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"1.50"', "not enough values to unpack"),
        ('"x EUR"', "InvalidOperation"),
        ("5", "AttributeError: 'int' object has no attribute 'split'"),
        ("null", "Expected `Money`, got `null`"),
    ],
)
def test_a_scalar_that_cannot_be_decoded_is_a_misfit(text: str, words: str) -> None:
    """The error has its place."""
    found = mismatch(Account, f'{{"balance":{text}}}', scalars=MONEY)

    assert "$.balance" == found.path
    assert words in str(found)


def test_a_fault_of_a_decoder_is_raised_as_it_is() -> None:
    """It says nothing about the data."""

    def broken(_: object) -> Money:
        raise OSError("no exchange rates")

    with pytest.raises(OSError, match="no exchange rates"):
        read(Account, '{"balance":1}', scalars=Scalars({Money: Scalar(decode=broken)}))


def test_a_scalar_of_the_wrong_class_is_a_misfit() -> None:
    """The annotation is a promise."""
    scalars = Scalars({Money: Scalar(decode=str)})

    assert "Expected `Money`, got `str`" in str(mismatch(Account, '{"balance":1}', scalars=scalars))


def test_a_scalar_gets_all_digits_with_parse_float() -> None:
    """Without it, a number with a fraction is a float."""
    scalars = Scalars({Money: Scalar(decode=Money)})
    text = f'{{"balance":{PRECISE}}}'

    assert Money(PRECISE) == read(Account, text, Decimal, scalars).balance
    assert Money(0.1) == read(Account, text, None, scalars).balance


def test_a_scalar_that_is_only_written_cannot_be_read() -> None:
    """So the type is refused."""
    with pytest.raises(TypeError, match="no scalar says how to read Money"):
        reader(Account, scalars=Scalars({Money: Scalar(encode=str)}))


V = TypeVar("V")


class Box(Generic[V]):
    """A generic class."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Boxed(msgspec.Struct):
    box: Box[int]


def test_a_generic_class_can_be_a_scalar() -> None:
    """By the class, whatever it is filled with."""
    scalars = Scalars({Box: Scalar(decode=Box)})

    assert 5 == read(Boxed, '{"box":5}', scalars=scalars).box.value


def test_a_model_in_a_struct_can_be_a_scalar() -> None:
    """As pydantic does not read Structs."""
    scalars = Scalars({ModelTrade: Scalar(decode=ModelTrade.model_validate)})

    found = read(WithModel, '{"trade":{"price":1.5}}', scalars=scalars)

    assert WithModel(ModelTrade(price=1.5)) == found


# --- Whole results ---------------------------------------------------------------------------

NO = [{"message": "no"}]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"data": {"trade": {"price": 1}}}, ExecutionResult(Trades(Trade(1.0)))),
        (
            {"data": {"trade": {"price": 1}}, "errors": NO, "extensions": {"t": 1}},
            ExecutionResult(Trades(Trade(1.0)), NO, {"t": 1}),
        ),
        ({"data": None, "errors": NO}, ExecutionResult(None, NO)),
        ({"errors": NO}, ExecutionResult(None, NO)),
        ({"incremental": [], "hasNext": False}, ExecutionResult(incremental=[], has_next=False)),
        (
            {"data": {"trade": {"price": 1}}, "hasNext": True},
            ExecutionResult(Trades(Trade(1.0)), has_next=True),
        ),
    ],
)
def test_a_whole_result_has_data_of_the_type(
    payload: dict[str, Any], expected: ExecutionResult[Any]
) -> None:
    """Or none where nothing came of it."""
    assert expected == reader(Trades).read_whole(Raw(json.dumps(payload).encode()))


def test_a_whole_result_with_data_that_does_not_fit_keeps_its_errors() -> None:
    """They may say why."""
    payload = Raw(b'{"data":{"trade":null},"errors":[{"message":"no"}]}')

    with pytest.raises(ResultMismatch) as caught:
        reader(Trades).read_whole(payload)

    assert ("$.trade", {"trade": None}, NO) == (
        caught.value.path,
        caught.value.data,
        caught.value.errors,
    )


def test_a_whole_result_with_null_for_data_does_not_fit() -> None:
    """Without an error that would account for it."""
    with pytest.raises(ResultMismatch, match="got `null`"):
        reader(Trades).read_whole(Raw(b'{"data":null}'))


# --- What is loaded --------------------------------------------------------------------------


def test_pydantic_is_loaded_for_its_models_only() -> None:
    """Who has none does not need it, nor wait for it."""
    script = (
        "import sys, msgspec\n"
        "from gqlwire._payloads.reader import Scalars, reader_for\n"
        "class T(msgspec.Struct):\n    a: int\n"
        'assert 1 == reader_for(T, Scalars(), None).read(msgspec.Raw(b\'{"data":{"a":1}}\')).a\n'
        "assert not {'pydantic', 'attr', 'graphql'} & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", script], check=True)
