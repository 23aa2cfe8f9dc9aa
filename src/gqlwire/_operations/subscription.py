"""`Subscription`, which `session.subscribe()` returns, and `Batches` of it.

This module knows no protocol and no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from msgspec import Raw

from gqlwire import _loop
from gqlwire._json import UNREADABLE
from gqlwire._numbers import check_count
from gqlwire._operations.consumed import Consumed
from gqlwire._operations.feed import Feed
from gqlwire._operations.saving import NOTHING_TO_SAVE
from gqlwire._operations.timed import within
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import EventStream

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Result(Protocol[T_co]):
    """A result that was decoded in one pass."""

    @property
    def data(self) -> T_co:
        """The data, converted."""
        ...

    @property
    def errors(self) -> object:
        """The errors; falsy if there are none."""
        ...


class _Unread:
    data: Any = None
    errors = True


_UNREAD = _Unread()


def _unread(_: Item) -> Result[Any]:
    return _UNREAD


class Subscription(Consumed, AsyncIterator[T], Generic[T]):
    """The events of one operation. Take them with `async for`; you can iterate once.

    A *step* is one request for the next event: a turn of `async for`, `anext()`, or `next()`. The
    first step starts the operation on the server. gqlwire tells the server to stop, exactly once,
    when the subscription ends on this side: by `aclose()`, at the end of `async with`, when the
    last reference is dropped (as after a `break`), or when its task is cancelled.

    Cancelling a step ends nothing, and so does a time limit around it: no event is lost, and the
    next step continues. The subscription ends when its task has ended by a cancellation: the task
    that iterates over it with `async for`, or else the one that both called `subscribe()` and took
    the first step.

    A step raises if its event is faulty (TransportQueryError for an event with GraphQL errors,
    ResultMismatch for one that does not fit `result_type`); the next step continues. What ends the
    subscription is raised once: TransportQueryError with a `query_id` (the server refused it),
    SlowConsumer, OperationTimeout, or the final failure of the connection.
    """

    __slots__ = ("_convert", "_feed", "decode", "stream")

    def __init__(
        self,
        feed: Feed,
        convert: Callable[[Raw], T],
        decode: Callable[[Item], Result[T]] | None = None,
    ) -> None:
        super().__init__()
        self._feed = feed
        self.stream: EventStream | None = None
        self._convert = convert
        # Decodes a plain result in one pass. Raises one of UNREADABLE for any other result, which
        # goes to `convert`, as results with errors do.
        self.decode: Callable[[Item], Result[T]] = decode or _unread

    @property
    def id(self) -> str | None:
        """The operation's id on the wire; None before the first step."""
        return self._feed.id

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return self._feed.host

    @property
    def delivered(self) -> int:
        """How many events you have taken."""
        return self.stream.delivered if self.stream else 0

    @property
    def dropped(self) -> int:
        """How many events were dropped because the buffer was full."""
        return self.stream.dropped if self.stream else 0

    @property
    def duplicates(self) -> int:
        """How many events were not delivered because they had come before (see `key`)."""
        return self._feed.duplicates

    @property
    def pauses(self) -> int:
        """How often the server was told to stop because the buffer was full (see `resume`)."""
        return self._feed.pauses

    @property
    def buffered(self) -> int:
        """How many events wait to be taken."""
        return self.stream.buffered if self.stream else 0

    @property
    def buffered_size(self) -> int:
        """How many bytes of memory the events occupy that wait to be taken."""
        return self.stream.buffered_size if self.stream else 0

    def __aiter__(self) -> Self:
        self.iterated()
        return self

    async def __anext__(self) -> T:
        # All in one coroutine, without calls for a buffered event: each call would cost a quarter
        # of the decoding.
        arrival = None
        try:
            while True:
                stream = self.stream or await self.started()
                if stream.items:
                    item = stream.items.popleft()
                    if stream.is_exact:
                        stream.settle(item)
                elif stream.over:
                    raise self.ending()
                else:
                    arrival = stream.arrival()
                    handed = await arrival
                    stream.arrived()
                    if handed is None:
                        continue
                    item = handed
                try:
                    result = self.decode(item)
                    if not result.errors:
                        return result.data
                except UNREADABLE:
                    pass
                for value in self.read(item):
                    return value
        except BaseException:  # a cancellation as well, or that the coroutine was closed
            self._give_up(arrival)
            del self  # the traceback has this frame, and must not keep the subscription alive
            raise

    def _give_up(self, arrival: asyncio.Future[Item | None] | None) -> None:
        if self.stream is not None and arrival is not None:
            item = self.stream.give_up(arrival)
            if item is not None:
                self.put_back(item)

    def put_back(self, item: Item) -> None:
        """Make an event that was passed to a cancelled step the next one again."""
        if self.stream is not None:
            # Only its own connection can read it. If that is lost, the feed has read it.
            payload = self._feed.payload(item) if self._feed.is_lost else item
            if payload is None or self.is_over:
                self.stream.forget()
            else:
                self.stream.put_back(payload)

    def next(self, timeout: float | None = None) -> Coroutine[Any, Any, T]:
        """Take the next event: `await events.next(timeout=1)`.

        Raises OperationTimeout if there is none within `timeout` seconds (None: no limit); the
        subscription continues, and the next step gets the event. Otherwise it does what `anext()`
        does, and raises StopAsyncIteration after the last event. Raises ValueError if `timeout` is
        not a number.
        """
        return within(timeout, self.host, self.__anext__)

    def acknowledge(self) -> Awaitable[None]:
        """Count the last event as processed, and save it in the `checkpoint`, if there is one.

        It is saved now, whatever `checkpoint_every` says; after an error, it is saved again. Taking
        the next event does this as well. With `await` it returns when the event is saved, and
        raises what `save` raises; cancelling does not stop the save. Without `await`, a `save` that
        is a coroutine function runs in the background; if it fails, the error is logged, and the
        next step saves again.
        """
        return NOTHING_TO_SAVE

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to save."""
        return False

    def settle(self) -> Awaitable[None]:
        """Count the last event as processed, and save it if that is due; a merger calls this."""
        return NOTHING_TO_SAVE

    def finish(self, *, quietly: bool = False) -> Awaitable[None]:
        """Save what was processed, as nothing more will come; a merger calls this.

        `quietly`: whether a failure is logged, and not raised.
        """
        del quietly
        return NOTHING_TO_SAVE

    def stop(self) -> None:
        """End the subscription: tell the server immediately, and save nothing."""
        self._feed.stop()

    def batches(self, max_size: int = 100) -> Batches[T]:
        """Return an iterator over lists of the events that have arrived.

        Use it with `async for`, in place of iterating over the subscription. A list has 1 to
        `max_size` events, in order. A step waits only if no event is there. It raises what a step
        of the subscription raises; the events before that come first, in a list of their own.
        Buffer and overflow are those of the subscription.

        Raises ValueError if `max_size` is below 1.
        """
        return Batches(self, max_size)

    def take_into(self, batch: list[T], max_size: int) -> None:
        """Add the events that are there to `batch`, until it has `max_size`, without waiting.

        Raises what a step raises.
        """
        stream = self.stream
        while stream is not None and len(batch) < max_size:
            item = stream.take()
            if item is None:
                return
            batch.extend(self.values(item))

    def values(self, item: Item) -> tuple[T, ...]:
        """Decode an event; empty if it turns out not to be of this operation.

        Raises what a step raises for a faulty event.
        """
        try:
            result = self.decode(item)
            if not result.errors:
                return (result.data,)
        except UNREADABLE:
            pass
        return self.read(item)

    def read(self, item: Item) -> tuple[T, ...]:
        """Decode an event on the slow path; empty if it turns out not to be of this operation."""
        payload = self._feed.payload(item)
        return () if payload is None else (self._convert(payload),)

    async def started(self) -> EventStream:
        """Start the operation, if it has not started; return the stream of its events.

        Raises what the first step would raise.
        """
        if self.stream is None:
            self.begun()
            try:
                self.stream = await self._feed.start()
            except asyncio.CancelledError:
                del self  # as in `__anext__`
                raise
        else:
            _loop.check(self.stream.gate.loop)
        return self.stream

    @property
    def is_over(self) -> bool:
        """Whether the subscription was closed, or has raised its end."""
        return self._feed.is_over

    def ending(self) -> Exception:
        """Return what the step after the last event raises."""
        return StopAsyncIteration() if self.stream is None else self._feed.end(self.stream)

    async def aclose(self) -> None:
        """End the subscription: tell the server immediately, and drop buffered events.

        It is safe to call it more than once.
        """
        self._feed.stop()

    def abandon(self) -> None:
        """Do what `aclose` does; called when the task was cancelled that consumes this."""
        self._feed.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._feed.stop()

    def abandon_from_anywhere(self) -> None:
        """Do what `abandon` does, from a finalizer: in any thread, at any moment."""
        self._feed.stop_from_anywhere()

    def __del__(self) -> None:
        self.abandon_from_anywhere()


class Batches(AsyncIterator[list[T]], Generic[T]):
    """The events of one subscription in lists; see `Subscription.batches`.

    Cancelling a step ends nothing, as for the subscription. `async for` over the lists counts as
    one over the subscription.
    """

    def __init__(self, subscription: Subscription[T], max_size: int) -> None:
        check_count("max_size", max_size)
        self._subscription = subscription
        self._max_size = max_size
        self._failure: Exception | None = None  # what the next step raises

    def __aiter__(self) -> Self:
        self._subscription.iterated()
        return self

    async def __anext__(self) -> list[T]:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        try:
            batch = [await anext(self._subscription)]
        except asyncio.CancelledError:
            del self  # as in the step of the subscription
            raise
        try:
            self._subscription.take_into(batch, self._max_size)
        except Exception as fault:  # noqa: BLE001  # it is raised after the events before it
            self._failure = fault
        return batch

    def next(self, timeout: float | None = None) -> Coroutine[Any, Any, list[T]]:
        """Take the next list, within `timeout` seconds; see `Subscription.next`."""
        return within(timeout, self._subscription.host, self.__anext__)
