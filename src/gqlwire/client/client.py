"""`Client`: a transport and settings, to run operations with.

It knows no socket, no protocol and no operation id. The blocking methods run the async ones in a
`Portal`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from gqlwire._connection.dialer import Dialer
from gqlwire._numbers import check_count, check_seconds
from gqlwire._operations.options import ExecuteOptions, SubscribeOptions
from gqlwire._payloads.reader import ParseFloat
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.result import ExecutionResult
from gqlwire._payloads.scalars import NO_SCALARS, Scalar, Scalars
from gqlwire._reconnect.health import Health
from gqlwire._reconnect.hooks import Hooks
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.pool import Pool
from gqlwire._reconnect.transport import ReconnectingTransport
from gqlwire.client.blocking import Portal
from gqlwire.client.options import Settings
from gqlwire.client.session import AsyncClientSession, T, health_of
from gqlwire.client.sharing import Shared
from gqlwire.errors import CloseTimeout
from gqlwire.retry import RetryPolicy
from gqlwire.transport import Transport

if TYPE_CHECKING:
    from graphql import DocumentNode, GraphQLSchema

_logger = logging.getLogger("gqlwire")


class Client:
    """Runs operations over a transport.

    `async with client as session` connects and closes; see `AsyncClientSession`. Tasks that enter
    the same client share one session, and the last one to leave closes it.

    `transport`: how to reach the server; without one, the client can only validate.
    `execute_timeout`: seconds for a query or a mutation; None means no limit.

    With a schema, the client validates requests before it sends them. Give at most one source:
    `schema`: the schema as SDL, or as graphql-core's `GraphQLSchema`.
    `introspection`: the `data` of the answer to an introspection query.
    `fetch_schema_from_transport`: ask the server after connecting, if no schema is known yet.
    `introspection_args`: arguments for graphql-core's `get_introspection_query`.
    `serialize_variables`, `parse_results`: whether to convert the schema's custom scalars and
    enums, in variables and in results.

    `scalars`: maps your own types to a `Scalar`, which says how to read them in a `result_type` and
    how to write them in variables.
    `parse_float`: a function that converts the text of a number with a fraction or an exponent, as
    in `json.loads`. Annotations of a `result_type` win. `decimal.Decimal` keeps all digits.

    `reconnecting`: whether to connect again when the connection is lost. Subscriptions then
    continue; running queries and mutations raise OperationInterrupted.
    `retry`: when to connect again, and how often.
    `retry_queries`: whether to send an interrupted query again.
    `idle_close_after`: seconds without any operation after which the connection is closed. The next
    operation connects again.
    `max_subscriptions_per_connection`: how many subscriptions to have on one connection, for
    servers that limit them. Further ones get further connections, which are kept in the same way.
    `hooks`: functions to call when something happens to the connection.

    Raises ValueError for more than one source of the schema, and ValueError or TypeError for
    invalid times.
    """

    def __init__(
        self,
        *,
        schema: str | GraphQLSchema | None = None,
        introspection: dict[str, Any] | None = None,
        transport: Transport | None = None,
        fetch_schema_from_transport: bool = False,
        introspection_args: dict[str, Any] | None = None,
        execute_timeout: float | None = 10,
        serialize_variables: bool = False,
        parse_results: bool = False,
        scalars: Mapping[type[Any], Scalar[Any]] | None = None,
        parse_float: ParseFloat | None = None,
        reconnecting: bool = False,
        retry: RetryPolicy | None = None,
        retry_queries: bool = False,
        idle_close_after: float | None = None,
        max_subscriptions_per_connection: int | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        most = max_subscriptions_per_connection
        _check_one(schema is not None, introspection is not None, fetch_schema_from_transport)
        _check_numbers(execute_timeout, idle_close_after, most)
        self.transport: Transport | None = transport
        self.fetch_schema_from_transport: bool = fetch_schema_from_transport
        self.session: AsyncClientSession | None = None
        self.reconnecting: bool = reconnecting
        self._reconnect_options = ReconnectOptions(
            retry or RetryPolicy(), retry_queries, idle_close_after, hooks or Hooks(), most
        )
        self._runner: Transport | ReconnectingTransport | Pool | None = None
        self._shared = Shared(self._open, self._close, self._is_alive)
        built = _built(schema if introspection is None else introspection)
        self._settings = Settings(built, introspection, introspection_args or {}, execute_timeout)
        self._settings.serialize_variables = serialize_variables
        self._settings.parse_results = parse_results
        self._settings.scalars = Scalars(scalars) if scalars else NO_SCALARS
        self._settings.parse_float = parse_float

    @property
    def schema(self) -> GraphQLSchema | None:
        """The schema as graphql-core's object; None if none is known."""
        return self._settings.schema

    @property
    def introspection(self) -> dict[str, Any] | None:
        """The `data` of the answer to the introspection query, if the schema came from one."""
        return self._settings.introspection

    @property
    def execute_timeout(self) -> float | None:
        """Seconds for a query or a mutation; None means no limit. Can be set."""
        return self._settings.execute_timeout

    @execute_timeout.setter
    def execute_timeout(self, seconds: float | None) -> None:
        check_seconds("execute_timeout", seconds)
        self._settings.execute_timeout = seconds

    def validate(self, request: GraphQLRequest | DocumentNode | str) -> None:
        """Check a request against the schema.

        Raises the first GraphQLError of graphql-core if the request is not valid, and ValueError
        if there is no schema.
        """
        self._settings.validate(GraphQLRequest(request))

    # --- One connection, many operations ------------------------------------------------------

    async def __aenter__(self) -> AsyncClientSession:
        return await self._shared.enter()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._shared.leave()
        except CloseTimeout as late:
            # The socket is closed all the same, and an exception of the body matters more.
            _logger.warning("%s", late)

    async def connect_async(self, *, reconnecting: bool | None = None) -> AsyncClientSession:
        """Connect, fetch the schema if the client is to fetch it, and return a session.

        `reconnecting` replaces the client's setting from now on. If the client is already
        connected, returns the existing session. Raises what the transport's `connect` raises,
        and ValueError if there is no transport. Cancelling leaves no connection behind.
        """
        if reconnecting is not None:
            self.reconnecting = reconnecting
        return await self._shared.enter()

    async def close_async(self) -> None:
        """Close the connection for all its users. Running operations raise TransportClosed.

        It is safe to call it more than once. Raises CloseTimeout if the server did not answer the
        close frame in time; the socket is closed all the same.
        """
        await self._shared.end()

    async def _open(self) -> AsyncClientSession:
        if self.transport is None:
            raise ValueError("this client has no transport: it can only validate")
        transport = self.transport
        runner = self._runner = self._runner_for(transport)
        await runner.connect()
        session = _session(transport, self._settings, runner)
        if self.fetch_schema_from_transport and self.schema is None:
            try:
                await session.fetch_schema()
            except BaseException:  # cancellation as well: nobody else would close it
                with contextlib.suppress(CloseTimeout):
                    await runner.close()
                raise
        self.session = session
        return session

    def _runner_for(self, transport: Transport) -> Transport | ReconnectingTransport | Pool:
        if self.reconnecting:
            return self._kept(transport)
        if self._reconnect_options.max_subscriptions_per_connection is not None:
            raise ValueError("max_subscriptions_per_connection needs reconnecting=True")
        return transport

    def _kept(self, transport: Transport) -> ReconnectingTransport | Pool:
        if not isinstance(transport, Dialer):
            raise TypeError(f"a {type(transport).__name__} cannot reconnect: it has no dial()")
        options = self._reconnect_options
        if options.max_subscriptions_per_connection is not None:
            return Pool(transport, options, options.max_subscriptions_per_connection)
        return ReconnectingTransport(transport, options)

    def _is_alive(self) -> bool:
        return self._runner is not None and self._runner.is_alive

    async def _close(self) -> None:
        self.session = None
        runner = self._runner or self.transport
        if runner is not None:
            await runner.close()

    def health(self) -> Health:
        """Return how the session is now, also while it connects for the first time; see `Health`.

        Without a session, the state is `closed`. Raises ValueError if there is no transport.
        """
        if self.transport is None:
            raise ValueError("this client has no transport: it can only validate")
        runner = self._runner
        if isinstance(runner, ReconnectingTransport | Pool):
            return health_of(runner)
        return health_of(self.transport.link)

    # --- One connection for each operation ----------------------------------------------------

    @overload
    async def execute_async(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T] | None = None,
        get_execution_result: Literal[False] = False,
        **options: Unpack[ExecuteOptions],
    ) -> T: ...

    @overload
    async def execute_async(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T] | None = None,
        get_execution_result: bool,
        **options: Unpack[ExecuteOptions],
    ) -> T | ExecutionResult: ...

    @overload
    async def execute_async(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> Any: ...

    async def execute_async(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> Any:
        """Connect, run one operation, close; see `AsyncClientSession.execute`."""
        async with self as session:
            return await session.execute(
                request,
                result_type=result_type,
                get_execution_result=get_execution_result,
                **options,
            )

    @overload
    def subscribe_async(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T],
        get_execution_result: Literal[False] = False,
        **options: Unpack[SubscribeOptions],
    ) -> AsyncGenerator[T, None]: ...

    @overload
    def subscribe_async(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        get_execution_result: bool = False,
        **options: Unpack[SubscribeOptions],
    ) -> AsyncGenerator[Any, None]: ...

    async def subscribe_async(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        get_execution_result: bool = False,
        **options: Unpack[SubscribeOptions],
    ) -> AsyncGenerator[Any, None]:
        """Connect, yield the results of one operation, close.

        See `AsyncClientSession.subscribe`. Here an event with errors, or one that does not fit
        `result_type`, ends the iteration, because a generator is over once it raises. With
        `get_execution_result=True`, an event with errors does not raise.
        """
        async with self as session:
            subscription = session.subscribe(
                request,
                result_type=result_type,
                get_execution_result=get_execution_result,
                **options,
            )
            async with subscription as events:
                async for event in events:
                    yield event

    @overload
    def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T] | None = None,
        get_execution_result: Literal[False] = False,
        **options: Unpack[ExecuteOptions],
    ) -> T: ...

    @overload
    def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T] | None = None,
        get_execution_result: bool,
        **options: Unpack[ExecuteOptions],
    ) -> T | ExecutionResult: ...

    @overload
    def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> Any: ...

    def execute(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        get_execution_result: bool = False,
        **options: Unpack[ExecuteOptions],
    ) -> Any:
        """Connect, run one operation, close; the blocking form of `execute_async`."""
        with Portal() as portal:
            return portal.run(
                self.execute_async(
                    request,
                    result_type=result_type,
                    get_execution_result=get_execution_result,
                    **options,
                )
            )

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: type[T],
        get_execution_result: Literal[False] = False,
        **options: Unpack[SubscribeOptions],
    ) -> Generator[T, None, None]: ...

    @overload
    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        get_execution_result: bool = False,
        **options: Unpack[SubscribeOptions],
    ) -> Generator[Any, None, None]: ...

    def subscribe(
        self,
        request: GraphQLRequest | DocumentNode | str,
        *,
        result_type: Any = None,
        get_execution_result: bool = False,
        **options: Unpack[SubscribeOptions],
    ) -> Generator[Any, None, None]:
        """Connect, yield results, close; the blocking form of `subscribe_async`."""
        with Portal() as portal:
            yield from portal.iterate(
                self.subscribe_async(
                    request,
                    result_type=result_type,
                    get_execution_result=get_execution_result,
                    **options,
                )
            )


def _session(
    transport: Transport, settings: Settings, runner: Transport | ReconnectingTransport | Pool
) -> AsyncClientSession:
    if isinstance(runner, Pool):
        return AsyncClientSession(transport, settings, runner.first, runner)
    link = runner if isinstance(runner, ReconnectingTransport) else runner.link
    return AsyncClientSession(transport, settings, link)


def _check_one(*sources: bool) -> None:
    if sum(sources) > 1:
        raise ValueError(
            "the schema comes from one of schema, introspection and fetch_schema_from_transport"
        )


def _check_numbers(
    execute_timeout: float | None, idle_close_after: float | None, most: int | None
) -> None:
    check_seconds("execute_timeout", execute_timeout)
    check_seconds("idle_close_after", idle_close_after, zero=False)
    check_count("max_subscriptions_per_connection", most, optional=True)


def _built(source: str | GraphQLSchema | dict[str, Any] | None) -> GraphQLSchema | None:
    if source is None:
        return None
    from gqlwire._payloads.schema import build_schema_from

    return build_schema_from(source)
