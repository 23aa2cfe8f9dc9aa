"""Tracks the last event of a subscription, to resume after it on another connection.

This module knows no connection and no protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from gqlwire._operations.checkpoint import Checkpoint
from types import TracebackType

from msgspec import Raw

from gqlwire._operations.feed import Feed
from gqlwire._operations.options import Terms
from gqlwire._operations.subscription import Subscription
from gqlwire._streams.sink import Item
from gqlwire.errors import TransportError

T = TypeVar("T")

Variables = dict[str, Any]
Resume = Callable[[T, Variables], Variables]

_KEYS = 1_000
"""How many of the last keys are compared with the first events of a new connection."""


class Tracker(Generic[T]):
    """Remembers the last event, from which `resume` computes the variables to resume with.

    `key` identifies events: leading events of a new connection that came before are dropped.
    `checkpoint` stores the last event beyond the life of the process.
    """

    def __init__(
        self,
        resume: Resume[T] | None,
        key: Callable[[T], Hashable] | None,
        checkpoint: Checkpoint[T] | None,
    ) -> None:
        if checkpoint is not None and resume is None:
            raise ValueError("checkpoint needs resume: only resume uses the event it stores")
        self._resume = resume
        self._key = key
        self._checkpoint = checkpoint
        self.last: T | None = None if checkpoint is None else checkpoint.load()
        self._unsaved = False
        self._keys: dict[Hashable, None] = {}
        if key is not None and self.last is not None:
            self._keys[key(self.last)] = None
        self._is_leading = bool(self._keys)

    @classmethod
    def of(cls, terms: Terms) -> Tracker[Any] | None:
        """Return a tracker if the terms need one; most subscriptions do not."""
        wanted = (terms.resume, terms.key, terms.checkpoint)
        if wanted == (None, None, None) and not terms.tell_reconnects:
            return None
        return Tracker(*wanted)

    def variables(self, last: T | None, given: Variables) -> Variables:
        """Return the variables to resume with after `last`; those `given` if there is none."""
        return given if self._resume is None or last is None else self._resume(last, given)

    def accepts(self, event: T) -> bool:
        """Note an event that is about to be delivered; return whether it is new."""
        if self._key is not None and not self._is_new(self._key(event)):
            return False
        self.last = event
        self._unsaved = True
        return True

    def _is_new(self, key: Hashable) -> bool:
        if self._is_leading and key in self._keys:
            return False
        self._is_leading = False
        self._keys.pop(key, None)
        self._keys[key] = None
        if len(self._keys) > _KEYS:
            del self._keys[next(iter(self._keys))]
        return True

    def cross(self) -> None:
        """Note that the next events came by another connection."""
        self._is_leading = True

    def acknowledge(self) -> None:
        """Save the last event: the program has processed it."""
        if self._unsaved and self._checkpoint is not None and self.last is not None:
            self._unsaved = False
            self._checkpoint.save(self.last)


class TrackedSubscription(Subscription[T]):
    """A subscription with resume, de-duplication and checkpoints.

    An event counts as processed when the program takes the next one, leaves `async with` without
    an error, or calls `acknowledge()`; only then it is saved. With `terms.tell_reconnects`, a
    `Reconnected` comes between the events of one connection and those of the next one.
    """

    __slots__ = ("_tells_reconnects", "_tracker")

    def __init__(
        self,
        feed: Feed,
        convert: Callable[[Raw], T],
        tracker: Tracker[Any],
        terms: Terms,
    ) -> None:
        super().__init__(feed, convert)
        self._tracker = tracker
        self._tells_reconnects = terms.tell_reconnects

    async def __anext__(self) -> T:
        try:
            self._tracker.acknowledge()
            return await super().__anext__()
        except BaseException:
            del self  # the traceback has this frame, and must not keep the subscription alive
            raise

    def acknowledge(self) -> None:
        """Count the last event as processed, and save it in the checkpoint."""
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
        """Return the newest event that arrived, delivered or not; None if there was none."""
        stream = self.stream
        if stream is not None:
            waiting = [item for item in (stream.untaken, *(stream.items or ())) if item is not None]
            for item in reversed(waiting):
                payload = self._feed.payload(item)
                try:
                    if payload is not None:
                        return self._convert(payload)
                except TransportError:
                    continue  # it has errors, or is a `Reconnected`
        return self._tracker.last

    def read(self, item: Item) -> tuple[T, ...]:
        """Decode an event and note it; empty if it is a repetition, or not of this operation."""
        notice = None if self.stream is None else self.stream.notice(item)
        if notice is not None:
            self._tracker.cross()
            event: Any = notice
            return (event,) if self._tells_reconnects else ()
        return tuple(value for value in super().read(item) if self._tracker.accepts(value))
