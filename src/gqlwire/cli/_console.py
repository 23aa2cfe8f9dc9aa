"""What the command says beside its results, on stderr: complaints, notes and the progress.

The progress is one line that is written over again and again; whatever else goes to the terminal
calls `clear` first.
"""

from __future__ import annotations

import contextlib
import os
import sys

PROGRAM = "gqlwire"


def is_terminal(stream: object) -> bool:
    """Say whether `stream` is a terminal; None, as for a closed stdout, is none."""
    isatty = getattr(stream, "isatty", None)
    try:
        return bool(isatty and isatty())
    except ValueError:
        return False


def may_color(choice: str, stream: object) -> bool:
    """Say whether to colour what goes to `stream`; `choice` is auto, always or never.

    `auto` is for terminals, and heeds NO_COLOR (no-color.org) and TERM=dumb.
    """
    if choice != "auto":
        return choice == "always"
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and is_terminal(stream)


def harmless(text: str) -> str:
    """Return `text` on one line, without the control characters that steer a terminal."""
    return "".join(c if c.isprintable() else _escaped(c) for c in " ".join(text.split()))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Console:
    """stderr. `quiet` leaves out all but complaints."""

    def __init__(self) -> None:
        self.quiet = False
        self._shown = False

    @property
    def is_live(self) -> bool:
        """Whether somebody watches who is to see how far it is."""
        return not self.quiet and is_terminal(sys.stderr)

    def complain(self, text: str) -> None:
        """Say what is wrong, on one line."""
        self._write(f"{PROGRAM}: {harmless(text)}\n")

    def note(self, text: str) -> None:
        """Say something on the side, to somebody who watches."""
        if self.is_live:
            self._write(f"{PROGRAM}: {harmless(text)}\n")

    def show(self, progress: str) -> None:
        """Show how far it is, in place of what was shown before."""
        self._shown = False
        self._write(f"\r{progress}\x1b[K")
        self._shown = True

    def clear(self) -> None:
        """Take the progress away."""
        if self._shown:
            self._shown = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self.clear()
        if sys.stderr is not None:
            # Whoever closed stderr does not want to hear of that either.
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(text)
                sys.stderr.flush()
