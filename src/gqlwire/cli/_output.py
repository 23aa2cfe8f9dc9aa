"""Results on stdout: as JSON for programs, or indented and coloured for people.

Writing never blocks the event loop. So with a slow reader, such as a pager, the command still
answers the server's pings and Ctrl-C. It notices without writing that its reader has ended.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import select
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from gqlwire.cli._console import Console, is_terminal, may_color
from gqlwire.errors.text import printable_json

# POSIX: if poll() calls a pipe writable, writing this many bytes does not block.
_PIECE = min(4096, getattr(select, "PIPE_BUF", 512))

_TOKEN = re.compile(
    rb'(?P<key>"(?:\\.|[^"\\])*"(?=\s*:))|(?P<string>"(?:\\.|[^"\\])*")'
    rb"|(?P<number>-?\d[\d.eE+-]*)|(?P<word>true|false|null)"
)
_COLORS = {"key": b"34;1", "string": b"32", "number": b"36", "word": b"33"}
# A number too large for a float was decoded to a Decimal; write it as a number.
_encode = msgspec.json.Encoder(decimal_format="number").encode


def as_json(value: Any, *, indent: bool, shown: bool = True) -> bytes:
    """Return `value` as JSON: one line, or indented.

    `shown`: whether people see it on a terminal. Then all that is not printable is escaped.
    """
    try:
        line = _encode(value)
    except UnicodeEncodeError:
        # Lone surrogates, which JSON can escape and UTF-8 cannot hold.
        separators = None if indent else (",", ":")
        text = json.dumps(value, indent=2 if indent else None, separators=separators).encode()
        return text.replace(b"\x7f", b"\\u007f") if shown else text
    if shown and not line.isascii():
        line = printable_json(line.decode()).encode()
    elif shown:
        line = line.replace(b"\x7f", b"\\u007f")  # the only one of ASCII that JSON leaves raw
    return msgspec.json.format(line, indent=2) if indent else line


def colored(text: bytes) -> bytes:
    """Return JSON with colours for a terminal."""
    return _TOKEN.sub(
        lambda match: b"\x1b[%bm%b\x1b[0m" % (_COLORS[match.lastgroup or ""], match[0]), text
    )


class OutputError(Exception):
    """stdout could not be written; the text says why."""


class Output:
    """Prints results on stdout.

    `pretty`: whether to indent; None means on a terminal. `color` is auto, always or never.
    """

    def __init__(self, console: Console, *, pretty: bool | None, color: str) -> None:
        self._console = console
        self._pretty = is_terminal(sys.stdout) if pretty is None else pretty
        self._color = may_color(color, sys.stdout)
        # Colours are for people, also through a pager.
        self._is_shown = is_terminal(sys.stdout) or self._pretty or self._color
        self._fd = _descriptor()
        self._poll: select.poll | None = None
        if self._fd is not None and sys.platform != "win32":
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLOUT)

    async def write(self, value: Any) -> None:
        """Print one value, and return when it is written.

        Raises BrokenPipeError if the reader has ended, OutputError if it cannot be written.
        """
        try:
            text = as_json(value, indent=self._pretty, shown=self._is_shown)
        except RecursionError:
            raise OutputError("a result is nested too deeply to be printed") from None
        if self._color:
            text = colored(text)
        self._console.clear()
        try:
            await self._write(text + b"\n")
        except ConnectionError as gone:
            raise BrokenPipeError from gone
        except OSError as wrong:
            raise OutputError(f"the output cannot be written: {wrong.strerror}") from wrong

    async def _write(self, text: bytes) -> None:
        if self._fd is None:
            if sys.stdout is not None:
                sys.stdout.write(text.decode())
                sys.stdout.flush()
            return
        rest = memoryview(text)
        while rest:
            if self._poll is not None and not self._poll.poll(0):
                await self._writable(self._fd)
            try:
                rest = rest[os.write(self._fd, rest[:_PIECE]) :]
            except BlockingIOError:
                # Another process that shares the pipe has made it non-blocking.
                await self._writable(self._fd)

    async def _writable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(fd, ready.set_result, None)
        try:
            await ready
        finally:
            loop.remove_writer(fd)

    @contextmanager
    def watched(self, on_gone: Callable[[], None]) -> Iterator[None]:
        """Call `on_gone`, once, if stdout is a pipe and its reader ends during the context."""
        if self._fd is None or not stat.S_ISFIFO(os.fstat(self._fd).st_mode):
            yield
            return
        loop, fd = asyncio.get_running_loop(), self._fd

        def gone() -> None:
            loop.remove_reader(fd)
            on_gone()

        # There is nothing to read at this end, so only the end of the reader wakes this up.
        loop.add_reader(fd, gone)
        try:
            yield
        finally:
            loop.remove_reader(fd)


def _descriptor() -> int | None:
    try:
        return None if sys.stdout is None else sys.stdout.fileno()
    except (io.UnsupportedOperation, ValueError):
        return None
