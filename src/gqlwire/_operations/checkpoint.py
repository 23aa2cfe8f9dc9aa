"""Where a subscription keeps how far it has come, over restarts of the process.

This module knows no subscription and no connection.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, overload

import msgspec

T = TypeVar("T")


class Checkpoint(Protocol[T]):
    """Keeps the last event that was dealt with. Anything with these two methods will do."""

    def load(self) -> T | None:
        """Return the event that was saved last, None if there is none."""
        ...

    def save(self, event: T, /) -> None:
        """Keep `event`. What it raises ends the step of the subscription."""
        ...


class FileCheckpoint(Generic[T]):
    """Keeps an event in the file at `path`, as JSON.

    The file is replaced as a whole, so whatever kills the process, at any point, leaves the old
    event or the new one. With `fsync` that holds for a crash of the machine, too, at the cost of a
    disk access per event. `type` is what `load` returns: a type that msgspec decodes JSON to; plain
    objects by default.

    `load` raises msgspec.DecodeError for a file that is no such event, and both raise OSError.
    """

    @overload
    def __init__(
        self: FileCheckpoint[dict[str, Any]], path: str | os.PathLike[str], *, fsync: bool = False
    ) -> None: ...

    @overload
    def __init__(
        self, path: str | os.PathLike[str], type: type[T], *, fsync: bool = False
    ) -> None: ...

    def __init__(
        self, path: str | os.PathLike[str], type: Any = Any, *, fsync: bool = False
    ) -> None:
        self._path = Path(path)
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type)
        self._fsync = fsync

    def load(self) -> T | None:
        """Return the event that was saved last, None if there is no file."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return self._decoder.decode(text)

    def save(self, event: T, /) -> None:
        """Replace the file by one with `event`."""
        text = msgspec.json.encode(event)
        # In the same directory: only within a file system a file can be replaced at once.
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with open(handle, "wb") as file:
                file.write(text)
                if self._fsync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(name, self._path)
        # Ctrl-C, too, leaves no file behind. A `finally` would, after the replacement, remove what
        # another process may have made under this name.
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name)
            raise
        if self._fsync:
            _sync_directory(self._path.parent)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
