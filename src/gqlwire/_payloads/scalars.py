"""`Scalar`: how the user's own types are read from JSON and written as JSON.

This module knows no schema, no document and no result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_origin
from uuid import UUID

import msgspec

from gqlwire._json import encode_slowly

T = TypeVar("T")

# msgspec also writes subclasses of these in its own way, without a hook.
_WRITTEN_ANYWAY = (dict, frozenset, list, set, tuple, UUID)


@dataclass(frozen=True, slots=True)
class Scalar(Generic[T]):
    """How one of your own types is read and written: `Client(scalars={Money: Scalar(...)})`.

    `decode`: returns an object of your type for a JSON value: a str, a number, a bool, a list or a
    dict, never None. It is called for fields of a `result_type` that are annotated with the type.
    If it raises ValueError, TypeError, ArithmeticError, AttributeError or LookupError, the result
    raises ResultMismatch, which says where. None: the type cannot be read.

    `encode`: returns, for an object of your type or of a subclass in the variables, a value that
    can be written as JSON. None: the type cannot be written.
    """

    decode: Callable[[Any], T] | None = None
    encode: Callable[[T], Any] | None = None


class Scalars:
    """All of a client's `Scalar`s, by type. Two tables with the same entries are equal."""

    def __init__(self, by_type: Mapping[type[Any], Scalar[Any]] | None = None) -> None:
        by_type = by_type or {}
        for kind, scalar in by_type.items():
            _check(kind, scalar)
        self._key = frozenset(by_type.items())
        self._decoders = {kind: scalar.decode for kind, scalar in self._key if scalar.decode}
        self._encoders = {kind: scalar.encode for kind, scalar in self._key if scalar.encode}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scalars) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def can_decode(self, kind: type[Any]) -> bool:
        """Return whether fields that are annotated with `kind` can be read."""
        return kind is object or kind in self._decoders

    def decode(self, kind: type[Any], value: Any) -> Any:
        """Convert a JSON value to `kind`: msgspec's `dec_hook`."""
        if kind is object:
            return value
        # For a generic class, msgspec passes the alias.
        kind = get_origin(kind) or kind
        if value is None:
            raise ValueError(f"Expected `{kind.__name__}`, got `null`")
        try:
            return self._decoders[kind](value)
        except (ArithmeticError, AttributeError, LookupError) as cause:
            # A value of another shape can raise these as well as ValueError and TypeError, but
            # msgspec adds the path only to those two.
            raise ValueError(f"{type(cause).__name__}: {cause}") from cause

    def encode(self, value: Any) -> Any:
        """Convert `value` to a value that JSON can represent: msgspec's `enc_hook`."""
        for kind in type(value).__mro__:
            if kind in self._encoders:
                return self._encoders[kind](value)
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")

    def plain(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Return `variables` with each value converted to one that JSON can represent.

        Raises TypeError if a value cannot be written as JSON.
        """
        if not self._encoders:
            return variables
        try:
            plain: dict[str, Any] = msgspec.to_builtins(variables, enc_hook=self.encode)
        except (TypeError, ValueError, RecursionError) as cause:
            encode_slowly(variables, "the variables", self.encode)  # raises, and says where
            raise TypeError(f"the variables cannot be sent as JSON: {cause}") from cause
        return plain


NO_SCALARS = Scalars()
"""The table of every client without scalars."""


def _check(kind: object, scalar: object) -> None:
    if not isinstance(kind, type) or not isinstance(scalar, Scalar):
        raise TypeError(f"scalars must map types to Scalar objects, not {kind!r} to {scalar!r}")
    from msgspec.inspect import CustomType, type_info

    # msgspec would never call the hook, so an error is better.
    if not isinstance(type_info(kind), CustomType):
        raise ValueError(
            f"{kind.__name__} is read and written without a Scalar, so its Scalar would not be "
            f"used; define your own class, not a dataclass, attrs class, Struct, Enum or the like"
        )
    if scalar.encode is not None and issubclass(kind, _WRITTEN_ANYWAY):
        raise ValueError(
            f"{kind.__name__} is written as the class that it is derived from, so encode would not "
            f"be used; define a class that contains such a value instead"
        )
