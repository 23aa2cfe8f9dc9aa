"""The tasks in which functions of the user run, and how they end.

Such a function may swallow its cancellation, or take long to clean up. Nothing of gqlwire hangs on
that: after a time limit it is left behind, and nothing looks at its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from gqlwire._log import logger
from gqlwire.errors.text import counted, seconds

Guest = asyncio.Future[Any]

# The loop has only weak references to tasks. Without this, a task that nobody waits for could be
# collected while it runs, which asyncio logs as an error.
_left_behind: set[Guest] = set()


def cancel(guests: Collection[Guest]) -> set[Guest]:
    """Cancel those that were not cancelled before, but not the current task; return all others.

    A second cancellation would interrupt their cleaning up.
    """
    others = set(guests) - {asyncio.current_task()}
    for guest in others:
        if not (isinstance(guest, asyncio.Task) and guest.cancelling()):
            guest.cancel()
    return others


def leave_behind(guest: Guest) -> None:
    """Cancel `guest`, and do not wait for its end."""
    guest.cancel()
    if not guest.done():
        _left_behind.add(guest)
        guest.add_done_callback(_forget)


async def dismiss(guests: Collection[Guest], limit: float | None) -> None:
    """Cancel the hooks `guests`, and wait `limit` seconds at most until they have ended.

    Those that have not are cancelled again, and left behind.
    """
    others = cancel(guests)
    if not others:
        return
    _, late = await asyncio.wait(others, timeout=limit)
    for guest in late:
        leave_behind(guest)
    if late:
        logger.warning(
            "%s did not end within %s (close_timeout) after being cancelled; gqlwire does not wait "
            "any longer",
            counted(len(late), "hook"),
            seconds(limit or 0.0),
        )


def _forget(guest: Guest) -> None:
    _left_behind.discard(guest)
    if not guest.cancelled():
        guest.exception()  # otherwise asyncio would log that nobody asked for it
