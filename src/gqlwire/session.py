"""A session: operations on a connected transport, checked and converted as the client was told.

It knows no socket, no protocol and no retry. graphql-core is loaded only for a schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from msgspec import Raw

from gqlwire._streams import Buffer, Overflow
from gqlwire.request import GraphQLRequest
from gqlwire.results import ExecutionResult, decode_result
from gqlwire.subscription import Subscription
from gqlwire.transport import Transport

if TYPE_CHECKING:
    from graphql import DocumentNode, GraphQLSchema


class ExecuteOptions(TypedDict, total=False):
    """What `execute` and `subscribe` take besides the request.

    `variable_values`, `operation_name`, `extensions`: as in `GraphQLRequest`; these win.
    `serialize_variables`, `parse_result`: override the client's settings for one operation.
    """

    variable_values: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None
    serialize_variables: bool | None
    parse_result: bool | None


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
        get_execution_result: Literal[False] = False,
        **options: Unpack[ExecuteOptions],
    ) -> dict[str, Any]: ...

    @overload
    async def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        get_execution_result: Literal[True],
        **options: Unpack[ExecuteOptions],
    ) -> ExecutionResult: ...

    @overload
    async def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        get_execution_result: bool,
        **options: Unpack[ExecuteOptions],
    ) -> dict[str, Any] | ExecutionResult: ...

    async def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> dict[str, Any] | ExecutionResult:
        """Run a query or a mutation, or take the first event of a subscription.

        Returns its `data` (None where the server sent null), or with `get_execution_result` the
        `ExecutionResult`. For `options` see `ExecuteOptions`.

        Raises TransportQueryError where there are errors (unless `get_execution_result`, which
        has them inside; an operation that the server refuses raises always), OperationTimeout
        after the client's `execute_timeout`, what ended the connection if there is none, and
        graphql-core's GraphQLError for a document that is wrong by itself. Cancelling tells the
        server to stop.
        """
        prepared = self._prepare(request, **options)
        parse = self._parser(prepared, options.get("parse_result"))
        result = await self.transport.execute(prepared, timeout=self._settings.execute_timeout)
        taken: dict[str, Any] | ExecutionResult = _taken(result, parse, whole=get_execution_result)
        return taken

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
        get_execution_result: Literal[False] = False,
        **options: Unpack[ExecuteOptions],
    ) -> Subscription[dict[str, Any]]: ...

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
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
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
        get_execution_result: bool,
        **options: Unpack[ExecuteOptions],
    ) -> Subscription[Any]: ...

    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> Subscription[Any]:
        """Return the results of an operation, to be taken with `async for`; see `Subscription`.

        Each is `data`, or with `get_execution_result` an `ExecutionResult`. `buffer` is how much
        may wait for a slow consumer (a `Buffer`, or a number of events), `overflow` what happens
        beyond it; for `options` see `ExecuteOptions`. Nothing is sent before the first step.

        A step raises TransportQueryError for an event that carries errors, and the next step goes
        on; with `get_execution_result` such an event is an event like any other.
        """
        prepared = self._prepare(request, **options)
        parse = self._parser(prepared, options.get("parse_result"))
        feed = self.transport.feed(prepared, buffer=buffer, overflow=overflow)

        def convert(payload: Raw) -> Any:
            return _taken(decode_result(payload), parse, whole=get_execution_result)

        return Subscription(feed, convert)

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
    ) -> GraphQLRequest:
        del parse_result  # of the same options, for the way back
        prepared = GraphQLRequest(
            request,
            variable_values=variable_values,
            operation_name=operation_name,
            extensions=extensions,
        )
        if self._settings.schema is None:
            return prepared
        self._settings.validate(prepared)
        wanted = serialize_variables
        if prepared.variable_values and (
            self._settings.serialize_variables if wanted is None else wanted
        ):
            prepared = prepared.serialize_variable_values(self._settings.schema)
        return prepared

    def _parser(self, request: GraphQLRequest, wanted: bool | None) -> Callable[[Any], Any] | None:
        is_wanted = self._settings.parse_results if wanted is None else wanted
        if not is_wanted or self._settings.schema is None:
            return None
        from gqlwire.schema import ResultParser

        parser = ResultParser(self._settings.schema, request.document, request.operation_name)
        return parser.parse


def _taken(result: ExecutionResult, parse: Callable[[Any], Any] | None, *, whole: bool) -> Any:
    if parse is not None:
        result.data = parse(result.data)
    return result if whole else result.data_or_raise()
