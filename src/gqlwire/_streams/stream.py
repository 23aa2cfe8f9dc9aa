"""Where the results of one operation wait for their consumer.

The queue holds payloads as they arrived. A stream ends once, for one reason. `Overflow` says what
happens when it is full: it never grows without bound, and counts whatever it drops. A `ReadGate`
pauses the socket.

This module knows no socket, no protocol and no GraphQL.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec import Raw

from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.buffer import ALLOWANCE, EVENT_OVERHEAD, Buffer, Overflow, size_of
from gqlwire._streams.ready import Turn
from gqlwire._streams.sink import Item, Owner
from gqlwire.errors import SlowConsumer, TransportError, TransportProtocolError
from gqlwire.errors.reasons import replica


class Ending:
    """How a stream ended: by `failure`, or well if that is None."""

    __slots__ = ("failure",)

    def __init__(self, failure: Exception | None) -> None:
        self.failure: Exception | None = failure


_GOOD = Ending(None)


class EventStream:
    """The events of one operation, bounded, for one consumer.

    `over`: how it ended; None as long as it has not. Buffered events can be taken after the end.
    `dropped`: how many events found no room. `owner`: the operation; it is called when the stream
    is full, and when the connection is lost. `on_waiting` is called when a consumer begins to wait.

    `items`: the buffered events; None if there are none. `is_exact`: whether `_size` is their size
    at the moment, so that `settle` has to be called for each that is taken out of `items`.
    """

    __slots__ = (
        "_arrived",
        "_buffer",
        "_forgotten",
        "_held",
        "_marks",
        "_overflow",
        "_size",
        "_waiter",
        "dropped",
        "gate",
        "is_exact",
        "items",
        "on_waiting",
        "over",
        "owner",
    )

    def __init__(self, gate: ReadGate, buffer: Buffer, overflow: Overflow) -> None:
        self.dropped: int = 0
        self.owner: Owner | None = None
        self.on_waiting: Callable[[], None] | None = None
        self._marks: dict[int, tuple[Raw, object]] | None = None
        self.gate: ReadGate = gate
        self._buffer = Buffer(1, buffer.size) if overflow is Overflow.LATEST else buffer
        self._overflow = overflow
        # An empty deque has 0.6 kB; a stream whose consumer waits has none.
        self.items: deque[Item] | None = None
        self._arrived = 0
        self._forgotten = 0
        self._size = 0
        self.is_exact: bool = False
        # What waits for the next event: the future of a consumer, or the turn of this stream in
        # the line of a merger.
        self._waiter: asyncio.Future[Item | None] | Turn | None = None
        self._held = False  # whether it keeps the gate from reading
        self.over: Ending | None = None

    @property
    def delivered(self) -> int:
        """How many events were taken."""
        return self._arrived - self.dropped - self._forgotten - self.buffered

    @property
    def buffered(self) -> int:
        """How many events wait to be taken."""
        return len(self.items) if self.items else 0

    @property
    def buffered_size(self) -> int:
        """How many bytes they occupy."""
        return size_of(self.items or ())

    @property
    def events(self) -> int:
        """How many events arrived, those that were dropped included."""
        return self._arrived

    def put(self, payload: Item) -> None:
        """Take one event."""
        waiter = self._waiter
        if type(waiter) is Turn:
            if not waiter.is_used:
                # As `Turn.come` does, without calls: this runs for each event of many streams.
                line = waiter.line
                waiter.is_used = True
                line.ready.append(waiter)
                step = line.waiter
                if step is not None:
                    self._arrived += 1
                    waiter.item = payload
                    if not step.done():
                        step.set_result(None)
                    return
        elif waiter is not None and not waiter.done():
            # Straight to the consumer, without the queue.
            self._arrived += 1
            waiter.set_result(payload)
            return
        self.put_all((payload,))

    def _hand(self, item: Item | None) -> bool:
        """Hand an event, or the end (None), to the consumer; return whether one waits."""
        waiter = self._waiter
        if isinstance(waiter, Turn):
            return not waiter.is_used and waiter.come(item)
        if waiter is None or waiter.done():
            return False
        waiter.set_result(item)
        return True

    def put_all(self, items: Sequence[Item]) -> None:
        """Take events that arrived together."""
        if self.over is not None or not items:
            return
        self._arrived += len(items)
        if self._waiter is not None and self._hand(items[0]):
            items = items[1:]
            if not items:
                return
        waiting = self.items
        if not waiting:
            if waiting is None:
                waiting = self.items = deque()
            self._size, self.is_exact = 0, False
        self._size += size_of(items)
        if self._size > self._buffer.size or len(waiting) + len(items) > self._buffer.events:
            self._put_each(items, waiting)
        else:
            waiting.extend(items)

    def end(self, failure: Exception | None) -> None:
        """End well, or by `failure`. Only the first end counts."""
        if self.over is not None:
            return
        self.over = _GOOD if failure is None else Ending(failure)
        if self._held:
            # No more events will arrive, so there is nothing to hold back.
            self._held = False
            self.gate.release(self)
        self._hand(None)

    def lost(self, failure: TransportError) -> None:
        """End by `failure`, as the connection is lost, unless the owner keeps the stream."""
        if self.owner is None or not self.owner.keeps(failure):
            self.end(failure)

    def seal(self, read: Callable[[Item], Raw | None]) -> None:
        """Make the buffered events readable without the connection that they came by.

        `read` returns the payload of an event, or None if it turns out to be none. If it raises
        TransportProtocolError, that event and all after it are forgotten.
        """
        if not self.items:
            return
        waiting, self.items = self.items, deque()
        with suppress(TransportProtocolError):
            self.items.extend(payload for item in waiting if (payload := read(item)) is not None)
        self._forgotten += len(waiting) - len(self.items)
        self._size, self.is_exact = size_of(self.items), True
        self._release_if_roomy()

    def mark(self, notice: object) -> None:
        """Insert `notice` between the events; no overflow drops it."""
        item = Raw(b"")
        self._marks = self._marks or {}
        self._marks[id(item)] = (item, notice)
        self._forgotten -= 1  # it is no event, but `buffered` counts it
        if self._hand(item):
            return
        if not self.items:
            self.items = deque()
            self._size, self.is_exact = 0, False
        self.items.append(item)
        self._size += EVENT_OVERHEAD

    def notice(self, item: Item) -> object | None:
        """Return the notice if `item` is one that `mark` inserted, else None."""
        found = self._marks.pop(id(item), None) if self._marks else None
        if found is None:
            return None
        self._forgotten += 1
        return found[1]

    @property
    def is_awaited(self) -> bool:
        """Whether a consumer waits for an event."""
        waiter = self._waiter
        if isinstance(waiter, Turn):
            return not waiter.is_used and waiter.line.waiter is not None
        return waiter is not None and not waiter.done()

    @property
    def untaken(self) -> Item | None:
        """The event that was handed to a consumer who has not run since."""
        waiter = self._waiter
        if isinstance(waiter, Turn):
            return waiter.item
        if waiter is None or not waiter.done() or waiter.cancelled():
            return None
        return waiter.result()

    def take(self) -> Item | None:
        """Return the next event if one is buffered, else None."""
        if not self.items:
            return None
        item = self.items.popleft()
        if self.is_exact:
            self.settle(item)
        return item

    def settle(self, item: Item) -> None:
        """Note that `item` was taken out of `items`; to be called if `is_exact`."""
        self._size -= len(item) + EVENT_OVERHEAD
        if self._held:
            self._release_if_roomy()

    def take_back(self) -> None:
        """Buffer an event again that was handed to a consumer who was cancelled before it ran."""
        item = self.untaken
        if item is not None:
            if not self.items:
                self.items = deque()
                self._size, self.is_exact = 0, False
            self.items.appendleft(item)
            self._size += len(item) + EVENT_OVERHEAD

    def arrival(self) -> asyncio.Future[Item | None]:
        """Return the future of the next event, or of the end (None). Await it, call `arrived`.

        Nothing may be buffered. A consumer that is cancelled meanwhile calls `take_back` first.
        """
        if self._waiter is not None:
            raise _taken()
        self.items = None
        arrival: asyncio.Future[Item | None] = asyncio.get_running_loop().create_future()
        self._waiter = arrival
        if self.on_waiting is not None:
            self.on_waiting()
        self.gate.waiting += 1
        if self.gate.paused:
            self.gate.check()
        return arrival

    def arrived(self) -> None:
        """Note that the consumer no longer waits."""
        self._waiter = None
        self.gate.waiting -= 1

    def line_up(self, turn: Turn) -> None:
        """Let `turn` come with the next event, or the end. Nothing may be buffered."""
        if self._waiter is not None and self._waiter is not turn:
            raise _taken()
        self.items = None
        self._waiter = turn
        turn.is_used = False
        if self.on_waiting is not None:
            self.on_waiting()

    def step_out(self) -> None:
        """Complete a turn that no consumer waits for, so that the stream lines up again."""
        if isinstance(self._waiter, Turn) and not self._waiter.is_used:
            self._waiter.come(None)

    def ending(self) -> Exception:
        """Return what to raise after the last event: StopAsyncIteration, or the failure."""
        failure = None if self.over is None else self.over.failure
        return StopAsyncIteration() if failure is None else replica(failure)

    def forget(self) -> None:
        """Note that an event that a `Turn` carries will not be taken."""
        self._forgotten += 1

    def clear(self) -> None:
        """Forget the buffered events: nobody will take them."""
        self._forgotten += self.buffered
        self.items = self._marks = None
        self._size = 0
        self._release_if_roomy()

    def _put_each(self, items: Sequence[Item], waiting: deque[Item]) -> None:
        # So far `_size` counted all that arrived since the buffer was empty; from now on it is
        # exact, until the buffer is empty again. Subtracting each event that is taken would cost
        # every subscription what only a slow one needs.
        if not self.is_exact:
            self.is_exact = True
            self._size = size_of(waiting)
        else:
            self._size -= size_of(items)
        for place, item in enumerate(items):
            if self.over is not None:
                self._arrived -= len(items) - place
                return
            waiting.append(item)
            self._size += len(item) + EVENT_OVERHEAD
            if self._is_full(waiting):
                self._on_full(waiting)

    def _is_full(self, waiting: deque[Item], aside: int = 0) -> bool:
        events = len(waiting) + aside - len(self._marks or ())
        return events > self._buffer.events or self._size > self._buffer.size

    def _on_full(self, waiting: deque[Item]) -> None:
        if self._overflow is Overflow.BLOCK:
            self._held = True
            self.gate.hold(self)
            if self._is_twice_full(waiting):
                self._refuse(waiting)
        elif self._overflow is Overflow.ERROR:
            self._refuse(waiting)
        else:
            self._drop(waiting)

    def _is_twice_full(self, waiting: deque[Item]) -> bool:
        # Even a tiny buffer gets the default bounds on top: how much one read of the socket
        # brings is not the consumer's fault.
        return (
            len(waiting) > self._buffer.events + ALLOWANCE.events
            or self._size > self._buffer.size + ALLOWANCE.size
        )

    def _refuse(self, waiting: deque[Item]) -> None:
        if len(waiting) == 1:
            return
        newest = waiting.pop()
        self._size -= len(newest) + EVENT_OVERHEAD
        self.dropped += 1
        if self.owner is not None:
            self.owner.overrun()
        held, size = len(waiting), self._size
        self.end(
            SlowConsumer(
                f"the consumer is too slow: its buffer is full with {held} events ({size} bytes); "
                f"see `buffer` and `overflow` of subscribe()",
                events=held,
                size=size,
            )
        )

    def _drop(self, waiting: deque[Item]) -> None:
        marks: list[Item] = []
        while len(waiting) > 1 and self._is_full(waiting, len(marks)):
            oldest = waiting.popleft()
            if self._marks and id(oldest) in self._marks:
                marks.append(oldest)
                continue
            self._size -= len(oldest) + EVENT_OVERHEAD
            self.dropped += 1
        waiting.extendleft(reversed(marks))

    def _release_if_roomy(self) -> None:
        # Reading continues when the buffer is half empty: a pause and a resumption for each event
        # would cost more than the events.
        roomy = self.buffered <= self._buffer.events // 2 and self._size <= self._buffer.size // 2
        if self._held and roomy:
            self._held = False
            self.gate.release(self)


def _taken() -> RuntimeError:
    return RuntimeError("another task is already iterating this subscription")
