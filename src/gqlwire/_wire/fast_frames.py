"""The fast path for frames: extracts all plain text messages of one read of the socket.

To take each message from picows costs more than to decode it. So `Bursts` reads the socket before
picows does. It takes only complete, unmasked, uncompressed text frames of valid UTF-8 within the
size limit. It passes all other bytes to picows unchanged, so it need not know the other rules of
RFC 6455. `tests/wire/test_fast_frames.py` shows that both paths give the same messages for any
frames.

This module knows no GraphQL.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from struct import Struct

# FIN, no reserved bit, opcode 1; no mask, and a size of one byte, or (126) of two more.
# RFC 6455, section 5.2.
_PLAIN_TEXT, _SHORT_TEXT, _LONG_TEXT = 0x81, 0x8100, 0x817E
_HEADER = Struct(">HH").unpack_from

# How many bytes one read may bring, at first and at most. Larger pieces would leave the CPU's cache
# before their messages are decoded.
_SMALLEST, _LARGEST = 4 * 1024, 64 * 1024


def cut(data: bytes, at: int, max_size: int) -> tuple[list[bytes], int]:
    """Extract plain text messages from `data`, where a frame starts at `at`.

    Return the messages, and the position of the first frame that is not plain, or not complete.
    """
    begun, texts, end = at, [], len(data)
    last = end - 4
    while at <= last:
        first, size = _HEADER(data, at)
        if first == _LONG_TEXT and size > 125:
            start = at + 4
        elif first < _LONG_TEXT and first >= _SHORT_TEXT:
            start, size = at + 2, first - _SHORT_TEXT
        else:
            break
        stop = start + size
        if stop > end or size > max_size:
            break
        texts.append(data[start:stop])
        at = stop
    if not b"".join(texts).isascii():
        return _valid(texts, begun)
    return texts, at


def _valid(texts: list[bytes], at: int) -> tuple[list[bytes], int]:
    """Return the `texts` before the first one that is not UTF-8, and where their frames end."""
    for count, text in enumerate(texts):
        try:
            text.decode()
        except UnicodeDecodeError:
            return texts[:count], at
        at += len(text) + (4 if len(text) > 125 else 2)
    return texts, at


def length(data: bytes, at: int) -> int | None:
    """Return the size of the frame at `at`, in bytes; None if its header is not complete yet.

    RFC 6455, section 5.2.
    """
    if len(data) - at < 2:
        return None
    size, mask = data[at + 1] & 0x7F, data[at + 1] >> 7
    start = at + 2
    if size > 125:
        stop = start + (2 if size == 126 else 8)
        if stop > len(data):
            return None
        size, start = int.from_bytes(data[start:stop]), stop
    return start - at + 4 * mask + size


def _header(data: bytes) -> int:
    """Return the size of the header of an unmasked frame."""
    return {126: 4, 127: 10}.get(data[1] & 0x7F, 2)


def may_wait(data: bytes, at: int, max_size: int) -> bool:
    """Return whether to wait for more of the frame at `at`.

    True if it may become a frame for `cut`, or if its size is not known yet.
    """
    if len(data) - at < 2:
        return True
    if data[at] & 0x0F > 2 or data[at + 1] > 127:  # no data frame, or masked
        return False
    total = length(data, at)
    if total is None:
        return True
    size = total - (2 if data[at + 1] < 126 else 4)
    is_shortest = data[at + 1] < 126 or (data[at + 1] == 126 and size > 125)
    is_plain = data[at] == _PLAIN_TEXT and is_shortest and size <= max_size
    return is_plain and len(data) - at < total


class Bursts(asyncio.BufferedProtocol):
    """Reads the socket before the asyncio protocol `picows` does.

    `take` is called with the messages of one read; it may be exchanged between two reads. `wait` is
    called if a read ends within a frame. `is_open` returns whether plain messages may take the fast
    path now: not between the fragments of a message, and not while closing. `on_too_big` is called
    with what has come of a frame of more than `max_size` bytes.
    """

    def __init__(
        self,
        picows: asyncio.BufferedProtocol,
        *,
        take: Callable[[list[bytes]], None],
        is_open: Callable[[], bool],
        max_size: int,
        wait: Callable[[], object] = lambda: None,
        on_too_big: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._picows = picows
        self.take: Callable[[list[bytes]], None] = take
        self._wait = wait
        self._on_too_big = on_too_big
        self._is_open = is_open
        self._max_size = max_size
        self._memory = memoryview(b"")
        self._rest = b""
        self._owed = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read."""
        if self._owed:
            room = memoryview(self._picows.get_buffer(sizehint))
            return room[: self._owed]
        if not self._memory:
            self._memory = memoryview(bytearray(_SMALLEST))
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        """Handle the `nbytes` bytes that were read."""
        if self._owed:
            self._owed -= nbytes
            self._picows.buffer_updated(nbytes)
            return
        data = self._rest + self._memory[:nbytes]
        # The buffer grows with the reads: a heavy feed gets a large one, an idle connection does
        # not.
        if nbytes == len(self._memory) < _LARGEST:
            self._memory = memoryview(bytearray(4 * nbytes))
        self._rest = data[self._use(data) :]

    def _use(self, data: bytes) -> int:
        """Pass on all complete messages and frames; return how many bytes were used."""
        at = 0
        while at < len(data):
            if self._is_open():
                texts, at = cut(data, at, self._max_size)
                if texts:
                    self.take(texts)
                    continue
            if may_wait(data, at, self._max_size):
                self._wait()
                break
            total = length(data, at)
            if total is None:
                self._leave_to_picows(data[at:])
                return len(data)
            piece = data[at : at + total]
            self._owed = total - len(piece)
            if total - _header(piece) > self._max_size:
                self._on_too_big(piece[_header(piece) :])
            at += len(piece)
            self._feed(piece)
        return at

    def _leave_to_picows(self, rest: bytes) -> None:
        """Pass `rest` and all later bytes to picows, which will report the invalid frame."""
        self._owed = sys.maxsize
        self._feed(rest)

    def _feed(self, piece: bytes) -> None:
        while piece:
            room = memoryview(self._picows.get_buffer(-1))
            part = piece[: len(room)]
            room[: len(part)] = part
            piece = piece[len(part) :]
            self._picows.buffer_updated(len(part))

    # --- Passed on to picows ------------------------------------------------------------------

    def eof_received(self) -> bool | None:
        """Pass the end of the stream on to picows."""
        return self._picows.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the loss of the connection on to picows."""
        self._picows.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell picows that the send buffer is full."""
        self._picows.pause_writing()

    def resume_writing(self) -> None:
        """Tell picows that the send buffer has room."""
        self._picows.resume_writing()
