"""`GraphQLRequest`: a document, its variables, the operation's name, and extensions.

Of the modules that send a request, only this one imports graphql-core, and only when it checks the
first document. It does not know how a request is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from gqlwire._json import encode

if TYPE_CHECKING:
    from graphql import DocumentNode, GraphQLSchema

OperationKind = Literal["query", "mutation", "subscription"]


class _Document(Struct, frozen=True, eq=False):
    """A checked document: its text, its tree, and its operations by name."""

    source: str
    node: DocumentNode
    operations: Mapping[str | None, OperationKind]
    is_ambiguous: bool
    """Whether an operation without a name is not the only one (GraphQL specification, 5.2.2.1)."""
    encoded: bytes
    """The beginning of the payload of each request: a JSON object without its end."""
    only: OperationKind | None
    """The kind of its operation, if it has just one."""

    def kind(self, operation_name: str | None) -> OperationKind:
        from graphql import GraphQLError

        if self.is_ambiguous:
            raise GraphQLError("an operation without a name must be the only one in its document")
        if operation_name is not None:
            if operation_name in self.operations:
                return self.operations[operation_name]
            known = ", ".join(name for name in self.operations if name) or "none has a name"
            raise GraphQLError(
                f"the document has no operation named {operation_name!r} (it has: {known})"
            )
        if not self.operations:
            raise GraphQLError("the document has no operation, only fragments or definitions")
        names = ", ".join(str(name) for name in self.operations)
        raise GraphQLError(f"the document has several operations ({names}): set operation_name")


@lru_cache(maxsize=512)
def _checked(source: str) -> _Document:
    from graphql import parse

    return _document(source, parse(source))


def _document(source: str, node: DocumentNode) -> _Document:
    from graphql import OperationDefinitionNode

    found: list[tuple[str | None, OperationKind]] = [
        (definition.name.value if definition.name else None, definition.operation.value)
        for definition in node.definitions
        if isinstance(definition, OperationDefinitionNode)
    ]
    is_ambiguous = len(found) > 1 and any(name is None for name, _ in found)
    encoded = b'{"query":%s' % msgspec.json.encode(source)
    only = found[0][1] if len(found) == 1 else None
    return _Document(source, node, dict(found), is_ambiguous, encoded, only)


class _Sent(Struct, rename="camel"):
    query: str = ""
    operation_name: str | None = None


_read_sent = msgspec.json.Decoder(_Sent).decode


def name_of(payload: bytes) -> str | None:
    """Return the name of the operation in a request as JSON; None if it has none."""
    sent = _read_sent(payload)
    if sent.operation_name is not None:
        return sent.operation_name
    return next(iter(_checked(sent.query).operations), None)


_printed: dict[int, _Document] = {}
_PRINTED_AT_MOST = 128


def _from_node(node: DocumentNode) -> _Document:
    # Trees hash by content, which costs as much as printing them. So the key is the `id`, and the
    # entry keeps its tree alive, or the `id` could be used again.
    document = _printed.get(id(node))
    if document is None:
        from graphql import print_ast

        document = _document(print_ast(node), node)
        if len(_printed) >= _PRINTED_AT_MOST:
            _printed.pop(next(iter(_printed)))
        _printed[id(node)] = document
    return document


class GraphQLRequest:
    """One request to a server.

    `request`: the document, as a str or a graphql-core `DocumentNode`; or another `GraphQLRequest`,
    from which the parts are taken that you do not give. A str is sent exactly as it is.

    `variable_values`: the variables; their values can be anything that JSON can represent, and also
    datetime, UUID, Decimal, Enum and dataclasses. `operation_name`: which operation to run, if the
    document has several. `extensions`: a dict that is sent with the request (protocol extensions of
    the server).

    The syntax is checked here, once per distinct document, because some servers (Strawberry) close
    the whole connection on a syntax error. Raises graphql-core's GraphQLError for a syntax error,
    and TypeError for a document of another type.
    """

    variable_values: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None

    def __init__(
        self,
        request: DocumentNode | GraphQLRequest | str,
        *,
        variable_values: dict[str, Any] | None = None,
        operation_name: str | None = None,
        extensions: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(request, GraphQLRequest):
            self._document: _Document = request._document  # noqa: SLF001  # the same class
            variable_values = (
                request.variable_values if variable_values is None else variable_values
            )
            operation_name = request.operation_name if operation_name is None else operation_name
            extensions = request.extensions if extensions is None else extensions
        elif isinstance(request, str):
            self._document = _checked(request)
        else:
            self._document = _from_node(_as_node(request))
        self.variable_values = variable_values
        self.operation_name = operation_name
        self.extensions = extensions

    @property
    def document(self) -> DocumentNode:
        """The document as graphql-core's tree."""
        return self._document.node

    @document.setter
    def document(self, node: DocumentNode) -> None:
        self._document = _from_node(_as_node(node))

    @property
    def source(self) -> str:
        """The document as it is sent."""
        return self._document.source

    @property
    def kind(self) -> OperationKind:
        """The kind of the operation: "query", "mutation" or "subscription".

        Raises graphql-core's GraphQLError if the document has no operation of the name
        `operation_name`, or has several and `operation_name` is None.
        """
        only = self._document.only
        if only is not None and self.operation_name is None:
            return only
        return self._document.kind(self.operation_name)

    @property
    def payload(self) -> dict[str, Any]:
        """The payload of the `subscribe` or `start` message; empty parts are left out."""
        parts = {
            "query": self._document.source,
            "operationName": self.operation_name,
            "variables": self.variable_values,
            "extensions": self.extensions,
        }
        return {name: part for name, part in parts.items() if part}

    def encode(self) -> bytes:
        """Return `payload` as JSON.

        Raises TypeError for a value that JSON cannot represent, such as NaN; it says where it is.
        """
        # The document, usually the longest part, was encoded once, when it was checked.
        text = self._document.encoded
        if self.operation_name:
            text += b',"operationName":%s' % encode(self.operation_name, "operation_name")
        if self.variable_values:
            text += b',"variables":%s' % encode(self.variable_values, "the variables")
        if self.extensions:
            text += b',"extensions":%s' % encode(self.extensions, "the extensions")
        return text + b"}"

    def serialize_variable_values(self, schema: GraphQLSchema) -> GraphQLRequest:
        """Return the same request with custom scalars and enums of its variables serialized.

        Raises graphql-core's GraphQLError if a value does not fit its type.
        """
        from gqlwire._payloads.schema import serialize_variables

        values = serialize_variables(
            schema, self.document, self.variable_values or {}, self.operation_name
        )
        return GraphQLRequest(self, variable_values=values)

    def __repr__(self) -> str:
        text = " ".join(self.source.split())
        return f"GraphQLRequest({text[:60] + '…' if len(text) > 60 else text!r})"


def _as_node(request: object) -> DocumentNode:
    from graphql import DocumentNode

    if not isinstance(request, DocumentNode):
        raise TypeError(
            f"a request must be a str, a DocumentNode or a GraphQLRequest, not "
            f"{type(request).__name__}"
        )
    return request


def gql(request_string: str) -> GraphQLRequest:
    """Return a request for a document, after checking its syntax.

    Raises graphql-core's GraphQLError for a syntax error; the error says where.
    """
    return GraphQLRequest(request_string)
