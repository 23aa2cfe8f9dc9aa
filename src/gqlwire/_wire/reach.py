"""Reaches a server, for one attempt: name lookup, TCP, a proxy, TLS.

This module knows neither the upgrade nor GraphQL.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from functools import partial
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import aiofastnet
import aiohappyeyeballs
from picows.proxy import ConnectedSocket, connect_through_optional_proxy
from picows.url import WSParsedURL, parse_url
from python_socks import ProxyError

from gqlwire._wire import Way
from gqlwire._wire.answer import TLS_RECORDS, Answer, AnswerReader, HeadTooLong, NotHTTP
from gqlwire._wire.failures import (
    PROXY_CERTIFICATE_HINT,
    PROXY_TLS_HINT,
    During,
    proxy_refusal,
)
from gqlwire._wire.upgrade import QuietLoop, Upgrade

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Reach:
    """One attempt to reach a server; `during` says how far it has come."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._target = parse_url(way.address.url)
        self._loop: Any = QuietLoop(asyncio.get_running_loop())
        self._socket: socket.socket | None = None
        self.during: During = During.TCP

    async def join(self, upgrade: Upgrade) -> None:
        """Connect, and let `upgrade` have the connection. Raises what the libraries raise."""
        proxy = None if self._way.proxy is None else urlsplit(self._way.proxy)
        if proxy is None:
            await self._direct(upgrade, await self._connected(self._target.host, self._target.port))
        elif proxy.scheme in ("http", "https"):
            await self._through_tunnel(upgrade, proxy)
        else:
            await self._direct(upgrade, await self._through_socks(proxy))
        self.during = During.UPGRADE

    async def clean_up(self) -> None:
        """Close the socket of an attempt that failed or was cancelled."""
        # aiofastnet does not close the transport of an upgrade that was cancelled. If we shut down
        # the socket, the transport closes after one or two iterations of the event loop.
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for _ in range(10):
            if self._socket.fileno() == -1:
                return
            await asyncio.sleep(0)

    # --- TCP and TLS --------------------------------------------------------------------------

    async def _connected(self, host: str, port: int) -> socket.socket:
        """Connect to the server or its proxy, trying its addresses in parallel (RFC 8305)."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._socket = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=0.25)
        return self._socket

    async def _direct(self, upgrade: Upgrade, connected: socket.socket) -> None:
        """Do TLS on a socket that leads to the server, if the URL says so."""
        tls = self._tls()
        self.during = During.UPGRADE if tls is None else During.TLS
        await self._made(upgrade, connected, tls, self._target.host)

    async def _made(
        self, protocol: P, connected: socket.socket, tls: ssl.SSLContext | None, name: str
    ) -> tuple[asyncio.Transport, P]:
        made: tuple[asyncio.Transport, P] = await aiofastnet.create_connection(
            self._loop,
            lambda: protocol,
            sock=connected,
            ssl=tls,
            server_hostname=None if tls is None else name,
        )
        return made

    def _tls(self) -> ssl.SSLContext | None:
        if not self._way.address.is_secure:
            return None
        return self._way.ssl_context or ssl.create_default_context()

    # --- Proxies ------------------------------------------------------------------------------

    async def _through_socks(self, proxy: SplitResult) -> socket.socket:
        async def reach(proxy: WSParsedURL) -> socket.socket:
            connected = await self._connected(proxy.host, proxy.port)
            self.during = During.PROXY
            return connected

        loop = asyncio.get_running_loop()
        create = partial(aiofastnet.create_connection, self._loop)
        found = await connect_through_optional_proxy(
            loop, self._target, parse_url(proxy.geturl(), False), reach, None, None, {}, create
        )
        if not isinstance(found, ConnectedSocket) or found.sock is None:
            raise ProxyError("picows opened no connection through it")
        return found.sock

    async def _through_tunnel(self, upgrade: Upgrade, proxy: SplitResult) -> None:
        assert proxy.hostname is not None  # noqa: S101  # `proxy_for` has checked it
        connected = await self._connected(proxy.hostname, proxy.port or 80)
        self.during = During.PROXY
        tls = None
        if proxy.scheme == "https":
            tls = self._way.proxy_ssl or ssl.create_default_context()
        tunnel = Tunnel(self._target, proxy)
        transport, _ = await self._made(tunnel, connected, tls, proxy.hostname)
        try:
            await tunnel.opened
            await self._use_tunnel(upgrade, transport, tunnel)
        except BaseException:  # cancellation as well: nobody else knows this socket
            transport.abort()
            raise

    async def _use_tunnel(
        self, upgrade: Upgrade, transport: asyncio.Transport, tunnel: Tunnel
    ) -> None:
        tls = self._tls()
        self.during = During.UPGRADE if tls is None else During.TLS
        if tls is not None:
            if tunnel.rest:
                raise ssl.SSLError(1, "WRONG_VERSION_NUMBER")
            through = await aiofastnet.start_tls(
                self._loop, transport, tunnel, tls, server_hostname=self._target.host
            )
            if through is None:
                raise ConnectionResetError
            transport = through
        transport.set_protocol(upgrade)
        upgrade.connection_made(transport)
        if tunnel.rest:
            upgrade.take(bytes(tunnel.rest))


class Tunnel(asyncio.Protocol):
    """Asks an HTTP proxy for a tunnel (RFC 9110, section 9.3.6).

    `opened` is done when the proxy has agreed. `rest`: what the server sent before anyone asked.
    """

    def __init__(self, target: WSParsedURL, proxy: SplitResult) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.rest = bytearray()
        self._request = _connect_request(target, proxy)
        self._is_secure = proxy.scheme == "https"
        self._reader = AnswerReader()

    def connection_made(self, transport: Any) -> None:
        """Ask for the tunnel."""
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Read the proxy's answer."""
        if self.opened.done():
            self.rest += data
            return
        try:
            answer = self._reader.take(data)
        except NotHTTP as fault:
            is_tls = fault.beginning.startswith(TLS_RECORDS) and not self._is_secure
            hint = f" ({PROXY_TLS_HINT})" if is_tls else ""
            self._fail(f"it does not speak HTTP: it sent {fault.beginning[:60]!r}{hint}")
        except HeadTooLong as fault:
            self._fail(str(fault))
        except Exception as accident:  # noqa: BLE001  # the loop would only log it
            self.opened.set_exception(accident)
        else:
            if answer is not None:
                self._judge(answer)

    def _judge(self, answer: Answer) -> None:
        if 200 <= answer.status < 300:
            self.rest += answer.rest
            self.opened.set_result(None)
        else:
            self._fail(proxy_refusal(answer))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail, unless the tunnel is open."""
        del exc
        if not self.opened.done():
            hint = PROXY_CERTIFICATE_HINT if self._is_secure else PROXY_TLS_HINT
            self._fail(f"it closed the connection before it answered ({hint})")

    def _fail(self, why: str) -> None:
        self.opened.set_exception(ProxyError(why))


def _connect_request(target: WSParsedURL, proxy: SplitResult) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"Host: {host}:{target.port}"]
    if proxy.username is not None:
        credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials).decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
