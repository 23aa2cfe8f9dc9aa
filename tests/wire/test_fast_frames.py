"""The short way of a message off the socket, and the long one by picows, tell the same.

Most of it runs on picows without a network (`Line`), so that each read is the test's.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from frames import cut as pieces_of
from frames import fragments, wire
from hypothesis import example, given, settings
from hypothesis import strategies as st
from picows import ws_connect

from conftest import examples
from doubles import VirtualTimeLoop
from gqlwire._streams.backpressure import ReadGate
from gqlwire._wire import Way, deflate
from gqlwire._wire.address import parse
from gqlwire._wire.dial import open_websocket
from gqlwire._wire.fast_frames import Bursts, cut, length, may_wait
from gqlwire._wire.picows_wire import PicowsWire
from gqlwire.errors import TransportError, TransportProtocolError
from servers.certificates import Certificates, client_context, server_context
from servers.fake import RawPeer, raw_fake
from servers.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from support import BOUND, leaves_nothing

LIMIT = 300
ROOMY = 1 << 20
ACK = b'{"type":"connection_ack"}'

# --- One frame at a time -------------------------------------------------------------------------


def text(size: int) -> bytes:
    return b"x" * size


def sixteen(size: int, *, first: int = 0x81, second: int = 126) -> bytes:
    """A frame whose length has 16 bits, be that the shortest way to write it or not."""
    return struct.pack("!BBH", first, second, size) + text(size)


def sixty_four(size: int) -> bytes:
    return struct.pack("!BBQ", 0x81, 127, size) + text(size)


@pytest.mark.parametrize("size", [2, 3, 124, 125, 126, 127, 128, 65534, 65535])
def test_a_plain_text_frame_is_cut_out(size: int) -> None:
    """With a length of 7 or of 16 bits."""
    frame = wire(TEXT, text(size))

    assert ([text(size)], len(frame)) == cut(frame, 0, ROOMY)


@pytest.mark.parametrize("size", [0, 1])
def test_a_tiny_one_is_cut_out_where_more_follows(size: int) -> None:
    """At the very end it is left to picows: four bytes are looked at at once."""
    frame = wire(TEXT, text(size))

    assert ([], 0) == cut(frame, 0, ROOMY)
    assert ([text(size)] * 2, 2 * len(frame)) == cut(frame * 2 + wire(PING, b"?"), 0, ROOMY)


def test_all_of_them_are_cut_out_from_where_the_first_begins() -> None:
    """In order, until there is one that is none."""
    frames = [wire(TEXT, text(size)) for size in (5, 0, 126, 1, 70)]
    data = b"before" + b"".join(frames)

    assert ([text(5), b"", text(126), b"x", text(70)], len(data)) == cut(data, 6, ROOMY)
    assert ([text(5), b"", text(126), b"x", text(70)], len(data)) == cut(
        data + wire(CLOSE), 6, ROOMY
    )


OTHERS = {
    "more than 16 bits of length": wire(TEXT, text(65536)),
    "16 bits for 0": sixteen(0),
    "16 bits for 125": sixteen(125),
    "64 bits for 126": sixty_four(126),
    "masked": b"\x81\x82\x01\x02\x03\x04\x7a\x7f",
    "masked, of no length": b"\x81\x80\x01\x02\x03\x04",
    "masked, of 16 bits": sixteen(200, second=254),
    "rsv1": b"\xc1\x04{  }",
    "rsv2": b"\xa1\x04{  }",
    "rsv3": b"\x91\x04{  }",
    "rsv1, of 16 bits": sixteen(200, first=0xC1),
    "no fin": b"\x01\x04{  }",
    "a continuation": b"\x80\x04{  }",
    "binary": b"\x82\x04{  }",
    "opcode 3": b"\x83\x04{  }",
    "close": b"\x88\x04\x03\xe8ok",
    "ping": b"\x89\x04{  }",
    "pong": b"\x8a\x04{  }",
    "not UTF-8": b"\x81\x04{\xff }",
    "one byte over the limit": wire(TEXT, text(LIMIT + 1)),
}


@pytest.mark.parametrize("frame", OTHERS.values(), ids=OTHERS)
def test_any_other_frame_is_left_where_it_is(frame: bytes) -> None:
    """With all that follows, and none of what is before."""
    limit = ROOMY if len(frame) > 2 * LIMIT else LIMIT
    plain = wire(TEXT, b"{}")

    assert ([], 0) == cut(frame + plain, 0, limit)
    assert ([b"{}", b"{}"], 8) == cut(plain * 2 + frame + plain, 0, limit)


@pytest.mark.parametrize("size", [5, 126, 300])
def test_a_frame_that_is_not_whole_is_left_where_it_is(size: int) -> None:
    """Wherever it is torn."""
    whole, torn = wire(TEXT, b"{}"), wire(TEXT, text(size))

    for stop in range(len(torn)):
        assert ([b"{}"], 4) == cut(whole + torn[:stop], 0, ROOMY)


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_a_frame_of_the_limit_is_cut_out(size: int) -> None:
    """The limit counts the payload alone."""
    frame = wire(TEXT, text(size))

    assert ([text(size)], len(frame)) == cut(frame, 0, LIMIT)


def test_valid_text_that_is_not_ascii_is_cut_out() -> None:
    """Each message for itself, whatever the lengths of their headers."""
    texts = ["ä€🙂".encode(), b"x", "🙂".encode() * 60, b"", "é".encode()]
    data = b"".join(wire(TEXT, each) for each in texts) + wire(CLOSE)

    assert (texts, len(data) - 2) == cut(data, 0, ROOMY)


@pytest.mark.parametrize("bad", [b"\xff", b"{\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80", b"\x82\xac"])
@pytest.mark.parametrize("before", [[], [b"{}"], ["é".encode(), text(126), b""]], ids=len)
def test_text_that_is_not_utf8_is_left_where_it_is(before: list[bytes], bad: bytes) -> None:
    """It does not spoil what is before; and one half of a character is not mended by the next."""
    begin = b"".join(wire(TEXT, each) for each in before)
    data = begin + wire(TEXT, bad) + wire(TEXT, b"\xac{}")

    assert (before, len(begin)) == cut(data, 0, ROOMY)


LENGTHS = {
    "nothing": (b"", None),
    "one byte": (b"\x81", None),
    "empty": (b"\x81\x00", 2),
    "of 7 bits": (b"\x81\x7d", 127),
    "of 16 bits, a byte short": (b"\x81\x7e\x01", None),
    "of 16 bits": (b"\x81\x7e\x01\x00", 260),
    "of 16 bits, with payload": (b"\x81\x7e\x01\x00{}", 260),
    "of 16 bits that say 0": (b"\x81\x7e\x00\x00", 4),
    "of 16 bits at most": (b"\x81\x7e\xff\xff", 65539),
    "of 64 bits, a byte short": (b"\x81\x7f" + bytes(7), None),
    "of 64 bits": (b"\x81\x7f" + bytes(5) + b"\x01\x00\x00", 65546),
    "of 64 bits at most": (b"\x81\x7f" + b"\xff" * 8, (1 << 64) + 9),
    "masked": (b"\x81\x82", 8),
    "masked, of 16 bits, a byte short": (b"\x81\xfe\x01", None),
    "masked, of 16 bits": (b"\x81\xfe\x01\x00", 264),
    "masked, of 64 bits": (b"\x81\xff" + bytes(7) + b"\x01", 15),
}


@pytest.mark.parametrize(("data", "expected"), LENGTHS.values(), ids=LENGTHS)
def test_the_length_of_a_frame_is_in_its_header(data: bytes, expected: int | None) -> None:
    """Of all of it; None until the header is there."""
    assert expected == length(data, 0)
    assert expected == length(b"before" + data, 6)


WAITS = {
    "nothing": (b"", True),
    "the first byte of anything": (b"\x83", True),
    "a text without a byte": (b"\x81\x02", True),
    "a text but for its last byte": (b"\x81\x03{}", True),
    "a whole text": (b"\x81\x02{}", False),
    "an empty text": (b"\x81\x00", False),
    "a text of 16 bits, half its length": (b"\x81\x7e\x01", True),
    "a text of 16 bits": (b"\x81\x7e\x00\x7e{}", True),
    "a text of the limit": (b"\x81\x7e\x01\x2c{}", True),
    "a text over the limit": (b"\x81\x7e\x01\x2d{}", False),
    "a text of 64 bits, half its length": (b"\x81\x7f\x00\x00", True),
    "a text of 64 bits": (b"\x81\x7f" + bytes(5) + b"\x01\x00\x00{}", False),
    "a masked text": (b"\x81\x82", False),
    "a masked text of 16 bits": (b"\x81\xfe", False),
    "a compressed text": (b"\xc1\x02", False),
    "a compressed text of 16 bits": (b"\xc1\x7e\x01", True),
    "a text with more to come": (b"\x01\x02", False),
    "a continuation": (b"\x80\x02", False),
    "a continuation of 64 bits": (b"\x80\x7f\x00", True),
    "binary": (b"\x82\x02", False),
    "a ping": (b"\x89\x02", False),
    "a ping of 16 bits": (b"\x89\x7e", False),
    "a close": (b"\x88\x02\x03", False),
    "opcode 3": (b"\x83\x02", False),
    "opcode 11": (b"\x8b\x7e", False),
}


@pytest.mark.parametrize(("data", "expected"), WAITS.values(), ids=WAITS)
def test_only_a_possible_plain_text_frame_waits(data: bytes, expected: bool) -> None:
    """Also one whose length is not known yet; all others go to picows immediately."""
    assert expected is may_wait(data, 0, LIMIT)
    assert expected is may_wait(b"before" + data, 6, LIMIT)


# A fault that its header shows is found before the payload comes, or it never does.
FALSE_LENGTHS = {
    "16 bits for 0": b"\x81\x7e\x00\x00",
    "16 bits for 5": b"\x81\x7e\x00\x05",
    "16 bits for 125": b"\x81\x7e\x00\x7d{}",
    "64 bits for 5": b"\x81\x7f" + bytes(7) + b"\x05",
    "64 bits for 200": b"\x81\x7f" + bytes(7) + b"\xc8{}",
}


@pytest.mark.parametrize("data", FALSE_LENGTHS.values(), ids=FALSE_LENGTHS)
def test_a_length_that_is_not_the_shortest_does_not_wait(data: bytes) -> None:
    """Picows refuses it by its header alone."""
    assert not may_wait(data, 0, LIMIT)


# --- Nothing is lost or changed on the way to picows ---------------------------------------------


class Forwarded(asyncio.BufferedProtocol):
    """In place of picows: keeps what it is given, and offers so much room at once."""

    def __init__(self, told: list[tuple[str, bytes]], room: int) -> None:
        self._told = told
        self._memory = memoryview(bytearray(room))
        self.calls: list[Any] = []

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        self._told.append(("odd", bytes(self._memory[:nbytes])))

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(exc)

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


def read_into(protocol: asyncio.BufferedProtocol, data: bytes) -> Iterator[int]:
    """Do what an asyncio transport does with what it reads; yield how much room there was."""
    while data:
        room = memoryview(protocol.get_buffer(-1))
        part = data[: len(room)]
        room[: len(part)] = part
        protocol.buffer_updated(len(part))
        data = data[len(part) :]
        yield len(room)


def plain_frames(data: bytes) -> bytes | None:
    """The beginning of `data` that is whole plain frames; None if it begins with no such."""
    _, end = cut(data + b"\0\0\0\0", 0, LIMIT)
    return data[:end] or None


ODD = [
    wire(TEXT, b"{", fin=False),
    wire(CONTINUATION, text(7)),
    wire(PING, b"?" * 125),
    wire(PONG),
    wire(CLOSE, b"\x03\xe8bye"),
    wire(BINARY, text(200)),
    wire(TEXT, text(LIMIT + 1)),
    *(frame for frame in OTHERS.values() if len(frame) < 1000),
]
EVEN = st.sampled_from([b"", b"x", text(5), text(125), text(126), "ä€🙂".encode() * 40])
SIZES = st.integers(1, 9) | st.sampled_from([125, 126, 129, 1 << 12, 1 << 16])


@settings(deadline=None)
@given(
    frames=st.lists(EVEN.map(lambda each: wire(TEXT, each)) | st.sampled_from(ODD), max_size=12),
    reads=st.lists(SIZES, min_size=1, max_size=12),
    room=st.sampled_from([1, 3, 256, 1 << 16]),
    closed_for=st.sets(st.integers(0, 12)),
)
def test_each_byte_goes_one_way_and_all_in_order(
    frames: list[bytes], reads: list[int], room: int, closed_for: set[int]
) -> None:
    """What is not taken as a message reaches picows byte for byte, whatever room it has; nothing
    is taken while the short way is closed, and all plain frames while it is open."""
    told: list[tuple[str, bytes]] = []
    asked = iter(range(1 << 30))
    answers: list[bool] = []

    def is_open() -> bool:
        answers.append(next(asked) not in closed_for)
        return answers[-1]

    def take(texts: list[bytes]) -> None:
        assert texts
        assert answers[-1]
        told.extend(("text", each) for each in texts)

    bursts = Bursts(Forwarded(told, room), take=take, is_open=is_open, max_size=LIMIT)
    data = b"".join(frames)
    at = 0
    while at < len(data):
        step = reads[at % len(reads)]
        list(read_into(bursts, data[at : at + step]))
        at += step

    passed = b"".join(wire(TEXT, each) if way == "text" else each for way, each in told)
    assert data.startswith(passed)
    # The rest waits for more of a frame that may be plain text: there is no other.
    assert passed == data or may_wait(data, len(passed), LIMIT)
    # A header that is masked and torn has no length yet: it is picows's at once, with all the rest.
    gives_up = any(frame[1] > 253 for frame in frames)
    if not closed_for and not gives_up:
        assert not any(plain_frames(each) for way, each in told if way == "odd" and len(each) > 3)


@pytest.mark.parametrize("odd", [wire(PING, b"?" * 9), wire(BINARY, text(100))], ids=len)
@pytest.mark.parametrize("torn_at", [2, 5, 10])
def test_the_short_way_continues_after_a_frame_in_pieces(odd: bytes, torn_at: int) -> None:
    """However much room picows has: it gets the rest of that frame and no more."""
    told: list[tuple[str, bytes]] = []
    bursts = Bursts(
        Forwarded(told, 4096),
        take=lambda texts: told.append(("texts", b",".join(texts))),
        is_open=lambda: True,
        max_size=LIMIT,
    )
    plain = wire(TEXT, b"{}")

    for read in (odd[:torn_at], odd[torn_at:] + plain * 3, plain * 2):
        list(read_into(bursts, read))

    assert [
        ("odd", odd[:torn_at]),
        ("odd", odd[torn_at:]),
        ("texts", b"{},{},{}"),
        ("texts", b"{},{}"),
    ] == told


def test_picows_gets_the_other_callbacks() -> None:
    """The end of the stream, and the room to write."""
    picows = Forwarded([], 1)
    bursts = Bursts(picows, take=lambda _: None, is_open=lambda: True, max_size=LIMIT)
    lost = ConnectionResetError()

    bursts.pause_writing()
    bursts.resume_writing()
    assert bursts.eof_received() is True
    bursts.connection_lost(lost)

    assert ["pause", "resume", "eof", lost] == picows.calls


# --- picows, without a network -------------------------------------------------------------------

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_MUTE = logging.Logger("mute", logging.CRITICAL + 1)  # noqa: LOG001  # as `_dial` has it


class NoSocket:
    """What picows wants to know of a socket."""

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *option: int) -> None:
        assert socket.IPPROTO_TCP == option[0]

    def getsockopt(self, *option: int) -> int:
        return 0


class Line(asyncio.Transport):
    """A transport that reads what it is told to. `rooms` is how much was offered to be read into.

    It reads on once it is closing: as in one large read, which is always used up, so that how the
    bytes are cut makes no difference.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"socket": NoSocket()})
        self._loop = loop
        self._protocol: Any = None
        self._closing = False
        self.sent = b""
        self.rooms: list[int] = []

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def get_write_buffer_size(self) -> int:
        return 1  # else picows would write to the socket itself

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(lambda: self._protocol.connection_lost(None))

    def abort(self) -> None:
        self.close()

    def read(self, data: bytes) -> None:
        # The protocol may become another one amid it.
        while data:
            [room] = read_into(self._protocol, data[: len(self._protocol.get_buffer(-1))])
            self.rooms.append(room)
            data = data[room:]

    def end(self) -> None:
        if not self._closing:
            assert not self._protocol.eof_received()
            self.close()


class LineLoop(VirtualTimeLoop):
    """A loop whose only connection is a `Line`."""

    line: Line

    async def create_connection(self, factory: Callable[[], Any], *_: Any, **__: Any) -> Any:
        self.line = Line(self)
        protocol = factory()
        self.line.set_protocol(protocol)
        protocol.connection_made(self.line)
        return self.line, protocol


class Unshortened(PicowsWire):
    """The long way for all."""

    def _start_fast_path(self) -> None:
        pass


@dataclass
class Listener:
    """A `Handler` that notes what it is told, and ends as a connection does: once, whatever comes
    then but `gone`.

    At the text number `leaves_at` it closes, at `fails_at` it raises.
    """

    leaves_at: int | None = None
    fails_at: int | None = None
    told: list[Any] = field(default_factory=list)
    bursts: int = 0
    texts: int = 0
    is_over: bool = False
    wire: Any = None
    reader: Any = None
    began: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    gate: ReadGate = field(default_factory=ReadGate)

    def opened(self, wire: Any) -> None:
        self.wire = wire

    def received(self, text: bytes) -> None:
        self.received_all([text])

    def received_all(self, texts: list[bytes]) -> None:
        assert texts
        for each in texts:
            if self.is_over:
                return
            self.told.append(each)
            self.texts += 1
            self.began.set()
            if self.texts == self.leaves_at:
                self._end(1000, ("left",))
            if self.texts == self.fails_at:
                raise ZeroDivisionError("a fault of ours")

    def heard(self) -> None:
        self.bursts += 1

    def ponged(self) -> None:
        if not self.is_over:
            self.told.append("pong")

    def writable(self, yes: bool) -> None:
        raise AssertionError("nothing is written here that could not be")

    def closed(self, code: int, reason: str) -> None:
        self._end(1000, ("closed", code, reason))

    def failed(self, failure: TransportError, code: int) -> None:
        self._end(code, (type(failure), str(failure), code))

    def gone(self) -> None:
        self.told.append("gone")
        self.left.set()

    def _end(self, code: int, reason: tuple[Any, ...]) -> None:
        if not self.is_over:
            self.is_over = True
            self.told.append(reason)
            self.reader = self.wire._transport.underlying_transport.get_protocol()
            self.wire.close(code, "")


async def opened(
    listener: Listener, kind: type[PicowsWire] = PicowsWire, limit: int = LIMIT, **options: Any
) -> Line:
    """An open WebSocket of picows on a `Line`, with the options that `_dial` sets."""

    def make() -> PicowsWire:
        return kind(listener, host="h", max_message_size=limit, **options)

    connecting = asyncio.ensure_future(
        ws_connect(
            make,
            "ws://h/",
            websocket_handshake_timeout=None,
            logger_name=_MUTE,
            enable_auto_pong=False,
            max_frame_size=limit,
            max_redirects=0,
            use_aiofastnet=False,
        )
    )
    await asyncio.sleep(0)
    loop: Any = asyncio.get_running_loop()
    line: Line = loop.line
    key = line.sent.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    line.read(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    await connecting
    line.sent = b""
    return line


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """What a client sent: opcodes and payloads."""
    found = []
    while data:
        assert 0x80 | 125 >= data[1] >= 0x80
        stop = 6 + (data[1] & 0x7F)
        mask = data[2:6] * 32
        found.append((data[0], bytes(a ^ b for a, b in zip(data[6:stop], mask, strict=False))))
        data = data[stop:]
    return found


def outcome(
    reads: list[bytes], kind: type[PicowsWire] = PicowsWire, limit: int = LIMIT, **listening: Any
) -> tuple[list[Any], list[tuple[int, bytes]]]:
    """What a listener is told, and what the server is sent, until the end of the stream."""

    async def run() -> tuple[list[Any], list[tuple[int, bytes]]]:
        listener = Listener(**listening)
        line = await opened(listener, kind, limit)
        for data in reads:
            line.read(data)
        line.end()
        await asyncio.sleep(1)
        return listener.told, frames_in(line.sent)

    with asyncio.Runner(loop_factory=LineLoop) as runner:
        result = runner.run(run())
        loop: Any = runner.get_loop()
        assert [] == loop.faults
    return result


def bytewise(data: bytes) -> list[bytes]:
    return pieces_of(data, 1)


# --- Both ways tell the same ---------------------------------------------------------------------

TEXTS = st.sampled_from(
    [b"", b"x", b"{}", text(125), text(126), text(LIMIT), "é".encode(), "🙂".encode() * 70]
)
PAYLOADS = TEXTS | st.sampled_from([b"\xff", b"{\xe2\x82", b"\xed\xa0\x80" * 50])
LAWFUL = st.one_of(
    TEXTS.map(lambda each: [wire(TEXT, each)]),
    TEXTS.map(lambda each: [wire(TEXT, each)]),
    st.lists(TEXTS.map(lambda each: each[:90]), min_size=1, max_size=3).map(
        lambda parts: fragments(pieces_of("".join(p.decode(errors="ignore") for p in parts), 7))
    ),
    st.tuples(st.sampled_from([PING, PONG]), st.sampled_from([b"", b"?", bytes(range(125))])).map(
        lambda pair: [wire(*pair)]
    ),
)
CODES = st.sampled_from([0, 999, 1000, 1001, 1005, 1006, 1011, 2999, 3000, 4400, 5000, 65535])
CLOSES = st.one_of(
    st.just(wire(CLOSE)),
    st.tuples(CODES, st.sampled_from([b"", b"bye", "é".encode(), b"\xff", b"x" * 123])).map(
        lambda pair: bytes([0x88, 2 + len(pair[1])]) + struct.pack("!H", pair[0]) + pair[1]
    ),
    st.just(b"\x88\x01\x03"),
)
HEADERS = st.tuples(
    st.integers(0, 255) | st.sampled_from([0x81, 0x01, 0x80, 0x89]),
    st.sampled_from(
        [
            b"\x02",
            b"\x82\x01\x02\x03\x04",
            b"\x7e\x00\x02",
            b"\x7e\x01\x2c",
            b"\x7e\x01\x2d",
            b"\x7e\xff\xff",
            b"\x7f" + bytes(7) + b"\x02",
            b"\x7f" + bytes(5) + b"\x01\x00\x00",
            b"\x7f\xff" + bytes(7),
            b"\xfe\x00\x02",
        ]
    ),
    st.sampled_from([b"", b"{}", text(300)]),
).map(lambda parts: bytes([parts[0]]) + parts[1] + parts[2])
UNLAWFUL = st.one_of(
    PAYLOADS.map(lambda each: wire(TEXT, each)),
    st.builds(wire, st.sampled_from([TEXT, CONTINUATION, BINARY]), PAYLOADS, fin=st.booleans()),
    CLOSES,
    HEADERS,
    st.sampled_from(ODD),
    st.binary(min_size=1, max_size=40),
).map(lambda each: [each])
ANY = st.lists(LAWFUL | UNLAWFUL, min_size=1, max_size=8)
NUMBERS = st.none() | st.integers(1, 6)


@st.composite
def reads_of(draw: st.DrawFn, items: st.SearchStrategy[list[list[bytes]]]) -> list[bytes]:
    """Frames, and how they come: all at once, one by one, each byte alone, or in any pieces."""
    frames = [frame for item in draw(items) for frame in item]
    data = b"".join(frames)
    how = draw(st.sampled_from(["at once", "frames", "bytes", "pieces", "pieces"]))
    if how == "frames":
        return frames
    if how != "pieces":
        return [data] if how == "at once" else bytewise(data)
    sizes = draw(st.lists(SIZES, min_size=1, max_size=12))
    reads = []
    while data:
        size = sizes[len(reads) % len(sizes)]
        reads.append(data[:size])
        data = data[size:]
    return reads


@settings(deadline=None, max_examples=examples(250))
@given(reads=reads_of(ANY), leaves_at=NUMBERS, fails_at=NUMBERS)
@example(reads=[wire(PING, b"?") + b"\x83\x00"], leaves_at=None, fails_at=None)
@example(reads=[b"\x88\x02\x03\xe7" + wire(TEXT, b"{}")], leaves_at=None, fails_at=None)
@example(reads=[wire(TEXT, b"{}") * 5], leaves_at=3, fails_at=None)
@example(reads=[wire(TEXT, b"{}") * 5], leaves_at=None, fails_at=3)
def test_any_frames_have_the_same_effect_as_with_picows_alone(
    reads: list[bytes], leaves_at: int | None, fails_at: int | None
) -> None:
    """However they are cut: the same messages, pongs, ends and faults in the same order, and the
    same bytes sent, as if each byte came alone to picows.

    Alone, because picows looks at a frame before it delivers the one ahead, if both come in one
    read: whether a ping gets its pong when a fault follows it depends on how the reads are cut.
    """
    begin = wire(TEXT, ACK)
    listening = {"leaves_at": leaves_at, "fails_at": fails_at}

    expected = outcome([begin, *bytewise(b"".join(reads))], Unshortened, **listening)

    assert expected == outcome([begin, *reads], PicowsWire, **listening)


@settings(deadline=None)
@given(
    reads=reads_of(st.lists(LAWFUL, min_size=1, max_size=12)),
    end=CLOSES | st.just(b""),
    leaves_at=NUMBERS,
)
def test_valid_frames_have_the_same_effect_from_the_first_byte_on(
    reads: list[bytes], end: bytes, leaves_at: int | None
) -> None:
    """Wherever the short way begins between them, and as with picows for the same reads."""
    expected = outcome([*reads, end], Unshortened, leaves_at=leaves_at)

    assert expected == outcome([*reads, end], PicowsWire, leaves_at=leaves_at)


KINDS = {
    "plain": wire(TEXT, b"{}"),
    "of 16 bits": wire(TEXT, text(126)),
    "not ASCII": wire(TEXT, "é".encode()),
    "not UTF-8": wire(TEXT, b"{\xff}"),
    "the first fragment": wire(TEXT, b"{", fin=False),
    "a fragment": wire(CONTINUATION, b" ", fin=False),
    "the last fragment": wire(CONTINUATION, b"}"),
    "half a character": wire(TEXT, b"\xe2\x82", fin=False),
    "the other half": wire(CONTINUATION, b"\xac"),
    "binary": wire(BINARY, b"{}"),
    "ping": wire(PING, b"?"),
    "pong": wire(PONG),
    "close": wire(CLOSE, b"\x0f\xa0bye"),
    "close of nothing": wire(CLOSE),
    "close of a bad code": b"\x88\x02\x03\xe7",
    "a fragmented ping": b"\x09\x01?",
    "compressed": b"\xc1\x02{}",
    "a reserved ping": b"\xa9\x00",
    "masked": OTHERS["masked"],
    "masked and torn": b"\x81\xfe\x01",
    "16 bits for 2": sixteen(2),
    "opcode 3": b"\x83\x02{}",
    "over the limit": wire(TEXT, text(LIMIT + 1)),
    "over any limit": b"\x81\x7f\x10" + bytes(7),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("first", KINDS.values(), ids=KINDS)
def test_any_two_frames_have_the_same_effect_as_with_picows_alone(first: bytes) -> None:
    """One after the other, with a plain frame after them: in one read, and each in a read of its
    own.
    """
    begin, plain = wire(TEXT, ACK), KINDS["plain"]
    for name, second in KINDS.items():
        frames = [first, second, plain]
        expected = outcome([begin, *bytewise(b"".join(frames))], Unshortened)

        assert expected == outcome([begin, b"".join(frames)], PicowsWire), name
        assert expected == outcome([begin, *frames], PicowsWire), name


@pytest.mark.parametrize("size", [65_535, 65_536, 70_000, 200_000])
@pytest.mark.parametrize("step", [1, 1000, 4096, 65_536, 1 << 20])
def test_long_messages_have_the_same_effect(size: int, step: int) -> None:
    """Between short ones, with each byte of the headers alone, or in pieces."""
    long = wire(TEXT, "🙂".encode() + text(size - 4))
    data = wire(TEXT, b"{}") + long + wire(PING, b"?") + long + wire(TEXT, b"{}")
    reads = [wire(TEXT, ACK)]
    if step > 1:
        reads += pieces_of(data, step)
    else:
        at = data.index(b"\x89\x01?")
        reads += [*bytewise(data[:40]), data[40 : at - 9], *bytewise(data[at - 9 : at + 30])]
        reads += [data[at + 30 : -40], *bytewise(data[-40:])]

    told, sent = outcome(reads, PicowsWire, ROOMY)

    expected = [ACK, b"{}", long[-size:], long[-size:], b"{}", ("closed", 1006, ""), "gone"]
    assert expected == told
    assert [(0x80 | PONG, b"?")] == sent
    assert (told, sent) == outcome(reads, Unshortened, ROOMY)


def test_a_fault_in_a_header_is_found_though_nothing_follows() -> None:
    """The server need not send the payload of a frame that is refused by its header."""
    for header in FALSE_LENGTHS.values():
        reads = [wire(TEXT, ACK), header]
        expected = outcome(reads, Unshortened)

        assert TransportProtocolError is expected[0][1][0]
        assert expected == outcome(reads, PicowsWire)


def test_every_burst_is_heard() -> None:
    """A read that brings a whole frame is a sign of life, whichever way it goes; and one is
    enough for many messages."""

    async def run() -> None:
        listener = Listener()
        line = await opened(listener)
        heard = []
        plain, ping = wire(TEXT, b"{}"), wire(PING)
        for data in [plain, plain, plain * 9, ping, b"\x81", b"\x02{}", plain + ping + plain]:
            line.read(data)
            heard.append(listener.bursts)
        assert [1, 2, 3, 4, 4, 5] == heard[:6]
        assert 8 >= heard[6] > 5
        line.end()
        await asyncio.sleep(1)

    with asyncio.Runner(loop_factory=LineLoop) as runner:
        runner.run(run())


# --- Who reads -----------------------------------------------------------------------------------


def reader_after(*reads: bytes, **options: Any) -> Any:
    """Who reads the socket after these reads."""

    async def run() -> Any:
        line = await opened(Listener(), **options)
        for data in reads:
            line.read(data)
        reader = line.get_protocol()
        line.end()
        await asyncio.sleep(1)
        return type(reader)

    with asyncio.Runner(loop_factory=LineLoop) as runner:
        return runner.run(run())


def test_the_short_way_begins_before_the_first_frame() -> None:
    """So picows never has more than one frame, and does not look at the next one."""
    plain = wire(TEXT, b"{}")

    assert Bursts is reader_after()
    assert Bursts is reader_after(plain[:1], plain[1:])
    assert Bursts is reader_after(plain + plain[:3])
    assert Bursts is reader_after(wire(PING))


def test_a_compressed_connection_is_read_by_picows_alone() -> None:
    """There is no plain frame on it worth a way of its own."""
    compression = deflate.accept("permessage-deflate")
    assert compression is not None

    assert Bursts is not reader_after(wire(TEXT, b"{}"), compression=compression)


def test_an_idle_connection_has_a_small_buffer_and_a_busy_one_a_larger() -> None:
    """It grows with reads that fill it, within a bound, whatever comes."""

    async def run() -> list[list[int]]:
        line = await opened(Listener(), limit=ROOMY)
        rooms = []
        plain = wire(TEXT, text(1000))
        for data in [plain, *[plain] * 3, plain * 1000, *[plain] * 3, plain * 3000]:
            line.rooms.clear()
            line.read(data)
            rooms.append([*line.rooms])
        line.end()
        await asyncio.sleep(1)
        return rooms

    with asyncio.Runner(loop_factory=LineLoop) as runner:
        _, *idle, busy, less, _, _, busier = runner.run(run())

    assert [[4096]] * 3 == idle
    assert [4096, 16_384, 65_536, 65_536] == busy[:4]
    assert [65_536] == less
    assert {65_536} == {*busy[2:], *busier}


# --- On a real socket ----------------------------------------------------------------------------

tidy = pytest.fixture(leaves_nothing)


@pytest.fixture(params=["plain", "TLS"])
async def context(request: pytest.FixtureRequest, tidy: None, certificates: Certificates) -> Any:
    if request.param == "plain":
        return None, None
    return server_context(certificates.server), client_context(certificates.ca)


async def told_over(
    reads: list[bytes], kind: type[PicowsWire], contexts: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Any], list[tuple[int, bytes]], bool]:
    """What a client is told of so many writes, what it answers, and whether it went short."""
    answers: list[tuple[int, bytes]] = []
    listener = Listener()

    async def script(peer: RawPeer) -> None:
        await peer.send_raw(wire(TEXT, ACK))
        await listener.began.wait()
        for data in reads:
            await peer.send_raw(data)
            await asyncio.sleep(0)
        while not answers or answers[-1][0] != CLOSE:
            frame = await peer.receive_frame()
            answers.append((frame.opcode, frame.payload))
        peer.end()

    with monkeypatch.context() as patch:
        patch.setattr("gqlwire._wire.dial.PicowsWire", kind)
        async with raw_fake(script, ssl=contexts[0]) as server, asyncio.timeout(BOUND):
            way = Way(parse(server.url), ssl_context=contexts[1], max_message_size=ROOMY)
            await open_websocket(way, ("graphql-transport-ws",), lambda *_: listener)
            await listener.left.wait()
    return listener.told, answers, isinstance(listener.reader, Bursts)


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
async def test_a_real_socket_is_read_the_short_way(
    step: int, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In TLS, too; the same is told as without it, whatever the kernel makes of the pieces."""
    lawful = [*fragments(pieces_of("ä€🙂" * 9, 5)), wire(PING, b"?"), wire(PONG)]
    texts = [wire(TEXT, text(size)) for size in (0, 1, 125, 126, 3)]
    if step > 7:
        texts += [wire(TEXT, text(size)) for size in (5_000, 65_535, 65_536, 300_000, 9)]
    data = b"".join(lawful + texts * 3 + [wire(CLOSE, b"\x0f\xa0over")])

    short = await told_over(pieces_of(data, step), PicowsWire, context, monkeypatch)
    long = await told_over(pieces_of(data, step), Unshortened, context, monkeypatch)

    assert short[:2] == long[:2]
    assert (True, False) == (short[2], long[2])
    assert ("closed", 4000, "over") == short[0][-2]
    assert 2 + 3 * len(texts) == sum(isinstance(each, bytes) for each in short[0])
    assert [(PONG, b"?"), (CLOSE, b"\x0f\xa0")] == short[1]
