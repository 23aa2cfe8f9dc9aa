"""Ctrl-C and SIGTERM cancel the command, which then cleans up."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` and return its status, or 128 plus the number of the signal that stopped it.

    A second signal also stops the cleaning up.
    """
    return asyncio.run(_guarded(work))


async def _guarded(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.create_task(work)
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        task.cancel()

    try:
        with _handled(stop):
            return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]


@contextlib.contextmanager
def _handled(stop: Callable[[int], None]) -> Iterator[None]:
    # Only the main thread may handle signals. A signal that the command was started to ignore
    # (by nohup, or as a background job of a script) stays ignored.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    former = {number: signal.getsignal(number) for number in ENDING}
    handled = [number for number in ENDING if former[number] is not signal.SIG_IGN]
    for number in handled:
        try:
            loop.add_signal_handler(number, stop, number)
        except NotImplementedError:
            # Windows.
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(stop, number))
    try:
        yield
    finally:
        for number in handled:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, former[number] or signal.SIG_DFL)
