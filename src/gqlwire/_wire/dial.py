"""From an address to an open WebSocket: name, TCP, proxy, TLS, HTTP upgrade.

One attempt; which subprotocols to offer is said by the caller. This file knows no GraphQL.
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

H = TypeVar("H", bound=Handler)

# picows logs what we raise, and the request with its credentials, too; it shall not.
_mute = logging.Logger("picows", logging.CRITICAL + 1)  # noqa: LOG001  # outside the tree, so that no configuration turns it on

# In TLS 1.3 the client's certificate is judged when the client is through with the handshake
# (RFC 8446, section 4.4.2); the alert is lost on the way through the layers below.
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
        """Open it and return the handler.

        Raises a TransportConnectionFailed that fits. Cancelling closes what was opened.
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
            # Also if there is a handler, who does not know yet that it was given up.
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
            # The timeout is ours, over all of it.
            websocket_handshake_timeout=None,
            logger_name=_mute,
            # Pings must reach us: they are signs of life.
            enable_auto_pong=False,
            max_frame_size=way.max_message_size,
            # It grows as needed; most connections are idle, and most messages go another way.
            read_buffer_init_size=2048,
            extra_headers=self._request_headers(),
            # A redirected request would carry its credentials to wherever the answer says.
            max_redirects=0,
            proxy=way.proxy,
            socket_factory=self._reach,
        )

    async def _reach(self, target: WSParsedURL) -> socket.socket:
        """Connect to the server, or to the proxy before it (RFC 8305)."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        self._socket = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=0.25)
        self._phase = Phase.HANDSHAKE
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
        # picows leaves the transport of an upgrade that was given up to itself. A socket that is
        # shut down makes it hang up; that takes the loop a turn or two.
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
        text = f"{self._host} {doing} within {limit:g} seconds (connect_timeout)"
        return ConnectTimeout(text, limit=limit, host=self._host, phase=self._phase)


def user_agent() -> str:
    """Return the `User-Agent` that is sent where the user sets none; Tibber demands one."""
    return f"gqlwire/{__version__} Python/{python_version()}"
