"""The seam between a connection and its WebSocket, and the log of what crosses it.

This file knows no picows, no protocol and no GraphQL.
"""

from __future__ import annotations

from typing import Protocol

from gqlwire.errors import TransportError


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
