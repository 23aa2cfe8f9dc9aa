"""The interfaces between a connection and its WebSocket, in both directions.

A `Connection` calls a `Wire`. The wire calls its `Handler`, which is the connection. An
`OpenWebSocket` function makes the wire: `dial.open_websocket`, or a replacement in a test.

This module knows neither picows nor GraphQL.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from msgspec import Struct, field

from gqlwire._wire.address import Address
from gqlwire.errors import TransportError

MAX_MESSAGE_SIZE = 64 * 1024 * 1024
"""The default limit for the size of a message, in bytes."""


class Wire(Protocol):
    """The methods of a WebSocket that a connection calls."""

    def send(self, text: bytes) -> None:
        """Send one text message."""
        ...

    def ping(self) -> None:
        """Send a ping frame (RFC 6455, section 5.5.2)."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; close the socket once the server has answered it."""
        ...

    def abort(self) -> None:
        """Close the socket immediately, without a close frame."""
        ...

    def pause_reading(self) -> None:
        """Stop reading from the network."""
        ...

    def resume_reading(self) -> None:
        """Continue reading from the network."""
        ...


class Awaited(Protocol):
    """Counts what is awaited; `asked`: how many results of queries and mutations."""

    asked: int


class Handler(Protocol):
    """The methods that a WebSocket calls when something happens. `Connection` is one.

    `gate`: what is awaited. It is an attribute, as it is looked at for each answer.
    """

    @property
    def gate(self) -> Awaited:
        """What is awaited."""
        ...

    def opened(self, wire: Wire) -> None:
        """Called when the upgrade is done."""
        ...

    def received(self, text: bytes) -> None:
        """Called with each complete text message, which is valid UTF-8."""
        ...

    def received_all(self, texts: list[bytes]) -> None:
        """Called with text messages that arrived together; like `received` for each of them."""
        ...

    def heard(self) -> None:
        """Called after the last frame of a burst, of any kind."""
        ...

    def ponged(self) -> None:
        """Called when a pong frame arrives."""
        ...

    def writable(self, yes: bool) -> None:
        """Called when the send buffer of the socket becomes full (False), or has room (True)."""
        ...

    def closed(self, code: int, reason: str) -> None:
        """Called when a close frame arrives, or when the socket is lost without one (1006)."""
        ...

    def failed(self, failure: TransportError, code: int) -> None:
        """Called if received data is invalid, or our reader raises; `code` is our close code."""
        ...

    def gone(self) -> None:
        """Called when the socket is closed. This is the last call."""
        ...


class Way(Struct, frozen=True):
    """How to reach a server.

    `headers`: those of the user. `proxy`: a URL, or None. `ssl_context`, `proxy_ssl`: for TLS with
    the server, and with the proxy; None means the system's CAs. `compressed`: whether to offer
    permessage-deflate. `connect_timeout` is in seconds, `max_message_size` in bytes. `on_sent`:
    called when the server is reached, and the request is on its way.
    """

    address: Address
    headers: list[tuple[str, str]] = field(default_factory=list)
    ssl_context: ssl.SSLContext | None = None
    proxy: str | None = None
    proxy_ssl: ssl.SSLContext | None = None
    compressed: bool = False
    connect_timeout: float | None = 10.0
    max_message_size: int = MAX_MESSAGE_SIZE
    on_sent: Callable[[], object] = lambda: None

    def __repr__(self) -> str:
        # Headers and proxy may hold credentials.
        return f"<Way to {self.address!r}>"


H = TypeVar("H", bound=Handler)


class OpenWebSocket(Protocol):
    """Opens one WebSocket."""

    async def __call__(
        self,
        way: Way,
        offered: tuple[str, ...],
        make_handler: Callable[[str | None, Mapping[str, str]], H],
    ) -> H:
        """Open a WebSocket, offering the subprotocols `offered`, and return its handler.

        `make_handler` is called with the `Sec-WebSocket-Protocol` of the server's answer (None if
        absent) and the headers of the answer. It returns the handler, whose `opened` is called
        before this function returns.

        Raises TransportConnectionFailed. Cancelling closes the socket.
        """
        ...
