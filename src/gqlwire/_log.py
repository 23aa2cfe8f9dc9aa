"""The loggers of gqlwire. No argument of theirs can break a line or control a terminal.

A filter does that, not each caller: a caller who forgets it would be noticed by an attacker only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gqlwire.errors.text import printable


class _Escaping(logging.Filter):
    """Escapes the arguments of each record. It lets all records pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape what the text of the record will contain."""
        arguments = record.args
        if isinstance(arguments, Mapping):
            record.args = {name: _escaped(value) for name, value in arguments.items()}
        elif arguments:
            record.args = tuple(map(_escaped, arguments))
        return True


class _Escaped:
    """Stands for an argument whose text must be escaped."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __str__(self) -> str:
        return printable(str(self._value))

    def __repr__(self) -> str:
        return printable(repr(self._value))


def _escaped(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return printable(value)
    # Handlers may want the object itself.
    is_harmless = str(value).isprintable() and repr(value).isprintable()
    return value if is_harmless else _Escaped(value)


logger = logging.getLogger("gqlwire")
"""What happens on a connection."""

wire_logger = logging.getLogger("gqlwire.wire")
"""Each message, at DEBUG."""

for _each in (logger, wire_logger):
    _each.addFilter(_Escaping())
