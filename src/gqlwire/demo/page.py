"""How the walk looks: 80 columns of plain text, with colours where they are wanted.

Knows nothing of what is told.
"""

from __future__ import annotations

WIDTH = 80
INDENT = "     "

_STYLES = {"bold": "1", "dim": "2", "good": "32", "bad": "31", "query": "36"}


class Page:
    """What is printed, line by line; `color` is for terminals."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._steps = 0

    def title(self, left: str, right: str) -> None:
        """Print the first line."""
        print(self.styled("bold", left) + " " * (WIDTH - len(left) - len(right)) + right)

    def step(self, text: str) -> None:
        """Begin the next step."""
        self._steps += 1
        print(f"\n {self.styled('bold', f'{self._steps:>2}  {text}')}", flush=True)

    def ask(self, *documents: str) -> None:
        """Print what is sent."""
        for document in documents:
            self.show(*document.splitlines(), style="query")

    def show(self, *lines: str, style: str = "") -> None:
        """Print lines as they are."""
        for line in lines:
            print(INDENT + self.styled(style, line), flush=True)

    def table(self, *rows: tuple[str, ...]) -> None:
        """Print rows whose first column is a name, all others are numbers."""
        for number, (name, *cells) in enumerate(rows):
            line = f"{name:<24}" + "".join(f"{cell:>12}" for cell in cells)
            self.show(line, style="dim" if number == 0 else "")

    def styled(self, style: str, text: str) -> str:
        """Return `text` in a style, if there are colours."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._color and style else text
