"""Opens a WebSocket to an address: name lookup, TCP, proxy, TLS, HTTP upgrade.

It makes one attempt, with the subprotocols that the caller offers. This module knows no GraphQL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from platform import python_version
from typing import Generic, TypeVar
from urllib.parse import urlsplit, urlunsplit

from picows import WSAutoPingStrategy, WSHandshakeError, WSUpgradeRequest, WSUpgradeResponse
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from gqlwire._version import __version__
from gqlwire._wire import Handler, Way, deflate
from gqlwire._wire.address import without_secrets
from gqlwire._wire.failures import During, translate
from gqlwire._wire.picows_wire import PicowsWire
from gqlwire._wire.reach import Reach
from gqlwire._wire.rejections import invalid, rejected, unreadable
from gqlwire._wire.upgrade import Upgrade
from gqlwire.errors import ConnectTimeout, Phase, TransportError
from gqlwire.errors.reasons import ABNORMAL, connection_closed
from gqlwire.errors.text import seconds

H = TypeVar("H", bound=Handler)

# picows must not log: it would log the request with its credentials, and errors that we raise.
_mute = logging.Logger("picows", logging.CRITICAL + 1)  # noqa: LOG001  # outside the tree, so that no configuration turns it on

# In TLS 1.3 the server checks the client's certificate after the client has finished the handshake
# (RFC 8446, section 4.4.2), and the layers below do not pass on its alert.
_TLS_HINT = "the server may require a (different) client certificate"

_WSS_HINT = "the server may speak TLS on this port (did you mean wss://?)"

_NOT_DONE = {
    During.TCP: "could not be reached",
    During.PROXY: "could not be reached through the proxy",
    During.TLS: "did not complete the TLS handshake",
    During.UPGRADE: "did not upgrade",
}


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
        self._reach = Reach(way)
        self._upgrade: Upgrade
        self._handler: H | None = None

    async def open(self) -> H:
        """Open the WebSocket and return the handler.

        Raises TransportConnectionFailed. Cancelling closes the socket.
        """
        limit = self._way.connect_timeout
        scope = asyncio.timeout(limit)
        handler: H | None = None
        try:
            async with scope:
                await self._connect()
            handler = self._handler
        except TransportError:
            raise
        except Exception as cause:
            # Whatever a server makes a library raise: the caller knows the errors of one tree.
            if scope.expired():
                raise self._too_late(limit or 0.0) from cause
            raise self._translated(cause) from cause
        finally:
            # Also if there is a handler: it was not told yet that the attempt failed.
            if handler is None:
                await self._reach.clean_up()
        if handler is None:
            raise self._refusal()
        return handler

    async def _connect(self) -> None:
        picows = self._picows()
        self._upgrade = Upgrade(picows, self._way.on_sent)
        await self._reach.join(self._upgrade)
        try:
            if self._upgrade.accident is None:
                await picows.wait_until_handshake_complete()
        except WSHandshakeError as cause:
            answer = self._upgrade.answer
            if answer is not None and self._upgrade.accident is None:
                raise invalid(answer, self._way.address, str(cause)) from None
            raise self._upgrade.accident or cause from None
        if self._upgrade.accident is not None:
            raise self._upgrade.accident

    def _picows(self) -> WSProtocol:
        """Return the protocol that speaks WebSocket, as `picows.ws_connect` makes it."""
        way, target = self._way, urlsplit(self._way.address.url)
        return WSProtocol(
            target.netloc,
            urlunsplit(("", "", target.path, target.query, "")),
            True,  # is_client_side
            self._make_wire,
            _mute,
            True,  # disconnect_on_exception
            None,  # websocket_handshake_timeout: our own timeout covers all steps
            False,  # enable_auto_ping
            10,  # auto_ping_idle_timeout
            10,  # auto_ping_reply_timeout
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # enable_auto_pong: pings must reach us; they show that the server is alive
            way.max_message_size,
            self._request_headers(),
            # read_buffer_init_size: it grows when needed. Most connections are idle, and most
            # messages take the fast path.
            2048,
        )

    def _make_wire(self, request: WSUpgradeRequest, response: WSUpgradeResponse) -> PicowsWire:
        del request, response  # the response is the plain one that `Upgrade` wrote
        answer = self._upgrade.answer
        assert answer is not None  # noqa: S101  # picows gets an answer from `Upgrade` only
        extensions = answer.headers.getall("Sec-WebSocket-Extensions", [])
        compression = deflate.accept(", ".join(extensions)) if extensions else None
        if compression is not None and not self._way.compressed:
            raise ValueError("the server chose an extension that was not offered")
        handler = self._make_handler(answer.headers.get("Sec-WebSocket-Protocol"), answer.headers)
        wire = PicowsWire(
            handler,
            host=self._host,
            max_message_size=self._way.max_message_size,
            compression=compression,
        )
        self._handler = handler
        return wire

    def _request_headers(self) -> list[tuple[str, str]]:
        headers = list(self._way.headers)
        given = {name.lower() for name, _ in headers}
        if "user-agent" not in given:
            headers.append(("User-Agent", user_agent()))
        if self._way.address.authorization and "authorization" not in given:
            headers.append(("Authorization", self._way.address.authorization))
        headers.append(("Sec-WebSocket-Protocol", ", ".join(self._offered)))
        if self._way.compressed:
            headers.append(("Sec-WebSocket-Extensions", deflate.offer()))
        return headers

    # --- Failures -----------------------------------------------------------------------------

    def _refusal(self) -> TransportError:
        """Return the error for an answer that is no upgrade, or for none at all."""
        upgrade, address = self._upgrade, self._way.address
        if upgrade.fault is not None:
            return unreadable(upgrade.fault, address, upgrade.alpn)
        if upgrade.answer is not None and upgrade.answer.fault is not None:
            return invalid(upgrade.answer, address, upgrade.answer.fault)
        if upgrade.answer is not None:
            return rejected(upgrade.answer, address)
        hint = _TLS_HINT if address.is_secure else "" if upgrade.is_answered else _WSS_HINT
        return connection_closed(host=self._host, phase=Phase.HANDSHAKE, code=ABNORMAL, hint=hint)

    def _translated(self, cause: Exception) -> TransportError:
        proxy = self._way.proxy
        shown = None if proxy is None else without_secrets(proxy)
        return translate(cause, host=self._host, during=self._reach.during, proxy=shown)

    def _too_late(self, limit: float) -> ConnectTimeout:
        during = self._reach.during
        text = f"{self._host} {_NOT_DONE[during]} within {seconds(limit)} (connect_timeout)"
        phase = Phase.CONNECT if during is During.TCP else Phase.HANDSHAKE
        return ConnectTimeout(text, limit=limit, host=self._host, phase=phase)


def user_agent() -> str:
    """Return the default `User-Agent`; Tibber's server requires one."""
    return f"gqlwire/{__version__} Python/{python_version()}"
