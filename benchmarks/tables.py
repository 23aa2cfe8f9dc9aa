"""Tables, and how figures are written in them. It knows no scenario."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

ABSENT = TO = "\N{EN DASH}"


@dataclass
class Table:
    """A table: the first column names the rows; `notes` go below it."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return it as Markdown, under its title."""
        lines = [f"### {self.title}", ""] if self.title else []
        lines += [row_of(self.columns), "|---|" + "---:|" * (len(self.columns) - 1)]
        lines += [row_of(row) for row in self.rows]
        for text in self.notes:
            lines += ["", text]
        return "\n".join(lines) + "\n"


def row_of(cells: list[str]) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(cells) + " |"


def number(value: float) -> str:
    """Write a number with three digits that matter."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def thousands(value: float) -> str:
    """Write a number in thousands."""
    return number(value / 1e3)


def megabytes(value: float) -> str:
    """Write bytes in MB, which are a million."""
    return number(value / 1e6)


def kilobytes(value: float) -> str:
    """Write bytes in kB, which are a thousand."""
    return number(value / 1e3)


def spread(values: list[float], write: Callable[[float], str] = number) -> str:
    """Write a median, with the least and the most of the rounds."""
    if not values:
        return ABSENT
    middle = write(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({write(min(values))}{TO}{write(max(values))})"
