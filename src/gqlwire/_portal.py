"""From code without an event loop into one: a loop in a thread of its own.

Works where a loop is running already, too (notebooks), as it does not touch it. This module knows
no GraphQL.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Portal:
    """A context in which coroutines can be run from outside. Leaving it ends all of them."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._leave: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gqlwire", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return what it returns, or raise what it raises.

        An interrupt (Ctrl-C) cancels it and waits until it has cleaned up.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                self._cancel(future)
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Walk an async generator; leaving off closes it."""
        try:
            while True:
                try:
                    yield self.run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            self.run(items.aclose())

    def _cancel(self, future: Any) -> None:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        future.cancel()
        done.wait()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._leave = asyncio.Event()
        self._ready.set()
        await self._leave.wait()


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)
