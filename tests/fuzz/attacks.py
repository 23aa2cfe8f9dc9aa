"""What a hostile server does to one connection, as data: `hostile.py` does it."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field

NEWER, OLDER = "graphql-transport-ws", "graphql-ws"
EVENT = {NEWER: "next", OLDER: "data"}
TEXT, CLOSE = 1, 8
_BLOCK, _MOST = 64 * 1024, 4 * 1024 * 1024

Words = dict[str, str]
"""What stands in angle brackets in an attack, and is known only when it happens."""


def filled(text: str, words: Words) -> str:
    """`text` with all words filled in."""
    for word, meant in words.items():
        text = text.replace(word, meant)
    return text


@dataclass(frozen=True)
class Said:
    """A text message in one frame, which breaks no rule of RFC 6455."""

    text: str

    def encode(self, words: Words) -> bytes:
        return Framed(0x80 | TEXT, self).encode(words)

    def content(self, words: Words) -> bytes:
        return filled(self.text, words).encode(errors="surrogatepass")


@dataclass(frozen=True)
class Squeezed:
    """A text in a deflate stream, which may have its end cut off, and garbage after it."""

    text: str
    times: int = 1
    cut: int = 0
    tail: bytes = b""
    is_final: bool = False

    def content(self, words: Words) -> bytes:
        squeeze = zlib.compressobj(wbits=-15)
        plain = filled(self.text, words).encode(errors="surrogatepass")
        # A block at a time: the memory that is measured is also that of the server.
        block = max(1, _BLOCK // max(1, len(plain)))
        full, rest = divmod(min(self.times, 1 + _MOST // max(1, len(plain))), block)
        data = b"".join(squeeze.compress(plain * block) for _ in range(full))
        data += squeeze.compress(plain * rest)
        data += squeeze.flush(zlib.Z_FINISH if self.is_final else zlib.Z_SYNC_FLUSH)
        return data[: len(data) - 4 - self.cut] + self.tail


@dataclass(frozen=True)
class Framed:
    """One frame with any header.

    `first` is its first byte. `form`: how its length is written: the shortest way if it is 0, else
    with 7, 16 or 64 bits. `lie` is added to the length.
    """

    first: int
    payload: bytes | Said | Squeezed
    is_masked: bool = False
    form: int = 0
    lie: int = 0

    def encode(self, words: Words) -> bytes:
        data = self.payload if isinstance(self.payload, bytes) else self.payload.content(words)
        size, mask = max(0, len(data) + self.lie), self.is_masked << 7
        form = self.form or (7 if size < 126 else 16 if size < 1 << 16 else 64)
        if form == 7:
            head = struct.pack("!BB", self.first, mask | min(size, 125))
        elif form == 16:
            head = struct.pack("!BBH", self.first, mask | 126, min(size, 65535))
        else:
            head = struct.pack("!BBQ", self.first, mask | 127, size)
        return head + (b"\0\0\0\0" if self.is_masked else b"") + data


@dataclass(frozen=True)
class Pieces:
    """One message in fragments, with other frames between them."""

    payload: Said | Squeezed
    at: tuple[int, ...]
    between: tuple[Framed, ...] = ()
    is_squeezed: bool = False

    def encode(self, words: Words) -> bytes:
        data = self.payload.content(words)
        ends = [*sorted(end % (len(data) + 1) for end in self.at), len(data)]
        parts, start = [], 0
        for number, end in enumerate(ends):
            first = (TEXT | self.is_squeezed << 6) if number == 0 else 0
            last = 0x80 if number == len(ends) - 1 else 0
            parts.append(Framed(first | last, data[start:end]).encode(words))
            parts += [self.between[number].encode(words)] if number < len(self.between) else []
            start = end
        return b"".join(parts)


@dataclass(frozen=True)
class Plain:
    """Bytes, which may be no frame at all."""

    data: bytes

    def encode(self, words: Words) -> bytes:
        return self.data


Item = Said | Framed | Pieces | Plain


@dataclass(frozen=True)
class Head:
    """The answer to the upgrade.

    `data` is latin-1. `edits`: bytes that are changed, by their place from the end. `keep`: how
    many bytes are sent, if not all.
    """

    data: str
    edits: tuple[tuple[int, int], ...] = ()
    keep: int | None = None

    def encode(self, words: Words) -> bytes:
        data = bytearray(filled(self.data, words).encode("latin-1", "replace"))
        for place, value in self.edits:
            data[-1 - place % len(data)] = value
        return bytes(data[: self.keep])


USUAL_HEAD = Head(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: <accept>\r\nSec-WebSocket-Protocol: <protocol>\r\n<extensions>\r\n"
)
ACK = Said('{"type":"connection_ack"}')


@dataclass(frozen=True)
class Attack:
    """What happens to the first `times` connections of a client; later ones are treated well.

    `before` is sent with the answer to the upgrade, `after` once the client has been acknowledged
    and has started what it wants. Each is written in pieces of the sizes `cuts`, in turn. `end`:
    what the server does then.

    `protocol`, `deflates`, `reconnects`, `logs` are the client's: what it offers (None: all
    protocols), whether it offers compression, keeps the connection, and logs messages.
    """

    head: Head = USUAL_HEAD
    before: tuple[Item, ...] = ()
    acks: bool = True
    after: tuple[Item, ...] = ()
    cuts: tuple[int, ...] = (1 << 20,)
    end: str = "close"
    times: int = 1
    protocol: str | None = NEWER
    deflates: bool = False
    reconnects: bool = False
    logs: bool = False
    words: Words = field(default_factory=dict)

    @property
    def asks_to_wait(self) -> bool:
        """Whether the server says when to come again, which may be after years."""
        return "retry-after" in self.head.data.lower()


def message(type: str, id: str | None = None, payload: object = None) -> str:
    """One message of the server."""
    parts = {"type": type, "id": id, "payload": payload}
    return json.dumps({name: part for name, part in parts.items() if part is not None})
