"""Makes text that a server sent fit for one line of a log or a terminal.

A close reason, an error message or a header may hold line breaks, escape sequences, or characters
that turn the direction of the text. Raw, they could forge lines of a log, or control a terminal. So
every error escapes its text when it is made, and `_log` escapes what is logged.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

_LONGEST = 4000
"""How many characters the text of an exception may have."""

# The spaces of Unicode, such as those of French, do not count as printable. They do no harm.
_SPACES = (0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)


class _Escapes(dict[int, str]):
    """What to write for each character, by its code point, for `str.translate`.

    Most answers are not kept: a server could fill the memory with them.
    """

    def __missing__(self, point: int) -> str:
        character = chr(point)
        if character.isprintable():
            return character
        return character.encode("unicode_escape").decode()


class _JSONEscapes(_Escapes):
    """The same, as JSON escapes characters in a string."""

    def __missing__(self, point: int) -> str:
        if chr(point).isprintable():
            return chr(point)
        if point <= 0xFFFF:
            return f"\\u{point:04x}"
        high, low = divmod(point - 0x10000, 0x400)
        return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


_PLAIN = {point: chr(point) for point in (*range(0x20, 0x7F), *_SPACES)}
_ESCAPES = _Escapes(_PLAIN)
_JSON_ESCAPES = _JSONEscapes(_PLAIN)


def printable(text: str) -> str:
    r"""Return `text` with all that is not printable escaped: `\n`, `\x1b`, `\u202e`."""
    return text if text.isprintable() else text.translate(_ESCAPES)


def printable_json(text: str) -> str:
    r"""Return JSON on one line with all that is not printable escaped: `\u009b`, `\u202e`."""
    return text if text.isprintable() else text.translate(_JSON_ESCAPES)


def counted(number: float, noun: str) -> str:
    """Return "1 hook", "2 hooks"."""
    return f"{number:g} {noun}" + ("" if number == 1 else "s")


def seconds(number: float) -> str:
    """Return "1 second", "0.5 seconds"."""
    return counted(number, "second")


def escape_args(fault: BaseException) -> None:
    """Escape and cut the text of an exception of another library, which a traceback shows."""
    fault.args = tuple(map(escaped, fault.args))


def cut(text: str, limit: int) -> str:
    """Return `text`, of which a server decides how long it is, with `limit` characters at most."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def escaped(value: T) -> T | str:
    """Return `value`, escaped and cut if it is a str."""
    return printable(cut(value, _LONGEST)) if isinstance(value, str) else value
