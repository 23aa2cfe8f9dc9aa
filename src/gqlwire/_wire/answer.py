"""Reads the head of an HTTP answer (RFC 9112) as it arrives: to the upgrade, or to `CONNECT`.

Lenient where servers and proxies differ: line ends, folded lines, white space, interim answers.
Strict where another protocol answers: it is found out at the first byte or line that is not HTTP.
This module does no I/O, and knows neither WebSockets nor picows.
"""

from __future__ import annotations

import re

from msgspec import Struct
from multidict import CIMultiDict

MAX_HEAD = 256 * 1024
"""How many bytes the heads of an answer may have, with those of interim answers."""

TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How TLS begins where HTTP is expected: an alert, or a handshake (RFC 8446, section 5.1)."""

_SWITCHING = 101
# All repetitions are possessive: none is tried again, however hostile the text is.
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)?+ ++(\d{3})(?: .*+)?+", re.IGNORECASE | re.DOTALL)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")  # RFC 9110, section 5.6.2
_BEGINNING = 1024
_SHORTEST_LINE = 80


class NotHTTP(Exception):
    """What arrives is no HTTP/1 answer; `beginning` is how it begins, of 1,024 bytes at most."""

    def __init__(self, beginning: bytes) -> None:
        super().__init__(f"an answer that is not HTTP: {beginning[:60]!r}")
        self.beginning = beginning[:_BEGINNING]

    @property
    def is_torn(self) -> bool:
        """Whether it is the beginning of a line of text, which may go on."""
        text = self.beginning
        is_short = len(text) < _SHORTEST_LINE and b"\n" not in text
        return is_short and text.isascii() and text.decode().rstrip("\r").isprintable()


class HeadTooLong(Exception):
    """The head is longer than MAX_HEAD; `status` is that of its first line."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"the headers have more than {MAX_HEAD} bytes")
        self.status = status


class Answer(Struct):
    """The head of one answer.

    `line`: its first line. `fault`: what is wrong with a header, or None. `rest`: what came after
    the head, in the same reads.
    """

    line: str
    status: int
    headers: CIMultiDict[str]
    fault: str | None
    rest: bytes

    def tokens(self, name: str) -> list[str]:
        """Return the elements of a header that is a list, of all its lines, in lower case."""
        joined = ",".join(self.headers.getall(name, []))
        return [element.strip().lower() for element in joined.split(",") if element.strip()]


class AnswerReader:
    """Collects bytes until the head of the final answer is complete."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0
        self._interim = 0

    @property
    def is_begun(self) -> bool:
        """Whether anything has arrived."""
        return bool(self._data or self._interim)

    def take(self, data: bytes) -> Answer | None:
        """Add `data`, and return the final answer once its head is complete.

        Answers with a status of 1xx are skipped, but for 101, which is a final one.
        Raises NotHTTP and HeadTooLong.
        """
        self._data += data
        while True:
            status = self._check_first_line()
            end = self._end_of_head()
            if self._interim + (end or len(self._data)) > MAX_HEAD:
                raise HeadTooLong(status)
            if not end or status is None:
                return None
            head, rest = bytes(self._data[:end]), bytes(self._data[end:])
            if status >= 200 or status == _SWITCHING:
                return _parsed(head, status, rest)
            self._interim += end
            self._data, self._searched = bytearray(rest), 0

    def _check_first_line(self) -> int | None:
        """Return the status of the first line, None if it is not complete yet."""
        beginning = bytes(self._data[:_BEGINNING])
        if not b"HTTP/".startswith(beginning[:5].upper()):
            raise NotHTTP(beginning)
        line, newline, _ = beginning.partition(b"\n")
        if not newline and len(beginning) < _BEGINNING:
            return None
        found = _STATUS_LINE.fullmatch(line.rstrip(b"\r"))
        if found is None:
            raise NotHTTP(beginning)
        return int(found[1])

    def _end_of_head(self) -> int:
        """Return where the empty line ends that ends the head, 0 if it has not arrived yet."""
        start = max(0, self._searched - 3)
        ends = [
            at + len(mark)
            for mark in (b"\n\r\n", b"\n\n")
            if (at := self._data.find(mark, start)) >= 0
        ]
        self._searched = len(self._data)
        return min(ends, default=0)


def _parsed(head: bytes, status: int, rest: bytes) -> Answer:
    # Headers are ASCII by RFC 9110, section 5.5; other bytes are opaque, and latin-1 keeps them.
    first, *lines = head.decode("latin-1").split("\n")
    headers: CIMultiDict[str] = CIMultiDict()
    fault = None
    for line in _unfolded(lines):
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        if not colon or not _NAME.fullmatch(name):
            fault = fault or f"a header line is malformed: {line[:60]!r}"
        else:
            headers.add(name, value.strip(" \t"))
    return Answer(first.rstrip("\r"), status, headers, fault, rest)


def _unfolded(lines: list[str]) -> list[str]:
    """Join lines that begin with white space to the one before (RFC 9112, section 5.2)."""
    joined: list[list[str]] = []
    for raw in lines:
        line = raw.rstrip("\r")
        if line[:1] in (" ", "\t") and joined:
            joined[-1].append(line.strip(" \t"))
        elif line:
            joined.append([line])
    return [" ".join(parts) for parts in joined]
