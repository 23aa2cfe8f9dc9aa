"""From the payload of a result to what a user gets.

This module knows no protocol and no connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from gqlwire.errors import TransportProtocolError, TransportQueryError
from gqlwire.protocols import tolerance


@dataclass(slots=True)
class ExecutionResult:
    """One result, whole (GraphQL specification, section 7.1).

    `data`: what was asked for, None if nothing came of it. `errors`: the list of error objects,
    None if there are none. `extensions`: whatever the server adds, or None. `incremental` and
    `has_next` are set on the results of `@defer` and `@stream`, as the server sent them.
    """

    data: Any = None
    errors: Sequence[Any] | None = None
    extensions: Any = None
    incremental: Sequence[Any] | None = None
    has_next: bool | None = None

    def data_or_raise(self) -> Any:
        """Return `data`; raise TransportQueryError, which keeps it, if there are errors.

        Raises TransportProtocolError for an incremental result, whose data is not all of it.
        """
        if self.errors:
            raise TransportQueryError.of(self.errors, data=self.data, extensions=self.extensions)
        if self.incremental is not None:
            raise TransportProtocolError(
                "the server sent an incremental result (@defer or @stream); take it whole, with "
                "get_execution_result=True"
            )
        return self.data


class _Payload(msgspec.Struct):
    data: Any = msgspec.UNSET
    errors: Raw = Raw()
    extensions: Any = None
    incremental: Any = None
    has_next: bool | None = msgspec.field(default=None, name="hasNext")


_decode = msgspec.json.Decoder(_Payload).decode


def decode_result(payload: Raw) -> ExecutionResult:
    """Decode the payload of one result.

    Raises TransportProtocolError, with an excerpt, if it is none.
    """
    try:
        result = _decode(payload)
    except tolerance.UNREADABLE:
        result = _decode_leniently(payload)
    is_part = result.incremental is not None or result.has_next is not None
    if result.data is msgspec.UNSET and not result.errors and not is_part:
        raise _unusable(payload, "it has neither data nor errors")
    return ExecutionResult(
        None if result.data is msgspec.UNSET else result.data,
        (tolerance.errors_of(result.errors) or None) if result.errors else None,
        result.extensions,
        result.incremental if not is_part else (result.incremental or []),
        result.has_next,
    )


def _decode_leniently(payload: Raw) -> _Payload:
    try:
        said = tolerance.decode_payload(payload)
    except (ValueError, RecursionError) as cause:
        raise _unusable(payload, f"it cannot be read: {cause}") from cause
    if not isinstance(said, dict):
        raise _unusable(payload, "it is not an object")
    has_next = said.get("hasNext")
    return _Payload(
        said.get("data", msgspec.UNSET),
        Raw(msgspec.json.encode(said["errors"])) if "errors" in said else Raw(),
        said.get("extensions"),
        said.get("incremental"),
        has_next if isinstance(has_next, bool) else None,
    )


def _unusable(payload: Raw, why: str) -> TransportProtocolError:
    excerpt = tolerance.excerpt(bytes(payload)) if payload else "no payload"
    return TransportProtocolError(f"the server sent a result that is none, {why}: {excerpt}")
