"""How much may wait for a consumer, and what happens beyond that: plain data."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from gqlwire._streams.sink import Item

EVENT_OVERHEAD = 136
"""Bytes that a queued event costs beside its payload: two object headers and the envelope."""


class Overflow(StrEnum):
    """What happens when events come faster than they are taken, and the buffer is full."""

    BLOCK = "block"
    """Stop reading the socket, so that the server waits, as long as nobody else on this
    connection waits for anything (an answer, an event, a pong). If somebody does, reading goes
    on; a stream that is then over its bound by a whole default `Buffer` ends with
    `SlowConsumer`."""
    DROP_OLDEST = "drop_oldest"
    """Drop the oldest events, and count them."""
    LATEST = "latest"
    """Keep only the newest event, and count the others."""
    ERROR = "error"
    """End the subscription with `SlowConsumer`, after the events that are buffered."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """How much may wait for a slow consumer: `events` at most, and `size` bytes at most.

    One event is always taken, however big it is. `size` counts what the events occupy in memory.
    """

    events: int = 65_536
    size: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.events < 1 or self.size < 1:
            raise ValueError("a Buffer must hold at least 1 event and 1 byte")


ALLOWANCE = Buffer()
"""What comes on top of the bounds before a stream that is not paused is refused."""


def size_of(items: Collection[Item]) -> int:
    """Return how many bytes queued events occupy."""
    return sum(map(len, items)) + EVENT_OVERHEAD * len(items)
