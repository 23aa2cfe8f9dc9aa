"""Calls the functions that the user gives for one subscription: `resume` and `key`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def called(option: str, function: Callable[..., T], *args: Any) -> T:
    """Return what `function`, the value of `option`, returns; raise what it raises.

    Raises RuntimeError in place of a CancelledError: it is of something that the function runs, and
    nobody has cancelled the task that calls it. The same holds for other exceptions of this kind.
    Raises TypeError for a coroutine function.
    """
    try:
        found = function(*args)
    except (Exception, KeyboardInterrupt, SystemExit):  # these end nothing unseen
        raise
    except BaseException as fault:  # it would end a task of ours, and nobody would see it
        raise RuntimeError(f"{option}= of a subscription raised {fault!r}") from fault
    if inspect.iscoroutine(found):
        found.close()
        raise TypeError(f"{option}= of a subscription must not be a coroutine function")
    return found


def copied(variables: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `variables` in which the dicts and lists are copies as well."""
    copy = dict(variables)
    rest: list[tuple[Any, Any]] = [(copy, key) for key in copy]
    while rest:
        holder, place = rest.pop()
        item = holder[place]
        if isinstance(item, dict):
            holder[place] = part = dict(item)
            rest += [(part, key) for key in part]
        elif isinstance(item, list):
            holder[place] = items = list(item)
            rest += [(items, index) for index in range(len(items))]
    return copy
