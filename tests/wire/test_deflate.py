"""permessage-deflate against the server's side of the `websockets` package, and RFC 7692."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension

from gqlwire._wire.deflate import Deflate, accept, offer

if TYPE_CHECKING:
    from collections.abc import Callable

FIN, RSV1 = 0x80, 0x40
PLAIN = "permessage-deflate"
ROOMY = 1 << 20
EVENT = b'{"id":"%d","type":"next","payload":{"data":{"trade":{"symbol":"GQLW","price":%d}}}}'


def negotiate(server: ServerPerMessageDeflateFactory) -> tuple[Deflate, PerMessageDeflate]:
    """Carry `offer` to a real server's side and its answer back to `accept`."""
    [(_, request)] = parse_extension(offer())
    response, extension = server.process_request_params(request, [])
    deflate = accept(build_extension([(server.name, response)]))
    assert deflate is not None
    return deflate, extension


def accepted(header: str) -> Deflate:
    """`accept` a header that is known to be good."""
    deflate = accept(header)
    assert deflate is not None
    return deflate


def server_sends(extension: PerMessageDeflate, payload: bytes) -> bytes:
    """Compress as the server does."""
    return bytes(extension.encode(Frame(Opcode.TEXT, payload)).data)


def server_reads(extension: PerMessageDeflate, payload: bytes) -> bytes:
    """Inflate as the server does."""
    return bytes(extension.decode(Frame(Opcode.TEXT, payload, rsv1=True)).data)


def compressed(payload: bytes, wbits: int = -15) -> bytes:
    """One message, compressed with no library but zlib (RFC 7692, section 7.2.1)."""
    encoder = zlib.compressobj(wbits=wbits)
    return (encoder.compress(payload) + encoder.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
        b"\x00\x00\xff\xff"
    )


def test_the_offer_asks_for_takeover_and_leaves_the_windows_to_the_server() -> None:
    """The offer has one extension with the only parameter that needs our consent."""
    assert "permessage-deflate; client_max_window_bits" == offer()


@pytest.mark.parametrize("header", [None, "", "  "])
def test_a_missing_or_empty_header_means_the_server_declined(header: str | None) -> None:
    """No compression is agreed on unless the server says so."""
    assert accept(header) is None


@pytest.mark.parametrize("server_forgets", [False, True])
@pytest.mark.parametrize("client_forgets", [False, True])
@pytest.mark.parametrize(
    ("server_bits", "client_bits"),
    [(None, None), (None, 9), (9, None), *zip(range(9, 16), range(15, 8, -1), strict=True)],
)
def test_messages_survive_under_every_agreement_with_a_real_server(
    server_forgets: bool, client_forgets: bool, server_bits: int | None, client_bits: int | None
) -> None:
    """Takeover or not, and all window sizes: each message arrives as sent, in both directions."""
    ours, theirs = negotiate(
        ServerPerMessageDeflateFactory(
            server_no_context_takeover=server_forgets,
            client_no_context_takeover=client_forgets,
            server_max_window_bits=server_bits,
            client_max_window_bits=client_bits,
        )
    )
    # Longer than the widest window, repetitive at all distances, and not compressible at all.
    messages = [
        b"",
        b"{}",
        EVENT % (1, 2),
        EVENT % (1, 3),
        bytes(range(256)) * 300,
        os.urandom(5000),
    ]

    for message in [*messages, *messages]:
        assert message == ours.inflate(server_sends(theirs, message), ROOMY)
        assert message == server_reads(theirs, ours.deflate(message))


def test_a_server_window_of_eight_bits_is_accepted() -> None:
    """A server may have 8 (RFC 7692, section 7.1.2.1), although zlib cannot write it."""
    deflate = accepted(f"{PLAIN}; server_max_window_bits=8")

    assert b"abcabcabc" == deflate.inflate(compressed(b"abcabcabc", wbits=-9), ROOMY)


def test_thousands_of_messages_share_one_context() -> None:
    """With takeover the later messages are a fraction of their size, and none is mixed up."""
    ours, theirs = negotiate(ServerPerMessageDeflateFactory())
    sent = received = 0

    for number in range(3000):
        message = EVENT % (number % 7, number)
        wire = server_sends(theirs, message)
        sent, received = sent + len(wire), received + len(message)
        assert message == ours.inflate(wire, ROOMY)
        assert message == server_reads(theirs, ours.deflate(message))

    assert sent < received / 4


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("f248cdc9c90700", id="one block"),
        pytest.param("000500faff48656c6c6f00", id="stored"),
        pytest.param("f348cdc9c9070000", id="final block"),
        pytest.param("f248050000 00ffffcac9c90700", id="two blocks"),
    ],
)
@pytest.mark.parametrize("parameters", ["", "; server_no_context_takeover"])
def test_the_examples_of_the_rfc_read_hello_twice(payload: str, parameters: str) -> None:
    """RFC 7692, section 7.2.3, and a second message is understood after each of them."""
    deflate = accepted(PLAIN + parameters)

    assert b"Hello" == deflate.inflate(bytes.fromhex(payload), ROOMY)
    assert b"Hello" == deflate.inflate(bytes.fromhex(payload), ROOMY)


def test_the_example_of_a_shared_window_reads_hello() -> None:
    """RFC 7692, section 7.2.3.2: the second message refers to the first."""
    deflate = accepted(PLAIN)

    assert b"Hello" == deflate.inflate(bytes.fromhex("f248cdc9c90700"), ROOMY)
    assert b"Hello" == deflate.inflate(bytes.fromhex("f200110000"), ROOMY)


@pytest.mark.parametrize("parameters", ["", "; server_no_context_takeover"])
@pytest.mark.parametrize("make", [bytes, os.urandom], ids=["zeros", "random"])
@pytest.mark.parametrize("size", [0, 1, 2030, 2043, 2044, 2045, 4096, 70_000])
def test_the_limit_is_exact(parameters: str, make: Callable[[int], bytes], size: int) -> None:
    """A message of just the limit passes; one byte more does not."""
    message = make(size)

    assert message == accepted(PLAIN + parameters).inflate(compressed(message), size)
    if size:
        with pytest.raises(OverflowError, match=f"more than {size - 1} bytes"):
            accepted(PLAIN + parameters).inflate(compressed(message), size - 1)


@pytest.mark.parametrize("parameters", ["", "; server_no_context_takeover"])
def test_a_zip_bomb_is_not_inflated_beyond_the_limit(parameters: str) -> None:
    """50 kB that stand for 50 MB cost no more memory than the limit allows."""
    bomb = compressed(bytes(50_000_000))
    deflate = accepted(PLAIN + parameters)
    limit = 100_000

    tracemalloc.start()
    try:
        with pytest.raises(OverflowError):
            deflate.inflate(bomb, limit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(bomb) < 100_000
    assert peak < 5 * limit + len(bomb)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x07", id="reserved block type"),
        pytest.param(b"\x00\x05\x00\x00\x00Hello", id="length and its complement differ"),
        pytest.param(compressed(b"abc" * 1000, wbits=-9)[1:] * 3, id="beheaded"),
        pytest.param(bytes.fromhex("f200110000"), id="refers to what was never sent"),
        pytest.param(b"\xff" * 5000, id="long rubbish"),
    ],
)
def test_corrupt_data_is_a_value_error(payload: bytes) -> None:
    """What is not a deflate stream is told in one sentence."""
    with pytest.raises(ValueError, match="corrupt compressed message"):
        accepted(PLAIN).inflate(payload, ROOMY)


@given(st.lists(st.binary(max_size=3000), max_size=5), st.integers(0, 5000))
def test_any_bytes_give_a_bounded_message_or_one_of_two_errors(
    payloads: list[bytes], limit: int
) -> None:
    """Nothing else than `ValueError` and `OverflowError` comes out, whatever goes in."""
    deflate = accepted(PLAIN)

    for payload in payloads:
        try:
            plain = deflate.inflate(payload, limit)
        except (ValueError, OverflowError):
            return
        assert len(plain) <= limit


@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_any_messages_survive_the_way_through_a_server(messages: list[bytes]) -> None:
    """Out through the server's decoder and back from its encoder, every message is the same."""
    ours, theirs = negotiate(ServerPerMessageDeflateFactory())

    for message in messages:
        assert message == server_reads(theirs, ours.deflate(message))
        assert message == ours.inflate(server_sends(theirs, message), ROOMY)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("x-webkit-deflate-frame", "an extension that was not offered: x-webkit-deflate-frame"),
        (f"{PLAIN}, x-more", "an extension that was not offered: x-more"),
        (f"{PLAIN}, {PLAIN}", "duplicate permessage-deflate"),
        (f"{PLAIN}; server_max_window_bits=7", "server_max_window_bits"),
        (f"{PLAIN}; server_max_window_bits=16", "server_max_window_bits"),
        (f"{PLAIN}; server_max_window_bits", "server_max_window_bits"),
        (f"{PLAIN}; client_max_window_bits=8", "client_max_window_bits=8"),
        (f"{PLAIN}; client_no_context_takeover; client_max_window_bits=8", "the minimum is 9"),
        (f"{PLAIN}; client_max_window_bits", "client_max_window_bits"),
        (f"{PLAIN}; server_no_context_takeover=1", "server_no_context_takeover"),
        (f"{PLAIN}; server_no_context_takeover; server_no_context_takeover", "duplicate"),
        (f"{PLAIN}; mystery", "mystery"),
        (f"{PLAIN}; ;", "not acceptable"),
        ("=", "not acceptable"),
    ],
)
def test_an_answer_beyond_the_offer_is_refused_with_a_sentence(header: str, sentence: str) -> None:
    """An extension or a parameter beyond the offer fails the handshake (RFC 6455, section 4.1)."""
    with pytest.raises(ValueError, match=sentence):
        accept(header)


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra is named where it is missed, and the cause is kept."""
    monkeypatch.setitem(sys.modules, "websockets.extensions.permessage_deflate", None)
    sentence = (
        "compression=\"deflate\" needs the websockets package: pip install 'gqlwire[deflate]'"
    )

    with pytest.raises(ModuleNotFoundError) as offering:
        offer()
    with pytest.raises(ModuleNotFoundError) as accepting:
        accept(PLAIN)

    assert sentence == str(offering.value) == str(accepting.value)
    assert isinstance(offering.value.__cause__, ModuleNotFoundError)


def test_the_repr_shows_the_agreed_parameters() -> None:
    """For debugging a connection."""
    deflate = accepted(f"{PLAIN}; server_max_window_bits=10")

    assert "remote_max_window_bits=10" in repr(deflate)


async def test_a_real_server_echoes_compressed_messages() -> None:
    """Header to header and frame to frame over a loopback socket, with takeover."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    messages = [EVENT % (n, n) for n in range(20)] + [b'"' + b"long " * 20_000 + b'"']
    async with serve(echo, "127.0.0.1", 0, compression="deflate") as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            deflate = await shake_hands(reader, writer)
            for message in messages:
                frame = Frame(Opcode.TEXT, deflate.deflate(message)).serialize(mask=True)
                writer.write(bytes([frame[0] | RSV1]) + frame[1:])
                first_byte, payload = await read_frame(reader)
                assert FIN | RSV1 | Opcode.TEXT == first_byte
                assert len(payload) < len(message)
                assert message == deflate.inflate(payload, ROOMY)
        finally:
            writer.close()
            await writer.wait_closed()


async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Deflate:
    """Ask for an upgrade with our offer and read the server's choice."""
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Extensions: {offer()}\r\n\r\n".encode()
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *lines = head.split("\r\n")
    assert "HTTP/1.1 101 Switching Protocols" == status
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return accepted(headers["sec-websocket-extensions"])


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one unmasked frame (RFC 6455, section 5.2): its first byte and its payload."""
    first, length = await reader.readexactly(2)
    if length >= 126:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
    return first, await reader.readexactly(length)
