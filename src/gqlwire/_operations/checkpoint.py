"""Storage for the last event of a subscription, to resume from after a restart of the process.

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
    """Stores the last event that the program has processed.

    Pass any object with these two methods as `checkpoint` of `session.subscribe`, together with
    `resume`.
    """

    def load(self) -> T | None:
        """Return the event that was saved last; None if there is none."""
        ...

    def save(self, event: T, /) -> None:
        """Store `event`. If this raises, the step of the subscription raises the same."""
        ...


class FileCheckpoint(Generic[T]):
    """A `Checkpoint` that stores the event in the file at `path`, as JSON.

    `save` replaces the file as a whole. If the process is killed at any point, the file holds the
    old event or the new one. With `fsync=True` this also holds if the machine crashes; it costs a
    disk access per event. `type`: what `load` returns, any type that msgspec can decode JSON to;
    plain objects by default.

    `load` raises msgspec.DecodeError if the file does not hold such an event. `load` and `save`
    raise OSError if the file cannot be read or written.
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
        """Return the event that was saved last; None if there is no file."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return self._decoder.decode(text)

    def save(self, event: T, /) -> None:
        """Replace the file by one that holds `event`."""
        text = msgspec.json.encode(event)
        # In the same directory: a file can be replaced atomically only within one file system.
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with open(handle, "wb") as file:
                file.write(text)
                if self._fsync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(name, self._path)
        # Not in a `finally`: after the replacement, another process may have made such a file.
        except BaseException:  # Ctrl-C as well must not leave the temporary file
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
