"""What needs a GraphQL schema: validating documents, and converting variables and results.

All of it is synchronous, and works on a schema, a document and plain data. This module knows no
socket, no protocol and no session. It imports graphql-core, so import it late.

It calls only what both graphql-core 3.2 and 3.3 have. Therefore scalars are converted by
`serialize` and `parse_value`, to which users of either version attach their functions, and not by
the names that 3.3 adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, cast

import graphql

from gqlwire._payloads.result import ExecutionResult
from gqlwire.errors import ResultMismatch, TransportProtocolError
from gqlwire.errors.text import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

# What JSON codecs write as an array. Any other iterable, such as an IPv4Network, is one value.
_ARRAYS = (list, tuple, set, frozenset)

# What users' functions raise, apart from GraphQLError, for a value that they do not accept.
_REFUSALS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

_LEAVES = (graphql.GraphQLScalarType, graphql.GraphQLEnumType)
_JSON_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}


def build_schema_from(
    source: str | graphql.GraphQLSchema | dict[str, Any],
) -> graphql.GraphQLSchema:
    """Build a schema from SDL text or from the answer to `introspection_document()`.

    A dict is the `data` of that answer, with the key `__schema`. A schema is returned as it is, not
    copied: functions that the user attached to its scalars stay attached.

    Raises GraphQLError if the SDL has a syntax error, and TypeError if it is no valid schema, or if
    the dict is no such answer.
    """
    if isinstance(source, graphql.GraphQLSchema):
        return source
    if isinstance(source, str):
        return graphql.build_schema(source)
    try:
        return graphql.build_client_schema(cast("graphql.IntrospectionQuery", source))
    except Exception as cause:  # graphql-core takes the answer for one, and stumbles anywhere
        raise TypeError(f"{_NO_SCHEMA}: {_reason(cause)}") from cause


_NO_SCHEMA = "what was given as an answer to an introspection query describes no schema"
_REASON_SHOWN = 200


def _reason(cause: Exception) -> str:
    """Return what graphql-core says, without what it quotes of the answer."""
    return cut(f"{type(cause).__name__}: {cause}", _REASON_SHOWN)


def build_schema_of_answer(data: object, host: str) -> graphql.GraphQLSchema:
    """Build a schema from the `data` with which `host` answered `introspection_document()`.

    Raises TransportProtocolError if that describes no valid schema.
    """
    try:
        schema = build_schema_from(cast("dict[str, Any]", data))
        # Otherwise the first request would raise it, again and again.
        graphql.assert_valid_schema(schema)
    except Exception as fault:  # noqa: BLE001  # as above
        cause = fault.__cause__ if isinstance(fault.__cause__, Exception) else fault
        text = f"the answer of {host} to the introspection query describes no valid schema"
        failure = TransportProtocolError(f"{text}: {_reason(cause)}")
        failure.maybe_executed = True  # it has answered
        raise failure from cause
    return schema


def introspection_document(**introspection_args: Any) -> str:
    """Return the introspection query.

    The arguments are those of graphql-core's `get_introspection_query`. By default, parts that
    older servers may refuse are off. Raises TypeError for an unknown argument.
    """
    return graphql.get_introspection_query(**introspection_args)


def validate(schema: graphql.GraphQLSchema, document: graphql.DocumentNode) -> None:
    """Check a document against a schema.

    Raises the first GraphQLError found, so that there is one clear message, and TypeError if the
    schema itself is not valid.
    """
    errors = graphql.validate(schema, document, max_errors=1)
    if errors:
        raise errors[0]


def serialize_variables(
    schema: graphql.GraphQLSchema,
    document: graphql.DocumentNode,
    variable_values: Mapping[str, Any],
    operation_name: str | None = None,
) -> dict[str, Any]:
    """Convert the Python values of variables to JSON values, by the types in the document.

    Custom scalars are converted by their `serialize`. An enum may be given as its internal value,
    as a Python Enum member, by name, or by the value of a member. Lists and input objects are
    converted recursively. A single value for a list becomes a list of one. An input field may be
    given by its `out_name`. Other values stay as they are, and the server judges them: None,
    built-in scalars, variables or input fields that are not declared, and types unknown to the
    schema. The input is not changed.

    Raises GraphQLError, with the path, for a value that its enum or custom scalar does not accept,
    and if the document has no such operation.
    """
    serialized = dict(variable_values)
    for definition in _operation(document, operation_name).variable_definitions or ():
        name = definition.variable.name.value
        type_ = graphql.type_from_ast(schema, definition.type)
        if type_ is not None and name in serialized:
            serialized[name] = _serialize(type_, serialized[name], _Path(None, f"${name}"))
    return serialized


def parse_result(
    schema: graphql.GraphQLSchema,
    document: graphql.DocumentNode,
    data: dict[str, Any] | None,
    operation_name: str | None = None,
) -> dict[str, Any] | None:
    """Convert the `data` of one result to Python values; see `ResultParser`."""
    return None if data is None else ResultParser(schema, document, operation_name).parse(data)


class ResultParser:
    """Converts the `data` of results of one operation to Python values, by the schema's types.

    Custom scalars are converted by their `parse_value`; enum names become internal values. Left as
    they are: fields that the schema or the document does not know, fields that begin with `__`,
    None (even if the schema says non-null), and fields that are absent, as with `@skip`.

    A parser analyses the document once, so keep one parser for a subscription.

    Raises GraphQLError if the document has no such operation.
    """

    __slots__ = ("_root",)

    def __init__(
        self,
        schema: graphql.GraphQLSchema,
        document: graphql.DocumentNode,
        operation_name: str | None = None,
    ) -> None:
        operation = _operation(document, operation_name)
        fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, graphql.FragmentDefinitionNode)
        }
        root = schema.get_root_type(operation.operation)
        scopes = [] if root is None else [_Scope(root, operation.selection_set)]
        self._root = _Shape(schema, fragments, scopes)

    def parse(self, data: dict[str, Any] | None) -> dict[str, Any] | None:
        """Parse one result's `data`, which is not changed.

        Raises GraphQLError, with its `path` set, if the data has another shape than the schema
        says, and for a value that its enum or custom scalar does not accept.
        """
        return None if data is None else self._root.parse(data, None)


def mismatch(refusal: Exception, result: ExecutionResult[Any]) -> ResultMismatch:
    """Return the error for a result that a `ResultParser` refused: what it raised."""
    path = refusal.path if isinstance(refusal, graphql.GraphQLError) else None
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path or ())
    text = refusal.message if isinstance(refusal, graphql.GraphQLError) else str(refusal)
    return ResultMismatch(
        f"the data does not fit the schema: {text}",
        path="".join(("$", *steps)),
        data=result.data,
        extensions=result.extensions,
        errors=result.errors,
    )


class _Path(NamedTuple):
    """A path as a linked list: an item costs one tuple, and only a failure makes a text of it."""

    parent: _Path | None
    key: str | int


class _Scope(NamedTuple):
    """Selections, and the type that their fields are looked up in."""

    parent: graphql.GraphQLNamedType
    selection_set: graphql.SelectionSetNode


class _Field(NamedTuple):
    """The type of one response key; `shape` is None for scalars and enums."""

    type: graphql.GraphQLType
    shape: _Shape | None


class _Shape:
    """The merged selections of one object of a result.

    Fields are collected per object type, when a result first contains them. So a fragment that
    spreads itself, which is not valid, ends where the data ends.
    """

    __slots__ = ("_fields", "_fragments", "_schema", "_scopes", "_typename_keys")

    def __init__(
        self,
        schema: graphql.GraphQLSchema,
        fragments: dict[str, graphql.FragmentDefinitionNode],
        scopes: list[_Scope],
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._scopes = scopes
        self._fields: dict[graphql.GraphQLObjectType | None, dict[str, _Field]] = {}
        self._typename_keys = {
            _response_key(node)
            for _, node in self._selected(None)
            if node.name.value == "__typename"
        }

    def parse(self, value: object, path: _Path | None) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mismatch("an object", value, path)
        object_type = self._object_type(value)
        if object_type not in self._fields:
            self._fields[object_type] = self._gather(object_type)
        fields = self._fields[object_type]
        return {
            key: _parse(*fields[key], item, _Path(path, key)) if key in fields else item
            for key, item in value.items()
        }

    def _object_type(self, data: dict[str, Any]) -> graphql.GraphQLObjectType | None:
        """Return the type that `__typename` names; None if there is none, or it does not fit.

        With None, the fragments of every type apply. This is still exact for a valid document:
        GraphQL demands the same leaf type wherever two fragments use one response key.
        """
        for key in self._typename_keys:
            name = data.get(key)
            type_ = self._schema.get_type(name) if isinstance(name, str) else None
            if isinstance(type_, graphql.GraphQLObjectType) and any(
                self._applies(scope.parent, type_) for scope in self._scopes
            ):
                return type_
        return None

    def _gather(self, object_type: graphql.GraphQLObjectType | None) -> dict[str, _Field]:
        groups: dict[str, list[tuple[graphql.GraphQLType, graphql.FieldNode]]] = {}
        for parent, node in self._selected(object_type):
            if isinstance(parent, (graphql.GraphQLObjectType, graphql.GraphQLInterfaceType)):
                definition = parent.fields.get(node.name.value)
                if definition is not None:
                    groups.setdefault(_response_key(node), []).append((definition.type, node))
        merged = ((key, self._merge(group)) for key, group in groups.items())
        return {key: field for key, field in merged if field is not None}

    def _merge(self, group: list[tuple[graphql.GraphQLType, graphql.FieldNode]]) -> _Field | None:
        """Merge all fields with the same response key; None if their types conflict."""
        named = [graphql.get_named_type(type_) for type_, _ in group]
        if any(isinstance(type_, _LEAVES) for type_ in named):
            # Two types are possible only with an invalid document and data without `__typename`.
            return _Field(group[0][0], None) if len(set(named)) == 1 else None
        scopes = [
            _Scope(parent, node.selection_set)
            for parent, (_, node) in zip(named, group, strict=True)
            if node.selection_set is not None
        ]
        return _Field(group[0][0], _Shape(self._schema, self._fragments, scopes))

    def _selected(
        self, object_type: graphql.GraphQLObjectType | None
    ) -> Iterator[tuple[graphql.GraphQLNamedType, graphql.FieldNode]]:
        """Yield the fields, each with its parent type, that apply to an object type (None: all)."""
        seen: set[str] = set()
        pending = self._scopes[::-1]
        while pending:
            parent, selection_set = pending.pop()
            if not self._applies(parent, object_type):
                continue
            for selection in selection_set.selections:
                if isinstance(selection, graphql.FieldNode):
                    yield parent, selection
                elif (scope := self._fragment(parent, selection, seen)) is not None:
                    pending.append(scope)

    def _fragment(
        self, parent: graphql.GraphQLNamedType, selection: graphql.SelectionNode, seen: set[str]
    ) -> _Scope | None:
        """Return what a fragment selects; None if it was seen before or is unknown."""
        fragment: graphql.SelectionNode | graphql.FragmentDefinitionNode | None = selection
        if isinstance(selection, graphql.FragmentSpreadNode):
            name = selection.name.value
            fragment = None if name in seen else self._fragments.get(name)
            seen.add(name)
        if not isinstance(fragment, (graphql.InlineFragmentNode, graphql.FragmentDefinitionNode)):
            return None
        if fragment.type_condition is None:
            return _Scope(parent, fragment.selection_set)
        condition = self._schema.get_type(fragment.type_condition.name.value)
        return None if condition is None else _Scope(condition, fragment.selection_set)

    def _applies(
        self, condition: graphql.GraphQLNamedType, object_type: graphql.GraphQLObjectType | None
    ) -> bool:
        if object_type is None or condition is object_type:
            return True
        if isinstance(condition, (graphql.GraphQLInterfaceType, graphql.GraphQLUnionType)):
            return self._schema.is_sub_type(condition, object_type)
        return False


def _operation(
    document: graphql.DocumentNode, operation_name: str | None
) -> graphql.OperationDefinitionNode:
    operation = graphql.get_operation_ast(document, operation_name)
    if operation is None:
        which = "one operation only" if operation_name is None else f"operation '{operation_name}'"
        raise graphql.GraphQLError(f"The document does not hold {which}.")
    return operation


def _response_key(node: graphql.FieldNode) -> str:
    return (node.alias or node.name).value


def _serialize(type_: graphql.GraphQLType, value: Any, path: _Path) -> Any:
    if isinstance(type_, graphql.GraphQLNonNull):
        type_ = type_.of_type
    if value is None:
        return None
    if isinstance(type_, graphql.GraphQLList):
        items = value if isinstance(value, _ARRAYS) else [value]
        return [_serialize(type_.of_type, item, _Path(path, i)) for i, item in enumerate(items)]
    if isinstance(type_, graphql.GraphQLInputObjectType) and isinstance(value, Mapping):
        return _serialize_fields(type_, value, path)
    try:
        if isinstance(type_, graphql.GraphQLEnumType):
            return _enum_name(type_, value)
        return type_.serialize(value) if _is_custom_scalar(type_) else value
    except (graphql.GraphQLError, *_REFUSALS) as error:
        message = f"Variable '{_text(path)}': cannot serialize as '{type_}': {error}"
        raise graphql.GraphQLError(message, original_error=error) from error


def _serialize_fields(
    type_: graphql.GraphQLInputObjectType, value: Mapping[str, Any], path: _Path
) -> dict[str, Any]:
    fields = type_.fields
    # A field that is given under its own name keeps it: two keys must not become one.
    wire_names = {
        field.out_name: name
        for name, field in fields.items()
        if field.out_name and name not in value
    }
    serialized: dict[str, Any] = {}
    for key, item in value.items():
        name = key if key in fields else wire_names.get(key, key)
        field = fields.get(name)
        serialized[name] = item if field is None else _serialize(field.type, item, _Path(path, key))
    return serialized


def _enum_name(type_: graphql.GraphQLEnumType, value: object) -> str:
    """Return the name of an enum value, however the user gave it."""
    try:
        return type_.serialize(value)
    except graphql.GraphQLError:
        given = value.name if isinstance(value, Enum) else value
        values: dict[str, graphql.GraphQLEnumValue] = type_.values
        names = [name for name in values if name == given]
        names += [name for name in values if _plain(values[name].value) == _plain(value)]
        if not names:
            raise
        return names[0]


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _parse(type_: graphql.GraphQLType, shape: _Shape | None, value: Any, path: _Path) -> Any:
    if isinstance(type_, graphql.GraphQLNonNull):
        type_ = type_.of_type
    if value is None:
        return None
    if isinstance(type_, graphql.GraphQLList):
        if not isinstance(value, list):
            raise _mismatch(f"a list for '{type_}'", value, path)
        return [_parse(type_.of_type, shape, item, _Path(path, i)) for i, item in enumerate(value)]
    if shape is not None:
        return shape.parse(value, path)
    return _parse_leaf(type_, value, path)


def _parse_leaf(type_: graphql.GraphQLType, value: Any, path: _Path) -> Any:
    try:
        if isinstance(type_, graphql.GraphQLEnumType):
            internal = type_.parse_value(value)
            # An enum value without an internal value stands for its name.
            return value if internal is None else internal
        if _is_custom_scalar(type_):
            return type_.parse_value(value)
    except (graphql.GraphQLError, *_REFUSALS) as error:
        message = f"Result at '{_text(path)}': cannot parse as '{type_}': {error}"
        raise graphql.GraphQLError(message, path=_keys(path), original_error=error) from error
    if isinstance(value, (dict, list)):
        raise _mismatch(f"'{type_}'", value, path)
    return value


def _is_custom_scalar(type_: graphql.GraphQLType) -> TypeGuard[graphql.GraphQLScalarType]:
    built_in = graphql.specified_scalar_types
    return isinstance(type_, graphql.GraphQLScalarType) and type_.name not in built_in


def _mismatch(expected: str, value: object, path: _Path | None) -> graphql.GraphQLError:
    found = _JSON_KINDS.get(type(value), "a number")
    where = "Result" if path is None else f"Result at '{_text(path)}'"
    return graphql.GraphQLError(f"{where}: expected {expected}, found {found}.", path=_keys(path))


def _keys(path: _Path | None) -> list[str | int]:
    return [] if path is None else [*_keys(path.parent), path.key]


def _text(path: _Path) -> str:
    """Write a path as `users[0].born`."""
    keys = _keys(path)
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
