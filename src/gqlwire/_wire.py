"""The seam between a connection and its WebSocket, and the log of what crosses it.

This file knows no picows, no protocol and no GraphQL.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

wire_logger = logging.getLogger("gqlwire.wire")

_SHOWN = 500


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


class Tap:
    """Logs the messages of one connection on `gqlwire.wire` at DEBUG, cut short.

    What goes out is logged as the caller shows it, so that secrets stay with the caller.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self.refresh()

    def refresh(self) -> None:
        """Look whether anybody listens; to ask for each message would be dear."""
        self.on = wire_logger.isEnabledFor(logging.DEBUG)

    def sent(self, text: bytes) -> None:
        """Log a message of ours."""
        wire_logger.debug("%s > %s", self._host, shown(text))

    def received(self, texts: Iterable[bytes]) -> None:
        """Log messages of the server's."""
        for text in texts:
            wire_logger.debug("%s < %s", self._host, shown(text))


def shown(text: bytes, limit: int = _SHOWN) -> str:
    """Return `text`, cut to `limit` bytes, for a log or an error."""
    cut = text[:limit].decode(errors="replace")
    return cut + (f"… ({len(text)} bytes)" if len(text) > limit else "")
