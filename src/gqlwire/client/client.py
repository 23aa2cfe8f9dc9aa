"""`Client`: a transport, what is known of the schema, and how to run operations with both.

It knows no socket, no protocol and no operation id. Its blocking methods are the async ones,
sent through a portal.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from gqlwire._connection.dialer import Dialer
from gqlwire._operations.options import ExecuteOptions, SubscribeOptions
from gqlwire._payloads.reader import ParseFloat
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.result import ExecutionResult
from gqlwire._payloads.scalars import NO_SCALARS, Scalar, Scalars
from gqlwire._reconnect.hooks import Hooks
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.transport import ReconnectingTransport
from gqlwire.client.blocking import Portal
from gqlwire.client.options import Settings
from gqlwire.client.session import AsyncClientSession, T
from gqlwire.client.sharing import Shared
from gqlwire.errors import CloseTimeout
from gqlwire.retry import RetryPolicy
from gqlwire.transport import Transport

if TYPE_CHECKING:
    from graphql import DocumentNode, GraphQLSchema

_logger = logging.getLogger("gqlwire")


class Client:
    """Runs operations over a transport.

    `transport`: how the server is reached. `schema`: what the server offers, as SDL or as
    graphql-core's object; `introspection`: the same, as the answer to an introspection query; or
    `fetch_schema_from_transport`, to ask at each connection that begins without one
    (`introspection_args` go to graphql-core's `get_introspection_query`). With a schema, requests
    are validated before they are sent. `execute_timeout`: seconds for a query or mutation, None
    for no limit. `serialize_variables`, `parse_results`: whether the schema's custom scalars and
    enums are converted, on the way out and on the way back.

    `scalars`: how types of your own are read, in a `result_type`, and written, in variables.
    `parse_float`: what to make of numbers with a fraction or an exponent where no annotation says
    it, as in `json.loads`: with `decimal.Decimal` they keep all their digits.

    `reconnecting`: whether a connection that is lost is made again, and subscriptions go on on it;
    what runs besides is interrupted (`OperationInterrupted`). `retry`: when, and how often.
    `retry_queries`: whether a query that was interrupted is sent again. `idle_close_after`: seconds
    without any operation after which the connection is closed until the next one. `hooks`: what is
    called when something happens to the connection.

    `async with client as session` connects and closes; see `AsyncClientSession`. If it is entered
    more than once, all share one session, and the last to leave closes it.
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
        hooks: Hooks | None = None,
    ) -> None:
        _check_one(schema is not None, introspection is not None, fetch_schema_from_transport)
        self.transport: Transport | None = transport
        self.fetch_schema_from_transport: bool = fetch_schema_from_transport
        self.session: AsyncClientSession | None = None
        self.reconnecting: bool = reconnecting
        self._reconnect_options = ReconnectOptions(
            retry or RetryPolicy(), retry_queries, idle_close_after, hooks or Hooks()
        )
        self._runner: Transport | ReconnectingTransport | None = None
        self._shared = Shared(self._open, self._close, self._is_alive)
        self._settings = Settings(
            _built(schema if introspection is None else introspection),
            introspection,
            introspection_args or {},
            execute_timeout,
            serialize_variables,
            parse_results,
            Scalars(scalars) if scalars else NO_SCALARS,
            parse_float,
        )

    @property
    def schema(self) -> GraphQLSchema | None:
        """The schema as graphql-core's object; None if none is known."""
        return self._settings.schema

    @property
    def introspection(self) -> dict[str, Any] | None:
        """The answer to the introspection query, if the schema came from one."""
        return self._settings.introspection

    @property
    def execute_timeout(self) -> float | None:
        """Seconds for a query or a mutation; may be set."""
        return self._settings.execute_timeout

    @execute_timeout.setter
    def execute_timeout(self, seconds: float | None) -> None:
        self._settings.execute_timeout = seconds

    def validate(self, request: GraphQLRequest | DocumentNode | str) -> None:
        """Check a request against the schema.

        Raises graphql-core's GraphQLError, the first one, if it does not fit; ValueError without
        a schema.
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
            # The socket is gone, which is what leaving is for; and what is under way matters more.
            _logger.warning("%s", late)

    async def connect_async(self, *, reconnecting: bool | None = None) -> AsyncClientSession:
        """Connect, fetch the schema if it is to be fetched, and return a session.

        `reconnecting` overrides the client's from now on. Returns the session that there is, if it
        is connected already. Raises what the transport's `connect` raises. Cancelling leaves
        nothing behind.
        """
        if reconnecting is not None:
            self.reconnecting = reconnecting
        return await self._shared.enter()

    async def close_async(self) -> None:
        """Close the connection, whoever uses it; what runs gets TransportClosed.

        Twice is harmless. Raises CloseTimeout if the server did not answer the close frame.
        """
        await self._shared.end()

    async def _open(self) -> AsyncClientSession:
        if self.transport is None:
            raise ValueError("this client has no transport: it can only validate")
        transport = self.transport
        runner = self._runner = self._kept(transport) if self.reconnecting else transport
        await runner.connect()
        link = runner if isinstance(runner, ReconnectingTransport) else transport.link
        session = AsyncClientSession(transport, self._settings, link)
        if self.fetch_schema_from_transport and self.schema is None:
            try:
                await session.fetch_schema()
            except BaseException:  # a cancellation, too: nobody would close it otherwise
                with contextlib.suppress(CloseTimeout):
                    await runner.close()
                raise
        self.session = session
        return session

    def _kept(self, transport: Transport) -> ReconnectingTransport:
        if not isinstance(transport, Dialer):
            raise TypeError(f"a {type(transport).__name__} cannot reconnect: it has no dial()")
        return ReconnectingTransport(transport, self._reconnect_options)

    def _is_alive(self) -> bool:
        return self._runner is not None and self._runner.is_alive

    async def _close(self) -> None:
        self.session = None
        runner = self._runner or self.transport
        if runner is not None:
            await runner.close()

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

        See `AsyncClientSession.subscribe`; but here an event with errors, or that does not fit
        `result_type`, ends it, as a generator is over once it raises (with `get_execution_result`
        errors raise none).
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
        """Do what `execute_async` does, blocking: for plain scripts."""
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
        """Do what `subscribe_async` does, blocking: for plain scripts."""
        with Portal() as portal:
            yield from portal.iterate(
                self.subscribe_async(
                    request,
                    result_type=result_type,
                    get_execution_result=get_execution_result,
                    **options,
                )
            )


def _check_one(*sources: bool) -> None:
    if sum(sources) > 1:
        raise ValueError(
            "the schema comes from one of schema, introspection and fetch_schema_from_transport"
        )


def _built(source: str | GraphQLSchema | dict[str, Any] | None) -> GraphQLSchema | None:
    if source is None:
        return None
    from gqlwire._payloads.schema import build_schema_from

    return build_schema_from(source)
