"""Reading what the fast way would not take: servers as they are.

Strict decoding comes first, in each protocol's file. What fails it comes here: ids that are
numbers, keys that are missing, JSON with NaN or lone surrogates in it. Only text that is no JSON
object at all is refused. This file knows no protocol.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gqlwire.errors import TransportProtocolError
from gqlwire.protocols.events import NOTHING, Failed, Stray

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a text that is not what was expected."""

_EXCERPT = 120


class _Envelope(msgspec.Struct):
    type: Any = None
    id: Any = None
    payload: Raw = NOTHING


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def excerpt(text: bytes) -> str:
    """Return the beginning of `text`, fit for a one-line message."""
    shown = repr(text[:_EXCERPT].decode(errors="backslashreplace"))
    return shown + (f"… ({len(text)} bytes)" if len(text) > _EXCERPT else "")


def read(text: bytes, types: Mapping[str, type[Any]], *, nameless: type[Any]) -> Any:
    """Make a message of `text`: one of `types` (by its `type`), or a `Stray`.

    An error that names no operation becomes a `nameless` one (AppSync sends such), any other
    message that lacks its id a `Stray`. Raises TransportProtocolError if `text` is no JSON object.
    """
    envelope = _envelope(text)
    kind = types.get(envelope.type) if isinstance(envelope.type, str) else None
    if kind is None:
        return Stray(str(envelope.type))
    # Servers echo numbers, too (the first Apollo client sent such ids).
    id = str(envelope.id) if isinstance(envelope.id, str | int) else None
    if "id" not in kind.__struct_fields__:
        return kind(envelope.payload) if kind.__struct_fields__ else kind()
    if id is None:
        is_error = issubclass(kind, Failed)
        return nameless(envelope.payload) if is_error else Stray(f"{envelope.type} without an id")
    return kind(id, envelope.payload) if "payload" in kind.__struct_fields__ else kind(id)


def _envelope(text: bytes) -> _Envelope:
    try:
        return _decode_envelope(text)
    except UNREADABLE:
        return _second_opinion(text)


def _second_opinion(text: bytes) -> _Envelope:
    # Python's reader accepts NaN and lone surrogates, which some servers write; such a message
    # shall cost its own operation at most.
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as unreadable:
        raise TransportProtocolError(
            f"the server sent a message that is not JSON: {excerpt(text)}"
        ) from unreadable
    if not isinstance(message, dict):
        raise TransportProtocolError(
            f"the server sent a message that is not a JSON object: {excerpt(text)}"
        )
    payload = Raw(json.dumps(message["payload"]).encode()) if "payload" in message else NOTHING
    return _Envelope(message.get("type"), message.get("id"), payload)


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
