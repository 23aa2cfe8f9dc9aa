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


def _escaped(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    return printable(value if isinstance(value, str) else str(value))


logger = logging.getLogger("gqlwire")
"""What happens on a connection."""

wire_logger = logging.getLogger("gqlwire.wire")
"""Each message, at DEBUG."""

for _each in (logger, wire_logger):
    _each.addFilter(_Escaping())
