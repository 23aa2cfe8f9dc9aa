"""Runs coroutines from blocking code, in an event loop in its own thread.

It does not touch a loop that is already running in the caller's thread, so it works in notebooks.
This module knows no GraphQL.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class _Call(Generic[T]):
    """One coroutine that is run for another thread.

    Its task belongs to the loop's thread; both threads use `done`.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.done = threading.Event()
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(lambda _: self.done.set())

    def cancel(self) -> None:
        if self._task is None:
            # The interrupt came before `begin` ran.
            self._coroutine.close()
            self.done.set()
        else:
            self._task.cancel()

    def result(self) -> T:
        if self._task is None:
            raise RuntimeError("the call has not begun")
        return self._task.result()


class Portal:
    """A context that runs coroutines for blocking code. Leaving it cancels all of them."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._leave: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gqlwire", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        # Python finalizes an open generator at exit, when threads no longer run. So the loop
        # ends earlier than that.
        atexit.register(self._end)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        atexit.unregister(self._end)
        self._end()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return what it returns, or raise what it raises.

        An interrupt (Ctrl-C) cancels the coroutine, waits until it has cleaned up, and is raised.
        """
        call = _Call(coroutine)
        try:
            self._loop.call_soon_threadsafe(call.begin)
            call.done.wait()
        except BaseException:  # Ctrl-C is no Exception, and must not leave the call running
            # The loop calls it after `begin`, if that is scheduled.
            self._loop.call_soon_threadsafe(call.cancel)
            call.done.wait()
            raise
        return call.result()

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield what an async generator yields. Closing this generator closes that one."""
        try:
            while True:
                try:
                    yield self.run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if not self._loop.is_closed():
                self.run(items.aclose())

    def _end(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leave.set)
            self._thread.join()

    def _run(self) -> None:
        # Not asyncio.run: it starts a thread when it ends, which Python 3.12 and later do not
        # allow while the interpreter shuts down.
        self._loop = asyncio.new_event_loop()
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._leave = asyncio.Event()
        self._ready.set()
        await self._leave.wait()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._loop.shutdown_asyncgens()


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)
