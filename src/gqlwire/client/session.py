"""A session runs operations on a connected transport, with the settings of its client.

It knows no socket, no protocol and no retry policy. It loads graphql-core only for a schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from gqlwire._clock import Moment
from gqlwire._numbers import check_seconds
from gqlwire._operations.ask import ask
from gqlwire._operations.link import Link
from gqlwire._operations.options import ExecuteOptions, Reconnected, SubscribeOptions, Terms
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.result import ExecutionResult, decode_single
from gqlwire._reconnect.counters import Counters
from gqlwire._reconnect.health import Health
from gqlwire._reconnect.pool import Pool
from gqlwire._reconnect.snapshot import of_link, whole
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


def health_of(link: Link | Pool) -> Health:
    """Return how the session on `link`, or on several of a pool, is now."""
    if isinstance(link, Pool):
        kept = [each for each in link.connections if each.is_alive or each is link.first]
    elif isinstance(link, ReconnectingTransport):
        kept = [link]
    else:
        return of_link(link)
    now, changes = Moment.now(), link.changes
    connections = [connection for each in kept for connection in each.health(now)]
    running = sum(each.running for each in kept)
    return whole(connections, running, now, changes.state, changes.since)


class AsyncClientSession:
    """Runs operations over the connection of a client; what `async with client` returns.

    `transport` is the transport of the client. `state`, `states`, `wait_ready`, `reconnect`,
    `terminate` and `counters` need a client with `reconnecting=True`; without it they raise
    RuntimeError.
    """

    def __init__(
        self, transport: Transport, settings: Settings, link: Link, pool: Pool | None = None
    ) -> None:
        self.transport: Transport = transport
        self._link = link
        self._pool = pool
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
        """Run a query or a mutation and return its `data`.

        `data` is a dict of plain objects (None if the server sent null), or a `result_type`: a
        msgspec.Struct, a dataclass, an attrs class, a TypedDict, a pydantic model, or another type
        that msgspec supports. With `get_execution_result=True`, returns an `ExecutionResult` with
        data, errors and extensions. `options`: see `ExecuteOptions`. For a subscription, returns
        the first event and stops the subscription.

        Raises TransportQueryError if the result has errors (not with `get_execution_result=True`),
        and always if the server refuses the operation; ResultMismatch if `data` does not fit
        `result_type`, or the schema if results are parsed; IncompleteResult if the server sends the
        result in parts (`@defer`, `@stream`); OperationTimeout after `timeout` or the client's
        `execute_timeout`; OperationInterrupted if the connection is lost and gqlwire reconnects;
        the failure of the connection if no other one follows; graphql-core's GraphQLError, before
        anything is sent, for a document that is not valid; TypeError for an unsupported
        `result_type`; ValueError or TypeError for an invalid `timeout`. Every TransportError has
        `maybe_executed`: whether the server may have executed the operation.

        Cancelling tells the server to stop. For a mutation, a note on the CancelledError says
        whether it was sent.
        """
        check_names("execute", options, ExecuteOptions)
        settings = self._settings
        prepared = prepare(settings, request, options)
        convert, _ = converters(
            settings, prepared, options, result_type, whole=get_execution_result, single=True
        )
        timeout = settings.execute_timeout
        if "timeout" in options:
            timeout = options["timeout"]
            check_seconds("timeout", timeout)
        return await ask(
            self._link,
            prepared.encode(),
            prepared.kind,
            timeout,
            convert,
            idempotent=options.get("idempotent", False),
        )

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
        """Return a `Subscription`; take its events with `async for`.

        Each event is what `execute` would return. `options`: see `SubscribeOptions`. Nothing is
        sent before the first step, that is, before the loop asks for the first event. If the client
        is `reconnecting`, the subscription continues after the connection is lost. With
        `tell_reconnects=True`, a `Reconnected` then comes between the events.

        A step raises TransportQueryError for an event with errors, ResultMismatch for an event that
        does not fit `result_type`, TransportProtocolError for an event that cannot be read, and
        IncompleteResult for a part of a result; the next step continues. With
        `get_execution_result=True`, errors and parts do not raise. A step raises OperationTimeout
        after `first_event_timeout` or `idle_timeout`, SlowConsumer if the consumer is too slow (see
        `Overflow`), or the final failure of the connection; these end the subscription.

        `subscribe` itself raises graphql-core's GraphQLError for a document that is not valid, and
        TypeError or ValueError for options that cannot be used.
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
        """How far the connection has come, or `waiting`, `idle`, `closed`.

        If there are several (`max_subscriptions_per_connection`), that of the connection which is
        least far.
        """
        return self._kept.state

    def states(self) -> States:
        """Return an iterator over the changes of `state` from now on, each a `Change`.

        The iteration ends after `closed`.
        """
        return self._kept.changes.watch(self._kept.loop)

    async def wait_ready(self) -> None:
        """Wait for an acknowledged connection. Raises the final failure if there will be none."""
        await self._kept.ready()

    async def reconnect(self, reason: str = "") -> None:
        """Replace the connection; functions that return credentials are called with `refresh=True`.

        Subscriptions continue on the new connection. Running queries and mutations raise
        OperationInterrupted, or are sent again where that is allowed. `reason` goes into the error
        and the log.

        Returns when the new connection is acknowledged. Raises the failure if there will be none.
        Cancelling does not stop the reconnect.
        """
        await self._kept.reconnect(reason)

    def terminate(self) -> None:
        """Drop the socket immediately, without a close frame, and connect again.

        Use it if the server hangs.
        """
        self._kept.terminate()

    @property
    def counters(self) -> Counters:
        """A snapshot of what the session has counted; see `Counters`."""
        return self._kept.counters

    def health(self) -> Health:
        """Return how the session is now: its state, connections and subscriptions; see `Health`.

        It works at any time, with and without a connection, and also in a session that does not
        reconnect. It asks the server nothing.
        """
        return health_of(self._pool or self._link)

    @property
    def _kept(self) -> ReconnectingTransport | Pool:
        if self._pool is not None:
            return self._pool
        if not isinstance(self._link, ReconnectingTransport):
            raise RuntimeError("this session does not reconnect: set reconnecting=True")
        return self._link

    async def fetch_schema(self) -> None:
        """Ask the server for its schema; the client uses it to validate and convert from then on.

        Raises what `execute` raises, and TransportProtocolError if the answer describes no valid
        schema. Then nothing has changed.
        """
        from gqlwire._payloads import schema

        document = schema.introspection_document(**self._settings.introspection_args)
        request = GraphQLRequest(document)
        timeout = self._settings.execute_timeout
        result = await ask(self._link, request.encode(), request.kind, timeout, decode_single)
        introspection = result.data_or_raise()
        self._settings.schema = schema.build_schema_of_answer(introspection, self._link.host)
        self._settings.introspection = introspection
