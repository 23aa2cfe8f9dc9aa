"""GraphQL over one WebSocket, in whichever of the two protocols the server speaks.

The transport makes connections (`connect`) and hands operations to the one it has. It knows no
message and no operation id; those are the affair of `_connection` and `_operations`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw

from gqlwire._connection import Connection
from gqlwire._operations import Feed, ask
from gqlwire._signals import Signals
from gqlwire._streams import Buffer, Overflow
from gqlwire.errors import (
    Phase,
    ProxyFailed,
    TransportAlreadyConnected,
    TransportClosed,
)
from gqlwire.protocols import SUBPROTOCOLS, choose
from gqlwire.protocols.keepalive import Limits
from gqlwire.request import GraphQLRequest
from gqlwire.results import ExecutionResult, decode_result
from gqlwire.subscription import Subscription
from gqlwire.transport import _address, _deflate, _proxy
from gqlwire.transport._connector import Connector
from gqlwire.transport._dial import Way
from gqlwire.transport._negotiation import is_wrong_protocol, memory

_logger = logging.getLogger("gqlwire")

Headers = Mapping[str, str] | Iterable[tuple[str, str]]

MAX_MESSAGE_SIZE = 64 * 1024 * 1024


class WebsocketsTransport:
    """Many queries, mutations and subscriptions at once, over one WebSocket.

    `url`: `ws://` or `wss://`; `wss` means verified TLS.
    `headers`: HTTP headers of the upgrade, a mapping or pairs.
    `ssl`: an `ssl.SSLContext` with own CAs or a client certificate; True, False and None mean the
    system's CAs.
    `init_payload`: the payload of `connection_init`, sent as it is; None leaves it out.
    `connect_timeout`, `ack_timeout`, `close_timeout`: seconds for the way to the open WebSocket,
    for `connection_ack`, and for the close handshake; None waits for ever.
    `keep_alive_timeout`: seconds without any frame from the server after which it is dead. In
    Apollo's protocol they count from the first `ka` on.
    `ping_interval`: seconds between our pings (ping frames in Apollo's protocol, which has no
    other). `pong_timeout`: seconds after a ping within which something must come; by default half
    of `ping_interval`.
    `answer_pings`: False leaves the answers to the protocol's pings to you (`send_pong`).
    `subprotocols`: offer just these, and offer nothing else after a refusal.
    `max_message_size`: bytes that a message may have, inflated.
    `proxy`: True takes it from the environment (`http_proxy`, `https_proxy`, `all_proxy`,
    `no_proxy`), None or False goes without, a str is the proxy's URL (http, https, socks5, socks4).
    `compression`: "deflate" offers permessage-deflate (RFC 7692; extra `gqlwire[deflate]`).

    Raises InvalidURL for a URL that cannot be one, ValueError or TypeError for other arguments,
    ModuleNotFoundError where the extra is missing that an argument needs.
    Nothing is connected, and no loop is needed, before `connect()`.
    """

    APOLLO_SUBPROTOCOL = "graphql-ws"
    GRAPHQLWS_SUBPROTOCOL = "graphql-transport-ws"

    def __init__(
        self,
        url: str,
        *,
        headers: Headers | None = None,
        ssl: ssl_module.SSLContext | bool | None = None,
        init_payload: Mapping[str, Any] | None = None,
        connect_timeout: float | None = 10,
        close_timeout: float | None = 10,
        ack_timeout: float | None = 10,
        keep_alive_timeout: float | None = None,
        ping_interval: float | None = None,
        pong_timeout: float | None = None,
        answer_pings: bool = True,
        subprotocols: Sequence[str] | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
        proxy: str | bool | None = True,
        compression: Literal["deflate"] | None = None,
        connect_args: Mapping[str, Any] | None = None,
    ) -> None:
        self._url = url
        self.headers: Headers | None = _lasting(headers)
        self.ssl = ssl
        self.init_payload = init_payload
        self.connect_timeout = connect_timeout
        self.close_timeout = close_timeout
        self.ack_timeout = ack_timeout
        self.keep_alive_timeout = keep_alive_timeout
        self.ping_interval = ping_interval
        self.pong_timeout = pong_timeout
        self.answer_pings = answer_pings
        self.max_message_size = max_message_size
        self.proxy = proxy
        self.compression = compression
        self._forced = None if subprotocols is None else tuple(subprotocols)
        self._address = _address.parse(url)
        self._check(connect_args)
        self._reset()

    def _reset(self) -> None:
        self._response_headers: Mapping[str, str] = {}
        self._signals = Signals()
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None

    def _check(self, connect_args: Mapping[str, Any] | None) -> None:
        if connect_args:
            raise TypeError(
                f"connect_args were for another library ({', '.join(connect_args)}); see "
                f"max_message_size, proxy, compression, ssl, headers and ping_interval"
            )
        unknown = [name for name in self._forced or () if name not in SUBPROTOCOLS]
        if unknown or self._forced == ():
            raise ValueError(f"subprotocols are of {', '.join(SUBPROTOCOLS)}, not {unknown}")
        if self.compression not in (None, "deflate"):
            raise ValueError(f'compression is "deflate" or None, not {self.compression!r}')
        if self.compression:
            _deflate.offer()  # tells what to install, if need be
        if isinstance(self.proxy, str):
            _proxy.proxy_for(self._address.url, self.proxy)
        if self.max_message_size < 1:
            raise ValueError(f"max_message_size is at least 1 byte, not {self.max_message_size}")
        _ = self._limits(), self._header_items()
        if self.ssl and not self._address.is_secure:
            raise ValueError(f"ssl is for wss:// URLs, and this is {self._address.place}")

    # --- Connecting ---------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open the WebSocket and be acknowledged.

        Raises TransportAlreadyConnected if it is connected or connecting; TransportClosed if
        `close()` is called meanwhile; TransportConnectionFailed, or a kind of it, if the server
        cannot be reached, refuses us or takes too long. Cancelling leaves nothing behind.
        """
        if self._connection is not None and self._connection.is_orphaned:
            self._connection = None
        if self.phase is not Phase.CLOSED and self.phase is not Phase.CLOSING:
            raise TransportAlreadyConnected(
                f"the transport to {self._address.host} is {self.phase} already"
            )
        task = asyncio.get_running_loop().create_task(self._open())
        self._connecting = task
        try:
            self._connection = await task
        except asyncio.CancelledError:
            if not task.cancelled() or self._connecting is task:
                raise
            raise self._not_connected("close() was called while it was connecting") from None
        finally:
            if self._connecting is task:
                self._connecting = None
        _logger.info("connected to %s (%s)", self._address.place, self._connection.subprotocol)

    async def _open(self) -> Connection:
        self._check_init_payload()
        connector = Connector(
            self._way(),
            self._make_connection,
            forced=self._forced,
            ack_timeout=self.ack_timeout,
        )
        connection = await connector.open()
        self._response_headers = connector.response_headers
        return connection

    def _check_init_payload(self) -> None:
        try:
            msgspec.json.encode(self.init_payload)
        except (TypeError, ValueError, RecursionError) as cause:
            raise TypeError(f"init_payload cannot be sent as JSON: {cause}") from cause

    def _make_connection(self, offered: tuple[str, ...], selected: str | None) -> Connection:
        return Connection(
            choose(offered, selected, answer_pings=self.answer_pings),
            host=self._address.host,
            init_payload=self.init_payload,
            limits=self._limits(),
            close_timeout=self.close_timeout,
            signals=self._signals,
            on_end=self._on_end,
        )

    def _limits(self) -> Limits:
        return Limits(self.ping_interval, self.pong_timeout, self.keep_alive_timeout)

    def _header_items(self) -> list[tuple[str, str]]:
        items = self.headers.items() if isinstance(self.headers, Mapping) else self.headers or ()
        for name, value in items:
            # RFC 9110, section 5.5; a line break would begin another header, or request.
            if not {"\r", "\n", "\0"}.isdisjoint(name + value):
                raise ValueError(f"the header {name!r} has a line break or a NUL in it")
        return list(items)

    def _way(self) -> Way:
        return Way(
            address=self._address,
            headers=self._header_items(),
            ssl_context=self.ssl if isinstance(self.ssl, ssl_module.SSLContext) else None,
            proxy=self._chosen_proxy(),
            compressed=self.compression == "deflate",
            connect_timeout=self.connect_timeout,
            max_message_size=self.max_message_size,
        )

    def _chosen_proxy(self) -> str | None:
        try:
            return _proxy.proxy_for(self._address.url, self.proxy)
        except ValueError as unusable:
            host = self._address.host
            text = f"no connection to {host}: {unusable}"
            raise ProxyFailed(text, host=host, phase=Phase.CONNECT) from unusable

    def _on_end(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        _logger.info("disconnected from %s: %s", self._address.place, connection.reason)
        if connection.was_guessed and is_wrong_protocol(connection.reason):
            newer, older = SUBPROTOCOLS
            memory.keep(self._address.place, older if connection.subprotocol == newer else newer)

    # --- Operations ---------------------------------------------------------------------------

    async def execute(
        self, request: GraphQLRequest, *, timeout: float | None = None
    ) -> ExecutionResult:
        """Run an operation and return its first result, errors and all.

        Raises TransportQueryError if the server refuses the operation, TransportProtocolError if
        the result is none, TransportClosed or what ended the connection if there is none,
        OperationTimeout after `timeout` seconds. Cancelling, like the timeout, tells the server
        to stop.
        """
        return decode_result(await self.ask(request, timeout=timeout))

    def ask(
        self, request: GraphQLRequest, *, timeout: float | None = None
    ) -> Coroutine[Any, Any, Raw]:
        """Do what `execute` does, and return the result's payload undecoded, in JSON."""
        kind = request.kind
        return ask(self._live(), request.encode(), kind, timeout)

    def subscribe(
        self,
        request: GraphQLRequest,
        *,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
    ) -> Subscription[ExecutionResult]:
        """Return the results of an operation, to be taken with `async for`; see `Subscription`.

        `buffer` is how much may wait for a slow consumer (an int: so many events), `overflow`
        what happens beyond it. The operation starts with the first step, which raises what
        `execute` raises.
        """
        return Subscription(self.feed(request, buffer=buffer, overflow=overflow), decode_result)

    def feed(
        self,
        request: GraphQLRequest,
        *,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
    ) -> Feed:
        """Return the undecoded results of an operation; `subscribe` is what you want."""
        _ = request.kind
        bound = Buffer(events=buffer) if isinstance(buffer, int) else (buffer or Buffer())
        return Feed(self._live, request.encode(), bound, Overflow(overflow))

    def _live(self) -> Connection:
        if self._connection is None:
            raise self._not_connected("connect() first, or use `async with`")
        return self._connection

    def _not_connected(self, why: str) -> TransportClosed:
        host = self._address.host
        return TransportClosed(f"the transport to {host} is not connected: {why}", host=host)

    # --- Closing ------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the connection, or give up connecting; what runs gets TransportClosed at once.

        Takes `close_timeout` at most. Safe from any task, at any time, more than once. Raises
        CloseTimeout if the server did not answer the close frame; the socket is gone all the same.
        """
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait([connecting])
            if not connecting.cancelled() and connecting.exception() is None:
                await connecting.result().close()
        if self._connection is not None and not self._connection.is_orphaned:
            await self._connection.close()

    async def wait_closed(self) -> None:
        """Wait until the connection is no more, whoever ends it."""
        if self._connection is not None:
            await self._connection.wait_gone()

    # --- What gql's transport offers besides ----------------------------------------------------

    async def send_ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a ping now; the answer sets `pong_received` and `latency`."""
        self._live().ping(payload)

    async def send_pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a pong now (graphql-transport-ws only), as `answer_pings=False` asks of you."""
        self._live().pong(payload)

    @property
    def url(self) -> str:
        """The URL, as it was given."""
        return self._url

    @property
    def phase(self) -> Phase:
        """How far the connection has come; CLOSED where there is none."""
        if self._connecting is not None:
            return Phase.CONNECT
        return Phase.CLOSED if self._connection is None else self._connection.phase

    @property
    def subprotocol(self) -> str | None:
        """The protocol that is spoken; None before the first connection."""
        return None if self._connection is None else self._connection.subprotocol

    @property
    def latency(self) -> float | None:
        """Seconds that the last answered ping took; None before the first."""
        return None if self._connection is None else self._connection.latency

    @property
    def response_headers(self) -> Mapping[str, str]:
        """The headers of the server's answer to the upgrade; their names in any case."""
        return self._response_headers

    @property
    def payloads(self) -> dict[str, Any]:
        """The last payloads of `connection_ack`, `ping`, `pong` and `connection_error`."""
        return self._signals.payloads

    @property
    def unknown_messages(self) -> Mapping[str, int]:
        """How many messages of this connection meant nothing, by their type."""
        return {} if self._connection is None else self._connection.strays

    @property
    def ping_received(self) -> asyncio.Event:
        """Set when a ping of the server's comes; yours to clear."""
        return self._signals.ping_received

    @property
    def pong_received(self) -> asyncio.Event:
        """Set when a pong of the server's comes; yours to clear."""
        return self._signals.pong_received


def _lasting(headers: Headers | None) -> Headers | None:
    # A generator of pairs would serve one attempt only.
    return headers if headers is None or isinstance(headers, Mapping) else list(headers)
