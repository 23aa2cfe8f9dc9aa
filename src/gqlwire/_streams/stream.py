"""Where the results of one operation wait for who asked for them.

What is queued is the payload as it arrived. A stream ends once, for one reason. This module knows
no socket, no protocol and no GraphQL.

What a full stream may do is said by `Overflow`; it never grows without bound and never loses
anything that is not counted. A `ReadGate` pauses the socket.
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


class EventStream:
    """The events of one operation, bounded, for one consumer.

    `dropped` counts the events that found no room. `over` is whether it has ended; what is buffered
    can still be taken. `owner` is told when it is full, and when its connection is lost.
    `on_waiting` is called when somebody begins to wait.
    """

    __slots__ = (
        "_arrival",
        "_arrived",
        "_buffer",
        "_failure",
        "_forgotten",
        "_held",
        "_marks",
        "_overflow",
        "_size",
        "_turn",
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
        # An empty deque has 0.6 kB; whoever waits for an event has none.
        self.items: deque[Item] | None = None
        self._arrived = 0
        self._forgotten = 0
        self._size = 0
        self.is_exact: bool = False
        # Who waits for the next event: a consumer of its own, or one of many streams.
        self._arrival: asyncio.Future[Item | None] | None = None
        self._turn: Turn | None = None
        self._held = False
        self.over: bool = False
        self._failure: Exception | None = None

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
        """How many events came, whatever became of them."""
        return self._arrived

    def put(self, payload: Item) -> None:
        """Take one event."""
        turn = self._turn
        if turn is None:
            arrival = self._arrival
            if arrival is not None and not arrival.done():
                # Whoever waits is handed it, without a queue.
                self._arrived += 1
                arrival.set_result(payload)
                return
        elif not turn.is_used:
            # As `Turn.come` does, without calls: it comes here for each event of many streams.
            turn.is_used = True
            turn.line.ready.append(turn)
            waiter = turn.line.waiter
            if waiter is not None:
                self._arrived += 1
                turn.item = payload
                if not waiter.done():
                    waiter.set_result(None)
                return
        self.put_all((payload,))

    def _hand(self, item: Item | None) -> bool:
        """Hand an event, or the end (None), to whoever waits; say whether somebody does."""
        turn, arrival = self._turn, self._arrival
        if turn is not None and not turn.is_used:
            return turn.come(item)
        if arrival is None or arrival.done():
            return False
        arrival.set_result(item)
        return True

    def put_all(self, items: Sequence[Item]) -> None:
        """Take events that came together."""
        if self.over or not items:
            return
        self._arrived += len(items)
        if (self._turn or self._arrival) is not None and self._hand(items[0]):
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
        """Be over: in good order, or by `failure`. Only the first end counts."""
        if self.over:
            return
        self.over = True
        self._failure = failure
        if self._held:
            # Nothing more comes for it, so there is nothing to hold back.
            self._held = False
            self.gate.release(self)
        self._hand(None)

    def lost(self, failure: TransportError) -> None:
        """Lose the connection that fed it: end by `failure`, unless its owner keeps it."""
        if self.owner is None or not self.owner.keeps(failure):
            self.end(failure)

    def seal(self, read: Callable[[Item], Raw | None]) -> None:
        """Make what is buffered readable without the connection that it came by.

        `read` returns the payload of an event, None if it turns out to be none. From one on that
        it raises TransportProtocolError for, all are dropped.
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
        """Put something between the events that is none, and that no overflow drops."""
        item = Raw(b"")
        self._marks = self._marks or {}
        self._marks[id(item)] = (item, notice)
        self._forgotten -= 1  # as it is no event, and is counted among those that are buffered
        if self._hand(item):
            return
        if not self.items:
            self.items = deque()
            self._size, self.is_exact = 0, False
        self.items.append(item)
        self._size += EVENT_OVERHEAD

    def notice(self, item: Item) -> object | None:
        """Return what was put there by `mark`, if that is what was taken."""
        found = self._marks.pop(id(item), None) if self._marks else None
        if found is None:
            return None
        self._forgotten += 1
        return found[1]

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for an event."""
        turn, arrival = self._turn, self._arrival
        if turn is not None:
            return not turn.is_used and turn.line.waiter is not None
        return arrival is not None and not arrival.done()

    @property
    def untaken(self) -> Item | None:
        """The event that was handed to who waits, as long as they have not run."""
        arrival = self._arrival
        if self._turn is not None:
            return self._turn.item
        is_handed = arrival is not None and arrival.done() and not arrival.cancelled()
        return arrival.result() if arrival is not None and is_handed else None

    def take(self) -> Item | None:
        """Return the next event if one is there: at once, and without a coroutine."""
        if not self.items:
            return None
        item = self.items.popleft()
        if self.is_exact:
            self.settle(item)
        return item

    def settle(self, item: Item) -> None:
        """Note that `item` was taken out of `items`: needed where the count `is_exact`."""
        self._size -= len(item) + EVENT_OVERHEAD
        if self._held:
            self._release_if_roomy()

    def take_back(self) -> None:
        """Buffer again what was handed to one who was cancelled before it could take it."""
        item = self.untaken
        if item is not None:
            if not self.items:
                self.items = deque()
                self._size, self.is_exact = 0, False
            self.items.appendleft(item)
            self._size += len(item) + EVENT_OVERHEAD

    def arrival(self) -> asyncio.Future[Item | None]:
        """Return the future of the next event, or of the end (None); then call `arrived`.

        Nothing must be buffered.
        """
        if self._arrival is not None or self._turn is not None:
            raise _taken()
        self.items = None
        arrival: asyncio.Future[Item | None] = asyncio.get_running_loop().create_future()
        self._arrival = arrival
        if self.on_waiting is not None:
            self.on_waiting()
        self.gate.awaited(+1)
        return arrival

    def arrived(self) -> None:
        """Note that nobody waits any more."""
        self._arrival = None
        self.gate.awaited(-1)

    def line_up(self, turn: Turn) -> None:
        """Let `turn` come with the next event, or the end. Nothing must be buffered."""
        if self._arrival is not None or (self._turn is not None and self._turn is not turn):
            raise _taken()
        self.items = None
        self._turn = turn
        turn.is_used = False
        if self.on_waiting is not None:
            self.on_waiting()

    def step_out(self) -> None:
        """Have a turn that nobody waits for come with nothing, so that it lines up anew."""
        if self._turn is not None and not self._turn.is_used:
            self._turn.come(None)

    def ending(self) -> Exception:
        """Return what to raise once all was taken: StopAsyncIteration, or the failure."""
        return StopAsyncIteration() if self._failure is None else replica(self._failure)

    def forget(self) -> None:
        """Note that an event that was on its way with a `Turn` will not be taken."""
        self._forgotten += 1

    def clear(self) -> None:
        """Forget what is buffered: nobody will take it."""
        self._forgotten += self.buffered
        self.items = self._marks = None
        self._size = 0
        self._release_if_roomy()

    def _put_each(self, items: Sequence[Item], waiting: deque[Item]) -> None:
        # `_size` has so far counted all that came since nothing waited; from now on it is exact,
        # until nothing waits again. To subtract each event that is taken would cost every
        # subscription what only a slow one needs.
        if not self.is_exact:
            self.is_exact = True
            self._size = size_of(waiting)
        else:
            self._size -= size_of(items)
        for place, item in enumerate(items):
            if self.over:
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
        # The bounds of `Buffer` come on top even of a tiny one: what one read of the socket
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
                f"the consumer is too slow: {held} events ({size} bytes) wait for it, and its "
                f"buffer has no room for more; see `buffer` and `overflow` of subscribe()",
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
        # Half empty before reading goes on: a pause and a resumption per event would cost more
        # than the events.
        roomy = self.buffered <= self._buffer.events // 2 and self._size <= self._buffer.size // 2
        if self._held and roomy:
            self._held = False
            self.gate.release(self)


def _taken() -> RuntimeError:
    return RuntimeError("this subscription is being iterated by another task already")
