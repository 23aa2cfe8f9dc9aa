"""The state of a session, and iterators over its changes. This module knows no connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Self
from weakref import WeakSet

from msgspec import Struct

from gqlwire import _loop
from gqlwire._clock import Moment
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
    """Keeps the state, and passes its changes to the iterators over them.

    `since`: when the state began, None before the first change. `due_at`: in state `waiting`, when
    the next attempt follows, by the loop's clock.
    """

    def __init__(self) -> None:
        self.state: Phase = Phase.CLOSED
        self.since: Moment | None = None
        self.due_at: float | None = None
        self._has_begun = False
        self._watchers: WeakSet[States] | None = None  # made late: 0.9 kB, and rarely needed

    def tell(self, change: Change) -> None:
        """Change the state, and pass the change to all iterators."""
        now = Moment.now()
        if change.state is not self.state or self.since is None:
            self.since = now
        self.state = change.state
        self.due_at = None if change.delay is None else now.loop + change.delay
        self._has_begun = True
        for watcher in self._watchers or ():
            watcher.tell(change)

    def watch(self, loop: asyncio.AbstractEventLoop | None = None) -> States:
        """Return an iterator over the changes from now on; it is empty if the session is over.

        `loop`: the event loop in which alone a task can wait; None means any.
        """
        watcher = States(is_over=self._has_begun and self.state is Phase.CLOSED, loop=loop)
        if self._watchers is None:
            self._watchers = WeakSet()
        self._watchers.add(watcher)
        return watcher


class States(AsyncIterator[Change]):
    """The changes of a session's state, in order; `session.states()` returns one.

    The iteration ends after `closed`. At most 1,000 changes wait to be taken; then the oldest is
    dropped. If several tasks iterate over one object, each change goes to one of them.
    """

    def __init__(
        self, *, is_over: bool = False, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._changes: deque[Change] = deque(maxlen=_MOST)
        self._arrival: asyncio.Future[None] | None = None
        self._is_over = is_over
        self._loop = loop

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
            _loop.check(self._loop)
            if self._arrival is None:
                self._arrival = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._arrival)  # other tasks may wait for it as well
        return self._changes.popleft()
