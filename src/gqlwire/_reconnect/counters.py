"""What connections that are over have counted. It knows no socket."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from gqlwire._connection.connection import Connection


@dataclass(slots=True)
class Counters:
    """What has happened so far. `session.counters` returns a snapshot.

    `connections`: acknowledged ones. `retries`: attempts after the first. `resubscriptions`: how
    often a subscription was taken to a new connection. `events`: that came for subscriptions.
    `dropped`: of them, for want of room. `unknown_messages`: by type. `bytes_received`,
    `bytes_sent`: of messages, without frames and TLS. `latency`: seconds that the last answered
    ping took, or None.
    """

    connections: int = 0
    retries: int = 0
    resubscriptions: int = 0
    events: int = 0
    dropped: int = 0
    unknown_messages: dict[str, int] = field(default_factory=dict)
    bytes_received: int = 0
    bytes_sent: int = 0
    latency: float | None = None


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
