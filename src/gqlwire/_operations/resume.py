"""Tracks the last event of a subscription, to resume after it on another connection.

This module knows no connection and no protocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

from msgspec import Raw

from gqlwire._operations.feed import Feed
from gqlwire._operations.functions import called, copied
from gqlwire._operations.keys import DEFAULT_MEMORY, Keys
from gqlwire._operations.options import Reconnected, Terms
from gqlwire._operations.saving import NOTHING_TO_SAVE, Interval, Saver
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.result import ExecutionResult
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import EventStream
from gqlwire.errors import InvalidCheckpoint, TransportError

T = TypeVar("T")

Variables = dict[str, Any]
Resume = Callable[[T, Variables], Variables]


class Tracker(Generic[T]):
    """Remembers the last event, undecoded, from which the subscription resumes.

    `keys` recognizes the events that came before, `saver` saves those that were processed; each is
    None if the options do not ask for it. `last`: the newest event that was delivered or loaded.
    """

    def __init__(self, terms: Terms) -> None:
        if terms.checkpoint is not None and terms.resume is None:
            raise ValueError("checkpoint needs resume: only resume uses the event it stores")
        if terms.checkpoint is None and terms.checkpoint_every is not None:
            raise ValueError("checkpoint_every needs checkpoint: without it nothing is saved")
        if terms.key is None and terms.key_memory is not None:
            raise ValueError("key_memory needs key: without it no keys are remembered")
        self._resume = terms.resume
        self.keys: Keys[T] | None = None
        self.saver: Saver | None = None
        if terms.key is not None:
            self.keys = Keys(terms.key, _checked(terms.key_memory))
        if terms.checkpoint is not None:
            self.saver = Saver(terms.checkpoint, Interval.of(terms.checkpoint_every))
        self.last: Raw | None = None
        self._unprocessed = 0  # delivered events that the program has not processed yet

    @classmethod
    def of(cls, terms: Terms) -> Tracker[Any] | None:
        """Return a tracker if the terms need one; most subscriptions do not.

        Raises TypeError or ValueError for options that cannot be used.
        """
        tracker: Tracker[Any] = cls(terms)
        is_needed = terms.resume is not None or terms.key is not None or terms.tell_reconnects
        return tracker if is_needed else None

    def variables(self, last: T, given: Variables) -> Variables:
        """Return the variables to resume with after `last`.

        Raises what `resume` raises, and TypeError if it returns something else than variables.
        """
        if self._resume is None:
            return given
        found: Any = called("resume", self._resume, last, copied(given))
        if isinstance(found, Mapping):
            return dict(found)
        raise TypeError(
            f"resume= returned {type(found).__name__}: return a dict with all variables, such as "
            f"{{**variables, 'after': ...}}"
        )

    def restore(self, payload: Raw, event: T) -> None:
        """Note the event that a checkpoint had: the next events come after it."""
        self.last = payload
        if self.keys is not None:
            self.keys.is_new(event)
            self.keys.cross()

    def accepts(self, event: T, payload: Raw) -> bool:
        """Note an event that is about to be delivered; return whether it is new."""
        if self.keys is not None and not self.keys.is_new(event):
            return False
        if _has_data(event):
            self.last = payload
            self._unprocessed += 1
        return True

    def processed(self) -> None:
        """Note that the program has processed the events that were delivered."""
        if self._unprocessed and self.saver is not None and self.last is not None:
            count, self._unprocessed = self._unprocessed, 0
            self.saver.processed(self.last, count)


def _has_data(event: object) -> bool:
    """Whether there is something in an event to resume from."""
    data = event.data if isinstance(event, ExecutionResult) else event
    return data is not None


def _checked(memory: int | None) -> int:
    if memory is None:
        return DEFAULT_MEMORY
    if not isinstance(memory, int) or isinstance(memory, bool):
        raise TypeError(f"key_memory must be an int, not {type(memory).__name__}")
    if memory < 1:
        raise ValueError(f"key_memory must be at least 1, not {memory}")
    return memory


class TrackedSubscription(Subscription[T]):
    """A subscription with resume, de-duplication and checkpoints.

    An event counts as processed when the program takes the next one, leaves `async with` without
    an error, or calls `acknowledge()`; only then it is saved. With `terms.tell_reconnects`, a
    `Reconnected` comes between the events of one connection and those of the next one.

    `resumed` returns the request that continues after an event.
    """

    __slots__ = ("_endings", "_is_loaded", "_resumed", "_tells_reconnects", "_tracker")

    def __init__(
        self,
        feed: Feed,
        convert: Callable[[Raw], T],
        tracker: Tracker[Any],
        terms: Terms,
        resumed: Callable[[Any], bytes],
    ) -> None:
        super().__init__(feed, convert)
        self._tracker = tracker
        self._tells_reconnects = terms.tell_reconnects
        self._resumed = resumed
        self._endings: list[Exception] = []
        self._is_loaded = terms.checkpoint is None

    async def started(self) -> EventStream:
        """Load the checkpoint, and start the operation after the event that it has."""
        saver = self._tracker.saver
        try:
            if saver is not None and not self._is_loaded:
                self._restore(await saver.load())
                self._is_loaded = True
            return await super().started()
        except BaseException:  # its traceback has this frame, and must keep nothing alive
            del self
            raise

    def _restore(self, payload: Raw | None) -> None:
        if payload is None:
            return
        try:
            event = self._convert(payload)
        except TransportError as cause:
            raise InvalidCheckpoint(
                f"the event in the checkpoint cannot be read: {cause}; if the result_type or the "
                f"document has changed, delete the checkpoint to start without it"
            ) from cause
        if _has_data(event):
            self._feed.begin_with(self._resumed(event))
            self._tracker.restore(payload, event)

    async def __anext__(self) -> T:
        try:
            if self._tracker.saver is not None:
                await self.settle()
            if self._endings:
                raise self._endings.pop()
            return await super().__anext__()
        except StopAsyncIteration:
            await self.finish()
            raise
        except BaseException as fault:  # of the subscription, or of this step; or it is cancelled
            endings = self._endings
            is_end = isinstance(fault, Exception) and self.is_over
            saved = self.finish(quietly=True) if is_end else NOTHING_TO_SAVE
            del self  # the traceback has this frame, and must not keep the subscription alive
            if isinstance(fault, Exception) and is_end:
                endings.append(fault)  # if this is cancelled, the next step raises it
                await saved
                endings.remove(fault)
            raise

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to save."""
        return self._tracker.saver is not None

    # The coroutines of these are those of the saver: a cancelled one does not keep this alive.

    def settle(self) -> Awaitable[None]:
        """Count the last event as processed, and save it if that is due."""
        self._tracker.processed()
        saver = self._tracker.saver
        return NOTHING_TO_SAVE if saver is None else saver.save(is_due=self.is_over)

    def finish(self, *, quietly: bool = False) -> Awaitable[None]:
        """Save what was processed, as nothing more will come; log a failure if `quietly`."""
        saver = self._tracker.saver
        return NOTHING_TO_SAVE if saver is None else saver.finish(quietly=quietly)

    def acknowledge(self) -> Awaitable[None]:
        """Count the last event as processed, and save it in the checkpoint."""
        self._tracker.processed()
        saver = self._tracker.saver
        return NOTHING_TO_SAVE if saver is None else saver.save_now()

    def abandon(self) -> None:
        """End the subscription, and save what was processed in the background."""
        super().abandon()
        if self._tracker.saver is not None:
            self._tracker.saver.abandon()

    async def aclose(self) -> None:
        """End the subscription, and save the events that were processed."""
        await super().aclose()
        await self.finish()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # First of all, so that it is closed whatever becomes of the checkpoint.
        await super().__aexit__(exc_type, exc, traceback)
        if exc is None:
            self._tracker.processed()
        # While another exception is on its way, a failure is not raised.
        await self.finish(quietly=exc is not None)

    def abandon_from_anywhere(self) -> None:
        """Do what `abandon` does, from a finalizer: in any thread, at any moment."""
        super().abandon_from_anywhere()
        if self._tracker.saver is not None:
            self._tracker.saver.abandon_from_anywhere()

    def is_position(self, item: Item) -> bool:
        """Return whether the subscription can be resumed after a buffered event.

        Not after one that is faulty: it would come again with each pause.
        """
        payload = self._feed.payload(item)
        try:
            return payload is not None and _has_data(self._convert(payload))
        except TransportError:
            return False  # it has errors, or is a `Reconnected`

    def newest(self) -> Any:
        """Return the newest event that arrived, delivered or not; None if there was none."""
        stream = self.stream
        if stream is not None:
            waiting = [item for item in (stream.untaken, *(stream.items or ())) if item is not None]
            for item in reversed(waiting):
                payload = self._feed.payload(item)
                try:
                    event = None if payload is None else self._convert(payload)
                except TransportError:
                    continue  # it has errors, or is a `Reconnected`
                if _has_data(event):
                    return event
        # Decoded again, because the program may have changed the object that it was given.
        return None if self._tracker.last is None else self._convert(self._tracker.last)

    def read(self, item: Item) -> tuple[T, ...]:
        """Decode an event and note it; empty if it is a repetition, or not of this operation."""
        stream = self.stream
        notice = None if stream is None else stream.notice(item)
        if notice is not None:
            if self._tracker.keys is not None:
                self._tracker.keys.cross()
            is_told = self._tells_reconnects and isinstance(notice, Reconnected)
            told: Any = notice
            return (told,) if is_told else ()
        payload = self._feed.payload(item)
        if payload is None:
            return ()
        event = self._convert(payload)
        if self._tracker.accepts(event, payload):
            return (event,)
        self._feed.duplicates += 1
        if stream is not None:
            stream.forget()  # it is not delivered
        return ()
