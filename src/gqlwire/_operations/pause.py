"""Stops an operation at the server while its consumer is too slow, and continues it afterwards.

For operations that can be resumed after any of their events: what the server has sent by then comes
again. This module knows no protocol and no socket, and does not decide what is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from msgspec import Raw

from gqlwire._connection.connection import Connection
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import EventStream
from gqlwire.errors import TransportError

_logger = logging.getLogger("gqlwire")

_PATIENCE = 1.0
"""For so many seconds a full buffer only stops reading: most consumers catch up in that time."""
_MOST_PATIENCE = 5.0
"""For so many seconds it does if the buffer had room in each second.

Not for longer: the server's pings wait in the same socket, behind all that it has sent.
"""


class Pausable(Protocol):
    """The operation that is stopped, and continues."""

    @property
    def host(self) -> str:
        """Host and port of the server."""
        ...

    @property
    def stream(self) -> EventStream | None:
        """The stream of its results."""
        ...

    def halt(self) -> bool:
        """Tell the server to stop; return whether it ran."""
        ...

    def proceed(self) -> None:
        """Resubscribe it, now or on the next connection."""
        ...

    def lost_in_pause(self, failure: TransportError) -> None:
        """Note that the connection that it ran on was lost while it did not run."""
        ...


class _State(Enum):
    RUNNING = auto()
    FILLED = auto()
    """Its buffer became full by what is being read now, of which more may follow."""
    FULL = auto()
    """Its buffer is full, and reading has stopped as long as nobody else needs the socket."""
    STOPPED = auto()
    """The server was told to stop."""
    CONTINUING = auto()
    """The buffer has room; it is resubscribed as soon as the step of the consumer is over."""
    OVER = auto()


class Pause:
    """Decides when `feed` is stopped because its buffer is full, and when it continues.

    Reading stops first, as for every full buffer. The operation is stopped if the consumer does not
    catch up, or if events arrive all the same, because others need the socket. It continues when
    half of the buffer is empty. `is_position` returns whether the operation can be resumed after an
    event.

    `count`: how often it was stopped.
    """

    __slots__ = (
        "_feed",
        "_had_room",
        "_is_position",
        "_since",
        "_state",
        "_timer",
        "_watch",
        "count",
    )

    def __init__(self, feed: Pausable, is_position: Callable[[Item], bool]) -> None:
        self.count: int = 0
        self._feed = feed
        self._is_position = is_position
        self._state = _State.RUNNING
        # Runs from when the buffer was full, at `_since`, until the consumer has caught up.
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0
        self._had_room = False
        self._watch: Watch | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the operation was stopped, and is not to be resubscribed yet."""
        return self._state in (_State.STOPPED, _State.CONTINUING)

    def full(self) -> None:
        """Note that the buffer is full."""
        if self._state is _State.RUNNING:
            self._state = _State.FILLED
            loop = asyncio.get_running_loop()
            loop.call_soon(self._read)
            if self._timer is None:
                self._since = loop.time()
                self._wait(loop)

    def takes_more(self) -> bool:
        """Return whether to buffer events that arrive although the buffer is full."""
        if self._state is _State.FULL:
            self._stop()
        return not self.is_stopped

    def roomy(self) -> None:
        """Note that the buffer has room again."""
        if self._state in (_State.FILLED, _State.FULL):
            self._state, self._had_room = _State.RUNNING, True
        elif self._state is _State.STOPPED:
            # Not now: the consumer is in a step, and the event that it takes is not noted yet.
            self._state = _State.CONTINUING
            asyncio.get_running_loop().call_soon(self._continue)

    def end(self) -> None:
        """Do nothing more: the operation is over."""
        self._state = _State.OVER
        self._stop_timer()
        self.unwatch()

    def watch(self, connection: Connection, id: str) -> None:
        """Notice the end of `connection`, although the operation `id` does not run on it."""
        self.unwatch()
        self._watch = Watch(self._feed, connection, id)

    def unwatch(self) -> None:
        """Watch no connection: the operation runs, or is over."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.end_watch()

    def _read(self) -> None:
        """Note that all is read that was there when the buffer became full."""
        if self._state is _State.FILLED:
            self._state = _State.FULL

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._had_room = False
        self._timer = loop.call_later(_PATIENCE, self._look)

    def _look(self) -> None:
        """Stop the operation if the consumer does not catch up."""
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._state is _State.FULL:
            if self._had_room and loop.time() < self._since + _MOST_PATIENCE:
                self._wait(loop)
            else:
                self._stop()

    def _stop(self) -> None:
        stream = self._feed.stream
        if stream is None or stream.over is not None or not stream.items:
            return
        if not self._can_resume_after(stream.items[-1]):
            return
        held = stream.buffered
        self._state = _State.STOPPED
        self._stop_timer()
        if not self._feed.halt():
            self._state = _State.FULL  # the next connection brings it events, and is stopped
            return
        self.count += 1
        stream.gate.release(stream)
        _logger.log(
            logging.INFO if self.count == 1 else logging.DEBUG,
            "%s: a subscription is stopped, because its consumer is too slow: its buffer is full "
            "with %d events; it continues when half of them are taken",
            self._feed.host,
            held,
        )

    def _can_resume_after(self, item: Item) -> bool:
        try:
            return self._is_position(item)
        except Exception:  # noqa: BLE001  # of the user's types; the step raises it that takes this
            return False

    def _continue(self) -> None:
        if self._state is _State.CONTINUING:
            self._state = _State.RUNNING
            self._feed.proceed()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Watch:
    """The sink of an operation that does not run on its connection for a while.

    It takes no results, and notices the end of the connection.
    """

    __slots__ = ("_connection", "_feed", "_id")

    def __init__(self, feed: Pausable, connection: Connection, id: str) -> None:
        self._feed = feed
        self._connection = connection
        self._id = id
        connection.routes.add(id, self)

    @property
    def unanswered(self) -> int:
        """0: the operation does not run."""
        return 0

    def put(self, payload: Raw) -> None:
        """Ignore a result, which comes again."""

    def end(self, failure: TransportError | None) -> None:
        """Ignore an end, which comes again."""

    def lost(self, failure: TransportError) -> None:
        """Report that the connection is lost."""
        self._feed.lost_in_pause(failure)

    def end_watch(self) -> None:
        """Leave the connection."""
        self._connection.routes.remove(self._id)
