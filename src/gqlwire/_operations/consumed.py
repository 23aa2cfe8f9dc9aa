"""Ends what a task consumes when that task is cancelled.

A step cannot tell whether its task is cancelled or only a time limit around the step is over: a
time limit cancels the task as well, and takes that back afterwards. So whether a task was cancelled
is judged when it is done. This module knows no operation.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

_Task = asyncio.Task[Any]

_SOME = 64
"""After so many further things of one task, those that are gone are forgotten."""


class Consumed:
    """Something that a task consumes, and that ends when this task is cancelled.

    The task is the one that iterates over it with `async for`, or else the one that both made it
    and took its first step. What is there has no reference to the task, nor the task to it.
    """

    __slots__ = ("__weakref__", "_kept_by", "_task")

    def __init__(self) -> None:
        task = _current_task()
        self._task: weakref.ref[_Task] | None = None if task is None else weakref.ref(task)
        self._kept_by: weakref.ref[_Task] | None = None  # the task that was last asked to end it

    def abandon(self) -> None:
        """End it; called when its task was cancelled."""
        raise NotImplementedError

    def iterated(self) -> None:
        """Note that the current task begins to iterate over it with `async for`."""
        task = _current_task()
        self._task = None if task is None else weakref.ref(task)
        self._keep(task)

    def begun(self) -> None:
        """Note that the current task takes the first step."""
        if self._task is not None and self._task is not self._kept_by:
            task = _current_task()
            if self._task() is not task:
                self._task = None
            self._keep(task)

    def handed_over(self) -> None:
        """Note that it belongs to something else, and to no task."""
        self._task = None

    def is_of(self, task: _Task) -> bool:
        """Whether it belongs to `task`."""
        return self._task is not None and self._task() is task

    def _keep(self, task: _Task | None) -> None:
        if task is None or self._task is None or self._task is self._kept_by:
            return
        self._kept_by = self._task
        things = _things.get(task)
        if things is None:
            things = _things[task] = []
            task.add_done_callback(_task_done)
        elif len(things) % _SOME == _SOME - 1:
            things[:] = [reference for reference in things if reference() is not None]
        things.append(weakref.ref(self))


_things: weakref.WeakKeyDictionary[_Task, list[weakref.ref[Consumed]]] = weakref.WeakKeyDictionary()
"""What each task consumes. One callback for each task: they may consume many things in turn."""


def _task_done(task: _Task) -> None:
    # A task that catches its cancellation was cancelled all the same.
    things = _things.pop(task, [])
    if task.cancelled() or task.cancelling():
        for reference in things:
            thing = reference()
            if thing is not None and thing.is_of(task):
                thing.abandon()


def _current_task() -> _Task | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop is running
        return None
