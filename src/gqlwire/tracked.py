"""A subscription that knows how far it has come: `resume`, `key`, `checkpoint`, in-band notices.

This module knows no protocol and no socket.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from msgspec import Raw

from gqlwire._operations import Feed
from gqlwire._sinks import Item
from gqlwire._tracking import Tracker
from gqlwire.errors import TransportError
from gqlwire.subscription import Subscription

T = TypeVar("T")


class TrackedSubscription(Subscription[T]):
    """The results of one operation, with what was asked to be known about them.

    An event counts as dealt with when the next one is asked for, when `async with` is left without
    an error, and by `acknowledge()`; only then it is saved. With `is_told` a `Reconnected` comes
    between the events where one connection ended and the next began.
    """

    __slots__ = ("_is_told", "_tracker")

    def __init__(
        self,
        feed: Feed,
        convert: Callable[[Raw], T],
        tracker: Tracker[Any],
        *,
        is_told: bool,
    ) -> None:
        super().__init__(feed, convert)
        self._tracker = tracker
        self._is_told = is_told

    async def __anext__(self) -> T:
        self._tracker.acknowledge()
        return await super().__anext__()

    def acknowledge(self) -> None:
        """Count the last event as dealt with: it is saved in the checkpoint."""
        self._tracker.acknowledge()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self._tracker.acknowledge()
        await super().__aexit__(exc_type, exc, traceback)

    def newest(self) -> Any:
        """Return the newest event that came, delivered or not; None if there was none."""
        stream = self.stream
        if stream is not None:
            waiting = [item for item in (stream.untaken, *(stream.items or ())) if item is not None]
            for item in reversed(waiting):
                payload = self._feed.payload(item)
                try:
                    if payload is not None:
                        return self._convert(payload)
                except TransportError:
                    continue  # it carries errors, or is a notice
        return self._tracker.last

    def read(self, item: Item) -> tuple[T, ...]:
        """Read an event, and note it; empty if it came before, or is none of this operation."""
        notice = None if self.stream is None else self.stream.notice(item)
        if notice is not None:
            self._tracker.cross()
            told: Any = notice
            return (told,) if self._is_told else ()
        return tuple(value for value in super().read(item) if self._tracker.accepts(value))


class Newest:
    """Asks a subscription for its newest event, without keeping it alive."""

    def __init__(self) -> None:
        self._subscription: weakref.ref[TrackedSubscription[Any]] | None = None

    def of(self, subscription: TrackedSubscription[Any]) -> None:
        """Ask this one from now on."""
        self._subscription = weakref.ref(subscription)

    def __call__(self) -> Any:
        """Return the newest event, None if there is none."""
        subscription = None if self._subscription is None else self._subscription()
        return None if subscription is None else subscription.newest()
