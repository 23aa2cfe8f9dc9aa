"""Parses the values of options: numbers, headers, JSON, files.

Each function raises argparse.ArgumentTypeError or UsageError, with a sentence. This module knows no
option.
"""

from __future__ import annotations

import json
import math
import re
import sys
from argparse import ArgumentTypeError
from typing import Any, NoReturn

from gqlwire.cli._exit import UsageError

_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")


def limit(text: str) -> float | None:
    """Parse seconds; 0 means no limit, and gives None."""
    seconds = _number(text, float)
    if not (seconds >= 0 and math.isfinite(seconds)):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds or None


def count(text: str) -> int:
    """Parse a number of events, 1 or more."""
    count = _number(text, int)
    if not count >= 1:
        raise ArgumentTypeError(f"{text!r} is not a number of events, 1 or more")
    return int(count)


def port(text: str) -> int:
    """Parse a port number."""
    port = _number(text, int)
    if not 0 <= port <= 65535:
        raise ArgumentTypeError(f"{text!r} is not a port number, 0 to 65535")
    return int(port)


def _number(text: str, kind: type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        return math.nan


def header(text: str) -> tuple[str, str]:
    """Parse `Name: value`."""
    match = _HEADER.fullmatch(text)
    if match is None:
        # The message does not quote the value, which may be a token.
        raise ArgumentTypeError("a header must be 'Name: value'")
    return match[1], match[2]


def variable(text: str) -> tuple[str, Any]:
    """Parse NAME=JSON, or NAME=TEXT, which gives a string."""
    name, separator, value = text.partition("=")
    if not separator or not _NAME.fullmatch(name):
        raise ArgumentTypeError(f"{text!r} is not of the form NAME=JSON")
    try:
        return name, _json(value)
    except ValueError:
        return name, value


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object, or @ and the name of a file with one."""
    content = _file(text[1:]) if text.startswith("@") else text
    try:
        value = _json(content)
    except ValueError as wrong:
        raise ArgumentTypeError(f"the value is not JSON: {wrong}") from None
    if not isinstance(value, dict):
        raise ArgumentTypeError("the value is JSON, but not an object")
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_number, parse_float=_float)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"JSON cannot represent {text}")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is out of range")
    return number


def document(text: str) -> str:
    """Return the document: `text` itself, or from a file (@name), or from stdin (-)."""
    if text == "-":
        document = _stdin()
    elif text.startswith("@"):
        document = _file(text[1:])
    else:
        document = text
    if not document.strip():
        raise UsageError("the document is empty")
    return document


def _stdin() -> str:
    if sys.stdin is None:
        raise UsageError("there is no document, and no stdin to read one from")
    if sys.stdin.isatty() and sys.stderr is not None:
        print("gqlwire: reading the document from the terminal; Ctrl-D ends it", file=sys.stderr)
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UsageError("the input from stdin is not UTF-8 text") from None


def _file(name: str) -> str:
    try:
        # With or without a byte order mark.
        with open(name, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as wrong:
        raise UsageError(f"{name!r} cannot be read: {wrong.strerror}") from None
    except ValueError:
        raise UsageError(f"{name!r} is not UTF-8 text") from None
