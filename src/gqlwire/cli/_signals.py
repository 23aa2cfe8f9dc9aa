"""Ctrl-C and SIGTERM, as the end of what runs: it is cancelled, and cleans up."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` and return its status, or 128 and the number of the signal that stopped it.

    A second signal stops the cleaning up, too.
    """
    return asyncio.run(_guarded(work))


async def _guarded(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.create_task(work)
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        task.cancel()

    try:
        with _heeded(stop):
            return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]


@contextlib.contextmanager
def _heeded(stop: Callable[[int], None]) -> Iterator[None]:
    # Signals belong to the main thread; and what was started with one of them ignored (nohup, a
    # job in the background of a script) shall go on ignoring it.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    former = {number: signal.getsignal(number) for number in ENDING}
    heeded = [number for number in ENDING if former[number] is not signal.SIG_IGN]
    for number in heeded:
        try:
            loop.add_signal_handler(number, stop, number)
        except NotImplementedError:
            # Windows.
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(stop, number))
    try:
        yield
    finally:
        for number in heeded:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, former[number] or signal.SIG_DFL)
