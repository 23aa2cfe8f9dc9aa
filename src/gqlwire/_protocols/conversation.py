"""What the protocols share: a phase, a table of what the server may say, and the live operations.

The tables are in the files of the protocols. This file knows no type of message and no spelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gqlwire._protocols import events
from gqlwire.errors import Phase

Table = Mapping[Phase, Mapping[type, Phase]]
"""What the server may say in each phase, and where that takes us. What is absent is a stray."""


class Conversation:
    """The state of one conversation with a server."""

    __slots__ = ("_server_says", "live", "phase")

    def __init__(self, server_says: Table) -> None:
        self.phase: Phase = Phase.INIT
        self.live: set[str] = set()
        self._server_says = server_says

    def step(self, message: Any) -> events.Event | None:
        """Take a decoded message; return what it means, None if its operation is over."""
        if self.phase is Phase.CLOSED:
            return None
        kind = type(message)
        says = self._server_says[self.phase]
        if kind not in says:
            return message if kind is events.Stray else events.Stray(_type_of(message))
        self.phase = says[kind]
        if isinstance(message, events.Failed | events.Completed):
            # A second end (Hasura completes after an error) is ignored, and the end of what we
            # stopped ourselves.
            return message if self.stop(message.id) else None
        if isinstance(message, events.Result) and message.id not in self.live:
            return None
        event: events.Event = message
        return event

    def stop(self, id: str) -> bool:
        """Forget the operation `id`. Return whether it was alive."""
        alive = id in self.live
        self.live.discard(id)
        return alive

    def close(self) -> None:
        """Close: what arrives from now on is ignored."""
        self.phase = Phase.CLOSED
        self.live.clear()


def _type_of(message: Any) -> str:
    return str(message.__struct_config__.tag)
