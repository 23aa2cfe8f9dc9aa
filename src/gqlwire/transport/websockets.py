"""GraphQL over one WebSocket, in whichever of the two protocols the server speaks.

The transport makes connections; its operations run on the current one. It knows no message and no
operation id; `_connection` and `_operations` do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec import structs

from gqlwire import _loop
from gqlwire._connection.connection import Connection
from gqlwire._connection.keepalive import Limits
from gqlwire._connection.telemetry import Signals
from gqlwire._connection.user_tasks import abandon
from gqlwire._numbers import check_count, check_seconds
from gqlwire._operations.ask import ask
from gqlwire._operations.feed import Feed
from gqlwire._operations.link import Link
from gqlwire._operations.options import Terms
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.result import ExecutionResult, decode_result, decode_single
from gqlwire._protocols import Setup, choose
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.buffer import Buffer, Overflow
from gqlwire._wire import Way
from gqlwire._wire.address import Address
from gqlwire._wire.dial import open_websocket
from gqlwire._wire.proxy import chosen
from gqlwire.errors import Phase, TransportAlreadyConnected, TransportConnectionFailed
from gqlwire.errors.reasons import after, already, not_connected
from gqlwire.retry import Attempt
from gqlwire.transport.credentials import (
    Credentials,
    Given,
    Headers,
    InitPayload,
    Url,
    gather,
    header_items,
    lasting,
    parse_all,
    used,
)
from gqlwire.transport.negotiation import Connector, memory, next_offer
from gqlwire.transport.options import (
    TransportOptions,
    check_compression,
    check_connect_args,
    check_proxy,
    check_ssl,
    check_subprotocols,
    context_of,
)

__all__ = ["WebsocketsTransport"]

_logger = logging.getLogger("gqlwire")


class WebsocketsTransport(TransportOptions):
    """Runs many queries, mutations and subscriptions at the same time, over one WebSocket.

    It opens no connection, and needs no event loop, before `connect()`.

    `url`: `ws://` or `wss://`; `wss` means TLS with a verified certificate. A list of URLs is of
    servers that do the same: if one fails, the next one is used.
    `headers`: HTTP headers of the upgrade request (RFC 6455, section 4.1), a mapping or pairs.
    `init_payload`: the payload of `connection_init`, a JSON object; None sends none.
    `url`, `headers` and `init_payload` may be functions, or coroutine functions, of the `Attempt`.
    gqlwire calls them before each attempt to connect, for `connect_timeout` seconds at most.
    `ssl`: an `ssl.SSLContext` with your own CAs or a client certificate; True, False and None mean
    the system's CAs.
    `connect_timeout`, `ack_timeout`, `close_timeout`: seconds until the WebSocket is open, until
    `connection_ack`, and for the close handshake; None means no limit.
    `keep_alive_timeout`: seconds without any frame from the server after which the connection ends
    with KeepAliveTimeout. In Apollo's protocol they count from the first `ka`.
    `ping_interval`: seconds between the client's pings; in Apollo's protocol, which has no ping
    message, these are ping frames (RFC 6455, section 5.5.2).
    `pong_timeout`: seconds after a ping within which any frame must arrive; by default half of
    `ping_interval`.
    `answer_pings`: whether gqlwire answers the server's `ping` messages; if not, use `send_pong`.
    `subprotocols`: offer only these, and make no other offer after a refusal.
    `max_message_size`: the largest message to accept, in bytes, after decompression.
    `proxy`: True takes the proxy from the environment (`http_proxy`, `https_proxy`, `all_proxy`,
    `no_proxy`), None and False use none, a str is its URL (http, https, socks5, socks4).
    `proxy_ssl`: an `ssl.SSLContext` for TLS with an `https://` proxy, as `ssl` is for the server.
    `compression`: "deflate" offers permessage-deflate (RFC 7692; extra `gqlwire[deflate]`).
    `open_websocket`: opens the WebSocket in place of gqlwire; for tests without sockets.
    `connect_args`: gql's option, not supported: raises TypeError, which names what to use instead.

    Raises InvalidURL for a URL that cannot be used, ValueError or TypeError for other such
    arguments, and ModuleNotFoundError if an argument needs an extra that is not installed.
    """

    APOLLO_SUBPROTOCOL = "graphql-ws"
    GRAPHQLWS_SUBPROTOCOL = "graphql-transport-ws"

    url: Url

    def __post_init__(self) -> None:
        check_connect_args(self.connect_args)
        self.headers: Given[Headers | None] = lasting(self.headers)
        self._forced = None if self.subprotocols is None else tuple(self.subprotocols)
        self._addresses = parse_all(self.url)
        self._address = self._addresses[0]
        self._check()
        self._response_headers: Mapping[str, str] = {}
        self._signals = Signals()
        self._connection: Connection | None = None
        # The connection that waits for its acknowledgement.
        self._opening: Connection | None = None
        # Connections that are still closing.
        self._leaving: list[Connection] = []
        self._connecting: asyncio.Task[Connection] | None = None
        # Called when the current connection ends; `dial` sets it.
        self._on_drop: Callable[[Connection], None]
        self.link: Link = Link(self)

    def _check(self) -> None:
        check_subprotocols(self._forced)
        check_compression(self.compression)
        check_proxy(self.proxy, self.proxy_ssl)
        check_count("max_message_size", self.max_message_size, "byte")
        for name in ("connect_timeout", "ack_timeout", "close_timeout"):
            check_seconds(name, getattr(self, name))
        _ = self._limits(), None if callable(self.headers) else header_items(self.headers)
        for address in self._addresses:
            check_ssl(self.ssl, address)

    def __repr__(self) -> str:
        # The options may hold secrets.
        return f"<{type(self).__name__} to {self.host}, {self.phase}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show the host only: the options may hold secrets."""
        return [("host", self.host)]

    # --- Connecting ---------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open the WebSocket, and wait until the server acknowledges the connection.

        Raises TransportAlreadyConnected if the transport is connected or connecting;
        TransportClosed if `close()` is called before it is connected; a subclass of
        TransportConnectionFailed if the server cannot be reached, refuses the connection or takes
        too long. Cancelling leaves no connection behind.
        """
        if self.urls == 1:
            await self.dial(Attempt(), ReadGate(), self._log_end)
        else:
            await self._connect_to_any()

    async def _connect_to_any(self) -> None:
        failures: list[TransportConnectionFailed] = []
        for place in range(self.urls):
            last = failures[-1] if failures else None
            if last is not None:
                _logger.info("%s; gqlwire tries the next URL", last)
            try:
                await self.dial(Attempt(1, last, url_index=place), ReadGate(), self._log_end)
            except TransportConnectionFailed as failure:
                failures.append(failure)
            else:
                return
        raise after(failures[-1], failures[:-1]) from failures[-1].__cause__

    def _log_end(self, connection: Connection) -> None:
        _logger.info("disconnected from %s: %s", self._address.place, connection.reason)

    async def dial(
        self, attempt: Attempt, gate: ReadGate, on_drop: Callable[[Connection], None]
    ) -> Connection:
        """Do what `connect` does and return the connection; see `Dialer`."""
        old = self._connection
        if old is not None and old.phase is not Phase.CLOSED and old.is_orphaned:
            self._connection = None
        if self._connecting is not None and self._connecting.get_loop().is_closed():
            self._connecting = None
        if self.phase is not Phase.CLOSED and self.phase is not Phase.CLOSING:
            raise TransportAlreadyConnected(already(self.host, self.phase))
        self._let_go()
        if attempt.url_index is not None:
            self._address = self._addresses[attempt.url_index]
        elif self.urls > 1:
            place = self._addresses.index(self._address)
            attempt = structs.replace(attempt, url_index=place)
        self._on_drop = on_drop
        loop = self.link.loop = asyncio.get_running_loop()
        task = self._connecting = loop.create_task(self._open(attempt, gate))
        try:
            connection = self._connection = self.link.live = await task
        except asyncio.CancelledError:
            if task.done() and not (task.cancelled() or task.exception()):
                await task.result().discard()  # it was made just before the cancellation
            if not task.cancelled() or self._connecting is task:
                raise
            why = "close() was called while it was connecting"
            raise not_connected(self.host, why) from None
        finally:
            if self._connecting is task:
                self._connecting = None
            self._unbind()
        # A connection that is kept has one line for each loss, and that is not here.
        is_first = attempt.failure is None and not attempt.refresh
        level = logging.INFO if is_first else logging.DEBUG
        _logger.log(level, "connected to %s (%s)", self._address.place, connection.subprotocol)
        return connection

    def another(self) -> WebsocketsTransport:
        """Return a transport with the same options, for one more connection at the same time.

        It begins with the URL that this one uses.
        """
        copy = type(self)(**structs.asdict(self))
        copy._address = self._address  # noqa: SLF001  # it is of this class
        return copy

    def _let_go(self) -> None:
        """Remember a connection that is still closing."""
        old = self._connection
        self._leaving = [
            left
            for left in self._leaving
            if left.phase is not Phase.CLOSED and not left.is_orphaned
        ]
        if old is not None and old.phase is Phase.CLOSING and old not in self._leaving:
            self._leaving.append(old)

    async def _open(self, attempt: Attempt, gate: ReadGate) -> Connection:
        url: Given[str] | Address = self.url if callable(self.url) else self._address
        known = await gather(url, self.headers, self.init_payload, attempt, self.connect_timeout)
        if self.ssl:
            used(self.url, "url", partial(check_ssl, self.ssl), known.address)
        self._address = known.address
        connector = Connector(
            self._way(known),
            partial(self._make_connection, known.init_payload, gate),
            forced=self._forced,
            ack_timeout=self.ack_timeout,
            open_websocket=self.open_websocket or open_websocket,
        )
        try:
            connection = await connector.open()
        finally:
            self._opening = None
        self._response_headers = connector.response_headers
        return connection

    def _make_connection(
        self,
        init_payload: InitPayload | None,
        gate: ReadGate,
        offered: tuple[str, ...],
        selected: str | None,
    ) -> Connection:
        self._opening = Connection(
            choose(
                offered,
                selected,
                Setup(init_payload, self.answer_pings),
                is_forced=self._forced is not None,
            ),
            host=self._address.host,
            limits=self._limits(),
            close_timeout=self.close_timeout,
            signals=self._signals,
            gate=gate,
            on_end=self._on_end,
        )
        return self._opening

    def _limits(self) -> Limits:
        return Limits(self.ping_interval, self.pong_timeout, self.keep_alive_timeout)

    def _way(self, known: Credentials) -> Way:
        return Way(
            address=known.address,
            headers=known.headers,
            ssl_context=context_of(self.ssl),
            proxy=chosen(known.address, self.proxy),
            proxy_ssl=context_of(self.proxy_ssl),
            compressed=self.compression == "deflate",
            connect_timeout=self.connect_timeout,
            max_message_size=self.max_message_size,
        )

    def _on_end(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        if connection.was_guessed:
            another = next_offer(connection.reason, {connection.subprotocol})
            if another is not None:
                memory.keep(self._address.place, another)
        self._on_drop(connection)

    # --- Operations ---------------------------------------------------------------------------

    async def execute(
        self, request: GraphQLRequest, *, timeout: float | None = None
    ) -> ExecutionResult:
        """Run an operation and return its first result, errors included.

        Raises TransportQueryError if the server refuses the operation, TransportProtocolError if
        it sends an invalid result, IncompleteResult if it sends the result in parts (`@defer`,
        `@stream`), TransportClosed or what ended the connection if there is none,
        OperationTimeout after `timeout` seconds. Cancelling, like the timeout, tells the server
        to stop.
        """
        check_seconds("timeout", timeout)
        return await ask(self.link, request.encode(), request.kind, timeout, decode_single)

    def subscribe(
        self,
        request: GraphQLRequest,
        *,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
    ) -> Subscription[ExecutionResult]:
        """Return a `Subscription`; take its results with `async for`.

        `buffer`: how much may wait for a slow consumer, a `Buffer` or a number of events.
        `overflow`: what happens when it is full. The operation starts with the first step, which
        raises what `execute` raises.
        """
        _ = request.kind  # raises if it is not clear which operation to run
        terms = Terms.of({"buffer": buffer, "overflow": overflow})
        return Subscription(Feed(self.link, request.encode(), terms), decode_result)

    @property
    def is_alive(self) -> bool:
        """Whether it is connected."""
        return self.phase is Phase.OPEN

    @property
    def urls(self) -> int:
        """How many URLs there are to connect to."""
        return len(self._addresses)

    @property
    def can_refresh(self) -> bool:
        """Whether `url`, `headers` or `init_payload` is a function, called for each attempt."""
        return any(map(callable, (self.url, self.headers, self.init_payload)))

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return self._address.host

    # --- Closing ------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the connection, or stop connecting.

        Running operations raise TransportClosed immediately. Takes `close_timeout` seconds at most.
        It is safe to call it from any task, at any time, and more than once. Raises CloseTimeout if
        the server did not answer the close frame; the socket is closed all the same. Raises
        RuntimeError in another event loop than that of `connect()`, unless that one is closed.
        """
        if not _loop.check_open(self.link.loop):
            self._forget()
            return
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait([connecting], timeout=self.close_timeout)
            if not connecting.done():  # only what the user gave can take so long
                abandon(connecting)
            elif not connecting.cancelled() and connecting.exception() is None:
                await connecting.result().close()
        self._let_go()
        if self._connection is not None:
            await self._connection.close()
        for old in self._leaving:
            await old.wait_gone()
        self._unbind()

    def _forget(self) -> None:
        """Forget what belongs to a closed event loop: it cannot even end."""
        self._connection = self._connecting = self.link.live = self.link.loop = None
        self._leaving.clear()

    def _unbind(self) -> None:
        """Let the next `connect()` choose the event loop, if nothing is left of the last one."""
        if self.phase is Phase.CLOSED and not self._leaving:
            self.link.loop = None

    async def wait_closed(self) -> None:
        """Wait until the socket is closed, whichever side closes it."""
        _loop.check(self.link.loop)
        if self._connection is not None:
            await self._connection.wait_gone()

    # --- What gql's transport also offers -------------------------------------------------------

    async def send_ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a ping now; the answer sets `pong_received` and `latency`.

        Raises TransportClosed, or what ended the connection, if there is none.
        """
        (await self.link.ready()).ping(payload)

    async def send_pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a pong now (graphql-transport-ws only), for use with `answer_pings=False`.

        Raises TransportClosed, or what ended the connection, if there is none.
        """
        (await self.link.ready()).pong(payload)

    @property
    def phase(self) -> Phase:
        """How far the connection has come; CLOSED if there is none."""
        if self._connecting is not None:
            opening = self._opening
            is_init = opening is not None and opening.phase is Phase.INIT
            return Phase.INIT if is_init else Phase.CONNECT
        return Phase.CLOSED if self._connection is None else self._connection.phase

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol of the connection; None before the first connection."""
        return None if self._connection is None else self._connection.subprotocol

    @property
    def latency(self) -> float | None:
        """Seconds that the last answered ping took; None before the first."""
        return None if self._connection is None else self._connection.latency

    @property
    def response_headers(self) -> Mapping[str, str]:
        """The headers of the server's answer to the upgrade; names are case-insensitive."""
        return self._response_headers

    @property
    def payloads(self) -> Mapping[str, Any]:
        """The last payloads of `connection_ack`, `ping`, `pong` and `connection_error`.

        Each is decoded when it is asked for. It is None if it is longer than 1 MiB, or unreadable.
        """
        return self._signals.payloads

    @property
    def unknown_messages(self) -> Mapping[str, int]:
        """How many messages of this connection gqlwire ignored as unknown, by their type."""
        return {} if self._connection is None else self._connection.telemetry.strays

    @property
    def ping_received(self) -> asyncio.Event:
        """Set when a ping of the server arrives; clear it yourself."""
        return self._signals.ping_received

    @property
    def pong_received(self) -> asyncio.Event:
        """Set when a pong of the server arrives; clear it yourself."""
        return self._signals.pong_received
