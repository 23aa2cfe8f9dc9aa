"""Saves the events of a subscription in its checkpoint, one after the other.

This module knows no connection and no protocol.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

if TYPE_CHECKING:
    from gqlwire._operations.checkpoint import Checkpoint

_logger = logging.getLogger("gqlwire")

_running: set[asyncio.Future[Any]] = set()
"""The saves that run. asyncio itself holds a task only weakly."""


class Interval(Struct, frozen=True):
    """How often to save: after `events` events, or `seconds` after the last save."""

    events: float = math.inf
    seconds: float = math.inf

    @classmethod
    def of(cls, every: float | timedelta | None) -> Interval:
        """Return what `checkpoint_every` means. Raises TypeError and ValueError."""
        if every is None:
            return cls(events=1)
        is_number = isinstance(every, int | float) and not isinstance(every, bool)
        if not is_number and not isinstance(every, timedelta):
            raise TypeError(
                f"checkpoint_every must be an int (events), or a float or a timedelta (seconds), "
                f"not {type(every).__name__}"
            )
        seconds = every.total_seconds() if isinstance(every, timedelta) else every
        if not 0 < seconds < math.inf:  # also for NaN
            raise ValueError(f"checkpoint_every must be above 0 and finite, not {every}")
        return cls(events=every) if isinstance(every, int) else cls(seconds=seconds)


class Saver:
    """Saves what was processed in `checkpoint`, as often as `interval` says.

    Only one save runs at a time. A save that has begun is not cancelled with the task that waits.
    If a save fails, what was to be saved is still pending, and due.
    """

    def __init__(self, checkpoint: Checkpoint, interval: Interval) -> None:
        self._checkpoint = checkpoint
        self._interval = interval
        self._pending: Raw | None = None
        self._processed = 0  # events since the last save began
        # When that was. With an interval of seconds, the first event is saved immediately.
        self._begun = math.inf if interval.seconds == math.inf else -math.inf
        self._is_overdue = False
        self._running: asyncio.Future[Any] | None = None
        self._is_next_wanted = False  # as soon as the one that runs has ended
        self._waiting = 0  # how many wait for its end
        self._failure: BaseException | None = None  # for those
        self._alarm: asyncio.TimerHandle | None = None
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def load(self) -> Raw | None:
        """Return what the checkpoint holds. Raises what it raises, and TypeError if that is odd."""
        loaded = self._checkpoint.load()
        if inspect.isawaitable(loaded):
            loaded = await loaded
        if loaded is None:
            return None
        if not isinstance(loaded, bytes | bytearray | memoryview):
            raise TypeError(
                f"load() of the checkpoint must return the bytes that save() was given, or None; "
                f"it returned {type(loaded).__name__}"
            )
        return Raw(bytes(loaded))

    def processed(self, event: Raw, count: int) -> None:
        """Note that the program has processed `count` events more, of which `event` is the last."""
        self._pending = event
        self._processed += count
        self._loop = asyncio.get_running_loop()

    async def save(self, *, is_due: bool = False) -> None:
        """Save what is pending, if it is due, and return when it is saved.

        Raises what the checkpoint raises. After cancelling, a save that has begun continues.
        """
        await self._ended()
        while self._pending is not None:
            if not (is_due or self._is_due()):
                self._set_alarm()
                return
            self._begin()
            await self._ended()

    async def finish(self, *, quietly: bool = False) -> None:
        """Do what `save` does, as the last save; log a failure if `quietly`."""
        self._is_over = True
        self._stop_alarm()
        try:
            await self.save(is_due=True)
        except Exception as failure:  # the user's `save` may raise anything
            if not quietly:
                raise
            _report(failure)

    def abandon(self) -> None:
        """Do what `finish` does, in the background."""
        self._is_over = self._is_next_wanted = True
        self._stop_alarm()
        self._save_unattended()

    def abandon_from_anywhere(self) -> None:
        """Do what `abandon` does, from a finalizer: in any thread, at any moment."""
        loop = self._loop
        if self._pending is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self.abandon)

    def save_now(self) -> Awaitable[None]:
        """Begin to save what is pending; raise what the checkpoint raises immediately.

        Await what is returned to wait until it is saved.
        """
        if self._running is not None:
            self._is_next_wanted = True
        elif self._pending is not None:
            self._begin()
        return _Saving(self)

    def _is_due(self) -> bool:
        if self._is_overdue or self._processed >= self._interval.events:
            return True
        due = self._begun + self._interval.seconds
        return due <= asyncio.get_running_loop().time()

    def _begin(self) -> None:
        event = self._pending
        if event is None:
            return
        self._stop_alarm()
        self._begun = asyncio.get_running_loop().time()
        self._processed, self._is_overdue = 0, True
        try:
            outcome = self._checkpoint.save(bytes(event))
        except asyncio.CancelledError as fault:
            # Nobody has cancelled us: it is of something that `save` runs.
            raise _cancelled() from fault
        if inspect.isawaitable(outcome):
            self._running = running = asyncio.ensure_future(outcome)
            _running.add(running)
            running.add_done_callback(lambda _: self._end(running, event))
        else:
            self._saved(event)

    def _end(self, running: asyncio.Future[Any], event: Raw) -> None:
        self._running = None
        _running.discard(running)
        failure = _cancelled() if running.cancelled() else running.exception()
        if failure is None:
            self._saved(event)
        elif self._waiting:
            self._failure = failure
        else:
            self._try_later(failure)
        is_wanted, self._is_next_wanted = self._is_next_wanted, False
        if is_wanted and failure is None:
            self._save_unattended()

    def _saved(self, event: Raw) -> None:
        self._is_overdue = False
        if self._pending is event:
            self._pending = None

    async def _ended(self) -> None:
        """Wait for the save that runs, if one does, and raise its failure."""
        while self._running is not None:
            self._waiting += 1
            try:
                await asyncio.wait([self._running])
            except asyncio.CancelledError:
                failure, self._failure = self._failure, None
                if failure is not None:
                    self._try_later(failure)
                raise
            finally:
                self._waiting -= 1
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure

    # --- While nobody waits for it ------------------------------------------------------------

    def _save_unattended(self) -> None:
        self._alarm = None
        if self._running is None:
            try:
                self._begin()
            except Exception as failure:  # noqa: BLE001  # the user's `save` may raise anything
                self._try_later(failure)

    def _try_later(self, failure: BaseException) -> None:
        _report(failure)
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Have it saved when it is due: the next step may be long in coming."""
        if self._alarm is None and self._interval.seconds < math.inf and not self._is_over:
            loop = asyncio.get_running_loop()
            due = self._begun + self._interval.seconds
            self._alarm = loop.call_at(due, self._save_unattended)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def _report(failure: BaseException) -> None:
    """Log the failure of a save that nobody waits for."""
    _logger.error("an event could not be saved in its checkpoint", exc_info=failure)


def _cancelled() -> RuntimeError:
    return RuntimeError("save() of the checkpoint was cancelled, and not by gqlwire")


class _Saving(Awaitable[None]):
    """A save that one may wait for, or not."""

    def __init__(self, saver: Saver) -> None:
        self._saver = saver

    def __await__(self) -> Generator[Any, None, None]:
        return self._saver.save(is_due=True).__await__()


class _Saved(Awaitable[None]):
    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


NOTHING_TO_SAVE = _Saved()
"""What `acknowledge` returns if there is no checkpoint."""
