"""What gqlwire had received, such as lone surrogates or NaN, it could not save, or send again.

Right: it is saved as it came, resumed from, and sent; what JSON cannot represent raises an error
that says where it is.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saving import FROM, Memory, Remote, begun, client_of, until, variables_of

from gqlwire import FileCheckpoint, GraphQLRequest, Scalar
from gqlwire._json import decode, encode
from gqlwire._payloads.scalars import Scalars
from gqlwire.errors import CredentialsFailed
from spelling import Spelling, both
from virtual_server import VirtualServer, virtual_server

if TYPE_CHECKING:
    from pathlib import Path

served = pytest.fixture(name="server")(virtual_server)

ODD = {
    "surrogate": b'"\\ud83d"',
    "surrogates": b'{"a":["\\udc00x","\\ud83d\\ude00"],"\\udfff":1}',
    "huge": b"1" + b"0" * 300,
    "bits": b"18446744073709551617",
    "negative": b"-9223372036854775809",
    "deep": b"[" * 200 + b"]" * 200,
    "control": b'"\\u0000\\u2028\\u009b"',
    "emoji": '"😀é"'.encode(),
}
NOT_FINITE = {"nan": b"NaN", "infinity": b"-Infinity", "in a list": b'[{"x":[NaN]}]'}


def after_value(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
    return {"after": last["n"]}


async def live(server: VirtualServer, client: Any, checkpoint: Any, value: bytes) -> Any:
    """Run the program once: take an event with this value, and leave without an error."""
    async with client as session:
        events = session.subscribe(FROM, resume=after_value, checkpoint=checkpoint)
        async with events:
            step = await begun(events)
            word = server.peer.spelling.result.encode()
            head = b'{"type":"%s","id":"%s","payload":{"data":{"n":' % (
                word,
                str(events.id).encode(),
            )
            server.peer.say(head + value + b"}}}")
            await until(step.done)
            return step.result()["n"]


async def test_e1_a_lone_surrogate_is_saved_in_a_file_and_resumed_from(
    server: VirtualServer, tmp_path: Path
) -> None:
    """At each restart, as the server sent it."""
    checkpoint = FileCheckpoint(tmp_path / "feed.json")
    for life in range(3):
        assert "\ud83d" == await live(server, server.client(), checkpoint, b'"\\ud83d"')
        assert [{"after": "\ud83d"} if life else None] == variables_of(server)


async def test_e1_nan_is_saved_in_a_file_and_not_as_null(
    server: VirtualServer, tmp_path: Path
) -> None:
    """`resume` gets it; as a variable it is refused, with its place."""
    checkpoint = FileCheckpoint(tmp_path / "feed.json")
    assert math.isnan(await live(server, server.client(), checkpoint, b"NaN"))
    async with server.client() as session:
        events = session.subscribe(FROM, resume=after_value, checkpoint=checkpoint)
        with pytest.raises(
            TypeError,
            match=r"^the variables cannot be sent as JSON: \$\.after: JSON cannot represent nan$",
        ):
            await anext(events)


@both
@pytest.mark.parametrize("name", ODD)
async def test_e1_kind_what_is_received_is_saved_and_resumed_from(
    server: VirtualServer, spelling: Spelling, name: str
) -> None:
    """Whatever it is, and however it is saved."""
    for checkpoint in (Memory(), Remote()):
        value = await live(server, client_of(server, spelling), checkpoint, ODD[name])
        assert decode(ODD[name]) == value
        assert value == await live(server, client_of(server, spelling), checkpoint, ODD[name])

        assert [{"after": value}] == variables_of(server)


@both
@pytest.mark.parametrize("name", NOT_FINITE)
async def test_e1_kind_what_is_not_finite_is_saved_and_not_sent(
    server: VirtualServer, spelling: Spelling, name: str
) -> None:
    """The next life can go on from another field of the event."""
    memory = Memory()
    await live(server, client_of(server, spelling), memory, NOT_FINITE[name])
    assert NOT_FINITE[name] in memory.saved[0].replace(b" ", b"")
    async with client_of(server, spelling) as session:
        events = session.subscribe(FROM, resume=lambda *_: {"after": 1}, checkpoint=memory)
        step = await begun(events)
        assert [{"after": 1}] == variables_of(server)
        await events.aclose()
        await until(step.done)


@both
@pytest.mark.parametrize("beside", ['"\\ud83d"', "NaN", '"\\u00e9\\ud83d"', "-Infinity", "1" * 400])
async def test_e1_kind_an_odd_event_is_saved_byte_by_byte(
    server: VirtualServer, spelling: Spelling, beside: str
) -> None:
    """Its numbers are not rounded, and its white space is kept."""
    value = b'{"exact": 1.10000000000000000001 ,"big":1e400,"\\u006f":[ %b ]}' % beside.encode()
    memory = Memory()
    await live(server, client_of(server, spelling), memory, value)

    assert [b'{"data":{"n":' + value + b"}}"] == memory.saved


# --- Variables -----------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "\ud83d"


@dataclasses.dataclass
class Point:
    x: float
    label: str = ""


def nested(depth: int, inner: Any = 1) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("\ud83d", "\ud83d"),
        ({"\ud83d": {1: "\udc00"}}, {"\ud83d": {"1": "\udc00"}}),
        ([Point(1.5, "\ud83d")], [{"x": 1.5, "label": "\ud83d"}]),
        (Color.RED, "\ud83d"),
        ({"\ud83d"}, ["\ud83d"]),
        (
            ("\ud83d", datetime.date(2024, 5, 17), Decimal("1.10"), None),
            ["\ud83d", "2024-05-17", "1.10", None],
        ),
        (2**70, 2**70),
    ],
)
def test_e1_kind_variables_that_can_be_received_can_be_sent(value: Any, written: Any) -> None:
    """With everything else that is in them."""
    text = GraphQLRequest("{ a }", variable_values={"v": value}).encode()

    assert {"v": written} == json.loads(text)["variables"]
    text.decode()  # it is UTF-8


def test_e1_kind_deep_variables_are_sent() -> None:
    """Deeper than any recursion goes."""
    depth = sys.getrecursionlimit() * 3
    text = GraphQLRequest("{ a }", variable_values={"v": nested(depth)}).encode()

    assert b'"v":' + b"[" * depth + b"1" + b"]" * depth in text


loop: dict[str, Any] = {}
loop["a"] = loop


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"a": math.nan}, r"\$\.a: JSON cannot represent nan"),
        ({"filter": {"price": [1.0, {"max": math.inf}]}}, r"\$\.filter\.price\[1\]\.max: .* inf"),
        ({"p": [Point(-math.inf)]}, r"\$\.p\[0\]\.x: JSON cannot represent -inf"),
        ({"n": None, "a": (1.0, math.nan)}, r"\$\.a\[1\]: JSON cannot represent nan"),
        ({"a": "\ud83d", "b": object()}, r"\$\.b: .*type object is unsupported"),
        ({"a": [object()]}, r"\$\.a\[0\]: .*type object is unsupported"),
        ({"a": {(1, 2): 3}}, r"\$\.a: Only dicts with str-like"),
        ({"a": nested(1_000, math.nan)}, r"\$\.a(\[0\])+\S*…: JSON cannot represent nan"),
        ({"a": loop}, r"\$\.a\.a\.a.*…: it has more than 10000 levels, or contains itself"),
    ],
)
def test_e1_kind_what_cannot_be_sent_is_named(variables: dict[str, Any], words: str) -> None:
    """By the path to it; the same for extensions."""
    with pytest.raises(TypeError, match=f"^the variables cannot be sent as JSON: {words}"):
        GraphQLRequest("{ a }", variable_values=variables).encode()
    with pytest.raises(TypeError, match=f"^the extensions cannot be sent as JSON: {words}"):
        GraphQLRequest("{ a }", extensions=variables).encode()


def test_e1_kind_what_a_scalar_cannot_write_is_named() -> None:
    """With the path, though the scalars convert the variables first."""

    class Money:
        pass

    scalars = Scalars({Money: Scalar(encode=lambda money: 1j)})
    with pytest.raises(TypeError, match=r"as JSON: \$\.a\[1\]: .*type complex is unsupported"):
        scalars.plain({"a": [1, Money()]})


finite = (
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None))
)
texts = st.text(st.characters(codec=None))
values = st.recursive(finite, lambda part: st.lists(part) | st.dictionaries(texts, part))


@given(values)
def test_e1_kind_whatever_json_can_hold_comes_back(value: Any) -> None:
    """Written and read; and strict encoders write the same, where they can."""
    text = encode(value, "it")

    assert value == decode(text) == json.loads(text)
    if "\\ud" not in ascii(value):
        assert msgspec.json.encode(value) == text


@both
async def test_e1_kind_the_init_payload_may_have_surrogates_and_not_nan(
    server: VirtualServer, spelling: Spelling
) -> None:
    """It is written by the same rules."""
    async with client_of(server, spelling, init_payload={"token": "\ud83d"}):
        assert "\ud83d" == server.peer.said[0]["payload"]["token"]
    with pytest.raises(
        (TypeError, CredentialsFailed), match=r"\$\.a\[0\]: JSON cannot represent nan"
    ):
        async with client_of(server, spelling, init_payload={"a": [math.nan]}):
            pass
