"""JSON as servers write it: decoding it leniently, and showing it in messages and logs.

What is decoded often has a strict decoder of its own, which is faster, and comes here only if that
fails with one of `UNREADABLE`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Raw

NOTHING = Raw()
"""The payload of a message that has none."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a text that it cannot decode, or not to the type that was expected."""

# --- Decoding --------------------------------------------------------------------------------


def decode(text: Raw | bytes, parse_float: Callable[[str], Any] | None = None) -> Any:
    """Decode JSON, and what Python's own reader takes for JSON, to plain objects.

    That reader accepts NaN, lone surrogates and numbers too large for a float, which some servers
    write. `parse_float` gets each number with a fraction or an exponent, as in `json.loads`. Raises
    ValueError or RecursionError if the text cannot be read.
    """
    try:
        if parse_float is None:
            return msgspec.json.decode(text)
        return msgspec.json.Decoder(float_hook=parse_float).decode(text)
    except UNREADABLE:
        pass
    return json.loads(bytes(text), parse_float=parse_float)


def number(text: str) -> float | Decimal:
    """Return a number with a fraction or an exponent; what is too large for a float is a Decimal.

    Raises ValueError if it is too large for a Decimal as well.
    """
    value = float(text)
    if math.isfinite(value):
        return value
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the number {text[:60]} is too large") from None


def decode_payload(payload: Raw) -> Any:
    """Decode the payload of a message; None if it has none. Raises what `decode` raises."""
    return decode(payload) if payload else None


def errors_of(payload: Raw) -> list[Any]:
    """Return the list of GraphQL errors that an `error` message carries, in whatever shape.

    A list (graphql-transport-ws; Mercurius on graphql-ws, too), one object (graphql-ws), an
    object with a list under `errors` (Ballerina, AppSync), or a mere string (Hasura).
    """
    try:
        said = decode_payload(payload)
    except (ValueError, RecursionError):
        return [{"message": f"unreadable error: {excerpt(bytes(payload))}"}]
    if isinstance(said, dict) and isinstance(said.get("errors"), list):
        said = said["errors"]
    if isinstance(said, list):
        return said
    if said is None:
        return []
    return [said if isinstance(said, dict) else {"message": str(said)}]


# --- Showing ---------------------------------------------------------------------------------

_EXCERPT = 120
_SHOWN = 500


def excerpt(text: bytes) -> str:
    """Return the beginning of `text`, fit for a one-line message."""
    beginning = repr(text[:_EXCERPT].decode(errors="backslashreplace"))
    return beginning + (f"… ({len(text)} bytes)" if len(text) > _EXCERPT else "")


def shown(text: bytes, limit: int = _SHOWN) -> str:
    """Return `text`, cut to `limit` bytes, for a log or an error."""
    cut = text[:limit].decode(errors="replace")
    return cut + (f"… ({len(text)} bytes)" if len(text) > limit else "")
