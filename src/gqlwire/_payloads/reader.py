"""Converts the payload of a result to the `result_type`, in one pass where that is possible.

There is a fast path and a slow path. The fast path takes a result that has `data` of that type, no
errors, and nothing unusual. Every other result goes to the slow path, `decode_result`, which finds
out what is wrong with it. This module knows no protocol, no connection and no schema; it loads
pydantic only for pydantic's own models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar, cast, get_args

import msgspec
from msgspec import Raw

from gqlwire._json import NOTHING, UNREADABLE, decode, number
from gqlwire._payloads.result import ExecutionResult, decode_result, decode_single
from gqlwire._payloads.scalars import Scalars
from gqlwire.errors import ResultMismatch
from gqlwire.errors.text import escape_args

T = TypeVar("T")
ParseFloat = Callable[[str], Any]

_REFUSALS = (ValueError, RecursionError)
"""Raised for data that does not fit: the errors of msgspec and pydantic are ValueErrors."""

_SUPPORTED = (
    "a msgspec.Struct, a dataclass, an attrs class, a TypedDict, a pydantic model, or another type "
    "that msgspec supports, such as dict[str, ...] or a union"
)


class Result(Protocol):
    """A result that was decoded in one pass: its `data`, and its errors, falsy if it has none."""

    data: Any
    errors: Any


Decode = Callable[[Raw | bytes], Result]


def _decoder(
    of_data: Any,
    dec_hook: Callable[[type, Any], Any] | None = None,
    parse_float: ParseFloat | None = None,
) -> Decode:
    """Return the fast path to a result with `data` of a type, no errors and nothing unusual."""
    result = msgspec.defstruct(
        "Result",
        [("data", of_data), ("errors", list[Raw] | None, None), ("extensions", Raw, NOTHING)],
        forbid_unknown_fields=True,
        # A result lives only for a moment, and is in no cycle.
        gc=False,
    )
    decoder = msgspec.json.Decoder(result, dec_hook=dec_hook, float_hook=parse_float)
    return cast("Decode", decoder.decode)


class _Data(msgspec.Struct):
    data: Raw


_decode_data = msgspec.json.Decoder(_Data).decode
_check = msgspec.json.Decoder(float_hook=str).decode


def _json_data(payload: Raw) -> Raw | None:
    """Return `data` as it came; None if it is not valid JSON.

    Some servers write NaN or lone surrogates, which are not valid.
    """
    try:
        data = _decode_data(payload).data
        _check(data)
    except _REFUSALS:
        return None
    return data


class Reader(Generic[T]):
    """Converts a result to the user's value; this class, to plain objects.

    `decode` is the fast path. It raises one of `_json.UNREADABLE` for a result that needs the slow
    path.
    """

    def __init__(self, decode: Decode) -> None:
        self.decode = decode

    def read(self, payload: Raw) -> T:
        """Return the `data` of a result.

        Raises ResultMismatch if `data` does not fit the type, TransportQueryError if there are
        errors, IncompleteResult if it is only a part of a result (`@defer`, `@stream`), and
        TransportProtocolError if the payload is no result.
        """
        try:
            result = self.decode(payload)
        except UNREADABLE:
            result = None
        if result is None or result.errors:
            return self.read_slowly(payload)
        data: T = result.data
        return data

    def read_slowly(self, payload: Raw) -> T:
        """Do what `read` does, on the slow path."""
        result = decode_result(payload)
        result.data_or_raise()
        return self._data_of(result, payload)

    def read_whole(self, payload: Raw) -> ExecutionResult[Any]:
        """Return the whole result, with errors or without; `data` is converted as in `read`.

        Raises ResultMismatch and TransportProtocolError as `read` does.
        """
        return self._converted(decode_result(payload), payload)

    def read_single(self, payload: Raw) -> ExecutionResult[Any]:
        """Do what `read_whole` does, and raise IncompleteResult for a part of a result."""
        return self._converted(decode_single(payload), payload)

    def _converted(self, result: ExecutionResult[Any], payload: Raw) -> ExecutionResult[Any]:
        if result.data is not None or (result.errors is None and result.incremental is None):
            result.data = self._data_of(result, payload)
        return result

    def _data_of(self, result: ExecutionResult[Any], payload: Raw) -> T:
        del payload  # subclasses use it
        data: T = result.data
        return data


class _TypedReader(Reader[T], ABC):
    """A reader of one type; `name` is what messages call it."""

    def __init__(self, decode: Decode, name: str, parse_float: ParseFloat | None) -> None:
        super().__init__(decode)
        self._name = name
        self._parse_float = parse_float

    @abstractmethod
    def _from_json(self, data: Raw) -> T: ...

    @abstractmethod
    def _from_objects(self, data: Any) -> T: ...

    def _data_of(self, result: ExecutionResult[Any], payload: Raw) -> T:
        try:
            return self._read(payload)
        except _REFUSALS as refusal:
            path, fault = self._located(refusal, result.data)
            escape_args(refusal)
            raise ResultMismatch(
                f"the data at {path} does not fit {self._name}: {fault}",
                path=path,
                data=result.data,
                extensions=result.extensions,
                errors=result.errors,
            ) from refusal

    def _read(self, payload: Raw) -> T:
        in_json = _json_data(payload)
        if in_json is not None:
            return self._from_json(in_json)
        return self._from_objects(decode(payload, self._parse_float or number)["data"])

    @abstractmethod
    def _located(self, refusal: Exception, data: Any) -> tuple[str, str]:
        """Return where in `data` something does not fit, and why."""


class _MsgspecReader(_TypedReader[T]):
    def __init__(self, kind: Any, scalars: Scalars, parse_float: ParseFloat | None) -> None:
        super().__init__(_decoder(kind, scalars.decode, parse_float), _name_of(kind), parse_float)
        self._kind = kind
        self._scalars = scalars

    def _from_json(self, data: Raw) -> T:
        decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(
            self._kind, dec_hook=self._scalars.decode, float_hook=self._parse_float
        )
        return decoder.decode(data)

    def _from_objects(self, data: Any) -> T:
        converted: T = msgspec.convert(
            data, self._kind, dec_hook=self._scalars.decode, str_keys=True
        )
        return converted

    def _located(self, refusal: Exception, data: Any) -> tuple[str, str]:
        fault, is_located, path = str(refusal).rpartition(" - at `")
        if not is_located:
            return "$", path
        path = path.removesuffix("`")
        # msgspec does not name the key of a dict; at the top level, find out which one it is.
        if path.startswith("$[...]") and isinstance(data, dict):
            path = self._misfit(data) + path.removeprefix("$[...]")
        return path, fault

    def _misfit(self, data: dict[str, Any]) -> str:
        for key, value in data.items():
            try:
                self._from_objects({key: value})
            except _REFUSALS:
                return f"$.{key}"
        return "$[...]"


class _PydanticReader(_TypedReader[T]):
    def __init__(self, kind: Any, parse_float: ParseFloat | None) -> None:
        from pydantic import TypeAdapter

        super().__init__(self._decode_and_validate, _name_of(kind), parse_float)
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._decode_raw = _decoder(Raw)

    def _decode_and_validate(self, payload: Raw | bytes) -> Result:
        result = self._decode_raw(payload)
        if not result.errors:
            try:
                result.data = self._from_json(result.data)
            except ValueError as refusal:
                raise msgspec.ValidationError from refusal
        return result

    def _from_json(self, data: Raw) -> T:
        if self._parse_float is None:
            return self._adapter.validate_json(bytes(data))
        decoder = msgspec.json.Decoder(float_hook=self._parse_float)
        return self._adapter.validate_python(decoder.decode(data))

    def _from_objects(self, data: Any) -> T:
        return self._adapter.validate_python(data)

    def _located(self, refusal: Exception, data: Any) -> tuple[str, str]:
        from pydantic import ValidationError

        if not isinstance(refusal, ValidationError):
            return "$", str(refusal)
        first, *others = refusal.errors(include_url=False, include_context=False)
        more = f" (and {len(others)} more)" if others else ""
        return _path(first["loc"], data, is_missing=first["type"] == "missing"), first["msg"] + more


def _path(steps: tuple[int | str, ...], data: Any, *, is_missing: bool) -> str:
    path, here = "$", data
    for count, step in enumerate(steps, 1):
        is_item = isinstance(here, list) and step in range(len(here))
        if is_item or (isinstance(here, dict) and step in here):
            here = here[step]
        elif not is_missing or count < len(steps):
            # Not a key in the data, but pydantic's name for a member of a union.
            continue
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path


_PLAIN: Reader[Any] = Reader(_decoder(Any))


def reader_for(result_type: Any, scalars: Scalars, parse_float: ParseFloat | None) -> Reader[Any]:
    """Return the reader of a type; None means plain objects.

    `parse_float` converts each number with a fraction or an exponent, unless an annotation says
    its type; None and float leave it a float. Raises TypeError for an unsupported type.
    """
    if result_type is None and parse_float is None:
        return _PLAIN
    kind = Any if result_type is None else result_type
    parse_float = None if parse_float is float else parse_float
    try:
        hash((kind, parse_float))
    except TypeError:
        return _made(kind, scalars, parse_float)
    return _kept(kind, _name_of(kind), scalars, parse_float)


def _made(kind: Any, scalars: Scalars, parse_float: ParseFloat | None) -> Reader[Any]:
    if kind is Any and parse_float is None:
        return Reader(_decoder(Any))
    exact = parse_float and _guarded(parse_float)
    try:
        if _is_for_pydantic(kind, scalars):
            return _PydanticReader(kind, exact)
        return _MsgspecReader(kind, scalars, exact)
    except (TypeError, NameError, AttributeError, RuntimeError) as cause:
        # Only the first line: pydantic adds paragraphs of advice.
        reason = str(cause).partition("\n")[0]
        raise TypeError(
            f"{_name_of(kind)} cannot be a result_type: {reason}; it can be {_SUPPORTED}"
        ) from cause


@lru_cache(maxsize=256)
def _kept(
    kind: Any, spelling: str, scalars: Scalars, parse_float: ParseFloat | None
) -> Reader[Any]:
    # `A | B` equals `B | A`, but if both fit, pydantic takes the first. So the key of this cache
    # has the spelling.
    del spelling
    return _made(kind, scalars, parse_float)


def _guarded(parse_float: ParseFloat) -> ParseFloat:
    def parse(text: str) -> Any:
        try:
            return parse_float(text)
        except ArithmeticError as cause:
            # What Decimal raises for exponents of 19 digits.
            raise ValueError(f"the number {text[:60]} cannot be read: {cause!r}") from cause

    return parse


def _is_for_pydantic(kind: Any, scalars: Scalars) -> bool:
    """Return whether pydantic reads a type, or else msgspec. Raises TypeError if neither can."""
    # Before msgspec inspects the type: it does not know unions of pydantic models.
    if _is_pydantics(kind):
        return True
    from msgspec.inspect import CustomType

    parts = [part for part in _parts(kind) if not scalars.can_decode(part.cls)]
    if any(_is_pydantics(part.cls) for part in parts):
        return True
    for part in parts:
        if isinstance(part, CustomType):
            raise TypeError(
                f"no scalar says how to read {_name_of(part.cls)}; see scalars of Client"
            )
    return False


def _is_pydantics(kind: Any) -> bool:
    # pydantic's models and dataclasses have this attribute.
    return hasattr(kind, "__pydantic_validator__") or any(map(_is_pydantics, get_args(kind)))


def _parts(kind: Any) -> Iterator[Any]:
    """Yield msgspec's descriptions of the classes in a type and, recursively, in its fields."""
    from msgspec.inspect import Field, Type, type_info

    nodes: list[Any] = [type_info(kind)]
    # By `id`, because a type may contain itself. The values keep the nodes alive, so that no `id`
    # is used again.
    seen: dict[int, Any] = {}
    while nodes:
        node = nodes.pop()
        if isinstance(node, tuple):
            nodes.extend(node)
        elif isinstance(node, Type | Field) and id(node) not in seen:
            seen[id(node)] = node
            nodes.extend(getattr(node, name) for name in node.__struct_fields__)
            if hasattr(node, "cls"):
                yield node


def _name_of(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
