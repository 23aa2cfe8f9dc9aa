"""What a session counts: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """What has happened so far. `session.counters` returns a snapshot.

    `connections`: how many were acknowledged. `retries`: attempts to connect after the first.
    `resubscriptions`: how often a subscription was resubscribed on a new connection. `events`: how
    many arrived for subscriptions. `dropped`: how many of these found no room in a buffer.
    `duplicates`: how many of these had come before (see `key` of `subscribe`). `pauses`: how often
    a subscription was stopped for a while, because its consumer was slow (see `resume`).
    `unknown_messages`: how many messages meant nothing, by type. `bytes_received`, `bytes_sent`:
    of messages, without frames and TLS. `latency`: seconds that the last answered ping took, or
    None.
    """

    connections: int = 0
    retries: int = 0
    resubscriptions: int = 0
    events: int = 0
    dropped: int = 0
    duplicates: int = 0
    pauses: int = 0
    unknown_messages: dict[str, int] = field(default_factory=dict)
    bytes_received: int = 0
    bytes_sent: int = 0
    latency: float | None = None
