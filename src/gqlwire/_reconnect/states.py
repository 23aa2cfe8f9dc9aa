"""The state of a connection that is kept alive, and who watches it. It knows no connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Self
from weakref import WeakSet

from msgspec import Struct

from gqlwire.errors import Phase, TransportError


class Change(Struct, frozen=True):
    """A change of `session.state`.

    `failure`: why, if something failed. `delay`: in state `waiting`, the seconds until the next
    attempt.
    """

    state: Phase
    failure: TransportError | None = None
    delay: float | None = None


_MOST = 1_000


class Changes:
    """Keeps the state, and tells those who iterate over its changes."""

    def __init__(self) -> None:
        self.state: Phase = Phase.CLOSED
        self._has_begun = False
        self._watchers: WeakSet[States] | None = None  # it has 0.9 kB; mostly nobody watches

    def tell(self, change: Change) -> None:
        """Be in another state."""
        self.state = change.state
        self._has_begun = True
        for watcher in self._watchers or ():
            watcher.tell(change)

    def watch(self) -> States:
        """Return the changes from now on; none if it is over."""
        watcher = States(is_over=self._has_begun and self.state is Phase.CLOSED)
        if self._watchers is None:
            self._watchers = WeakSet()
        self._watchers.add(watcher)
        return watcher


class States(AsyncIterator[Change]):
    """The changes of a session's state, in order; what `session.states()` returns.

    They end after `closed`. Who does not take them for long misses the oldest. Each reaches one of
    those who iterate over the same.
    """

    def __init__(self, *, is_over: bool = False) -> None:
        self._changes: deque[Change] = deque(maxlen=_MOST)
        self._arrival: asyncio.Future[None] | None = None
        self._is_over = is_over

    def tell(self, change: Change) -> None:
        """Add a change."""
        if self._is_over:
            return
        self._changes.append(change)
        self._is_over = change.state is Phase.CLOSED
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while not self._changes:
            if self._is_over:
                raise StopAsyncIteration
            if self._arrival is None:
                self._arrival = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._arrival)  # others may wait for it, too
        return self._changes.popleft()
