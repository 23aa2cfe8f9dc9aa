"""Keeping a connection: what a client needs of a transport that does."""

from __future__ import annotations

from typing import Protocol

from gqlwire._connection.connection import Connection
from gqlwire._reconnect.counters import Counters
from gqlwire._reconnect.states import Changes
from gqlwire.errors import Phase
from gqlwire.transport import Transport


class LastingTransport(Transport, Protocol):
    """A transport that keeps its connection."""

    @property
    def changes(self) -> Changes:
        """Its state, and who watches it."""
        ...

    @property
    def state(self) -> Phase:
        """How far the connection has come, or `waiting`, `idle`, `closed`."""
        ...

    @property
    def counters(self) -> Counters:
        """What has happened so far, at this moment."""
        ...

    async def ready(self) -> Connection:
        """Wait for an acknowledged connection. Raises the failure that is final."""
        ...

    async def reconnect(self, reason: str = "") -> None:
        """Make the connection anew; see `AsyncClientSession.reconnect`."""
        ...

    def terminate(self) -> None:
        """Drop the socket at once, and connect again."""
        ...
