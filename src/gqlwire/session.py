"""A session: operations on a connected transport, checked and converted as the client was told.

It knows no socket, no protocol and no retry. graphql-core is loaded only for a schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from msgspec import Raw

from gqlwire._readers import ParseFloat, Reader, reader_for
from gqlwire._streams import Buffer, Overflow
from gqlwire.request import GraphQLRequest
from gqlwire.results import ExecutionResult
from gqlwire.scalars import Scalars
from gqlwire.subscription import Subscription
from gqlwire.transport import Transport

if TYPE_CHECKING:
    from graphql import DocumentNode, GraphQLSchema
    from typing_extensions import TypeVar

    T = TypeVar("T", default=dict[str, Any])
else:
    from typing import TypeVar

    T = TypeVar("T")


class ExecuteOptions(TypedDict, total=False):
    """What `execute` and `subscribe` take besides the request.

    `variable_values`, `operation_name`, `extensions`: as in `GraphQLRequest`; these win.
    `serialize_variables`, `parse_result`, `parse_float`: override the client's settings for one
    operation.
    """

    variable_values: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None
    serialize_variables: bool | None
    parse_result: bool | None
    parse_float: ParseFloat | None


class SubscribeOptions(ExecuteOptions, total=False):
    """What `subscribe` takes besides.

    `buffer`: how much may wait for a slow consumer, a `Buffer` or a number of events; by default
    65,536 events and 16 MiB. `overflow`: what happens beyond it, see `Overflow`.
    """

    buffer: Buffer | int | None
    overflow: Overflow | str


@dataclass
class Settings:
    """What a client tells its sessions; times in seconds."""

    schema: GraphQLSchema | None = None
    introspection: dict[str, Any] | None = None
    introspection_args: dict[str, Any] = field(default_factory=dict)
    execute_timeout: float | None = 10
    serialize_variables: bool = False
    parse_results: bool = False
    scalars: Scalars = field(default_factory=Scalars)
    parse_float: ParseFloat | None = None

    def validate(self, request: GraphQLRequest) -> None:
        """Raise graphql-core's GraphQLError, the first, if the schema does not allow `request`."""
        from gqlwire import schema

        if self.schema is None:
            raise ValueError("there is no schema to validate against")
        schema.validate(self.schema, request.document)


class AsyncClientSession:
    """Runs operations over the transport of a client that is connected."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self.transport: Transport = transport
        self._settings = settings

    @overload
    async def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T] | None = None,
        get_execution_result: Literal[False] = False,
        **options: Unpack[ExecuteOptions],
    ) -> T: ...

    @overload
    async def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: None = None,
        get_execution_result: Literal[True],
        **options: Unpack[ExecuteOptions],
    ) -> ExecutionResult: ...

    @overload
    async def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T],
        get_execution_result: Literal[True],
        **options: Unpack[ExecuteOptions],
    ) -> ExecutionResult[T | None]: ...

    @overload
    async def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T] | None = None,
        get_execution_result: bool,
        **options: Unpack[ExecuteOptions],
    ) -> T | ExecutionResult: ...

    @overload
    async def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> Any: ...

    async def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> Any:
        """Run a query or a mutation, or take the first event of a subscription.

        Returns its `data` (None where the server sent null) as plain objects, or as a
        `result_type`: a msgspec.Struct, a dataclass, an attrs class, a TypedDict, a pydantic model,
        or another type that msgspec supports. With `get_execution_result` it is the
        `ExecutionResult` of that. For `options` see `ExecuteOptions`.

        Raises TransportQueryError where there are errors (unless `get_execution_result`, which
        has them inside; an operation that the server refuses raises always), ResultMismatch for
        `data` of another type, OperationTimeout after the client's `execute_timeout`, what ended
        the connection if there is none, graphql-core's GraphQLError for a document that is wrong
        by itself, and TypeError for a `result_type` that cannot be one. Cancelling tells the
        server to stop.
        """
        prepared = self._prepare(request, **options)
        reader = self._reader(result_type, **options)
        parse = self._parser(prepared, result_type, options.get("parse_result"))
        payload = await self.transport.ask(prepared, timeout=self._settings.execute_timeout)
        return _way_back(reader, parse, whole=get_execution_result)(payload)

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T] | None = None,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
        get_execution_result: Literal[False] = False,
        **options: Unpack[ExecuteOptions],
    ) -> Subscription[T]: ...

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: None = None,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
        get_execution_result: Literal[True],
        **options: Unpack[ExecuteOptions],
    ) -> Subscription[ExecutionResult]: ...

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T],
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
        get_execution_result: Literal[True],
        **options: Unpack[ExecuteOptions],
    ) -> Subscription[ExecutionResult[T | None]]: ...

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> Subscription[Any]: ...

    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> Subscription[Any]:
        """Return the results of an operation, to be taken with `async for`; see `Subscription`.

        Each is what `execute` returns. `buffer` is how much may wait for a slow consumer (a
        `Buffer`, or a number of events), `overflow` what happens beyond it; for `options` see
        `ExecuteOptions`. Nothing is sent before the first step.

        A step raises TransportQueryError for an event that carries errors and ResultMismatch for
        one that does not fit `result_type`, and the next step goes on; with
        `get_execution_result` an event with errors is an event like any other.
        """
        prepared = self._prepare(request, **options)
        reader = self._reader(result_type, **options)
        parse = self._parser(prepared, result_type, options.get("parse_result"))
        feed = self.transport.feed(prepared, buffer=buffer, overflow=overflow)
        is_plain = parse is None and not get_execution_result
        return Subscription(
            feed,
            _way_back(reader, parse, whole=get_execution_result),
            reader.decode if is_plain else None,
        )

    async def fetch_schema(self) -> None:
        """Ask the server for its schema, for validation and conversion from then on.

        Raises what `execute` raises.
        """
        from gqlwire import schema

        document = schema.introspection_document(**self._settings.introspection_args)
        result = await self.transport.execute(
            GraphQLRequest(document), timeout=self._settings.execute_timeout
        )
        self._settings.introspection = result.data_or_raise()
        self._settings.schema = schema.build_schema_from(self._settings.introspection or {})

    def _prepare(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        variable_values: dict[str, Any] | None = None,
        operation_name: str | None = None,
        extensions: dict[str, Any] | None = None,
        serialize_variables: bool | None = None,
        parse_result: bool | None = None,
        parse_float: ParseFloat | None = None,
    ) -> GraphQLRequest:
        del parse_result, parse_float  # of the same options, for the way back
        prepared = GraphQLRequest(
            request,
            variable_values=variable_values,
            operation_name=operation_name,
            extensions=extensions,
        )
        if self._settings.schema is not None:
            self._settings.validate(prepared)
            wanted = serialize_variables
            if prepared.variable_values and (
                self._settings.serialize_variables if wanted is None else wanted
            ):
                prepared = prepared.serialize_variable_values(self._settings.schema)
        if prepared.variable_values:
            prepared.variable_values = self._settings.scalars.plain(prepared.variable_values)
        return prepared

    def _reader(self, result_type: Any, **options: Unpack[ExecuteOptions]) -> Reader[Any]:
        if result_type is not None and options.get("parse_result"):
            raise ValueError(
                "result_type and parse_result=True exclude each other: what the annotations of "
                "result_type say is what the values become"
            )
        parse_float = options.get("parse_float") or self._settings.parse_float
        return reader_for(result_type, self._settings.scalars, parse_float)

    def _parser(
        self, request: GraphQLRequest, result_type: Any, wanted: bool | None
    ) -> Callable[[Any], Any] | None:
        is_wanted = self._settings.parse_results if wanted is None else wanted
        if not is_wanted or result_type is not None or self._settings.schema is None:
            return None
        from gqlwire.schema import ResultParser

        parser = ResultParser(self._settings.schema, request.document, request.operation_name)
        return parser.parse


def _way_back(
    reader: Reader[Any], parse: Callable[[Any], Any] | None, *, whole: bool
) -> Callable[[Raw], Any]:
    """Return what makes of the payload of a result what the user gets."""
    if parse is None:
        return reader.read_whole if whole else reader.read

    def convert(payload: Raw) -> Any:
        result = reader.read_whole(payload)
        result.data = parse(result.data)
        return result if whole else result.data_or_raise()

    return convert
