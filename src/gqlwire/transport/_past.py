"""What connections that are over have counted. It knows no socket."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gqlwire._connection import Connection
from gqlwire.survival import Counters


class Past:
    """Adds up what connections have counted, when they are over."""

    def __init__(self) -> None:
        self._sum = Counters()

    def add(self, connection: Connection) -> None:
        """Add a connection that is over."""
        self._sum = self.with_connection(connection)

    def with_connection(self, connection: Connection | None) -> Counters:
        """Return the sum with that of a connection that lives, if there is one."""
        if connection is None:
            return replace(self._sum, unknown_messages=dict(self._sum.unknown_messages))
        strays = Counter(self._sum.unknown_messages) + connection.strays
        latency = connection.latency
        return replace(
            self._sum,
            unknown_messages=dict(strays),
            bytes_received=self._sum.bytes_received + connection.received_bytes,
            bytes_sent=self._sum.bytes_sent + connection.sent_bytes,
            latency=self._sum.latency if latency is None else latency,
        )
