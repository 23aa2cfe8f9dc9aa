"""The events of one subscription, buffered for their consumer.

The buffer holds payloads as they arrived, not decoded. `Overflow` says what happens when it is
full; a stream never grows without limit, and counts the events that it drops. A stream ends once.
It pauses reading the socket through a `ReadGate`.

This module knows no sockets, protocols or GraphQL.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Raw

from gqlwire import _loop
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.buffer import (
    ALLOWANCE,
    EVENT_OVERHEAD,
    Buffer,
    Overflow,
    bounds,
    size_of,
)
from gqlwire._streams.ready import Turn
from gqlwire._streams.sink import Item, Owner, Timing
from gqlwire.errors import SlowConsumer, TransportError
from gqlwire.errors.reasons import replica


class Ending:
    """How a stream ended: with `failure`, or normally if that is None."""

    __slots__ = ("failure",)

    def __init__(self, failure: Exception | None) -> None:
        self.failure: Exception | None = failure


_GOOD = Ending(None)


class EventStream:
    """The bounded buffer between one operation and one consumer.

    - `over`: how the stream ended; None before. Buffered events can still be taken after the end.
    - `dropped`: how many events were dropped because the buffer was full.
    - `owner`: the operation; it is called when the stream is full, and when the connection is lost.
    - `timing`: what measures the waits of the consumer, or None.
    - `items`: the buffered events; None or empty if there are none.
    - `burst`: a list with the time when the last event arrived; see `ReadGate`.
    - `is_exact`: whether `_size` is the exact size of `items`. If it is, call `settle` for each
      event that is taken out of `items`.
    """

    __slots__ = (
        "_arrived",
        "_bounds",
        "_forgotten",
        "_held",
        "_marks",
        "_size",
        "_waiter",
        "burst",
        "dropped",
        "gate",
        "is_exact",
        "items",
        "over",
        "owner",
        "timing",
    )

    def __init__(self, gate: ReadGate, buffer: Buffer, overflow: Overflow) -> None:
        self.dropped: int = 0
        self.owner: Owner | None = None
        self.timing: Timing | None = None
        self._marks: dict[int, tuple[Raw, object]] | None = None
        self.gate: ReadGate = gate
        self._bounds = bounds(buffer, overflow)
        self.burst: list[float] | None = None
        # An empty deque takes 0.6 kB, so a stream whose consumer waits has none.
        self.items: deque[Item] | None = None
        self._arrived = 0
        self._forgotten = 0
        self._size = 0
        self.is_exact: bool = False
        # What waits for the next event: the future of the consumer, or the turn of this stream in
        # a merger.
        self._waiter: asyncio.Future[Item | None] | Turn | None = None
        self._held = False  # whether this stream asks the gate to stop reading
        self.over: Ending | None = None

    @property
    def unanswered(self) -> int:
        """The size of the request in bytes; 0 once there was an event."""
        return 0 if self._arrived or self.owner is None else len(self.owner.request)

    @property
    def delivered(self) -> int:
        """How many events were taken."""
        return self._arrived - self.dropped - self._forgotten - self.buffered

    @property
    def buffered(self) -> int:
        """How many events are buffered."""
        return len(self.items) if self.items else 0

    @property
    def buffered_size(self) -> int:
        """How many bytes the buffered events take in memory."""
        return size_of(self.items or ())

    @property
    def events(self) -> int:
        """How many events arrived, including dropped ones."""
        return self._arrived

    def put(self, payload: Item) -> None:
        """Pass one event to the consumer, or buffer it."""
        waiter = self._waiter
        if type(waiter) is Turn:
            if not waiter.is_used:
                # The same as `Turn.come`, but inline, because it runs for each event of a merger.
                line = waiter.line
                waiter.is_used = True
                line.ready.append(waiter)
                step = line.waiter
                if step is not None:
                    self._arrived += 1
                    self.burst = self.gate.burst
                    waiter.item = payload
                    if not step.done():
                        step.set_result(None)
                    return
        elif waiter is not None and not waiter.done():
            # The consumer waits, so the event does not pass through the buffer.
            self._arrived += 1
            self.burst = self.gate.burst
            waiter.set_result(payload)
            return
        # A Raw is a view of its message, and would keep all of it in memory, uncounted.
        self.put_all((payload.copy() if isinstance(payload, Raw) else payload,))

    def _hand(self, item: Item | None) -> bool:
        """Pass an event, or the end (None), to the consumer; return whether it waited."""
        waiter = self._waiter
        if isinstance(waiter, Turn):
            return not waiter.is_used and waiter.come(item)
        if waiter is None or waiter.done():
            return False
        waiter.set_result(item)
        return True

    def put_all(self, items: Sequence[Item]) -> None:
        """Pass events that arrived together to the consumer, or buffer them."""
        if self.over is not None or not items:
            return
        self._arrived += len(items)
        self.burst = self.gate.burst
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
        if self._size > self._bounds.size or len(waiting) + len(items) > self._bounds.events:
            self._put_each(items, waiting)
        else:
            waiting.extend(items)

    def end(self, failure: Exception | None) -> None:
        """End normally, or with `failure`; further calls do nothing."""
        if self.over is not None:
            return
        self.over = _GOOD if failure is None else Ending(failure)
        if self._held:
            # No more events will arrive, so reading need not stop.
            self._held = False
            self.gate.release(self)
        self._hand(None)

    def lost(self, failure: TransportError) -> None:
        """End with `failure` because the connection is lost, unless the owner keeps the stream."""
        if self.owner is None or not self.owner.keeps(failure):
            self.end(failure)

    def seal(self, read: Callable[[Item], Raw | None]) -> None:
        """Replace the buffered events by their payloads, as the connection is lost.

        `read` returns the payload of an event, or None if the message turns out not to be an event.
        """
        if not self.items:
            return
        waiting, self.items = self.items, deque()
        self.items.extend(payload for item in waiting if (payload := read(item)) is not None)
        self._forgotten += len(waiting) - len(self.items)
        self._size, self.is_exact = size_of(self.items), True
        self._release_if_roomy()

    def mark(self, notice: object) -> None:
        """Insert `notice` between the events; overflow never drops it."""
        item = Raw(b"")
        self._marks = self._marks or {}
        self._marks[id(item)] = (item, notice)
        self._forgotten -= 1  # `buffered` counts the notice, although it is not an event
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
        """The event that was passed to the consumer, but that the consumer has not taken yet."""
        waiter = self._waiter
        if isinstance(waiter, Turn):
            return waiter.item
        if waiter is None or not waiter.done() or waiter.cancelled():
            return None
        return waiter.result()

    def take(self) -> Item | None:
        """Return the next buffered event, or None."""
        if not self.items:
            return None
        item = self.items.popleft()
        if self.is_exact:
            self.settle(item)
        return item

    def settle(self, item: Item) -> None:
        """Note that `item` was taken out of `items`; call this if `is_exact`."""
        self._size -= len(item) + EVENT_OVERHEAD
        if self._held:
            self._release_if_roomy()

    def give_up(self, arrival: asyncio.Future[Item | None]) -> Item | None:
        """Note that the consumer no longer waits, because it was cancelled.

        Returns an event that was passed to it, but that it has not taken: `put_back` or `forget`
        it. Does nothing if the consumer does not wait for `arrival`.
        """
        if self._waiter is not arrival:
            return None
        item = self.untaken
        if item is None and self.timing is not None:
            self.timing.wait_is_cancelled()
        self.arrived()
        return item

    def put_back(self, item: Item) -> None:
        """Make an event that was passed to the consumer, but not taken, the next one again."""
        if not self.items:
            self.items = deque()
            self._size, self.is_exact = 0, False
        self.items.appendleft(item)
        self._size += len(item) + EVENT_OVERHEAD
        if self._bounds.overflow is Overflow.LATEST:  # a newer one may have arrived
            self._size, self.is_exact = size_of(self.items), True
            self._drop(self.items)

    def arrival(self) -> asyncio.Future[Item | None]:
        """Return a future for the next event, or for the end (None).

        Call it only if nothing is buffered. The consumer awaits the future, then calls `arrived`;
        if it is cancelled while it waits, `give_up`. Raises RuntimeError if another task already
        waits, or in another event loop.
        """
        loop = asyncio.get_running_loop()
        if loop is not self.gate.loop:
            _loop.check(self.gate.loop)
        if self._waiter is not None:
            raise _taken()
        self.items = None
        arrival: asyncio.Future[Item | None] = loop.create_future()
        self._waiter = arrival
        if self.timing is not None:
            self.timing.wait_begins()
        self.gate.waiting += 1
        if self.gate.paused:
            self.gate.check()
        return arrival

    def arrived(self) -> None:
        """Note that the consumer no longer waits."""
        self._waiter = None
        self.gate.waiting -= 1

    def line_up(self, turn: Turn) -> None:
        """Queue `turn` at the next event, or at the end. Call it only if nothing is buffered."""
        if self._waiter is not None and self._waiter is not turn:
            raise _taken()
        self.items = None
        self._waiter = turn
        turn.is_used = False
        if self.timing is not None:
            self.timing.wait_begins()

    def step_out(self) -> None:
        """Complete an idle turn without an event, so that the stream queues again."""
        if isinstance(self._waiter, Turn) and not self._waiter.is_used:
            self._waiter.come(None)

    def ending(self) -> Exception:
        """Return the exception to raise after the last event: StopAsyncIteration or the failure."""
        failure = None if self.over is None else self.over.failure
        return StopAsyncIteration() if failure is None else replica(failure)

    def forget(self) -> None:
        """Note that an event that was passed to the consumer will not be taken."""
        self._forgotten += 1

    def clear(self) -> None:
        """Discard the buffered events, which nobody will take."""
        self._forgotten += self.buffered
        self.items = self._marks = None
        self._size = 0
        self._release_if_roomy()

    def _put_each(self, items: Sequence[Item], waiting: deque[Item]) -> None:
        # Until now, `_size` counted all events since the buffer was last empty. From now on it is
        # exact, until the buffer is empty again. To subtract every event that is taken would slow
        # down all subscriptions, and only those with a slow consumer need it.
        if not self.is_exact:
            self.is_exact = True
            self._size = size_of(waiting)
        else:
            self._size -= size_of(items)
        if self._held and self._is_full(waiting) and not self._takes_more():
            self._arrived -= len(items)
            return
        for place, item in enumerate(items):
            if self.over is not None:
                self._arrived -= len(items) - place
                return
            waiting.append(item)
            self._size += len(item) + EVENT_OVERHEAD
            if self._is_full(waiting):
                self._on_full(waiting)

    def _takes_more(self) -> bool:
        return self.owner is None or self.owner.takes_more()

    def _is_full(self, waiting: deque[Item], aside: int = 0) -> bool:
        events = len(waiting) + aside - len(self._marks or ())
        return events > self._bounds.events or self._size > self._bounds.size

    def _on_full(self, waiting: deque[Item]) -> None:
        if self._bounds.overflow is Overflow.BLOCK:
            was_held, self._held = self._held, True
            self.gate.hold(self)
            if not was_held and self.owner is not None:
                self.owner.full()
            if self._is_twice_full(waiting):
                self._refuse(waiting)
        elif self._bounds.overflow is Overflow.ERROR:
            self._refuse(waiting)
        else:
            self._drop(waiting)

    def _is_twice_full(self, waiting: deque[Item]) -> bool:
        # Even a tiny buffer may exceed its limits by those of a default `Buffer`: one read of the
        # socket may bring many events, which is not the consumer's fault.
        return (
            len(waiting) > self._bounds.events + ALLOWANCE.events
            or self._size > self._bounds.size + ALLOWANCE.size
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
                f'see `buffer` and `overflow` of subscribe(). With resume= and overflow="block" '
                f"gqlwire stops the subscription for a while, and no event is lost",
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
        # Reading continues when the buffer is half empty, because to pause and resume for each
        # event would cost more than to handle the event.
        roomy = self.buffered <= self._bounds.events // 2 and self._size <= self._bounds.size // 2
        if self._held and roomy:
            self._held = False
            self.gate.release(self)
            if self.owner is not None:
                self.owner.roomy()


def _taken() -> RuntimeError:
    return RuntimeError("another task is already iterating this subscription")
