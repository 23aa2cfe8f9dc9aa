"""What a connection tells its user besides results, and what outlives it.

This file knows no protocol and no socket.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from gqlwire.protocols import tolerance


@dataclass(slots=True)
class Signals:
    """The last payloads by message type, and the events that users wait on."""

    payloads: dict[str, Any] = field(default_factory=dict)
    ping_received: asyncio.Event = field(default_factory=asyncio.Event)
    pong_received: asyncio.Event = field(default_factory=asyncio.Event)

    def keep(self, name: str, payload: Raw) -> Any:
        """Keep a payload, decoded; None if it cannot be. Return it."""
        try:
            said = tolerance.decode_payload(payload)
        except (ValueError, RecursionError):
            said = None
        self.payloads[name] = said
        return said
