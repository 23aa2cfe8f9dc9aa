"""The order in which one consumer takes the events of many streams.

This module knows no streams, sockets or GraphQL.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import final

from gqlwire import _loop
from gqlwire._streams.sink import Item


class Line:
    """A queue of the streams that have an event, each represented by its `Turn`.

    `waiter` is the future of the consumer, if it waits for the next turn.
    """

    __slots__ = ("_loop", "ready", "waiter")

    def __init__(self) -> None:
        self.ready: deque[Turn] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop; raise RuntimeError if it was another one before."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            _loop.check(self._loop)
            self._loop = loop
        return loop

    def wake(self) -> None:
        """Wake up the consumer if it waits."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until a turn arrives, or until `wake` is called.

        Raises RuntimeError if another task waits, or in another event loop.
        """
        if self.waiter is not None:
            raise RuntimeError("another task is already iterating this merger")
        self.waiter = self.bind().create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None


@final
class Turn:
    """The place of one stream in a `Line`; `number` identifies the stream.

    `is_used`: whether the turn is in the queue, or was taken. `item`: an event that the turn
    carries, or None. A turn has no reference to its subscription: otherwise the subscription could
    not be garbage-collected while its stream lives.
    """

    __slots__ = ("is_used", "item", "line", "number")

    def __init__(self, line: Line, number: int) -> None:
        self.line: Line = line
        self.number: int = number
        self.is_used: bool = True
        self.item: Item | None = None

    def come(self, item: Item | None) -> bool:
        """Enter the queue; return whether the turn carries `item`.

        The turn carries it if the consumer waits. Otherwise the caller keeps `item` in the buffer
        of the stream, where the limits of the buffer apply.
        """
        self.is_used = True
        self.line.ready.append(self)
        if self.line.waiter is None:
            return False
        self.item = item
        self.line.wake()
        return True
