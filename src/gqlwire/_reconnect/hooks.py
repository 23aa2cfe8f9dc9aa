"""Calling what users gave us to call: whatever it raises is logged, and harms nothing.

This module knows no connection.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from msgspec import Struct

from gqlwire._operations.options import Reconnected
from gqlwire.errors import TransportError
from gqlwire.retry import Attempt

_logger = logging.getLogger("gqlwire")

T = TypeVar("T")


class Caller:
    """Calls hooks, and owns the tasks of those that are coroutine functions."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def call(self, hook: Callable[[T], object] | None, event: T) -> None:
        """Call `hook` with `event`, now; a coroutine runs by itself."""
        if hook is None:
            return
        # A cancellation that it lets out here is of something of its own.
        with Logged(hook, Exception, asyncio.CancelledError):
            outcome = hook(event)
            if inspect.isawaitable(outcome):
                task = asyncio.ensure_future(_awaited(hook, outcome))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what still runs, and wait for its end."""
        # One of them may be who closes.
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _awaited(hook: Callable[..., object], outcome: Any) -> None:
    with Logged(hook, Exception):
        await outcome


class Logged:
    """A context that logs what `hook` raises in it, if that is of these `kinds`."""

    def __init__(self, hook: Callable[..., object], *kinds: type[BaseException]) -> None:
        self._hook = hook
        self._kinds = kinds

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if exc is None or not isinstance(exc, self._kinds):
            return False
        name = getattr(self._hook, "__qualname__", repr(self._hook))
        _logger.error("%s raised; it is called all the same next time", name, exc_info=exc)
        return True


class Connected(Struct, frozen=True):
    """A connection was acknowledged. `ack_payload`: what the server said with it.

    `was_retry`: whether there was a connection, or an attempt, before.
    """

    ack_payload: Any
    was_retry: bool


class Disconnected(Struct, frozen=True):
    """A connection, or an attempt to connect, came to its end.

    `will_retry`: whether another attempt follows, after `delay` seconds; `why`: if none does, the
    rule that says so.
    """

    failure: TransportError
    will_retry: bool
    delay: float
    why: str = ""


class Hooks(Struct):
    """Functions that are called when something happens to the connection.

    Each may be a coroutine function, too, which runs by itself. One that raises is logged, and
    harms nothing.

    `connecting`: before each attempt. `connected`: after each acknowledgement. `disconnected`:
    after the end of each. `reconnected`: after `connected`, if a connection was lost before.
    """

    connecting: Callable[[Attempt], object] | None = None
    connected: Callable[[Connected], object] | None = None
    disconnected: Callable[[Disconnected], object] | None = None
    reconnected: Callable[[Reconnected], object] | None = None
