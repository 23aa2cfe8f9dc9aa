"""C3: a server that does not speak HTTP was waited for until `connect_timeout`. The attempt fails
at the first bytes that cannot be an HTTP answer, and the error shows them.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gqlwire
from gqlwire._wire.answer import AnswerReader, NotHTTP
from gqlwire.errors import HandshakeRejected, Phase, ProxyFailed
from gqlwire.transport.websockets import WebsocketsTransport
from servers.certificates import Certificates, client_context, server_context
from servers.fake import RawPeer, raw_fake
from support import failure, leaves_nothing
from wire.proxies import HTTPProxy, SOCKS5Proxy

tidy = pytest.fixture(autouse=True)(leaves_nothing)

MYSQL = b"J\0\0\0\n8.0.36\0\x0b\0\0\0abcdefgh\0\xff\xf7\xff\x02\0"
SETTINGS = b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff"

BANNERS = {
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "it is an SSH server; it sent 'SSH-2.0-OpenSSH_9.6'"),
    "smtp": (b"220 mail.example ESMTP\r\n", "it is a mail or FTP server; it sent '220 mail"),
    "smtp, no line end": (b"220 mail.example", "it is a mail or FTP server; it sent '220 mail"),
    "redis": (b"-ERR unknown command 'GET'\r\n", 'it is a Redis server; it sent "-ERR unknown'),
    "imap": (b"* OK ready\r\n", "it is an IMAP server"),
    "mysql": (MYSQL, "it does not speak HTTP; it sent 'J"),
    "http/2": (SETTINGS, "it speaks HTTP/2"),
    "json": (b'{"error":"no"}\n', 'it does not speak HTTP; it sent \'{"error":"no"}\''),
    "html": (b"<html>", "it does not speak HTTP; it sent '<html>'"),
    "a zero": (b"\0", "it does not speak HTTP; it sent '\\x00'"),
    "icecast": (b"ICY 200 OK\r\n", "it does not speak HTTP"),
    "nearly": (b"HTTQ/1.1 200 OK", "it does not speak HTTP"),
    "no status": (b"HTTP/1.1 ok\r\n", "it does not speak HTTP; it sent 'HTTP/1.1 ok'"),
    "a long status": (b"HTTP/1.1 10100 Ok\r\n", "it does not speak HTTP"),
    "a terminal's escape": (
        b"\x1b[2J\x9bhello\r\n",
        "it does not speak HTTP; it sent '\\x1b[2J\\x9bhello'",
    ),
}


@pytest.mark.parametrize("before", [True, False], ids=["unasked", "asked"])
@pytest.mark.parametrize(("banner", "words"), BANNERS.values(), ids=BANNERS)
async def test_c3_a_server_that_does_not_speak_http(
    banner: bytes, words: str, before: bool
) -> None:
    """It keeps the connection open, and nothing is waited for: there is no time limit at all."""

    async def script(peer: RawPeer) -> None:
        if not before:
            await peer.read_request()
        await peer.send_raw(banner)
        await peer.reader.read()

    async with raw_fake(script, upgrade=False) as server:
        transport = WebsocketsTransport(server.url, connect_timeout=None)
        told = await failure(HandshakeRejected, transport.connect())

    assert (Phase.HANDSHAKE, None) == (told.phase, told.status)
    assert f"{told.host} did not answer as a WebSocket server does: {words}" in str(told)
    assert str(told).isprintable()


@pytest.mark.parametrize(
    ("banner", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "it is an SSH server; it sent 'SSH-2.0-OpenSSH_9.6'"),
        (b"220 mail.example", "it is a mail or FTP server; it sent '220 mail.example'"),
        (b"x" * 90, f"it does not speak HTTP; it sent '{'x' * 80}'"),
    ],
)
async def test_c3_kind_a_line_that_comes_byte_by_byte(banner: bytes, words: str) -> None:
    """It is shown as far as it comes within a tenth of a second."""

    async def script(peer: RawPeer) -> None:
        for byte in banner:
            await peer.send_raw(bytes([byte]))
            await asyncio.sleep(0)
        await peer.reader.read()

    async with raw_fake(script, upgrade=False) as server:
        transport = WebsocketsTransport(server.url, connect_timeout=None)
        told = await failure(HandshakeRejected, transport.connect())

    assert str(told).endswith(words)


WAYS = ["tls", "http proxy", "socks proxy", "tls in http proxy"]


@pytest.mark.parametrize("way", WAYS)
async def test_c3_kind_on_every_way(way: str, certificates: Certificates) -> None:
    """A proxy may pass the banner on with its own answer."""
    options: dict[str, Any] = {"connect_timeout": None}
    if "tls" in way:
        options["ssl"] = client_context(certificates.ca)
    proxy = SOCKS5Proxy() if "socks" in way else HTTPProxy()

    async def script(peer: RawPeer) -> None:
        await peer.send_raw(b"220 mail.example ESMTP\r\n")
        await peer.reader.read()

    context = server_context(certificates.server) if "tls" in way else None
    async with raw_fake(script, upgrade=False, ssl=context) as server, proxy:
        if "proxy" in way:
            options["proxy"] = proxy.url
        told = await failure(
            HandshakeRejected, WebsocketsTransport(server.url, **options).connect()
        )

    assert "it is a mail or FTP server" in str(told)


async def test_c3_kind_a_session_that_reconnects_ends_at_once() -> None:
    """It is final: the server will not learn HTTP."""

    async def script(peer: RawPeer) -> None:
        await peer.send_raw(b"SSH-2.0-OpenSSH_9.6\r\n")
        await peer.reader.read()

    async with raw_fake(script, upgrade=False) as server:
        with pytest.raises(HandshakeRejected, match="it is an SSH server"):
            async with gqlwire.connect(server.url, connect_timeout=None):
                pass


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "it does not speak HTTP: it sent b'SSH-2.0-OpenSSH_9.6"),
        (b"\x05\xff", "it does not speak HTTP: it sent b'\\x05\\xff'"),
        (b"HTTP/1.1 407 No\r\n\r\n", "it answered HTTP 407: it requires a user and a password"),
        (b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.0 502 Bad\r\n\r\n", "502: it cannot reach the target"),
        (b"HTTP/1.1 418 Teapot\r\n\r\n", "it answered HTTP 418"),
    ],
)
async def test_c3_kind_a_proxy_that_does_not_open_a_tunnel(said: bytes, words: str) -> None:
    """The same for what answers in place of a proxy."""

    async def script(peer: RawPeer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send_raw(said)
        await peer.reader.read()

    async with raw_fake(script, upgrade=False) as proxy:
        url = proxy.url.replace("ws:", "http:").removesuffix("/graphql")
        transport = WebsocketsTransport("ws://api.example/", proxy=url, connect_timeout=None)
        told = await failure(ProxyFailed, transport.connect())

    assert words in str(told)


@given(st.binary(min_size=1, max_size=40).filter(lambda data: b"\n" not in data))
def test_c3_kind_any_bytes_are_refused_as_soon_as_they_cannot_be_http(data: bytes) -> None:
    """A beginning of `HTTP/` may become one."""
    reader = AnswerReader()
    could_be = b"HTTP/".startswith(data[:5].upper())
    if not could_be:
        with pytest.raises(NotHTTP) as caught:
            reader.take(data)
        assert data == caught.value.beginning
    else:
        assert reader.take(data) is None
