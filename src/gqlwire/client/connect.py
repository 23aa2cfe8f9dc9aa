"""`gqlwire.connect`: a client with a WebSocket transport, in one call.

In `client`, only this module knows which transport is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from gqlwire._payloads.reader import ParseFloat
from gqlwire._payloads.scalars import Scalar
from gqlwire._reconnect.hooks import Hooks
from gqlwire.client import Client
from gqlwire.retry import RetryPolicy
from gqlwire.transport import Transport
from gqlwire.transport.options import ConnectOptions

if TYPE_CHECKING:
    from graphql import GraphQLSchema

    from gqlwire.transport.credentials import Url


_PING_INTERVAL = 25.0
"""Seconds; servers and proxies commonly close a silent connection after 30 or 60."""


def connect(
    url: Url,
    *,
    schema: str | GraphQLSchema | None = None,
    introspection: dict[str, Any] | None = None,
    fetch_schema_from_transport: bool = False,
    introspection_args: dict[str, Any] | None = None,
    execute_timeout: float | None = 10,
    serialize_variables: bool = False,
    parse_results: bool = False,
    scalars: Mapping[type[Any], Scalar[Any]] | None = None,
    parse_float: ParseFloat | None = None,
    reconnecting: bool = True,
    retry: RetryPolicy | None = None,
    retry_queries: bool = False,
    idle_close_after: float | None = None,
    max_subscriptions_per_connection: int | None = None,
    hooks: Hooks | None = None,
    **options: Unpack[ConnectOptions],
) -> Client:
    """Return a client for the server at `url`.

    `async with gqlwire.connect(url) as session` opens the connection, and closes it at the end.

    `url` is `ws://` or `wss://`, or a list of such URLs. The other named arguments are those of
    `Client`; `options` are those of `WebsocketsTransport`. Two defaults differ: `reconnecting` is
    True, and with it `ping_interval` is 25 seconds, so that gqlwire notices a dead connection.

    Raises InvalidURL, ValueError or TypeError for arguments that cannot be used, as `Client` and
    `WebsocketsTransport` do.
    """
    return Client(
        transport=_transport(url, options, reconnecting=reconnecting),
        schema=schema,
        introspection=introspection,
        fetch_schema_from_transport=fetch_schema_from_transport,
        introspection_args=introspection_args,
        execute_timeout=execute_timeout,
        serialize_variables=serialize_variables,
        parse_results=parse_results,
        scalars=scalars,
        parse_float=parse_float,
        reconnecting=reconnecting,
        retry=retry,
        retry_queries=retry_queries,
        idle_close_after=idle_close_after,
        max_subscriptions_per_connection=max_subscriptions_per_connection,
        hooks=hooks,
    )


def _transport(url: Url, options: ConnectOptions, *, reconnecting: bool) -> Transport:
    if reconnecting:
        # Without pings, a dead connection can look alive, and events would be missed silently.
        options.setdefault("ping_interval", _PING_INTERVAL)
    # Imported late, so that `import gqlwire` does not load picows.
    from gqlwire.transport.websockets import WebsocketsTransport

    return WebsocketsTransport(url, **options)
