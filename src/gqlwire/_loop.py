"""Which event loop something belongs to, and what to say if it is used in another one.

asyncio's own check comes too late: a task that waits in another loop is never woken up.
"""

from __future__ import annotations

import asyncio

_CAUSES = (
    "use it in the loop in which it was connected. Usual causes: asyncio.run() called twice; a "
    "pytest-asyncio fixture with another loop_scope than its test; another thread "
    "(asyncio.run_coroutine_threadsafe is for that)"
)


def check(loop: asyncio.AbstractEventLoop | None) -> None:
    """Raise RuntimeError if `loop` is not the running one; None means that any will do."""
    if loop is None or loop is _running():
        return
    state = "is closed" if loop.is_closed() else "is not the running one"
    raise RuntimeError(f"this connection belongs to an event loop that {state}: {_CAUSES}")


def check_open(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Do what `check` does, but return False if `loop` is closed.

    For whatever closes things: in a closed loop nothing is left to close.
    """
    if loop is not None and loop.is_closed():
        return False
    check(loop)
    return True


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
