"""Opens a WebSocket to an address: name lookup, TCP, proxy, TLS, HTTP upgrade.

It makes one attempt, with the subprotocols that the caller offers. This module knows no GraphQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from platform import python_version
from typing import Generic, TypeVar

import aiohappyeyeballs
from picows import WSUpgradeRequest, WSUpgradeResponse, ws_connect
from picows.url import WSParsedURL

from gqlwire._version import __version__
from gqlwire._wire import Handler, Way, deflate
from gqlwire._wire.failures import FOREIGN, translate
from gqlwire._wire.picows_wire import PicowsWire
from gqlwire._wire.proxy import redacted
from gqlwire.errors import ConnectTimeout, Phase, TransportError
from gqlwire.errors.reasons import ABNORMAL, connection_closed
from gqlwire.errors.text import seconds

H = TypeVar("H", bound=Handler)

# picows must not log: it would log the request with its credentials, and errors that we raise.
_mute = logging.Logger("picows", logging.CRITICAL + 1)  # noqa: LOG001  # outside the tree, so that no configuration turns it on

# In TLS 1.3 the server checks the client's certificate after the client has finished the handshake
# (RFC 8446, section 4.4.2), and the layers below do not pass on its alert.
_TLS_HINT = "the server may require a (different) client certificate"

_OURS = {"host", "sec-websocket-protocol", "sec-websocket-extensions"}


async def open_websocket(
    way: Way,
    offered: tuple[str, ...],
    make_handler: Callable[[str | None, Mapping[str, str]], H],
) -> H:
    """Open a WebSocket with picows and return its handler; see `OpenWebSocket`."""
    return await _Dial(way, offered, make_handler).open()


class _Dial(Generic[H]):
    """One attempt to open a WebSocket."""

    def __init__(
        self,
        way: Way,
        offered: tuple[str, ...],
        make_handler: Callable[[str | None, Mapping[str, str]], H],
    ) -> None:
        self._way = way
        self._host = way.address.host
        self._offered = offered
        self._make_handler = make_handler
        self._phase = Phase.CONNECT
        self._socket: socket.socket | None = None
        self._handler: H | None = None

    async def open(self) -> H:
        """Open the WebSocket and return the handler.

        Raises TransportConnectionFailed. Cancelling closes the socket.
        """
        limit = self._way.connect_timeout
        scope = asyncio.timeout(limit)
        is_through = False
        try:
            async with scope:
                await self._connect()
            is_through = self._handler is not None
        except FOREIGN as cause:
            if scope.expired():
                raise self._too_late(limit or 0.0) from cause
            raise self._translated(cause) from cause
        finally:
            # Also if there is a handler: it was not told yet that the attempt failed.
            if not is_through:
                await self._clean_up()
        if self._handler is None:
            raise connection_closed(
                host=self._host,
                phase=Phase.HANDSHAKE,
                code=ABNORMAL,
                hint=_TLS_HINT if self._way.address.is_secure else "",
            )
        return self._handler

    async def _connect(self) -> None:
        way = self._way
        await ws_connect(
            self._make_wire,
            way.address.url,
            ssl_context=way.ssl_context,
            # Our own timeout covers all steps.
            websocket_handshake_timeout=None,
            logger_name=_mute,
            # Pings must reach us, because they show that the server is alive.
            enable_auto_pong=False,
            max_frame_size=way.max_message_size,
            # It grows when needed. Most connections are idle, and most messages take the fast path.
            read_buffer_init_size=2048,
            extra_headers=self._request_headers(),
            # A redirect would send the credentials to another server.
            max_redirects=0,
            proxy=way.proxy,
            socket_factory=self._reach,
        )

    async def _reach(self, target: WSParsedURL) -> socket.socket:
        """Connect to the server or its proxy, trying its addresses in parallel (RFC 8305)."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        self._socket = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=0.25)
        self._phase = Phase.HANDSHAKE
        self._way.on_sent()
        return self._socket

    def _make_wire(self, request: WSUpgradeRequest, response: WSUpgradeResponse) -> PicowsWire:
        del request
        extensions = response.headers.get("Sec-WebSocket-Extensions")
        compression = deflate.accept(extensions) if extensions else None
        if compression is not None and not self._way.compressed:
            raise ValueError("the server chose an extension that was not offered")
        handler = self._make_handler(
            response.headers.get("Sec-WebSocket-Protocol"), response.headers
        )
        wire = PicowsWire(
            handler,
            host=self._host,
            max_message_size=self._way.max_message_size,
            compression=compression,
        )
        self._handler = handler
        return wire

    def _request_headers(self) -> list[tuple[str, str]]:
        given = {name.lower() for name, _ in self._way.headers}
        headers = [item for item in self._way.headers if item[0].lower() not in _OURS - {"host"}]
        if "user-agent" not in given:
            headers.append(("User-Agent", user_agent()))
        if self._way.address.authorization and "authorization" not in given:
            headers.append(("Authorization", self._way.address.authorization))
        headers.append(("Sec-WebSocket-Protocol", ", ".join(self._offered)))
        if self._way.compressed:
            headers.append(("Sec-WebSocket-Extensions", deflate.offer()))
        return headers

    async def _clean_up(self) -> None:
        # picows does not close the transport of an upgrade that was cancelled. If we shut down the
        # socket, the transport closes after one or two iterations of the event loop.
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for _ in range(10):
            if self._socket.fileno() == -1:
                return
            await asyncio.sleep(0)

    def _translated(self, cause: Exception) -> TransportError:
        proxy = self._way.proxy
        shown = None if proxy is None else redacted(proxy)
        return translate(cause, host=self._host, phase=self._phase, proxy=shown)

    def _too_late(self, limit: float) -> ConnectTimeout:
        doing = "could not be reached" if self._phase is Phase.CONNECT else "did not upgrade"
        text = f"{self._host} {doing} within {seconds(limit)} (connect_timeout)"
        return ConnectTimeout(text, limit=limit, host=self._host, phase=self._phase)


def user_agent() -> str:
    """Return the default `User-Agent`; Tibber's server requires one."""
    return f"gqlwire/{__version__} Python/{python_version()}"
