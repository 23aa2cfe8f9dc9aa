"""The tasks in which functions of the user run, and how they end.

Such a function may swallow its cancellation, or take long to clean up. Nothing of gqlwire hangs on
that: after a time limit gqlwire no longer waits for it, and nothing looks at its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from gqlwire._log import logger
from gqlwire.errors.text import counted, seconds

UserTask = asyncio.Future[Any]

# The loop has only weak references to tasks. Without this, a task that nobody waits for could be
# collected while it runs, which asyncio logs as an error.
_abandoned: set[UserTask] = set()


def cancel(tasks: Collection[UserTask]) -> set[UserTask]:
    """Cancel those that were not cancelled before, but not the current task; return all others.

    A second cancellation would interrupt their cleaning up.
    """
    others = set(tasks) - {asyncio.current_task()}
    for task in others:
        if not (isinstance(task, asyncio.Task) and task.cancelling()):
            task.cancel()
    return others


def abandon(task: UserTask) -> None:
    """Cancel `task`, and do not wait for its end."""
    task.cancel()
    if not task.done():
        _abandoned.add(task)
        task.add_done_callback(_forget)


async def cancel_and_wait(tasks: Collection[UserTask], limit: float | None) -> None:
    """Cancel the hooks `tasks`, and wait `limit` seconds at most until they have ended.

    Those that have not are cancelled again, and gqlwire no longer waits for them.
    """
    others = cancel(tasks)
    if not others:
        return
    _, late = await asyncio.wait(others, timeout=limit)
    for task in late:
        abandon(task)
    if late:
        logger.warning(
            "%s did not end within %s (close_timeout) after being cancelled; gqlwire does not wait "
            "any longer",
            counted(len(late), "hook"),
            seconds(limit or 0.0),
        )


def _forget(task: UserTask) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # otherwise asyncio would log that nobody asked for it
