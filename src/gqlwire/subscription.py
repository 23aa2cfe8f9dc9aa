"""The handle of a running subscription: what `session.subscribe()` returns.

This module knows no protocol and no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from msgspec import Raw

from gqlwire._operations import Feed

T = TypeVar("T")


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

    def __init__(self, feed: Feed, convert: Callable[[Raw], T]) -> None:
        self._feed = feed
        self._convert = convert

    @property
    def id(self) -> str | None:
        """The operation's id on the wire; None before the first step."""
        return self._feed.id

    @property
    def delivered(self) -> int:
        """How many events were taken."""
        return self._feed.stream.delivered if self._feed.stream else 0

    @property
    def dropped(self) -> int:
        """How many events were dropped because the buffer was full."""
        return self._feed.stream.dropped if self._feed.stream else 0

    @property
    def buffered(self) -> int:
        """How many events wait to be taken."""
        return self._feed.stream.buffered if self._feed.stream else 0

    @property
    def buffered_size(self) -> int:
        """How many bytes the events occupy that wait to be taken."""
        return self._feed.stream.buffered_size if self._feed.stream else 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return self._convert(await self._feed.get())
        except asyncio.CancelledError:
            self._feed.stop()
            raise

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
