"""Reads messages that are not written as the protocol says.

Strict decoding comes first, in each protocol's file. What fails it comes here: ids that are
numbers, keys that are missing, JSON with NaN or lone surrogates in it. Only text that is not a JSON
object is refused. This file knows no protocol.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gqlwire._json import NOTHING, UNREADABLE, decode, excerpt
from gqlwire._protocols.events import Failed, Stray
from gqlwire.errors import TransportProtocolError


class _Envelope(msgspec.Struct):
    type: Any = None
    id: Any = None
    payload: Raw = NOTHING


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


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
        pass
    # A payload that is not quite JSON must cost its own operation at most.
    try:
        message = decode(text)
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
