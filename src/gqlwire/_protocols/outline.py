"""Finds the keys of a JSON object in text that no decoder accepts.

It looks only at strings, brackets, colons and commas, so it does not mind what is wrong within a
value, nor how deeply it is nested. Its time is in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

# All repetitions are possessive: none is tried again, however hostile the text is. So a string
# that is not closed goes to the end of the text.
_TOKENS = re.compile(
    rb'(?P<string>"(?:[^"\\]++|\\.?)*+"?)|(?P<open>[{\[])|(?P<close>[}\]])|(?P<colon>:)|(?P<comma>,)'
    rb'|(?P<word>[^"{}\[\]:,\s]++)',
    re.DOTALL,
)


def outline(text: bytes, until: Collection[str] = ()) -> dict[str, bytes]:
    """Return the keys of an object, with their values as they came; the first of equal keys wins.

    Stops when all keys in `until` are found, if there are any. A value without an end is left out.
    """
    found: dict[str, bytes] = {}
    for key, value in _members(text):
        found.setdefault(key, value)
        if until and all(wanted in found for wanted in until):
            break
    return found


def _members(text: bytes) -> Iterator[tuple[str, bytes]]:
    depth, key, start = 0, "", None
    for match in _TOKENS.finditer(text):
        kind = match.lastgroup
        if kind == "close":
            depth -= 1
        is_within = depth == 1
        if kind == "open":
            depth += 1
        if not is_within or kind == "open":
            continue
        if kind == "colon":
            start = match.end()
        elif kind == "comma":
            start = None
        elif start is None:
            key = match[0].strip(b'"').decode(errors="replace")
        else:
            yield key, text[start : match.end()].strip()
            start = None
