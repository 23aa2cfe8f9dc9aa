"""What a connection reports apart from results: payloads, counters, the log of its messages.

This module knows no protocol and no socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Raw

from gqlwire._clock import Moment
from gqlwire._json import decode, shown
from gqlwire._log import logger, wire_logger

_STRAY_TYPES = 50
_STRAY_SHOWN = 40
_OTHERS = "others"
_OPENING_SHOWN = 300
_LARGEST_KEPT = 1024 * 1024


class Payloads(Mapping[str, Any]):
    """The last payload of each message type, decoded each time it is asked for.

    A payload is None if its message has none, if it is longer than 1 MiB, or if it cannot be
    decoded. Decoded objects are many times as large as their JSON, and nobody may ask for them.
    """

    __slots__ = ("_raw",)

    def __init__(self) -> None:
        self._raw: dict[str, bytes] = {}

    def keep(self, name: str, payload: Raw) -> None:
        """Keep a payload in place of the last one of that name."""
        # A copy: a Raw is a view of the whole message.
        self._raw[name] = bytes(payload) if len(memoryview(payload)) <= _LARGEST_KEPT else b""

    def __getitem__(self, name: str) -> Any:
        raw = self._raw[name]
        try:
            return decode(raw) if raw else None
        except (ValueError, RecursionError):
            return None

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return repr(dict(self))


class Signals:
    """The last payload of each message type, and the asyncio events for pings and pongs."""

    __slots__ = ("_ping_received", "_pong_received", "payloads")

    def __init__(self) -> None:
        self.payloads: Payloads = Payloads()
        # Created when needed: each takes 0.7 kB, and most connections need none.
        self._ping_received: asyncio.Event | None = None
        self._pong_received: asyncio.Event | None = None

    @property
    def ping_received(self) -> asyncio.Event:
        """Set when a ping arrives."""
        if self._ping_received is None:
            self._ping_received = asyncio.Event()
        return self._ping_received

    @property
    def pong_received(self) -> asyncio.Event:
        """Set when a pong arrives."""
        if self._pong_received is None:
            self._pong_received = asyncio.Event()
        return self._pong_received


def add_strays(strays: dict[str, int], type: str, count: int) -> str:
    """Add `count` strays of a type, and return the name under which they are counted.

    A server that invents types must not fill our memory: neither with one that is long, nor with
    many, on one connection or over reconnections. So a name is cut, and beyond a number of names
    all others have one.
    """
    name = type if len(type) <= _STRAY_SHOWN else f"{type[:_STRAY_SHOWN]}…"
    if name not in strays and len(strays) >= _STRAY_TYPES:
        name = _OTHERS
    strays[name] = strays.get(name, 0) + count
    return name


class Telemetry:
    """The counters and the log of one connection.

    - `received_bytes`, `sent_bytes`: the bytes of all messages, without the frames around them.
    - `strays`: how many strays (unexpected messages) arrived, by message type.
    - `complaint`: what the server said that may explain an end of the connection, or "".
    - `opening`: before the acknowledgement, the message that is being handled.
    - `since`: when the phase of the connection began. `heard_at`: when the last frame arrived, by
      the loop's clock.
    - `logs_messages`: whether to log messages to `gqlwire.wire`. The caller checks it before it
      calls `log_sent` or `log_received`.
    """

    __slots__ = (
        "complaint",
        "heard_at",
        "host",
        "logs_messages",
        "opening",
        "received_bytes",
        "sent_bytes",
        "signals",
        "since",
        "strays",
    )

    def __init__(self, host: str, signals: Signals) -> None:
        self.host: str = host
        self.signals: Signals = signals
        self.since: Moment = Moment.now()
        self.heard_at: float = self.since.loop
        self.received_bytes: int = 0
        self.sent_bytes: int = 0
        self.strays: dict[str, int] = {}
        self.complaint: str = ""
        self.opening: bytes = b""
        self.logs_messages: bool = wire_logger.isEnabledFor(logging.DEBUG)

    def count_stray(self, type: str) -> None:
        """Count a stray; log the first one of each type."""
        type = add_strays(self.strays, type, 1)
        if self.strays[type] == 1:
            logger.warning(
                "%s sent an unexpected message of type %s; gqlwire ignores it, and later ones "
                "like it",
                self.host,
                type,
            )

    def keep_opening(self) -> None:
        """Keep a stray that came before the acknowledgement as the complaint, the last error."""
        said = shown(self.opening, _OPENING_SHOWN)
        if "error" in said.lower() or "error" not in self.complaint.lower():
            self.complaint = said

    @property
    def hint(self) -> str:
        """What the server said before the end, for the message of an error, or ""."""
        return self.complaint and f"before that, it sent {self.complaint}"

    def log_sent(self, text: bytes) -> None:
        """Log a sent message, shortened. The caller has removed secrets from `text`."""
        wire_logger.debug("%s > %s", self.host, shown(text))

    def log_received(self, texts: Iterable[bytes]) -> None:
        """Log received messages, shortened."""
        for text in texts:
            wire_logger.debug("%s < %s", self.host, shown(text))
