"""A JSON string of 16 MiB on a coloured terminal took 2.8 GiB: a regular expression kept a place to
go back to for each character. Indentation, and colours, could make a text many times as long.

What the command prints needs memory in proportion to it, and no regular expression that a server's
text meets goes back.
"""

from __future__ import annotations

import ast
import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gqlwire._protocols.outline import outline
from gqlwire._wire import deflate
from gqlwire._wire.answer import MAX_HEAD, AnswerReader, HeadTooLong, NotHTTP
from gqlwire.cli._console import harmless
from gqlwire.cli._exit import graphql_errors
from gqlwire.cli._output import as_json, colored

SOURCE = Path(__file__).parents[2] / "src" / "gqlwire"
MIB = 1024 * 1024
SIZE = MIB // 32
SLACK = MIB // 4

# Every regular expression of gqlwire, by its module. Those of the first table meet what a server
# says, so they must not go back; those of the second one only what the user gives.
OF_SERVERS = {
    "_connection/routes.py": {"_ID"},
    "_protocols/lenient.py": {"_punctuation"},
    "_protocols/outline.py": {"_TOKENS"},
    "_wire/address.py": {"_SCHEME", "[?#]"},
    "_wire/answer.py": {"_STATUS_LINE", "_NAME"},
    "cli/_console.py": {"_OPTION"},
    "cli/_output.py": {"_TOKEN"},
}
OF_USERS = {
    "_wire/address.py": {"[&;=]"},
    "cli/_values.py": {"_NAME", "_HEADER"},
    "transport/credentials.py": {"_NAME"},
}


def peak(work: Callable[[], object]) -> int:
    """How much memory `work` needs at most, beside what there was before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def written(text: bytes) -> int:
    """How many bytes the colours make of a text, which is printed piece by piece."""
    return sum(map(len, colored(text)))


# --- Which patterns there are ---------------------------------------------------------------------


def patterns_in(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """The name, or the text, of each pattern of a module, and what it is."""
    name = path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".")
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.")):
            continue
        if ast.unparse(node.func) == "re.compile":
            [known] = [
                (attribute, value.pattern)
                for attribute, value in vars(import_module(f"gqlwire.{name}")).items()
                if isinstance(value, re.Pattern) and is_assigned(path, attribute, node)
            ]
            yield known
        else:
            assert isinstance(node.args[0], ast.Constant), ast.unparse(node)
            yield node.args[0].value, node.args[0].value


def is_assigned(path: Path, attribute: str, call: ast.Call) -> bool:
    """Whether a module assigns this call to this name."""
    return any(
        isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == attribute
        and ast.dump(node.value) == ast.dump(call)
        for node in ast.parse(path.read_text("utf-8")).body
    )


def ways_back(pattern: str | bytes) -> list[str]:
    """The repetitions without a small limit that may be tried again with fewer."""
    found: list[str] = []

    def search(part: Any) -> None:
        if isinstance(part, parser.SubPattern):
            part = part.data
        elif isinstance(part, tuple) and len(part) == 2 and str(part[0]).endswith("REPEAT"):
            kind, (_, most, _) = part
            if str(kind) != "POSSESSIVE_REPEAT" and most > 100:
                found.append(f"{kind} in {pattern!r}")
        if isinstance(part, list | tuple):
            for inner in part:
                search(inner)

    search(parser.parse(pattern))
    return found


# --- The row's own --------------------------------------------------------------------------------


def test_k3_a_string_of_mebibytes_in_colour() -> None:
    """It takes what the text itself takes, a few times."""
    text = as_json("x" * (16 * MIB), indent=False)

    assert peak(lambda: written(text)) < 5 * len(text)
    assert b'\x1b[32m"xx' == b"".join(colored(text))[:8]


@pytest.mark.parametrize("character", ["\\", '"', "\n", "\u00e9", "\u0100", "\U0001f600", "\u202e"])
@pytest.mark.parametrize("indent", [False, True])
def test_k3_other_strings(character: str, indent: bool) -> None:
    """Of what JSON escapes, and of what is not ASCII: all together, from objects to colours."""
    value = {"a": character * SIZE}
    size = len(json.dumps(value))

    def shown() -> None:
        written(as_json(value, indent=indent))

    assert peak(shown) < 20 * size + SLACK


# --- Its kind -------------------------------------------------------------------------------------


def test_k3_kind_each_pattern_is_known() -> None:
    """Whoever adds one says whose text it meets."""
    found: dict[str, set[str | bytes]] = {}
    for path in SOURCE.rglob("*.py"):
        names = {name for name, _ in patterns_in(path)}
        if names:
            found[path.relative_to(SOURCE).as_posix()] = names
    known = {
        path: OF_SERVERS.get(path, set()) | OF_USERS.get(path, set())
        for path in {*OF_SERVERS, *OF_USERS}
    }

    assert known == found


@pytest.mark.parametrize("path", OF_SERVERS)
def test_k3_kind_no_pattern_for_a_servers_text_goes_back(path: str) -> None:
    """Each repetition is possessive, or has a small limit."""
    patterns = dict(patterns_in(SOURCE / path))

    for name in OF_SERVERS[path]:
        assert [] == ways_back(patterns[name])


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        (rb'"(?:\\.|[^"\\])*"', 1),
        ("a+b*?", 2),
        ("(?:(a*)b){3}", 1),
        ("(?=a*)|(?!b+)", 2),
        ("a++(?:b|c)*+[d]{0,9}e?", 0),
        ("(a{2,})", 1),
    ],
)
def test_k3_kind_the_proof_finds_what_it_should(pattern: str | bytes, count: int) -> None:
    """The pattern that failed is among them."""
    assert count == len(ways_back(pattern))


NUMBERS: list[Any] = [1] * SIZE
VALUES: dict[str, Any] = {
    "numbers": NUMBERS,
    "words": [None] * SIZE,
    "lists": [[]] * SIZE,
    "keys": {f"{n}": n for n in range(SIZE // 8)},
    "strings": ["a"] * SIZE,
    "digits": int("1" * 4000),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("indent", [False, True])
def test_k3_kind_many_small_values(value: Any, indent: bool) -> None:
    """Colours make each ten times as long; that is never in memory as a whole."""
    size = len(json.dumps(value, separators=(",", ":")))

    def shown() -> None:
        written(as_json(value, indent=indent))

    assert peak(shown) < 10 * size + SLACK


@pytest.mark.parametrize("levels", [10, 20, 50, 900])
def test_k3_kind_deep_values(levels: int) -> None:
    """Indentation would be twice the levels for each number: up to 60 MB here."""
    value = NUMBERS
    for _ in range(levels - 1):
        value = [value]
    size = 2 * len(NUMBERS)

    assert peak(lambda: as_json(value, indent=True)) < 60 * size
    assert as_json(value, indent=True).count(b"\n") == (
        0 if levels > 20 else len(NUMBERS) + 2 * levels - 1
    )


def test_k3_kind_small_deep_values_are_indented() -> None:
    """Where it does no harm."""
    assert 401 == len(as_json(json.loads("[" * 200 + "1" + "]" * 200), indent=True).split(b"\n"))


odd = st.recursive(
    st.text(max_size=8) | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(value=odd, indent=st.booleans())
def test_k3_kind_colours_change_nothing_else(value: Any, indent: bool) -> None:
    """Without them the text is as it was; a key has another colour than a string."""
    text = as_json(value, indent=indent)
    shown = b"".join(colored(text))

    assert text == re.sub(rb"\x1b\[[\d;]*m", b"", shown)
    assert value == json.loads(text)
    keys = [0]

    def count(part: Any) -> None:
        if isinstance(part, dict):
            keys[0] += len(part)
        for inner in part.values() if isinstance(part, dict) else part:
            if isinstance(inner, dict | list):
                count(inner)

    if isinstance(value, dict | list):
        count(value)
    assert keys[0] == shown.count(b"\x1b[34;1m")


HOSTILE = [
    b'"' * SIZE,
    b'"\\' * SIZE,
    b"[" * SIZE,
    b'{"a":"' + b"\\" * SIZE,
    b" " * SIZE,
    b"a," * SIZE,
]


@pytest.mark.parametrize("text", HOSTILE, ids=[repr(text[:8]) for text in HOSTILE])
def test_k3_kind_the_outline_of_a_message(text: bytes) -> None:
    """What no decoder reads is searched for its keys."""
    assert peak(lambda: outline(text)) < 4 * len(text) + SLACK


@pytest.mark.parametrize(
    "text", [b" " * MAX_HEAD, b"\t" * MAX_HEAD, b"a" * MAX_HEAD, b"a:\n" * 10_000]
)
def test_k3_kind_the_head_of_an_answer(text: bytes) -> None:
    """Its first line, its names, and its length."""

    def read() -> None:
        for head in (b"HTTP/1.1" + text, b"HTTP/1.1 200 " + text, b"HTTP/1.1 200 OK\r\n" + text):
            try:
                AnswerReader().take(head + b"\r\n\r\n")
            except (NotHTTP, HeadTooLong):
                continue

    assert peak(read) < 60 * len(text) + SLACK


@pytest.mark.parametrize("quoted", ["x" * SIZE, "\\x" * SIZE, " ;" * SIZE])
def test_k3_kind_the_extensions_of_an_answer(quoted: str) -> None:
    """websockets has patterns that go back. They get no more than a header may need."""
    header = f'permessage-deflate; server_max_window_bits="{quoted}"'

    def read() -> None:
        with pytest.raises(ValueError, match="characters"):
            deflate.accept(header)

    assert peak(read) < SLACK


def test_k3_kind_sentences_on_stderr() -> None:
    """Many short words, or many errors, would be lists of as many strings."""
    words = "a " * MIB

    assert peak(lambda: harmless(words)) < 4 * MIB
    assert len(harmless(words)) < 5_000
    errors: list[Any] = [{}] * MIB
    assert peak(lambda: graphql_errors(errors)) < MIB
    assert "and 1,048,476 more" == graphql_errors(errors)[100]
    assert 101 == len(graphql_errors(errors))


def test_k3_kind_what_is_printed_is_still_json() -> None:
    """Of a value that msgspec cannot write, too."""
    value = msgspec.json.decode(b'{"a":[1.5,"x"]}') | {"\ud800": float("nan")}

    for indent in (False, True):
        assert {"a": [1.5, "x"], "\ud800": None} == json.loads(as_json(value, indent=indent))
