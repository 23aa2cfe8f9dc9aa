"""A session: operations on a connected transport, checked and converted as the client was told.

It knows no socket, no protocol and no retry. graphql-core is loaded only for a schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from gqlwire._operations.ask import ask
from gqlwire._operations.feed import Link
from gqlwire._operations.options import ExecuteOptions, Reconnected, SubscribeOptions, Terms
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.result import ExecutionResult, decode_result
from gqlwire._reconnect.counters import Counters
from gqlwire._reconnect.states import States
from gqlwire._reconnect.transport import ReconnectingTransport
from gqlwire.client.options import Settings
from gqlwire.client.prepare import check_names, converters, prepare, subscription
from gqlwire.errors import Phase
from gqlwire.transport import Transport

if TYPE_CHECKING:
    from graphql import DocumentNode
    from typing_extensions import TypeVar

    T = TypeVar("T", default=dict[str, Any])
else:
    from typing import TypeVar

    T = TypeVar("T")


class AsyncClientSession:
    """Runs operations over the transport of a client that is connected.

    `transport` is that of the client.
    """

    def __init__(self, transport: Transport, settings: Settings, link: Link) -> None:
        self.transport: Transport = transport
        self._link = link
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
        the connection if there is none, OperationInterrupted if it is lost meanwhile and comes
        back, graphql-core's GraphQLError for a document that is wrong by itself, and TypeError for
        a `result_type` that cannot be one. Cancelling tells the server to stop.
        """
        check_names("execute", options, ExecuteOptions)
        settings = self._settings
        prepared = prepare(settings, request, options)
        convert, _ = converters(
            settings, prepared, options, result_type, whole=get_execution_result
        )
        payload = await ask(
            self._link,
            prepared.encode(),
            prepared.kind,
            options.get("timeout", settings.execute_timeout),
            idempotent=options.get("idempotent", False),
        )
        return convert(payload)

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T] | None = None,
        get_execution_result: Literal[False] = False,
        tell_reconnects: Literal[False] = False,
        **options: Unpack[SubscribeOptions],
    ) -> Subscription[T]: ...

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T] | None = None,
        get_execution_result: Literal[False] = False,
        tell_reconnects: Literal[True],
        **options: Unpack[SubscribeOptions],
    ) -> Subscription[T | Reconnected]: ...

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: None = None,
        get_execution_result: Literal[True],
        tell_reconnects: Literal[False] = False,
        **options: Unpack[SubscribeOptions],
    ) -> Subscription[ExecutionResult]: ...

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T],
        get_execution_result: Literal[True],
        tell_reconnects: Literal[False] = False,
        **options: Unpack[SubscribeOptions],
    ) -> Subscription[ExecutionResult[T | None]]: ...

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        get_execution_result: bool = False,
        tell_reconnects: bool = False,
        **options: Unpack[SubscribeOptions],
    ) -> Subscription[Any]: ...

    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        get_execution_result: bool = False,
        tell_reconnects: bool = False,
        **options: Unpack[SubscribeOptions],
    ) -> Subscription[Any]:
        """Return the results of an operation, to be taken with `async for`; see `Subscription`.

        Each is what `execute` returns. For `options` see `SubscribeOptions`. Nothing is sent before
        the first step. If the connection is lost, it goes on by itself, where the client is
        `reconnecting`; with `tell_reconnects` a `Reconnected` comes between the events then.

        A step raises TransportQueryError for an event that carries errors and ResultMismatch for
        one that does not fit `result_type`, and the next step goes on; with
        `get_execution_result` an event with errors is an event like any other. A step raises
        OperationTimeout once the subscription has waited too long, SlowConsumer if the consumer is
        too slow, or the failure that is final.
        """
        check_names("subscribe", options, SubscribeOptions)
        return subscription(
            self._link,
            self._settings,
            request,
            options,
            Terms.of(options, tell_reconnects=tell_reconnects),
            result_type=result_type,
            whole=get_execution_result,
        )

    # --- The connection, where it is kept alive -----------------------------------------------

    @property
    def state(self) -> Phase:
        """How far the connection has come, or `waiting`, `idle`, `closed`."""
        return self._kept.state

    def states(self) -> States:
        """Return the changes of `state` from now on, to be taken with `async for`.

        They end with `closed`.
        """
        return self._kept.changes.watch()

    async def wait_ready(self) -> None:
        """Wait until there is an acknowledged connection. Raises the failure that is final."""
        await self._kept.ready()

    async def reconnect(self, reason: str = "") -> None:
        """Make the connection anew, with credentials asked for with `refresh=True`.

        Subscriptions go on on the new one. What runs besides gets OperationInterrupted, or is sent
        again where that is allowed. Returns when the new one is acknowledged; raises the failure if
        there will be none. Cancelling does not stop it.
        """
        await self._kept.reconnect(reason)

    def terminate(self) -> None:
        """Drop the socket at once, without waiting for a server that hangs, and connect again."""
        self._kept.terminate()

    @property
    def counters(self) -> Counters:
        """What has happened so far, at this moment."""
        return self._kept.counters

    @property
    def _kept(self) -> ReconnectingTransport:
        if not isinstance(self._link, ReconnectingTransport):
            raise RuntimeError("this session does not keep its connection: see `reconnecting`")
        return self._link

    async def fetch_schema(self) -> None:
        """Ask the server for its schema, for validation and conversion from then on.

        Raises what `execute` raises.
        """
        from gqlwire._payloads import schema

        document = schema.introspection_document(**self._settings.introspection_args)
        request = GraphQLRequest(document)
        timeout = self._settings.execute_timeout
        payload = await ask(self._link, request.encode(), request.kind, timeout)
        self._settings.introspection = decode_result(payload).data_or_raise()
        self._settings.schema = schema.build_schema_from(self._settings.introspection or {})
