"""`ExecutionResult`, and the slow path from the payload of a result to it.

This module knows no protocol and no connection.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, cast

import msgspec
from msgspec import Raw

from gqlwire._json import UNREADABLE, decode, errors_of, excerpt, number
from gqlwire.errors import TransportProtocolError, TransportQueryError

if TYPE_CHECKING:
    # TypeVars with a default are new in Python 3.13. Type checkers know this module even if it is
    # not installed.
    from typing_extensions import TypeVar

    DataT = TypeVar("DataT", default=Any)
else:
    from typing import TypeVar

    DataT = TypeVar("DataT")


@dataclass(slots=True)
class ExecutionResult(Generic[DataT]):
    """One whole result: the response of the GraphQL specification, section 7.1.

    `data`: a dict of plain objects, or the `result_type`; None if the operation failed. `errors`: a
    list of error objects, each a dict with `message`; None if there are none. `extensions`: what
    the server adds, or None.

    With `@defer` and `@stream`, a result arrives in parts. `has_next`: whether more parts follow;
    None for a result in one part. `incremental`: the list of parts that a later result contains, as
    the server sent them. gqlwire does not merge the parts.
    """

    data: DataT = cast("DataT", None)  # noqa: RUF009  # no call at runtime that could be shared
    errors: Sequence[Any] | None = None
    extensions: Any = None
    incremental: Sequence[Any] | None = None
    has_next: bool | None = None

    def data_or_raise(self) -> DataT:
        """Return `data` if there are no errors.

        Raises TransportQueryError, which has `errors` and `data`, if there are errors, and
        TransportProtocolError for a later part of a result, which has no `data`.
        """
        if self.errors:
            raise TransportQueryError.of(self.errors, data=self.data, extensions=self.extensions)
        if self.incremental is not None:
            raise TransportProtocolError(
                "the server sent a further part of a result (@defer or @stream); use "
                "get_execution_result=True for such results"
            )
        return self.data


class _Payload(msgspec.Struct):
    data: Any = msgspec.UNSET
    errors: Raw = Raw()
    extensions: Any = None
    incremental: list[Any] | None = None
    path: list[Any] | None = None
    has_next: bool | None = msgspec.field(default=None, name="hasNext")

    def parts(self) -> Sequence[Any] | None:
        """Return the parts that follow an earlier result; None for a result in one part."""
        if self.path is not None:
            # The format before 2022: one message for each part.
            data = None if self.data is msgspec.UNSET else self.data
            return [{"path": self.path, "data": data}]
        if self.data is msgspec.UNSET and self.has_next is not None:
            return self.incremental or []
        return self.incremental


_decode = msgspec.json.Decoder(_Payload).decode


def decode_result(payload: Raw) -> ExecutionResult:
    """Decode the payload of one result. A number too large for a float becomes a Decimal.

    Raises TransportProtocolError, with an excerpt, if the payload is not a valid result.
    """
    try:
        result = _decode(payload)
    except UNREADABLE:
        result = _decode_leniently(payload)
    parts = result.parts()
    errors = (errors_of(result.errors) or None) if result.errors else None
    if result.data is msgspec.UNSET and errors is None and parts is None:
        raise _unusable(payload, "neither data nor errors")
    is_whole = result.data is not msgspec.UNSET and result.path is None
    return ExecutionResult(
        result.data if is_whole else None, errors, result.extensions, parts, result.has_next
    )


def _decode_leniently(payload: Raw) -> _Payload:
    try:
        said = decode(payload, number) if payload else None
    except (ValueError, RecursionError) as cause:
        raise _unusable(payload, f"it cannot be read: {cause}") from cause
    if not isinstance(said, dict):
        raise _unusable(payload, "it is not an object")
    has_next, incremental, path = (said.get(key) for key in ("hasNext", "incremental", "path"))
    return _Payload(
        said.get("data", msgspec.UNSET),
        Raw(json.dumps(said["errors"], default=float).encode()) if "errors" in said else Raw(),
        said.get("extensions"),
        incremental if isinstance(incremental, list) else None,
        path if isinstance(path, list) else None,
        has_next if isinstance(has_next, bool) else None,
    )


def _unusable(payload: Raw, why: str) -> TransportProtocolError:
    beginning = excerpt(bytes(payload)) if payload else "no payload"
    return TransportProtocolError(f"the server sent an invalid result: {why}: {beginning}")
