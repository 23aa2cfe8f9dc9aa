"""Reads messages that are not written as the protocol demands.

The module of each protocol has a strict decoder. When it fails, the message is read here: with ids
that are numbers, missing keys, or JSON with NaN or lone surrogates. Only text that is not a JSON
object raises. This module knows no protocol.
"""

from __future__ import annotations

import json
import re
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
    """Decode `text` to the class in `types` that its `type` names, or to a `Stray`.

    An error without an operation id becomes a `nameless` message (AppSync sends such errors); any
    other message without its id becomes a `Stray`. Raises TransportProtocolError if `text` is not a
    JSON object.
    """
    envelope = _envelope(text)
    kind = types.get(envelope.type) if isinstance(envelope.type, str) else None
    if kind is None:
        return Stray(str(envelope.type))
    # Some servers send ids as numbers (the first Apollo client used numbers).
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
    # A payload that is invalid JSON, such as NaN, must not end more than its own operation.
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
    payload = _payload_in(text) if "payload" in message else NOTHING
    return _Envelope(message.get("type"), message.get("id"), payload)


_scan = json.JSONDecoder().raw_decode
_punctuation = re.compile(r"[ \t\n\r]*[{:,]?[ \t\n\r]*")


def _payload_in(text: bytes) -> Raw:
    """Return the `payload` of a message as it came: to encode it again could round its numbers.

    `text` is a JSON object that `decode` has read.
    """
    message = text.decode(json.detect_encoding(text), "surrogatepass")
    payload = ""
    place = _after(message, 0)
    while message[place] != "}":
        key, place = _scan(message, place)
        start = _after(message, place)
        _, place = _scan(message, start)
        if key == "payload":
            payload = message[start:place]
        place = _after(message, place)
    return Raw(payload.encode("utf-8", "surrogatepass"))


def _after(message: str, place: int) -> int:
    """Return the place behind white space and one sign of punctuation."""
    found = _punctuation.match(message, place)
    return place if found is None else found.end()
