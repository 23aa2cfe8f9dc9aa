"""`merge`: the events of many subscriptions in one loop.

With a task per subscription, the event loop wakes up one task for each event. Here it wakes up one
task for all events that have arrived. This module knows no protocol and no socket.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from gqlwire._json import UNREADABLE
from gqlwire._operations.consumed import Consumed
from gqlwire._operations.subscription import Subscription
from gqlwire._operations.timed import within
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.ready import Line, Turn
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import EventStream

T = TypeVar("T")


class Merged(Consumed, AsyncIterator[tuple[Subscription[T], T]], Generic[T]):
    """The events of many subscriptions in one loop, as pairs `(subscription, event)`.

    `gqlwire.merge(subscriptions)` returns one. Events of one subscription keep their order, and
    the subscriptions take turns, one event each. Each subscription keeps its own buffer and
    overflow. While a step waits, at most one event per subscription is held outside its buffer.

    A step first starts the subscriptions that were added, one after the other. If a step of a
    subscription raises, the step of the merger raises the same; `current` is that subscription.
    A subscription that has ended leaves the merger, and the next step continues with the others.
    The iteration ends when all have ended; after `add` it can continue.

    All subscriptions end by `aclose()`, at the end of `async with`, and when the merger's task is
    cancelled: the task that iterates over it with `async for`, or else the one that both made it
    and took its first step. Cancelling a step ends nothing, and so does a time limit around it: no
    event is lost, and the next step continues. You can close one of the subscriptions; the merger
    then leaves it out. Dropping the last reference to the merger ends all that have started.
    """

    def __init__(self, subscriptions: Iterable[Subscription[T]] = ()) -> None:
        super().__init__()
        self.current: Subscription[T] | None = None
        # Those whose last event is not acknowledged yet, or that have ended. Plain ones need none.
        self._unsettled: deque[Subscription[T]] = deque()
        self._new: deque[Subscription[T]] = deque()
        self._held: dict[int, tuple[Subscription[T], EventStream]] = {}
        self._numbers = 0
        self._gates: Counter[ReadGate] = Counter()
        self._line = Line()
        for subscription in subscriptions:
            self.add(subscription)

    def __len__(self) -> int:
        """How many subscriptions have not ended, as far as the steps have seen."""
        return len(self._held) + len(self._new)

    def add(self, subscription: Subscription[T]) -> None:
        """Add a subscription. The next step starts it.

        Nothing else may iterate over it: if something does, a step raises RuntimeError, and the
        subscription leaves the merger.
        """
        subscription.handed_over()
        self._new.append(subscription)
        self._line.wake()

    def __aiter__(self) -> Self:
        self.iterated()
        return self

    async def __anext__(self) -> tuple[Subscription[T], T]:
        ready = self._line.ready
        try:
            while True:
                while self._unsettled or self._new or not ready:
                    await self._get_ready()
                turn = ready.popleft()
                subscription, stream = self._held[turn.number]
                self.current = subscription
                item, items = turn.item, stream.items
                # The fast path for the two usual cases, one event or several: what `_next` does,
                # without its calls.
                if (
                    item is not None
                    and items is None
                    and stream.over is None
                    and stream.timing is None
                ):
                    turn.item, turn.is_used = None, False
                elif item is None and items and len(items) > 1 and not stream.is_exact:
                    item = items.popleft()
                    ready.append(turn)
                elif (item := self._next(subscription, stream, turn)) is None:
                    continue
                try:
                    result = subscription.decode(item)
                    if not result.errors:
                        return subscription, result.data
                except UNREADABLE:
                    pass
                self._unsettled.append(subscription)
                for value in subscription.read(item):
                    return subscription, value
        except BaseException:  # its traceback has this frame, and must keep nothing alive
            self = subscription = None  # type: ignore[assignment]  # noqa: PLW0642
            raise

    def next(self, timeout: float | None = None) -> Coroutine[Any, Any, tuple[Subscription[T], T]]:
        """Take the next pair: `await merged.next(timeout=1)`.

        Raises OperationTimeout if there is none within `timeout` seconds (None: no limit); all
        subscriptions continue, and the next step gets their events. Otherwise it does what
        `anext()` does. Raises ValueError if `timeout` is not a number.
        """
        return within(timeout, self._host, self.__anext__)

    @property
    def _host(self) -> str:
        for subscription, _ in self._held.values():
            return subscription.host
        return self._new[0].host if self._new else ""

    async def _get_ready(self) -> None:
        """Acknowledge an event, start a new subscription, or wait until one is ready.

        Called until there is nothing of this to do. Raises StopAsyncIteration if all have ended.
        """
        try:
            if self._unsettled:
                self.current = self._unsettled[0]
                await self.current.settle()
                if self._unsettled:  # it was not closed by now
                    self._unsettled.popleft()
            elif self._new:
                await self._start()
            elif self._held:
                await self._arrival()
            else:
                raise StopAsyncIteration
        except asyncio.CancelledError:
            del self  # as in `__anext__`
            raise

    def _next(self, subscription: Subscription[T], stream: EventStream, turn: Turn) -> Item | None:
        """Return the event of `turn` and queue the subscription again; None if it has completed.

        Raises the failure of a subscription that failed.
        """
        item, turn.item = turn.item, None
        if item is None:
            item = stream.take()
        elif subscription.is_over:
            stream.forget()
            item = None
        if stream.items or (stream.over and item is not None):
            self._line.ready.append(turn)
        elif stream.over:
            self._leave(turn.number, stream)
            if subscription.has_checkpoint:
                self._unsettled.append(subscription)
            ending = subscription.ending()
            if not isinstance(ending, StopAsyncIteration):
                raise ending
        else:
            try:
                stream.line_up(turn)
            except RuntimeError:
                # Something else iterates over it by now. An event that was taken comes first.
                if item is None:
                    self._leave(turn.number, stream)
                    raise
                self._line.ready.append(turn)
        return item

    async def _start(self) -> None:
        # It stays in `_new` until it has started, so that `aclose` finds it, and that the next step
        # starts it if this one is cancelled.
        self._line.bind()
        subscription = self.current = self._new[0]
        if not self._numbers:
            self.begun()
        try:
            stream = await subscription.started()
        except StopAsyncIteration:
            self._forget_new(subscription)  # it was closed before it began
            return
        except Exception:  # whatever it raises, it does not start at the next step again
            self._forget_new(subscription)
            raise
        except asyncio.CancelledError:
            del self, subscription  # as in `__anext__`
            raise
        self._forget_new(subscription)
        self._numbers += 1
        turn = Turn(self._line, self._numbers)
        if stream.buffered or stream.over:
            self._line.ready.append(turn)
        else:
            stream.line_up(turn)
        self._held[self._numbers] = subscription, stream
        self._gates[stream.gate] += 1

    def _forget_new(self, subscription: Subscription[T]) -> None:
        with suppress(ValueError):
            self._new.remove(subscription)

    def _leave(self, number: int, stream: EventStream) -> None:
        del self._held[number]
        self._gates[stream.gate] -= 1
        if not self._gates[stream.gate]:
            del self._gates[stream.gate]

    async def _arrival(self) -> None:
        gates = [*self._gates]
        for gate in gates:
            gate.waiting += 1
            if gate.paused:
                gate.check()
        try:
            await self._line.wait()
        except (asyncio.CancelledError, GeneratorExit):
            self._put_back()
            del self  # as in `__anext__`
            raise
        finally:
            for gate in gates:
                gate.waiting -= 1

    def _put_back(self) -> None:
        """Put the events back that were passed to a step that was cancelled."""
        for turn in self._line.ready:
            item, turn.item = turn.item, None
            if item is not None:
                self._held[turn.number][0].put_back(item)

    async def aclose(self) -> None:
        """End all subscriptions, and tell the server immediately. Safe to call more than once.

        What was processed is saved in the checkpoints. Raises what they raise, after all have
        ended; an ExceptionGroup if several fail. Raises RuntimeError in another event loop than
        that of the steps.
        """
        if self._held:
            self._line.bind()
        unsettled = self._take_unsettled()
        await _all([each.finish for each in unsettled + self._stop()])

    def abandon(self) -> None:
        """Do what `aclose` does; called when the task was cancelled that consumes this."""
        for subscription in self._stop():
            subscription.abandon()

    def _stop(self) -> list[Subscription[T]]:
        """End all subscriptions, and return them."""
        self._put_back()
        subscriptions = [*(subscription for subscription, _ in self._held.values()), *self._new]
        self._held.clear()
        self._new.clear()
        self._gates.clear()
        for subscription in subscriptions:
            subscription.stop()
        # Last, because closing a subscription queues its turn.
        self._line.ready.clear()
        self._line.wake()
        return subscriptions

    def _take_unsettled(self) -> list[Subscription[T]]:
        unsettled = [*self._unsettled]
        self._unsettled.clear()
        return unsettled

    def __del__(self) -> None:
        for subscription, _ in self._held.values():
            subscription.abandon_from_anywhere()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        unsettled = self._take_unsettled()
        subscriptions = self._stop()
        if exc is None:
            ends = [*(each.settle for each in unsettled), *(each.finish for each in subscriptions)]
            await _all(ends)
        else:
            for each in unsettled + subscriptions:
                await each.finish(quietly=True)


async def _all(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Call and await each, whatever becomes of the others; raise what they raised."""
    failures: list[Exception] = []
    for call in calls:
        try:
            await call()
        except Exception as failure:  # noqa: BLE001  # the user's `save` may raise anything
            failures.append(failure)
    if len(failures) > 1:
        raise ExceptionGroup("the checkpoints of several subscriptions failed", failures)
    if failures:
        raise failures[0]


def merge(subscriptions: Iterable[Subscription[T]]) -> Merged[T]:
    """Return the events of many subscriptions in one loop, as pairs; see `Merged`.

    `async for subscription, event in gqlwire.merge(subscriptions)` costs a fraction of what one
    task per subscription costs.
    """
    return Merged(subscriptions)
