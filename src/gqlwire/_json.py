"""JSON as servers write it: decodes and encodes it leniently, and shortens it for messages.

The code that runs for every message has strict decoders, which are faster. It falls back to this
module when a strict decoder raises one of `UNREADABLE`. What is decoded here can be encoded here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from enum import Enum
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
    try:
        return json.loads(bytes(text), parse_float=parse_float)
    except json.JSONDecodeError as fault:
        fault.doc = ""  # the error would keep the text, and its text is made already
        raise


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


# --- Encoding --------------------------------------------------------------------------------

_DEEPEST = 10_000
"""How many levels of lists and objects are written. What contains itself has more."""

_PLAIN = frozenset({str, int, bool, type(None)})
_LONGEST_PATH = 200


def encode(value: Any, subject: str) -> bytes:
    """Return `value` as JSON: anything that `decode` returns, and whatever msgspec can write.

    Lone surrogates are escaped. Raises TypeError for what JSON cannot represent, such as NaN; the
    message names the `subject`, and says where in it the fault is.
    """
    try:
        text = msgspec.json.encode(value)
        # msgspec writes NaN and infinities as null, which is another value. `in` would be slower:
        # it first tries whether b"null" is a number.
        if text.find(b"null") < 0 or not _may_be_infinite(value):
            return text
    except (TypeError, ValueError, RecursionError):
        pass
    return encode_slowly(value, subject)


def _may_be_infinite(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return any(map(_may_be_infinite, value.values()))
    if kind is list or kind is tuple:
        return any(map(_may_be_infinite, value))
    return not math.isfinite(value) if kind is float else kind not in _PLAIN


class _Part(msgspec.Struct):
    """A value that is still to be written; `step` leads to it from `parent`."""

    value: Any
    parent: _Part | None = None
    step: str = "$"
    depth: int = 0

    def within(self, value: Any, step: str = "") -> _Part:
        """Return a part of this one."""
        return _Part(value, self, step, self.depth + 1)

    def path(self) -> str:
        """Return where it is, such as `$.filter.price[2]`."""
        steps = []
        part: _Part | None = self
        while part is not None:
            steps.append(part.step)
            part = part.parent
        path = "".join(reversed(steps))
        return path[:_LONGEST_PATH] + "…" if len(path) > _LONGEST_PATH else path


def encode_slowly(value: Any, subject: str, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
    """Do what `encode` does, however deeply lists and objects are nested.

    `enc_hook` converts what msgspec cannot write, as msgspec's own does.
    """
    pieces: list[str] = []
    rest: list[str | _Part] = [_Part(value)]  # the next one is the last
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            pieces.append(part)
            continue
        try:
            rest.extend(reversed(_pieces(part, enc_hook)))
        except (TypeError, ValueError, RecursionError) as cause:
            raise TypeError(f"{subject} cannot be sent as JSON: {part.path()}: {cause}") from cause
    return "".join(pieces).encode()


def _pieces(part: _Part, enc_hook: Callable[[Any], Any] | None) -> list[str | _Part]:
    value = part.value
    if part.depth > _DEEPEST:
        raise ValueError(f"it has more than {_DEEPEST} levels, or contains itself")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"JSON cannot represent {value}")
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, Enum)):
        return [json.dumps(value)]
    if isinstance(value, Mapping):
        pairs = [(_key(key), item) for key, item in value.items()]
        fields = ((f"{json.dumps(key)}:", part.within(item, f".{key}")) for key, item in pairs)
        return ["{", *_joined(fields), "}"]
    if isinstance(value, list | tuple | set | frozenset):
        items = ((part.within(item, f"[{place}]"),) for place, item in enumerate(value))
        return ["[", *_joined(items), "]"]
    plain = msgspec.to_builtins(value, str_keys=True, enc_hook=enc_hook)
    return [part.within(plain)]


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    [name] = msgspec.to_builtins({key: None}, str_keys=True)
    return str(name)


def _joined(groups: Iterable[tuple[str | _Part, ...]]) -> list[str | _Part]:
    joined: list[str | _Part] = []
    for group in groups:
        joined += (",", *group) if joined else group
    return joined


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
