"""Prints the walk: 80 columns of plain text, with or without colours.

This module knows nothing about the content.
"""

from __future__ import annotations

WIDTH = 80
INDENT = "     "

_STYLES = {"bold": "1", "dim": "2", "good": "32", "bad": "31", "query": "36"}


class Page:
    """Prints line by line. `color`: whether to use colours, for terminals."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._steps = 0

    def title(self, left: str, right: str) -> None:
        """Print the first line."""
        print(self.styled("bold", left) + " " * (WIDTH - len(left) - len(right)) + right)

    def step(self, text: str) -> None:
        """Print the heading of the next step, with its number."""
        self._steps += 1
        print(f"\n {self.styled('bold', f'{self._steps:>2}  {text}')}", flush=True)

    def ask(self, *documents: str) -> None:
        """Print documents that are sent."""
        for document in documents:
            self.show(*document.splitlines(), style="query")

    def show(self, *lines: str, style: str = "") -> None:
        """Print lines as they are."""
        for line in lines:
            print(INDENT + self.styled(style, line), flush=True)

    def table(self, *rows: tuple[str, ...]) -> None:
        """Print rows whose first column is a name; the other columns are numbers."""
        for number, (name, *cells) in enumerate(rows):
            line = f"{name:<24}" + "".join(f"{cell:>12}" for cell in cells)
            self.show(line, style="dim" if number == 0 else "")

    def styled(self, style: str, text: str) -> str:
        """Return `text` in a style, if colours are on."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._color and style else text
