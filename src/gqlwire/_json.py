"""JSON as servers write it: what cannot be decoded, and excerpts for messages."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Raw

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a text that is not what was expected."""


_EXCERPT = 120


def excerpt(text: bytes) -> str:
    """Return the beginning of `text`, fit for a one-line message."""
    shown = repr(text[:_EXCERPT].decode(errors="backslashreplace"))
    return shown + (f"… ({len(text)} bytes)" if len(text) > _EXCERPT else "")


def decode_payload(payload: Raw) -> Any:
    """Decode a payload of any shape; None where there is none.

    Raises ValueError if it cannot be read.
    """
    if not payload:
        return None
    try:
        return msgspec.json.decode(payload)
    except UNREADABLE:
        return json.loads(bytes(payload))


_SHOWN = 500


def shown(text: bytes, limit: int = _SHOWN) -> str:
    """Return `text`, cut to `limit` bytes, for a log or an error."""
    cut = text[:limit].decode(errors="replace")
    return cut + (f"… ({len(text)} bytes)" if len(text) > limit else "")


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


NOTHING = Raw()
"""The payload of a message that has none."""
