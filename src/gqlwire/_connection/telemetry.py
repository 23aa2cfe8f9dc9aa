"""What a connection reports apart from results: payloads, counters, the log of its messages.

This file knows no protocol and no socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from gqlwire._json import decode_payload, shown

_logger = logging.getLogger("gqlwire")

wire_logger = logging.getLogger("gqlwire.wire")

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
        """Keep a payload, decoded, and return it; None if there is none that can be decoded."""
        said = None
        if payload:
            try:
                said = decode_payload(payload)
            except (ValueError, RecursionError):
                said = None
        self.payloads[name] = said
        return said


class Telemetry:
    """What one connection counts and logs.

    `received_bytes`, `sent_bytes`: of messages, without frames. `strays`: how many messages meant
    nothing, by type. `complaint`: the last `connection_error` after the acknowledgement, or "".
    `logs_messages`: whether the messages are logged on `gqlwire.wire`; the caller asks before it
    calls `log_sent` or `log_received`.
    """

    __slots__ = (
        "complaint",
        "host",
        "logs_messages",
        "received_bytes",
        "sent_bytes",
        "signals",
        "strays",
    )

    def __init__(self, host: str, signals: Signals) -> None:
        self.host: str = host
        self.signals: Signals = signals
        self.received_bytes: int = 0
        self.sent_bytes: int = 0
        self.strays: dict[str, int] = {}
        self.complaint: str = ""
        self.logs_messages: bool = wire_logger.isEnabledFor(logging.DEBUG)

    def count_stray(self, type: str) -> None:
        """Count a message that means nothing; the first of each type is logged."""
        # A server that invents types without end must not fill our memory.
        if type not in self.strays and len(self.strays) >= _STRAY_TYPES:
            type = "others"
        count = self.strays[type] = self.strays.get(type, 0) + 1
        if count == 1:
            _logger.warning(
                "%s sent an unexpected message of type %.40s; gqlwire ignores it, and later ones "
                "like it",
                self.host,
                type,
            )

    def log_sent(self, text: bytes) -> None:
        """Log a message of ours, cut short, as the caller shows it: without secrets."""
        wire_logger.debug("%s > %s", self.host, shown(text))

    def log_received(self, texts: Iterable[bytes]) -> None:
        """Log messages of the server, cut short."""
        for text in texts:
            wire_logger.debug("%s < %s", self.host, shown(text))
