"""Storage for the last event of a subscription, to resume from after a restart of the process.

This module knows no subscription and no connection.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable
from contextlib import suppress
from itertools import count
from pathlib import Path
from stat import S_IMODE
from typing import Protocol

from gqlwire._json import decode, excerpt
from gqlwire.errors import InvalidCheckpoint


class Checkpoint(Protocol):
    """Stores the last event that the program has processed.

    Pass any object with these two methods as `checkpoint` of `session.subscribe`, together with
    `resume`. Both may be coroutine functions. The event is the result as the server sent it: JSON,
    with `data`, in bytes.
    """

    def load(self) -> bytes | Awaitable[bytes | None] | None:
        """Return the event that was saved last; None if there is none.

        The first step of the subscription calls this, and raises what it raises.
        """
        ...

    def save(self, event: bytes, /) -> object:
        """Store `event`. The next save begins when this one has ended.

        If this raises, the step of the subscription raises the same, and the next step saves again.
        """
        ...


class FileCheckpoint:
    """A `Checkpoint` that stores the event in the file at `path`.

    `save` replaces the file as a whole. If the process is killed at any point, the file holds the
    old event or the new one. With `fsync=True` this also holds if the machine crashes; it costs a
    disk access per save. A file that exists keeps its mode, and a symlink stays: the file that it
    leads to is replaced. A new file can be read by its owner only. While it saves, there is a
    second file beside it, `.NAME.tmp`, which a process that is killed leaves behind.

    Files are read and written in a thread, so the event loop does not wait for the disk. One
    process at a time may use a file.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = False) -> None:
        self._path = Path(path)
        self._sync = syncing(os.name) if fsync else None
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._written = 0  # the number of the newest save that was written

    async def load(self) -> bytes | None:
        """Return the event that was saved last; None if there is no file.

        Raises InvalidCheckpoint if the file holds something else, and OSError if it cannot be read.
        """
        return await asyncio.to_thread(self._read)

    async def save(self, event: bytes, /) -> None:
        """Replace the file by one that holds `event`. Raises OSError if it cannot be written.

        Cancelling does not stop it.
        """
        await asyncio.to_thread(self._write, event, next(self._numbers))

    def _read(self) -> bytes | None:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return unpacked(text, str(self._path))

    def _write(self, event: bytes, number: int) -> None:
        # Of two saves at the same time, which is possible after a cancellation, the later one wins,
        # whichever thread is faster.
        with self._lock:
            if number > self._written:
                replace_file(self._path, packed(event), sync=self._sync)
                self._written = number


# --- What is in the file --------------------------------------------------------------------------

_MARK = b'{"gqlwire":'
_HEAD = _MARK + b'1,"event":'
_TAIL = b"}\n"


def packed(event: bytes) -> bytes:
    """Return the content of a file that holds `event`: the event, as it is, and a version."""
    return _HEAD + event + _TAIL


def unpacked(text: bytes, name: str) -> bytes:
    """Return the event that a file with this content holds; `name` is that of the file.

    Also reads the files of gqlwire 0.1, which held the data of an event alone. Raises
    InvalidCheckpoint for any other content.
    """
    if text.startswith(_HEAD) and text.endswith(_TAIL):
        return text[len(_HEAD) : -len(_TAIL)]
    if text.startswith(_MARK):
        version = text[len(_MARK) :].partition(b",")[0]
        raise InvalidCheckpoint(
            f"{name} is incomplete, or of another version of gqlwire (its version is "
            f"{excerpt(version)}, this gqlwire reads 1): use the gqlwire that wrote it, or delete "
            f"the file to start without it"
        )
    try:
        decode(text)
    except (ValueError, RecursionError) as cause:
        raise InvalidCheckpoint(
            f"{name} holds no event that gqlwire has saved: {excerpt(text)}; restore it from a "
            f"backup, or delete the file to start without it"
        ) from cause
    return b'{"data":%s}' % text


# --- How a file is replaced -----------------------------------------------------------------------


class Syncing:
    """Waits until files, and their names in a directory, are on the disk."""

    def file(self, descriptor: int) -> None:
        """Wait until the content of an open file is on the disk."""
        os.fsync(descriptor)

    def directory(self, path: Path) -> None:
        """Wait until the names in a directory are on the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class WindowsSyncing(Syncing):
    """On Windows a directory cannot be opened; its file system keeps names in a journal."""

    def directory(self, path: Path) -> None:
        """Do nothing."""


def syncing(system: str) -> Syncing:
    """Return how to sync on a system: `os.name`."""
    return WindowsSyncing() if system == "nt" else Syncing()


def replace_file(path: Path, content: bytes, *, sync: Syncing | None) -> None:
    """Replace the file at `path`, or make it. Raises OSError; then the old file is as it was.

    `sync`: waits until each step is on the disk; None means not to wait.
    """
    # A symlink stays a symlink. In the same directory, because a file can be replaced atomically
    # only within one file system.
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()  # a process that was killed may have left it
    try:
        with open(temporary, "xb", opener=_private) as file:
            with suppress(FileNotFoundError):
                os.chmod(temporary, S_IMODE(target.stat().st_mode))
            file.write(content)
            if sync is not None:
                file.flush()
                sync.file(file.fileno())
        os.replace(temporary, target)
    except BaseException:  # an interrupt as well must not leave the temporary file
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    if sync is not None:
        sync.directory(target.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
