"""What the protocols share: a phase, a table of allowed messages, and the live operations.

Each protocol has its own table, in its own module. This module knows no message types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gqlwire._protocols import events
from gqlwire.errors import Phase

Table = Mapping[Phase, Mapping[type, Phase]]
"""Which messages the server may send in each phase, and the phase after each. Others are strays."""


class Conversation:
    """The state of one conversation with a server."""

    __slots__ = ("_server_says", "live", "phase")

    def __init__(self, server_says: Table) -> None:
        self.phase: Phase = Phase.INIT
        self.live: set[str] = set()
        self._server_says = server_says

    def step(self, message: Any) -> events.Event | None:
        """Handle a decoded message. Return its event, or None if its operation has ended."""
        if self.phase is Phase.CLOSED:
            return None
        kind = type(message)
        says = self._server_says[self.phase]
        if kind not in says:
            return message if kind is events.Stray else events.Stray(_type_of(message))
        self.phase = says[kind]
        if isinstance(message, events.Failed | events.Completed):
            # Ignore a second end (Hasura sends `complete` after `error`), and the end of an
            # operation that we have stopped.
            return message if self.stop(message.id) else None
        if isinstance(message, events.Result) and message.id not in self.live:
            return None
        event: events.Event = message
        return event

    def stop(self, id: str) -> bool:
        """Remove the operation `id`. Return whether it was live."""
        alive = id in self.live
        self.live.discard(id)
        return alive

    def close(self) -> None:
        """Ignore all messages from now on."""
        self.phase = Phase.CLOSED
        self.live.clear()


def _type_of(message: Any) -> str:
    return str(message.__struct_config__.tag)
