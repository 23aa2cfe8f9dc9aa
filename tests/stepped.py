"""Loops whose steps are counted: a step is a callback that the loop runs.

What is planned for the n-th step happens before it, between any two things that the loop does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from doubles import VirtualTimeLoop


class Steps(deque[Any]):
    """What a loop is about to run. Does what is asked for before the n-th of them."""

    taken = 0
    planned: dict[int, Callable[[], object]]

    def popleft(self) -> Any:
        self.taken += 1
        act = self.planned.pop(self.taken, None)
        if act is not None:
            act()
        return super().popleft()

    def plan(self, steps: Iterable[int], act: Callable[[], object]) -> None:
        """Do it before each of these, counted from now."""
        self.taken = 0
        self.planned = dict.fromkeys(steps, act)


class Stepped(asyncio.SelectorEventLoop):
    """A loop whose steps are counted."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.faults: list[dict[str, Any]] = []
        self.steps = Steps(self._ready)  # type: ignore[attr-defined]  # asyncio's own
        self.steps.planned = {}
        self._ready = self.steps
        self.set_exception_handler(lambda _, fault: self.faults.append(fault))


class SteppedOnVirtualTime(VirtualTimeLoop):
    def __init__(self) -> None:
        super().__init__()
        self.steps = Steps(self._ready)  # type: ignore[attr-defined]  # asyncio's own
        self.steps.planned = {}
        self._ready = self.steps
