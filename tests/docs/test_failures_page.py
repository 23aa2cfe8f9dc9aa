"""docs/contributing/failures.md: each row has tests of its input and of its kind."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contributing" / "failures.md"
ROW = re.compile(r"\| (?P<row>[A-K]\d+) \| [^|]+ \| [^|]+ \| (?P<files>`[^|]+`) \|")
FILE = re.compile(r"`(tests/failures/test_\w+\.py)`")

# The rows that must be there. What is added to the page must be added here.
ROWS = [
    *(f"A{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
    *(f"B{n}" for n in (1, 2, 3)),
    *(f"C{n}" for n in (1, 2, 3, 4)),
    "D1",
    *(f"E{n}" for n in (1, 2, 3, 4, 5)),
    *(f"F{n}" for n in range(1, 12)),
    *(f"G{n}" for n in (1, 2, 3, 4, 5)),
    *(f"H{n}" for n in (1, 2)),
    *(f"I{n}" for n in range(1, 11)),
    "J5",
    *(f"K{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)),
]


def files_by_row() -> dict[str, list[str]]:
    rows = [ROW.fullmatch(line) for line in PAGE.read_text("utf-8").splitlines()]
    return {row["row"]: FILE.findall(row["files"]) for row in rows if row}


@cache
def functions_in(path: str) -> list[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in ast.walk(tree) if isinstance(node, functions)]
    return [name for name in names if name.startswith("test_")]


def rows_of_name(path: str) -> list[str]:
    """The rows that the name of a file begins with, such as `b1` and `b2`."""
    prefix = re.match(r"test((?:_[a-k]\d+)+)_", Path(path).name)
    assert prefix, f"{path} names no row"
    return prefix[1].strip("_").split("_")


def test_no_row_is_missing() -> None:
    """Each once, in order; and no line of a table is one that this test cannot read."""
    lines = re.findall(r"^\| ([A-Z]\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)

    assert lines == ROWS
    assert [*files_by_row()] == ROWS


def test_each_row_has_a_test_of_its_input_and_one_of_its_kind() -> None:
    """Together in its files, each of which has tests of the row, and the row in its name."""
    for row, files in files_by_row().items():
        own, kind = f"test_{row.lower()}_", f"test_{row.lower()}_kind_"
        names = [name for path in files for name in functions_in(path)]

        assert any(name.startswith(kind) for name in names), f"{row} has no test of its kind"
        assert any(name.startswith(own) and not name.startswith(kind) for name in names), (
            f"{row} has no test of its input"
        )
        for path in files:
            assert any(name.startswith(own) for name in functions_in(path)), (row, path)


def test_each_file_is_in_the_table() -> None:
    """With all rows in its name; and each of its tests is of one of these rows."""
    rows = files_by_row()
    listed = {path for files in rows.values() for path in files}
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/failures").glob("test_*")}

    assert listed == found
    for path in sorted(found):
        names = rows_of_name(path)
        assert names == [row.lower() for row in rows if path in rows[row]]
        of_no_row = [
            test
            for test in functions_in(path)
            if not any(test.startswith(f"test_{name}_") for name in names)
        ]
        assert of_no_row == [], f"tests of no row of {path}"
