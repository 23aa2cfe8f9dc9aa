"""docs/promises.md: its sentences are those of the page, its tests exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "websockets_transport.md"
PROMISES = ROOT / "docs" / "promises.md"
COMING = ROOT / "docs" / "coming-from-gql.md"

ROW = re.compile(r"\| (?P<number>\d+) \| (?P<sentence>.+) \| (?P<shown>`tests/.+) \|")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[re.Match[str]]:
    text = PROMISES.read_text("utf-8")
    return [row for row in map(ROW.fullmatch, text.splitlines()) if row]


def folded(text: str) -> str:
    return " ".join(text.split())


@cache
def functions_in(path: str) -> set[str]:
    """The names of the test functions of a module, methods of test classes as well."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    return {name for name in names if name.startswith("test_")}


def test_the_rows_are_numbered() -> None:
    """From 1 on, without a gap: no row is one that the other tests cannot read."""
    numbers = re.findall(r"^\| *(\d+) *\|", PROMISES.read_text("utf-8"), re.MULTILINE)

    assert len(numbers) > 20
    assert [str(n) for n in range(1, len(numbers) + 1)] == numbers
    assert numbers == [row["number"] for row in rows()]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["number"])
def test_the_sentence_is_on_the_page(row: re.Match[str]) -> None:
    """Word by word; only white space may differ."""
    assert folded(row["sentence"]) in folded(PAGE.read_text("utf-8"))


@pytest.mark.parametrize("page", [PROMISES, COMING], ids=lambda page: page.stem)
def test_the_tests_that_are_named_exist(page: Path) -> None:
    """Names of parametrized tests are written without their parameters."""
    text = page.read_text("utf-8")
    named = TEST.findall(text)

    assert named
    assert [] == [f"{path}::{name}" for path, name in named if name not in functions_in(path)]
    # Nothing that looks like a test is written in a way that this test does not see.
    assert len(named) == len(re.findall(r"tests/\S+::", text))


def test_each_row_names_a_test() -> None:
    """One at least."""
    assert [] == [row["number"] for row in rows() if not TEST.search(row["shown"])]
