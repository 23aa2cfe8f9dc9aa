"""What the command prints on stderr: errors, warnings, notes and the progress.

The progress is one line that is overwritten again and again. Anything else that is printed on the
terminal calls `clear` first.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys

from gqlwire.errors.text import cut, printable

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


_LONGEST = 4000
"""How many characters of a sentence are printed."""


def harmless(text: str) -> str:
    """Return `text` on one line, cut, and escaped: control characters could control a terminal."""
    return printable(" ".join(cut(text, _LONGEST).split()))


_FLAGS = {
    "execute_timeout": " (--timeout)",
    "connect_timeout": " (--connect-timeout)",
    "ack_timeout": " (--connect-timeout)",
    "pong_timeout": " (--ping-interval)",
    "close_timeout": "",  # there is no flag for it
}
_OPTION = re.compile(rf" \(({'|'.join(_FLAGS)})\)")


def with_flags(text: str) -> str:
    """Return an error of gqlwire with the flags of the command, in place of its options."""
    return _OPTION.sub(lambda option: _FLAGS[option[1]], text)


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
        self._write(f"{PROGRAM}: {harmless(with_flags(text))}\n")

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
