"""The table of all log lines is that of the code: each call of a logger has a row, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gqlwire.errors import Phase, reasons
from log_table import as_row, rows

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "gqlwire"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def calls() -> Iterator[ast.Call]:
    """The calls of a method of something that is called a logger."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                logger = node.func.value
                is_logger = isinstance(logger, ast.Name) and logger.id.endswith("logger")
                if is_logger and node.func.attr in LEVELS:
                    yield node


def line_of(call: ast.Call) -> tuple[set[str], str]:
    """The levels that a call may have, and its text as the table has it."""
    assert isinstance(call.func, ast.Attribute)
    arguments = call.args
    levels = {call.func.attr.upper()}
    if call.func.attr == "log":
        levels = set()
        arguments = arguments[1:]
    assert isinstance(arguments[0], ast.Constant), ast.unparse(call)
    return levels, as_row(arguments[0].value)


def test_each_call_of_a_logger_has_a_row() -> None:
    """With its text and its level; `log` has one of several, which the code computes."""
    table = rows()
    for levels, text in map(line_of, calls()):
        assert [row for row in table if row[1] == text and levels <= row[0]], (levels, text)


def test_each_row_has_a_call() -> None:
    """Nothing is promised that is never logged."""
    texts = [text for _, text in map(line_of, calls())]

    assert len(texts) >= 18
    assert {text for _, text in rows()} == set(texts)


def test_no_logger_is_used_in_another_way() -> None:
    """Such as one that is called by another name, or that gets a text which is formatted before."""
    for path in sorted(SOURCE.rglob("*.py")):
        for found in re.findall(r"(\w+) = logging\.getLogger", path.read_text("utf-8")):
            assert found in {"logger", "_logger", "wire_logger"} or path.parent.name == "cli"
    assert "idle_close_after" in str(reasons.idle("host", 1.0))
    assert "close()" in str(reasons.closed_by_user("host", Phase.OPEN))
