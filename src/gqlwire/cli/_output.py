"""Results on stdout: as JSON for programs, or indented and coloured for people.

Writing never blocks the event loop (`_stdout`). So with a slow reader, such as a pager, the command
still answers the server's pings and Ctrl-C.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from gqlwire.cli._console import Console, is_terminal, may_color
from gqlwire.cli._stdout import open_stdout
from gqlwire.errors.text import printable_json

# All repetitions are possessive: none is tried again, and none takes memory.
_TOKEN = re.compile(
    rb'(?P<string>"(?:[^"\\]++|\\.)*+")(?P<key>(?=\s*+:))?+'
    rb"|(?P<number>-?\d[\d.eE+-]*+)|(?P<word>true|false|null)"
)
_COLORS = {"key": b"34;1", "string": b"32", "number": b"36", "word": b"33"}
# A number too large for a float was decoded to a Decimal; write it as a number.
_encode = msgspec.json.Encoder(decimal_format="number").encode


# Indentation makes a text so many times as long: twice its levels, for each element of two bytes.
_MOST_LEVELS, _LARGE = 20, 64 * 1024


def as_json(value: Any, *, indent: bool, shown: bool = True) -> bytes:
    """Return `value` as JSON: one line, or indented, unless it is large and nested deeply.

    `shown`: whether people see it on a terminal. Then all that is not printable is escaped.
    """
    try:
        text = _encode(value)
    except UnicodeEncodeError:
        return _with_surrogates(value, indent=indent, shown=shown)
    if shown and not text.isascii():
        text = printable_json(text.decode()).encode()
    elif shown:
        text = _without_delete(text)
    is_indented = indent and not (len(text) > _LARGE and _is_deep(value))
    return msgspec.json.format(text, indent=2) if is_indented else text


def _with_surrogates(value: Any, *, indent: bool, shown: bool) -> bytes:
    """Do the same for strings with lone surrogates, which JSON can escape and UTF-8 cannot hold."""
    if indent and not _is_deep(value):
        text = json.dumps(_plain(value), indent=2)
    else:
        text = json.dumps(_plain(value), separators=(",", ":"))
    return _without_delete(text.encode()) if shown else text.encode()


def _without_delete(text: bytes) -> bytes:
    return text.replace(b"\x7f", b"\\u007f")  # the only one of ASCII that JSON leaves raw


def _plain(value: Any) -> Any:
    """Return `value` with what Python's `json` does not write as JSON: NaN, infinity, Decimals."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Decimal) else value


def _is_deep(value: Any) -> bool:
    """Return whether lists and objects are nested in more than `_MOST_LEVELS`."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_MOST_LEVELS):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def colored(text: bytes) -> Iterator[bytes]:
    """Yield JSON with colours for a terminal, piece by piece: as a whole it may be much longer."""
    piece, at = bytearray(), 0
    for match in _TOKEN.finditer(text):
        piece += text[at : match.start()]
        piece += b"\x1b[%bm%b\x1b[0m" % (_COLORS[match.lastgroup or ""], match[0])
        at = match.end()
        if len(piece) > _LARGE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + text[at:])


class OutputError(Exception):
    """stdout could not be written; the text says why."""


class Output:
    """Prints results on stdout.

    `pretty`: whether to indent; None means on a terminal. `color` is auto, always or never.
    """

    def __init__(self, console: Console, *, pretty: bool | None, color: str) -> None:
        self._console = console
        self._pretty = is_terminal(sys.stdout) if pretty is None else pretty
        self._color = may_color(color, sys.stdout)
        # Colours are for people, also through a pager.
        self._is_shown = is_terminal(sys.stdout) or self._pretty or self._color
        self.stdout = open_stdout()

    async def write(self, value: Any) -> None:
        """Print one value, and return when it is written.

        Raises BrokenPipeError if the reader has ended, OutputError if it cannot be written.
        """
        try:
            text = as_json(value, indent=self._pretty, shown=self._is_shown)
        except RecursionError:
            raise OutputError("a result is nested too deeply to be printed") from None
        self._console.clear()
        try:
            for piece in colored(text + b"\n") if self._color else (text + b"\n",):
                await self.stdout.write(piece)
        except ConnectionError as gone:
            raise BrokenPipeError from gone
        except OSError as wrong:
            raise OutputError(f"the output cannot be written: {wrong.strerror}") from wrong
