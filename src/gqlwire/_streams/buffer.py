"""How many events a subscription may buffer, and what happens when its buffer is full."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from gqlwire._numbers import check_count
from gqlwire._streams.sink import Item

EVENT_OVERHEAD = 136
"""Bytes that a queued event takes in addition to its payload: object headers and the envelope."""


class Overflow(StrEnum):
    """What to do when events arrive faster than they are taken, and the buffer is full."""

    BLOCK = "block"
    """Stop reading the socket (back-pressure) as long as nothing else on this connection waits for
    data (a result, an event, a pong). Otherwise continue reading.

    With `resume`: if reading continues, or if the consumer does not catch up within seconds, tell
    the server to stop this subscription. Resume after the last buffered event when half of the
    buffer is empty. No event is lost.
    Without: if the stream exceeds its buffer by a whole default `Buffer`, the subscription ends
    with `SlowConsumer`."""
    DROP_OLDEST = "drop_oldest"
    """Drop the oldest events, and count them."""
    LATEST = "latest"
    """Keep only the newest event, and count the dropped ones."""
    ERROR = "error"
    """End the subscription with `SlowConsumer`, after the buffered events."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """How much to buffer for a slow consumer: at most `events` events, and at most `size` bytes.

    `size` limits the memory that the events take. One event is always buffered, even if it is
    larger. Raises ValueError for a limit below 1 or not whole, TypeError for what is not a number.
    """

    events: int = 65_536
    size: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        check_count("events of a Buffer", self.events, "event")
        check_count("size of a Buffer", self.size, "byte")


@dataclass(frozen=True, slots=True)
class Bounds(Buffer):
    """A buffer, and what happens when it is full."""

    overflow: Overflow = Overflow.BLOCK


@lru_cache(maxsize=128)
def bounds(buffer: Buffer, overflow: Overflow) -> Bounds:
    """Return the bounds of a stream: one object for all with the same, as there may be many."""
    events = 1 if overflow is Overflow.LATEST else buffer.events
    return Bounds(events, buffer.size, overflow)


ALLOWANCE = Buffer()
"""How far a stream may exceed its buffer while the socket must be read, before it ends."""


def size_of(items: Collection[Item]) -> int:
    """Return how many bytes queued events take in memory."""
    return sum(map(len, items)) + EVENT_OVERHEAD * len(items)
