"""An object that several tasks share: the first one makes it, the last one ends it.

This module knows no GraphQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from gqlwire import _loop
from gqlwire.errors import TransportAlreadyConnected, TransportClosed

T = TypeVar("T")


class Shared(Generic[T]):
    """Makes an object with `make`, unless there is one that `is_alive`, and ends it with `end`."""

    def __init__(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        end: Callable[[], Awaitable[None]],
        is_alive: Callable[[], bool],
    ) -> None:
        self._make = make
        self._end = end
        self._is_alive = is_alive
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()  # held while it is made, and while it is ended
        self._making: asyncio.Task[T] | None = None
        self._users = 0
        self._endings = 0

    async def enter(self) -> T:
        """Return the object; call `leave` once for each call of `enter`.

        Raises what `make` raises, TransportClosed if `end` is called while the object is made, and
        TransportAlreadyConnected if another event loop uses it. Cancelling a caller that waits for
        the object leaves it to the other callers; cancelling the last one ends it.
        """
        self._meet_loop()
        self._users += 1
        if self._making is None or (self._making.done() and not self._is_alive()):
            self._making = asyncio.get_running_loop().create_task(self._begin())
        making, endings = self._making, self._endings
        try:
            return await asyncio.shield(making)
        except BaseException:  # cancellation as well: after the last caller, nobody would end it
            if endings == self._endings:
                await self._abandon(making)
            if making.cancelled() and not _is_cancelled():
                raise TransportClosed("the client was closed while it was connecting") from None
            raise

    async def leave(self) -> None:
        """End the object if this was its last user. Raises what `end` raises."""
        if self._making is not None:
            _loop.check_open(self._loop)
        self._users -= 1
        if self._users <= 0:
            await self.end()

    async def end(self) -> None:
        """End the object, even if it still has users.

        Raises what `end` raises, and RuntimeError if it was made in another event loop, unless that
        one is closed.
        """
        if self._making is not None and not _loop.check_open(self._loop):
            self._meet_loop()
        making, self._making, self._users = self._making, None, 0
        self._endings += 1
        if making is not None:
            making.cancel()
        async with self._lock:
            await self._end()

    async def _begin(self) -> T:
        async with self._lock:
            return await self._make()

    async def _abandon(self, making: asyncio.Task[T]) -> None:
        self._users -= 1
        if making.done() and (making.cancelled() or making.exception() is not None):
            if self._making is making:
                self._making = None
        elif self._users == 0:
            await self.end()

    def _meet_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            is_elsewhere = self._loop is not None and not self._loop.is_closed()
            if is_elsewhere and self._users > 0:
                raise TransportAlreadyConnected(
                    "the transport is already connected, in another event loop"
                )
            self._loop, self._making, self._users = loop, None, 0
            self._lock = asyncio.Lock()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
