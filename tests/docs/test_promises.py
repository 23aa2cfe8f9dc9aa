"""docs/contributing: its sentences are those of the pages for users, its tests exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "websockets_transport.md"
PAGES = {"Over restarts of the process": ROOT / "docs" / "surviving-disconnects.md"}
COMING = ROOT / "docs" / "coming-from-gql.md"
PROMISES = ROOT / "docs" / "contributing" / "promises.md"
GQL = ROOT / "docs" / "contributing" / "gql.md"

ROW = re.compile(r"\| (?P<number>\d+) \| (?P<sentence>.+) \| (?P<shown>`tests/.+) \|")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[re.Match[str]]:
    text = PROMISES.read_text("utf-8")
    return [row for row in map(ROW.fullmatch, text.splitlines()) if row]


def page_of(row: re.Match[str]) -> Path:
    """The page whose sentence a row is: that of the heading above it."""
    before, _, _ = PROMISES.read_text("utf-8").partition(f"\n| {row['number']} | ")
    headings = re.findall(r"^## (.+)$", before, re.MULTILINE)
    return PAGES[headings[-1]] if headings else PAGE


def folded(text: str) -> str:
    return " ".join(text.split())


def quoted(text: str) -> str:
    """A sentence of a page for users, whose links lead elsewhere from docs/contributing."""
    return folded(text.replace("](../", "]("))


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
    assert quoted(row["sentence"]) in folded(page_of(row).read_text("utf-8"))


@pytest.mark.parametrize("page", [PROMISES, GQL], ids=lambda page: page.stem)
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


def sections(page: Path) -> dict[str, list[list[str]]]:
    """The rows of the tables below each heading, or line in bold, that has any."""
    found: dict[str, list[list[str]]] = {}
    title = ""
    for line in page.read_text("utf-8").splitlines():
        if heading := re.fullmatch(r"#+ (.+)|\*\*(.+)\*\*", line):
            title = heading[1] or heading[2]
        elif line.startswith("| "):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.setdefault(title, []).append(cells)
    return {title: rows[1:] for title, rows in found.items()}


def test_each_difference_from_gql_is_shown() -> None:
    """Row by row, word by word; of what is not here, what a test can show."""
    told, shown = sections(COMING), sections(GQL)

    assert told.keys() == shown.keys()
    for title in told.keys() - {"What is not here"}:
        assert [row[-1] for row in told[title]] == [quoted(row[-2]) for row in shown[title]], title
    absent = "What is not here"
    assert {quoted(row[0]) for row in shown[absent]} <= {row[1] for row in told[absent]}
    rows = [row for rows in shown.values() for row in rows]
    assert [] == [row for row in rows if not TEST.search(row[-1])]


def test_the_faults_of_gql_have_the_numbers_of_the_page() -> None:
    """From 1 on."""
    title = "Faults of gql that are not here"
    numbers = [row[0] for row in sections(COMING)[title]]

    assert [str(n) for n in range(1, len(numbers) + 1)] == numbers
    assert numbers == [row[0] for row in sections(GQL)[title]]
