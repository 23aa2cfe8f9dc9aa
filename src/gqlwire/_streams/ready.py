"""Whose turn it is, among many streams with one consumer.

This module knows no stream, no socket and no GraphQL.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import final

from gqlwire._streams.sink import Item


class Line:
    """The streams whose turn has come, by their `Turn`s. `waiter` is whoever waits for the next."""

    __slots__ = ("ready", "waiter")

    def __init__(self) -> None:
        self.ready: deque[Turn] = deque()
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake up whoever waits."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until a turn has come, or for `wake`."""
        if self.waiter is not None:
            raise RuntimeError("another task is already iterating this merger")
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None


@final
class Turn:
    """The place of one stream in a `Line`; `number` tells whose it is.

    `is_used` once its turn has come. `item` is an event that is on its way with it. It does not
    hold its subscription, which could not be collected then while its stream lives.
    """

    __slots__ = ("is_used", "item", "line", "number")

    def __init__(self, line: Line, number: int) -> None:
        self.line: Line = line
        self.number: int = number
        self.is_used: bool = True
        self.item: Item | None = None

    def come(self, item: Item | None) -> bool:
        """Be in turn; say whether `item` goes along.

        It does if somebody waits. If nobody does, it stays in the buffer of its stream, whose
        bounds it obeys.
        """
        self.is_used = True
        self.line.ready.append(self)
        if self.line.waiter is None:
            return False
        self.item = item
        self.line.wake()
        return True
