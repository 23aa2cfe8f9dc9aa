"""The table of all log lines in docs/logging.md, and which row a line belongs to."""

import re
from pathlib import Path

_PAGE = Path(__file__).resolve().parents[1] / "docs" / "logging.md"


def rows() -> list[tuple[set[str], str]]:
    """The levels and the text of each row."""
    section = _PAGE.read_text("utf-8").partition("## All lines")[2].partition("\n## ")[0]
    cells = [line.strip("|").split(" | ") for line in section.splitlines() if line[:2] == "| "]
    return [(set(row[0].strip().split(", ")), row[1].strip()) for row in cells[1:]]


def as_row(template: str) -> str:
    """The text of the row for what a logger is called with."""
    return re.sub(r"%[-.\d]*[a-z]", "…", template)
