"""The handle of a running subscription: what `session.subscribe()` returns.

This module knows no protocol and no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from msgspec import Raw

from gqlwire._json import UNREADABLE
from gqlwire._operations.feed import Feed
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import EventStream

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Result(Protocol[T_co]):
    """A result that was decoded in one pass."""

    @property
    def data(self) -> T_co:
        """What was asked for."""
        ...

    @property
    def errors(self) -> object:
        """Falsy where there are none."""
        ...


class _Unread:
    data: Any = None
    errors = True


_UNREAD = _Unread()


def _unread(_: Item) -> Result[Any]:
    return _UNREAD


class Subscription(AsyncIterator[T], Generic[T]):
    """The results of one operation, to be taken with `async for`, once.

    The operation starts with the first step. It ends on the server when this ends: by `aclose()`,
    by leaving `async with`, by cancelling the task that waits for the next event, and when the
    last reference to it is dropped (as after a `break`). The server is told exactly once.

    A step raises what is wrong with that step's event (`TransportQueryError` for one that carries
    GraphQL errors), and the iteration can go on after it. What ends the subscription is raised
    once: `TransportQueryError` (refused by the server; has a `query_id`), `SlowConsumer`, or the
    connection's failure.
    """

    __slots__ = ("__weakref__", "_convert", "_feed", "decode", "stream")

    def __init__(
        self,
        feed: Feed,
        convert: Callable[[Raw], T],
        decode: Callable[[Item], Result[T]] | None = None,
    ) -> None:
        self._feed = feed
        self.stream: EventStream | None = None
        self._convert = convert
        # Decodes a plain result in one pass; raises one of UNREADABLE for all that `convert`
        # shall see instead, as it sees what carries errors.
        self.decode: Callable[[Item], Result[T]] = decode or _unread

    @property
    def id(self) -> str | None:
        """The operation's id on the wire; None before the first step."""
        return self._feed.id

    @property
    def delivered(self) -> int:
        """How many events were taken."""
        return self.stream.delivered if self.stream else 0

    @property
    def dropped(self) -> int:
        """How many events were dropped because the buffer was full."""
        return self.stream.dropped if self.stream else 0

    @property
    def buffered(self) -> int:
        """How many events wait to be taken."""
        return self.stream.buffered if self.stream else 0

    @property
    def buffered_size(self) -> int:
        """How many bytes the events occupy that wait to be taken."""
        return self.stream.buffered_size if self.stream else 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        # All in one coroutine, and without calls for an event that is buffered: each call would
        # cost as much as a quarter of the decoding.
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
                try:
                    handed = await arrival
                except asyncio.CancelledError:
                    stream.take_back()
                    self._feed.stop()
                    raise
                finally:
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

    def acknowledge(self) -> None:
        """Count the last event as dealt with: it is saved, if there is a `checkpoint`.

        Asking for the next one does that, too.
        """

    def batches(self, max_size: int = 100) -> Batches[T]:
        """Return its events in lists of what has arrived, to be taken with `async for`, instead.

        A list has 1 to `max_size` events, in order. A step waits only if nothing is there, and
        raises what a step of the subscription raises; the events before it come first, in a list
        of their own. Buffering, overflow and the end are those of the subscription.

        Raises ValueError if `max_size` is below 1.
        """
        return Batches(self, max_size)

    def take_into(self, batch: list[T], max_size: int) -> None:
        """Add what is there to `batch`, until it has `max_size` events; raise what a step raises.

        Never waits.
        """
        stream = self.stream
        while stream is not None and len(batch) < max_size:
            item = stream.take()
            if item is None:
                return
            batch.extend(self.values(item))

    def values(self, item: Item) -> tuple[T, ...]:
        """Decode an event; empty if it turns out to be none of this operation.

        Raises what is wrong with it.
        """
        try:
            result = self.decode(item)
            if not result.errors:
                return (result.data,)
        except UNREADABLE:
            pass
        return self.read(item)

    def read(self, item: Item) -> tuple[T, ...]:
        """Read an event the long way; empty if it turns out to be none of this operation."""
        payload = self._feed.payload(item)
        return () if payload is None else (self._convert(payload),)

    async def started(self) -> EventStream:
        """Start the operation, if it is not; return where its events wait.

        Raises what the first step would raise.
        """
        if self.stream is None:
            try:
                self.stream = await self._feed.start()
            except asyncio.CancelledError:
                self._feed.stop()
                raise
        return self.stream

    @property
    def is_over(self) -> bool:
        """Whether it was closed, or has raised its end."""
        return self._feed.is_over

    def ending(self) -> Exception:
        """Return what the step after the last event raises."""
        return StopAsyncIteration() if self.stream is None else self._feed.end(self.stream)

    async def aclose(self) -> None:
        """End it. The server is told at once; events under way are dropped. Twice is harmless."""
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

    def __del__(self) -> None:
        self._feed.stop_from_anywhere()


class Batches(AsyncIterator[list[T]], Generic[T]):
    """The results of one subscription in lists of what has arrived; see `Subscription.batches`."""

    def __init__(self, subscription: Subscription[T], max_size: int) -> None:
        if max_size < 1:
            raise ValueError(f"max_size is at least 1, not {max_size}")
        self._subscription = subscription
        self._max_size = max_size
        self._failure: Exception | None = None  # what the next step raises

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[T]:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        batch = [await anext(self._subscription)]
        try:
            self._subscription.take_into(batch, self._max_size)
        except Exception as fault:  # noqa: BLE001  # it is raised after the events before it
            self._failure = fault
        return batch
