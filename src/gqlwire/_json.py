"""JSON as servers write it: decodes it leniently, and shortens it for messages and logs.

The code that runs for every message has strict decoders, which are faster. It falls back to this
module when a strict decoder raises one of `UNREADABLE`.
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
"""The payload of a message without one."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for text that it cannot decode, or that is not of the expected type."""

# --- Decoding --------------------------------------------------------------------------------


def decode(text: Raw | bytes, parse_float: Callable[[str], Any] | None = None) -> Any:
    """Decode JSON to plain objects, including what only Python's `json` module accepts.

    Some servers write NaN, lone surrogates, or numbers too large for a float; `json` accepts all of
    them. `parse_float` is called for each number with a fraction or an exponent, as in
    `json.loads`. Raises ValueError or RecursionError if the text cannot be decoded.
    """
    try:
        if parse_float is None:
            return msgspec.json.decode(text)
        return msgspec.json.Decoder(float_hook=parse_float).decode(text)
    except UNREADABLE:
        pass
    return json.loads(bytes(text), parse_float=parse_float)


def number(text: str) -> float | Decimal:
    """Parse a number with a fraction or an exponent, as a Decimal if it is too large for a float.

    Raises ValueError if the number is too large for a Decimal as well.
    """
    value = float(text)
    if math.isfinite(value):
        return value
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the number {text[:60]} is too large") from None


def decode_payload(payload: Raw) -> Any:
    """Decode the payload of a message; None if there is no payload. Raises like `decode`."""
    return decode(payload) if payload else None


def errors_of(payload: Raw) -> list[Any]:
    """Return the GraphQL errors of an `error` message as a list.

    Servers send a list (graphql-transport-ws, and Mercurius on graphql-ws), one object
    (graphql-ws), an object with a list under `errors` (Ballerina, AppSync), or a string (Hasura).
    """
    try:
        said = decode_payload(payload)
    except RecursionError:
        return [{"message": f"unreadable error, nested too deeply: {excerpt(bytes(payload))}"}]
    except ValueError:
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
    """Return the beginning of `text`, quoted, for a one-line message."""
    beginning = repr(text[:_EXCERPT].decode(errors="backslashreplace"))
    return beginning + (f"… ({len(text)} bytes)" if len(text) > _EXCERPT else "")


def shown(text: bytes, limit: int = _SHOWN) -> str:
    """Return `text`, cut to `limit` bytes, for a log or an error."""
    cut = text[:limit].decode(errors="replace")
    return cut + (f"… ({len(text)} bytes)" if len(text) > limit else "")
