"""Calling what users gave us to call: whatever it raises is logged, and harms nothing.

This module knows no connection.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
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
        try:
            outcome = hook(event)
            if inspect.isawaitable(outcome):
                task = asyncio.ensure_future(_awaited(hook, outcome))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001  # a hook harms nothing
            # A CancelledError here is of something that the hook runs; nobody cancelled us.
            _log(hook, fault)

    async def close(self) -> None:
        """Cancel what still runs, and wait for its end."""
        # One of them may be who closes.
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _awaited(hook: Callable[..., object], outcome: Any) -> None:
    try:
        await outcome
    except Exception as fault:  # noqa: BLE001  # a hook harms nothing
        _log(hook, fault)


def _log(hook: Callable[..., object], fault: BaseException) -> None:
    name = getattr(hook, "__qualname__", repr(hook))
    _logger.error("%s raised; it is called all the same next time", name, exc_info=fault)


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
