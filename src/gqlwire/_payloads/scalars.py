"""Types of your own in results and variables: how each is read from JSON and written as JSON.

This module knows no schema (`gqlwire.schema` does), no document and no result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_origin
from uuid import UUID

import msgspec

T = TypeVar("T")

# What msgspec writes in its own way even where it is a class derived from one of these.
_WRITTEN_ANYWAY = (dict, frozenset, list, set, tuple, UUID)


@dataclass(frozen=True, slots=True)
class Scalar(Generic[T]):
    """How a type of your own is read and written: `Client(scalars={Money: Scalar(...)})`.

    `decode` makes one of what JSON has for it (a str, a number, a bool, a list or a dict; never
    None), in fields of a `result_type` that are annotated with the type. A ValueError or TypeError
    of its own (also ArithmeticError, AttributeError and LookupError) becomes a ResultMismatch that
    tells where. `encode` makes of one, in variables, what can be written as JSON; it serves derived
    classes, too.
    """

    decode: Callable[[Any], T] | None = None
    encode: Callable[[T], Any] | None = None


class Scalars:
    """All of a client's `Scalar`s, by their types. Two tables with the same in them are equal."""

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
        """Tell whether fields that are annotated with `kind` can be read."""
        return kind is object or kind in self._decoders

    def decode(self, kind: type[Any], value: Any) -> Any:
        """Make a `kind` of a value from JSON: msgspec's `dec_hook`."""
        if kind is object:
            return value
        # Of a generic class, msgspec asks for the alias.
        kind = get_origin(kind) or kind
        if value is None:
            raise ValueError(f"Expected `{kind.__name__}`, got `null`")
        try:
            return self._decoders[kind](value)
        except (ArithmeticError, AttributeError, LookupError) as cause:
            # What a value of another shape leads to, as well as ValueError and TypeError; msgspec
            # adds the place to those two only.
            raise ValueError(f"{type(cause).__name__}: {cause}") from cause

    def encode(self, value: Any) -> Any:
        """Make of `value` what can be written as JSON: msgspec's `enc_hook`."""
        for kind in type(value).__mro__:
            if kind in self._encoders:
                return self._encoders[kind](value)
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")

    def plain(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Return `variables` with all that is no type of JSON's made one.

        Raises TypeError if a value cannot be written as JSON.
        """
        if not self._encoders:
            return variables
        try:
            plain: dict[str, Any] = msgspec.to_builtins(variables, enc_hook=self.encode)
        except (TypeError, ValueError, RecursionError) as cause:
            raise TypeError(f"the variables cannot be sent as JSON: {cause}") from cause
        return plain


NO_SCALARS = Scalars()
"""Those of a client that was told of none: one for all."""


def _check(kind: object, scalar: object) -> None:
    if not isinstance(kind, type) or not isinstance(scalar, Scalar):
        raise TypeError(f"scalars are `Scalar`s by their types, not {scalar!r} by {kind!r}")
    from msgspec.inspect import CustomType, type_info

    # A hook that is never called would be worse than none.
    if not isinstance(type_info(kind), CustomType):
        raise ValueError(
            f"{kind.__name__} is read and written without a Scalar, which would not be asked; "
            f"take a class of your own that is no dataclass, attrs class, Struct, Enum or the like"
        )
    if scalar.encode is not None and issubclass(kind, _WRITTEN_ANYWAY):
        raise ValueError(
            f"{kind.__name__} is written as the class that it is derived from, and `encode` would "
            f"not be asked; take a class of your own that contains one instead"
        )
