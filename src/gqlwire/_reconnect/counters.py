"""What a session counts: plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from gqlwire._connection.telemetry import add_strays


@dataclass(slots=True)
class Counters:
    """What has happened so far. `session.counters` returns a snapshot.

    `connections`: how many were acknowledged. `retries`: attempts to connect after the first.
    `reconnects`: how many main connections followed a lost one, by what had ended that: a close
    code, such as "1012", or the name of the error's class. `resubscriptions`: how often a
    subscription was resubscribed on a new connection. `recoveries`: how many gaps were over, as
    results, or the end, came on a new connection. `refusals`: how often the server refused a
    resubscription. `gap_seconds`: how long subscriptions were in gaps, all together; a gap that
    lasts still counts up to now. `events`: how many arrived for subscriptions. `dropped`: how many
    of these found no room in a buffer.
    `duplicates`: how many of these had come before (see `key` of `subscribe`). `pauses`: how often
    a subscription was stopped for a while, because its consumer was slow (see `resume`).
    `unknown_messages`: how many messages meant nothing, by type. `bytes_received`, `bytes_sent`:
    of messages, without frames and TLS. `latency`: seconds that the last answered ping took, or
    None.
    """

    connections: int = 0
    retries: int = 0
    reconnects: dict[str, int] = field(default_factory=dict)
    resubscriptions: int = 0
    recoveries: int = 0
    refusals: int = 0
    gap_seconds: float = 0.0
    events: int = 0
    dropped: int = 0
    duplicates: int = 0
    pauses: int = 0
    unknown_messages: dict[str, int] = field(default_factory=dict)
    bytes_received: int = 0
    bytes_sent: int = 0
    latency: float | None = None


def total(counted: Sequence[Counters]) -> Counters:
    """Return the sums of what several connections have counted; `latency` is the first known."""
    sums = Counters()
    for each in fields(Counters):
        found: list[Any] = [getattr(counters, each.name) for counters in counted]
        value: Any
        if each.name == "latency":
            value = next((seconds for seconds in found if seconds is not None), None)
        elif isinstance(found[0], dict):
            value = {}  # servers make up the names, so there is a limit
            for name, count in (pair for named in found for pair in named.items()):
                add_strays(value, name, count)
        else:
            value = sum(found)
        setattr(sums, each.name, value)
    return sums
