"""What a connection tells its user apart from results, and what outlives it.

This file knows no protocol and no socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from gqlwire._json import decode_payload, shown

_logger = logging.getLogger("gqlwire")

_STRAY_TYPES = 50


class Signals:
    """The last payloads by message type, and the events that users wait on."""

    __slots__ = ("_ping_received", "_pong_received", "payloads")

    def __init__(self) -> None:
        self.payloads: dict[str, Any] = {}
        # Each has 0.7 kB, and most connections need none.
        self._ping_received: asyncio.Event | None = None
        self._pong_received: asyncio.Event | None = None

    @property
    def ping_received(self) -> asyncio.Event:
        """Set when a ping comes."""
        if self._ping_received is None:
            self._ping_received = asyncio.Event()
        return self._ping_received

    @property
    def pong_received(self) -> asyncio.Event:
        """Set when a pong comes."""
        if self._pong_received is None:
            self._pong_received = asyncio.Event()
        return self._pong_received

    def keep(self, name: str, payload: Raw) -> Any:
        """Keep a payload, decoded; None if it cannot be. Return it."""
        try:
            said = decode_payload(payload)
        except (ValueError, RecursionError):
            said = None
        self.payloads[name] = said
        return said


class Strays(Counter[str]):
    """Counts the messages that mean nothing, by type; the first of each type is logged."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self._host = host

    def note(self, type: str) -> None:
        """Count one. A server that invents types without end must not fill our memory."""
        if type not in self and len(self) >= _STRAY_TYPES:
            type = "others"
        self[type] += 1
        if self[type] == 1:
            _logger.warning(
                "%s sent a message that means nothing here (type %.40s); it is ignored, and so "
                "will be those that follow",
                self._host,
                type,
            )


wire_logger = logging.getLogger("gqlwire.wire")


class Tap:
    """Logs the messages of one connection on `gqlwire.wire` at DEBUG, cut short.

    `on`: whether the log is on. The caller sets it, and calls the rest only while it is. What goes
    out is logged as the caller shows it, so that secrets stay with the caller.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self.on: bool = wire_logger.isEnabledFor(logging.DEBUG)

    def sent(self, text: bytes) -> None:
        """Log a message of ours."""
        wire_logger.debug("%s > %s", self._host, shown(text))

    def received(self, texts: Iterable[bytes]) -> None:
        """Log messages of the server's."""
        for text in texts:
            wire_logger.debug("%s < %s", self._host, shown(text))
