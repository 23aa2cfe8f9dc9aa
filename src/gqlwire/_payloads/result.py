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
from gqlwire.errors import IncompleteResult, TransportProtocolError, TransportQueryError

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

    With `@defer` and `@stream`, a result arrives in parts, and `is_part` is True. gqlwire does not
    merge the parts. They have what the server sent: `has_next` (whether more parts follow),
    `incremental` (the parts of data in a later result), `pending` and `completed` (what is to come,
    and what has come as a whole), and `path` and `label`, of servers that send one part of data in
    each result. None means that the server did not send it, but for `incremental`, which every
    later part has.
    """

    data: DataT = cast("DataT", None)  # noqa: RUF009  # no call at runtime that could be shared
    errors: Sequence[Any] | None = None
    extensions: Any = None
    incremental: Sequence[Any] | None = None
    has_next: bool | None = None
    pending: Sequence[Any] | None = None
    completed: Sequence[Any] | None = None
    path: Sequence[Any] | None = None
    label: str | None = None

    @property
    def is_part(self) -> bool:
        """Whether this is only a part of a result (`@defer`, `@stream`), be it the first."""
        if self.has_next or self.incremental or self.pending or self.completed:
            return True
        return self.incremental is not None and self.data is None and not self.errors

    def data_or_raise(self) -> DataT:
        """Return `data` if the result is whole and has no errors.

        Raises TransportQueryError, which has `errors` and `data`, if there are errors, and
        IncompleteResult for a part of a result, the first one included.
        """
        self.raise_if_part()
        if self.errors:
            raise TransportQueryError.of(self.errors, data=self.data, extensions=self.extensions)
        return self.data

    def raise_if_part(self) -> None:
        """Raise IncompleteResult if this is only a part of a result."""
        if self.is_part:
            raise IncompleteResult(
                "the server sends this result in parts (@defer, @stream), and this is only one of "
                "them; use subscribe() with get_execution_result=True to get each part",
                result=self,
                data=self.data,
                errors=self.errors,
                extensions=self.extensions,
            )


class _Payload(msgspec.Struct):
    data: Any = msgspec.UNSET
    errors: Raw = Raw()
    extensions: Any = None
    incremental: list[Any] | None = None
    has_next: bool | None = msgspec.field(default=None, name="hasNext")
    pending: list[Any] | None = None
    completed: list[Any] | None = None
    path: list[Any] | None = None
    label: str | None = None
    items: Any = msgspec.UNSET

    def parts(self) -> Sequence[Any] | None:
        """Return the parts that follow an earlier result; None for a result in one part."""
        if self.path is not None:
            # The format before 2022: one message for each part.
            part = {"path": self.path, "label": self.label, "items": self.items, "data": self.data}
            empty = (None, msgspec.UNSET)
            kept = {name: value for name, value in part.items() if value not in empty}
            return [kept if "items" in kept else {"data": None, **kept}]
        is_later = any(part is not None for part in (self.has_next, self.pending, self.completed))
        if self.data is msgspec.UNSET and is_later:
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
        result.data if is_whole else None,
        errors,
        result.extensions,
        parts,
        result.has_next,
        result.pending,
        result.completed,
        result.path,
        result.label if result.path is not None else None,
    )


def decode_single(payload: Raw) -> ExecutionResult:
    """Do what `decode_result` does, and raise IncompleteResult for a part of a result."""
    result = decode_result(payload)
    result.raise_if_part()
    return result


def _decode_leniently(payload: Raw) -> _Payload:
    try:
        said = decode(payload, number) if payload else None
        if isinstance(said, dict):
            return _payload_of(said)
    except RecursionError as cause:
        raise _unusable(payload, "it is nested too deeply to be read") from cause
    except ValueError as cause:
        raise _unusable(payload, f"it cannot be read: {cause}") from cause
    raise _unusable(payload, "it is not an object")


def _payload_of(said: dict[str, Any]) -> _Payload:
    lists = (said.get(key) for key in ("incremental", "pending", "completed", "path"))
    incremental, pending, completed, path = (
        part if isinstance(part, list) else None for part in lists
    )
    has_next, label = said.get("hasNext"), said.get("label")
    return _Payload(
        said.get("data", msgspec.UNSET),
        Raw(json.dumps(said["errors"], default=float).encode()) if "errors" in said else Raw(),
        said.get("extensions"),
        incremental,
        has_next if isinstance(has_next, bool) else None,
        pending,
        completed,
        path,
        label if isinstance(label, str) else None,
        said.get("items", msgspec.UNSET),
    )


def _unusable(payload: Raw, why: str) -> TransportProtocolError:
    beginning = excerpt(bytes(payload)) if payload else "no payload"
    failure = TransportProtocolError(f"the server sent an invalid result: {why}: {beginning}")
    failure.maybe_executed = True  # it has answered
    return failure
