"""One step with a time limit, after which the next step continues.

This module knows no operation.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gqlwire.errors import OperationTimeout
from gqlwire.errors.reasons import unheard

T = TypeVar("T")


def within(
    timeout: float | None, host: str, step: Callable[[], Coroutine[Any, Any, T]]
) -> Coroutine[Any, Any, T]:
    """Return a coroutine that takes `step`, and raises OperationTimeout after `timeout` seconds.

    Raises ValueError if `timeout` is not a number.
    """
    if timeout is None or timeout == math.inf:
        return step()
    if math.isnan(timeout):
        raise ValueError("timeout must be a number of seconds or None, not nan")
    return _limited(max(timeout, 0.0), host, step)


async def _limited(timeout: float, host: str, step: Callable[[], Coroutine[Any, Any, T]]) -> T:
    step_taken = step()
    del step  # the traceback of a cancelled step has this frame, and must not keep what it consumes
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            return await step_taken
    except OperationTimeout:
        raise  # a limit of the operation, which has ended it
    except TimeoutError:
        if not scope.expired():
            raise
    # Outside of `except`, so that it does not keep the traceback of the cancelled step.
    raise unheard(host, timeout)
