"""Writes to stdout without blocking the event loop, and notices that its reader has ended.

There are two ways: where an event loop can watch a pipe (POSIX), and where it cannot (Windows).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

# POSIX: if poll() calls a pipe writable, writing this many bytes does not block.
_PIECE = min(4096, getattr(select, "PIPE_BUF", 512))


class Stdout(Protocol):
    """What a command prints to."""

    async def write(self, text: bytes) -> None:
        """Write all of `text`. Raises OSError; a BrokenPipeError if the reader has ended."""
        ...

    def watched(self, on_gone: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """Return a context during which `on_gone` is called, once, if the reader ends."""
        ...


def open_stdout(system: str = sys.platform) -> Stdout:
    """Return stdout on a system: `sys.platform`."""
    descriptor = _descriptor()
    if descriptor is None:
        return _Stream()
    return WindowsStdout(descriptor) if system == "win32" else PosixStdout(descriptor)


def _descriptor() -> int | None:
    try:
        return None if sys.stdout is None else sys.stdout.fileno()
    except (io.UnsupportedOperation, ValueError):
        return None


class _Stream:
    """A stdout that is no file, as a program may have set it; or none at all."""

    async def write(self, text: bytes) -> None:
        if sys.stdout is not None:
            sys.stdout.write(text.decode())
            sys.stdout.flush()

    @contextmanager
    def watched(self, on_gone: Callable[[], None]) -> Iterator[None]:
        del on_gone
        yield


class PosixStdout:
    """A file, a terminal or a pipe. The event loop watches it. Implements `Stdout`."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    async def write(self, text: bytes) -> None:
        """Write all of `text`, when there is room for it."""
        rest = memoryview(text)
        while rest:
            if not self._poll.poll(0):
                await self._writable()
            try:
                rest = rest[os.write(self._fd, rest[:_PIECE]) :]
            except BlockingIOError:
                # Another process that shares the pipe has made it non-blocking.
                await self._writable()

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._fd, ready.set_result, None)
        try:
            await ready
        finally:
            loop.remove_writer(self._fd)

    @contextmanager
    def watched(self, on_gone: Callable[[], None]) -> Iterator[None]:
        """Call `on_gone`, once, if stdout is a pipe and its reader ends during the context."""
        if not _is_pipe(self._fd):
            yield
            return
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self._fd)
            on_gone()

        # There is nothing to read at this end, so only the end of the reader wakes this up.
        loop.add_reader(self._fd, gone)
        try:
            yield
        finally:
            loop.remove_reader(self._fd)


class WindowsStdout:
    """The same where no event loop can watch a pipe, so that a thread waits for room in it.

    The end of the reader is noticed at the next write. Implements `Stdout`.
    """

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor

    async def write(self, text: bytes) -> None:
        """Write all of `text`. If it is cancelled, a write that has begun may still take place."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()

        def settle(fault: OSError | None) -> None:
            if written.done():  # it was cancelled
                return
            if fault is None:
                written.set_result(None)
            else:
                written.set_exception(fault)

        def work() -> None:
            fault = self._write_all(text)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, fault)

        # A daemon: the command must be able to end while nobody reads.
        threading.Thread(target=work, daemon=True, name="gqlwire-stdout").start()
        await written

    def _write_all(self, text: bytes) -> OSError | None:
        rest = memoryview(text)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as fault:
            # Windows calls it an invalid argument if the reader of a pipe has ended.
            is_gone = fault.errno == errno.EINVAL and _is_pipe(self._fd)
            return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) if is_gone else fault
        return None

    @contextmanager
    def watched(self, on_gone: Callable[[], None]) -> Iterator[None]:
        """Do nothing."""
        del on_gone
        yield


def _is_pipe(descriptor: int) -> bool:
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
