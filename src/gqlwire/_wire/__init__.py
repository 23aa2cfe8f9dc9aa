"""The seam between a connection and its WebSocket, both directions on one screen.

A `Connection` calls a `Wire`; the wire calls its `Handler`, which is the connection. A function of
the form `OpenWebSocket` makes the wire: `dial.open_websocket`, or what a test puts in its place.

This module knows no picows, no protocol and no GraphQL.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from msgspec import Struct, field

from gqlwire._wire.address import Address
from gqlwire.errors import TransportError

MAX_MESSAGE_SIZE = 64 * 1024 * 1024
"""Bytes that a message may have, unless the user sets another limit."""


class Wire(Protocol):
    """All that a connection may ask of a WebSocket."""

    def send(self, text: bytes) -> None:
        """Send one text message."""
        ...

    def ping(self) -> None:
        """Send a ping frame (RFC 6455, section 5.5.2)."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and hang up once the server has answered it."""
        ...

    def abort(self) -> None:
        """Drop the socket as it is."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more off the network."""
        ...

    def resume_reading(self) -> None:
        """Go on reading."""
        ...


class Handler(Protocol):
    """What a WebSocket tells. `Connection` is one."""

    def opened(self, wire: Wire) -> None:
        """The upgrade is done."""
        ...

    def received(self, text: bytes) -> None:
        """A text message, whole, and valid UTF-8."""
        ...

    def received_all(self, texts: list[bytes]) -> None:
        """Text messages that came together, as if each was `received`."""
        ...

    def heard(self) -> None:
        """Frames came; this was the last of a burst."""
        ...

    def ponged(self) -> None:
        """A pong frame came."""
        ...

    def writable(self, yes: bool) -> None:
        """The socket takes (or does not take) more."""
        ...

    def closed(self, code: int, reason: str) -> None:
        """The server's close frame came, or the socket broke without one (1006)."""
        ...

    def failed(self, failure: TransportError, code: int) -> None:
        """What came cannot be used; `code` is for the close frame."""
        ...

    def gone(self) -> None:
        """The socket is no more. The last call."""
        ...


class Way(Struct, frozen=True):
    """How to reach a server. `proxy` is a URL; `connect_timeout` is in seconds."""

    address: Address
    headers: list[tuple[str, str]] = field(default_factory=list)
    ssl_context: ssl.SSLContext | None = None
    proxy: str | None = None
    compressed: bool = False
    connect_timeout: float | None = 10.0
    max_message_size: int = MAX_MESSAGE_SIZE


H = TypeVar("H", bound=Handler)


class OpenWebSocket(Protocol):
    """Opens one WebSocket."""

    async def __call__(
        self,
        way: Way,
        offered: tuple[str, ...],
        make_handler: Callable[[str | None, Mapping[str, str]], H],
    ) -> H:
        """Return the handler of an open WebSocket, for which the subprotocols `offered` were.

        `make_handler` gets the `Sec-WebSocket-Protocol` of the server's answer (None if absent) and
        the answer's headers. Its result is the handler; it has been `opened`.

        Raises a TransportConnectionFailed. Cancelling closes what was opened.
        """
        ...
