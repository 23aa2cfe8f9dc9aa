"""From the payload of a result to what a user gets.

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
    # With a default, which Python has from 3.13 on: checkers know this module without installing.
    from typing_extensions import TypeVar

    DataT = TypeVar("DataT", default=Any)
else:
    from typing import TypeVar

    DataT = TypeVar("DataT")


@dataclass(slots=True)
class ExecutionResult(Generic[DataT]):
    """One result, whole (GraphQL specification, section 7.1).

    `data`: what was asked for, None if nothing came of it. `errors`: the list of error objects,
    None if there are none. `extensions`: whatever the server adds, or None. `has_next` is set on
    results of which more parts follow (`@defer`, `@stream`), and `incremental` is the list of
    parts on those that follow, as the server sent them: they are not merged here.
    """

    data: DataT = cast("DataT", None)  # noqa: RUF009  # no call at runtime that could be shared
    errors: Sequence[Any] | None = None
    extensions: Any = None
    incremental: Sequence[Any] | None = None
    has_next: bool | None = None

    def data_or_raise(self) -> DataT:
        """Return `data`; raise TransportQueryError, which keeps it, if there are errors.

        Raises TransportProtocolError for a part that follows another, which has no `data`.
        """
        if self.errors:
            raise TransportQueryError.of(self.errors, data=self.data, extensions=self.extensions)
        if self.incremental is not None:
            raise TransportProtocolError(
                "the server sent a further part of a result (@defer or @stream); take such "
                "results with get_execution_result=True"
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
        """Return the parts that follow an earlier result; None if this is one of its own."""
        if self.path is not None:
            # The form before 2022: a result of its own for each part.
            data = None if self.data is msgspec.UNSET else self.data
            return [{"path": self.path, "data": data}]
        if self.data is msgspec.UNSET and self.has_next is not None:
            return self.incremental or []
        return self.incremental


_decode = msgspec.json.Decoder(_Payload).decode


def decode_result(payload: Raw) -> ExecutionResult:
    """Decode the payload of one result. A number that no float can hold comes as a Decimal.

    Raises TransportProtocolError, with an excerpt, if it is none.
    """
    try:
        result = _decode(payload)
    except UNREADABLE:
        result = _decode_leniently(payload)
    parts = result.parts()
    errors = (errors_of(result.errors) or None) if result.errors else None
    if result.data is msgspec.UNSET and errors is None and parts is None:
        raise _unusable(payload, "it has neither data nor errors")
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
    return TransportProtocolError(f"the server sent a result that is none, {why}: {beginning}")
