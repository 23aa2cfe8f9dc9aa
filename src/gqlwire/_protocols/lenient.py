"""Reads messages that are not written as the protocol demands.

The module of each protocol has a strict decoder. When it fails, the message is read here: with ids
that are numbers, missing keys, JSON with NaN or lone surrogates, and text that is no JSON, or
nested too deeply, if it still shows which operation it is for. Other text raises. This module knows
no protocol.
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
from gqlwire._protocols.outline import outline
from gqlwire.errors import TransportProtocolError


class _Envelope(msgspec.Struct):
    type: Any = None
    id: Any = None
    payload: Raw = NOTHING


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def read(text: bytes, types: Mapping[str, type[Any]], *, nameless: type[Any]) -> Any:
    """Decode `text` to the class in `types` that its `type` names, or to a `Stray`.

    An error without an operation id becomes a `nameless` message (AppSync sends such errors); any
    other message without its id becomes a `Stray`. A message that shows its operation, but is no
    JSON, gets all of `text` as its payload. To read that fails as well, but then only its operation
    fails. Raises TransportProtocolError for other text that is not a JSON object.
    """
    try:
        envelope = _envelope(text)
    except RecursionError as unreadable:
        envelope = _deep(text, unreadable)
    except ValueError as unreadable:
        envelope = _damaged(text, types, unreadable)
    kind = types.get(envelope.type) if isinstance(envelope.type, str) else None
    if kind is None:
        return Stray(word(envelope.type))
    # Some servers send ids as numbers (the first Apollo client used numbers).
    id = str(envelope.id) if isinstance(envelope.id, str | int) else None
    if "id" not in kind.__struct_fields__:
        return kind(envelope.payload) if kind.__struct_fields__ else kind()
    if id is None:
        is_error = issubclass(kind, Failed)
        return nameless(envelope.payload) if is_error else Stray(f"{envelope.type} without an id")
    return kind(id, envelope.payload) if "payload" in kind.__struct_fields__ else kind(id)


def word(type: Any) -> str:
    """Return the type of a message as a string, whatever it is."""
    try:
        return str(type)
    except RecursionError:
        return "(nested too deeply)"


def _envelope(text: bytes) -> _Envelope:
    """Read the keys of a message. Raises ValueError or RecursionError if that is not possible."""
    try:
        return _decode_envelope(text)
    except UNREADABLE:
        pass
    # A payload that is invalid JSON, such as NaN, must not end more than its own operation.
    message = decode(text)
    if not isinstance(message, dict):
        raise TransportProtocolError(
            f"the server sent a message that is not a JSON object: {excerpt(text)}"
        )
    payload = _payload_in(text) if "payload" in message else NOTHING
    return _Envelope(message.get("type"), message.get("id"), payload)


_scan = json.JSONDecoder().raw_decode
_punctuation = re.compile(r"[ \t\n\r]*+[{:,]?+[ \t\n\r]*+")


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
    """Return the place after white space and one sign of punctuation."""
    found = _punctuation.match(message, place)
    return place if found is None else found.end()


def _deep(text: bytes, unreadable: RecursionError) -> _Envelope:
    """Read the keys of a message that is nested too deeply for the decoders."""
    keys = outline(text)
    if "type" not in keys:
        raise TransportProtocolError(
            f"the server sent a message that is nested too deeply: {excerpt(text)}"
        ) from unreadable
    # A payload without an end is not in the outline: then that of an operation is unreadable.
    payload = keys.get("payload", text if "id" in keys else b"")
    return _Envelope(_name(keys, "type"), _name(keys, "id"), Raw(payload))


def _damaged(text: bytes, types: Mapping[str, type[Any]], unreadable: ValueError) -> _Envelope:
    """Read type and id of a message that is no JSON, with `text` for its payload."""
    # The wire passes on only UTF-8, so this is for other text that somebody has.
    is_text = not isinstance(unreadable, UnicodeDecodeError)
    keys = outline(text, until=("type", "id")) if is_text else {}
    kind, id = types.get(_name(keys, "type") or ""), _name(keys, "id")
    if kind is None or id is None or "id" not in kind.__struct_fields__:
        raise TransportProtocolError(
            f"the server sent a message that is not JSON: {excerpt(text)}"
        ) from unreadable
    return _Envelope(_name(keys, "type"), id, Raw(text))


def _name(keys: Mapping[str, bytes], key: str) -> str | None:
    """Return a string or a number of an outline as a string, without escapes."""
    value = keys.get(key, b"")
    if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
        return value[1:-1].decode(errors="replace")
    return value.decode() if value.isdigit() else None
