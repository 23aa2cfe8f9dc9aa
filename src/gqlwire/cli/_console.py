"""What the command prints on stderr: errors, warnings, notes and the progress.

The progress is one line that is overwritten again and again. Anything else that is printed on the
terminal calls `clear` first.
"""

from __future__ import annotations

import contextlib
import os
import sys

PROGRAM = "gqlwire"


def is_terminal(stream: object) -> bool:
    """Return whether `stream` is a terminal. None, which a closed stdout is, is not one."""
    isatty = getattr(stream, "isatty", None)
    try:
        return bool(isatty and isatty())
    except ValueError:
        return False


def may_color(choice: str, stream: object) -> bool:
    """Return whether to colour the output to `stream`; `choice` is auto, always or never.

    `auto` colours on terminals, unless NO_COLOR (no-color.org) is set or TERM is dumb.
    """
    if choice != "auto":
        return choice == "always"
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and is_terminal(stream)


def harmless(text: str) -> str:
    """Return `text` on one line, with control characters escaped: they could control a terminal."""
    return "".join(c if c.isprintable() else _escaped(c) for c in " ".join(text.split()))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Console:
    """Prints on stderr. With `quiet`, prints only errors and warnings."""

    def __init__(self) -> None:
        self.quiet = False
        self._shown = False

    @property
    def is_live(self) -> bool:
        """Whether to print progress and notes: on a terminal, unless `quiet`."""
        return not self.quiet and is_terminal(sys.stderr)

    def complain(self, text: str) -> None:
        """Print an error or a warning, on one line."""
        self._write(f"{PROGRAM}: {harmless(text)}\n")

    def note(self, text: str) -> None:
        """Print a note on one line, if progress is shown."""
        if self.is_live:
            self._write(f"{PROGRAM}: {harmless(text)}\n")

    def show(self, progress: str) -> None:
        """Show the progress, in place of the last one."""
        self._shown = False
        self._write(f"\r{progress}\x1b[K")
        self._shown = True

    def clear(self) -> None:
        """Remove the progress from the terminal."""
        if self._shown:
            self._shown = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self.clear()
        if sys.stderr is not None:
            # If stderr is closed, there is nowhere to report that.
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(text)
                sys.stderr.flush()
