"""The proxies of the tests, through plain sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme
from proxies import HTTPProxy, Proxy, SOCKS5Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BASIC = base64.b64encode(b"user:secret").decode()
SUCCESS = b"\x05\x00\x00\x01\x7f\x00\x00\x01"  # and two bytes: the port


@contextlib.asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    """A server that sends back what it gets, and closes when the client has no more."""
    open_connections: set[asyncio.StreamWriter] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_connections:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def dialled(
    proxy: Proxy, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def http_ask(proxy: HTTPProxy, request: str, tls: ssl.SSLContext | None = None) -> str:
    """Send a request to which the proxy must not open a tunnel; return its whole answer."""
    async with dialled(proxy, tls) as (reader, writer):
        writer.write(f"{request}\r\n\r\n".encode())
        return (await reader.read()).decode()


def closed_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


async def echoes(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int = 300_000
) -> bool:
    """Whether what is written comes back, both directions being busy at the same time."""
    sent = bytes(range(256)) * (size // 256)
    writer.write(sent)
    return sent == await reader.readexactly(len(sent))


async def test_connect_opens_a_tunnel_that_carries_bytes_both_ways() -> None:
    """200, then the target's bytes and nothing else, until both ends are done."""
    async with echo_server() as port, HTTPProxy() as proxy:
        async with dialled(proxy) as (reader, writer):
            writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await echoes(reader, writer)

            writer.write(b"last words")
            writer.write_eof()
            assert b"last words" == await reader.read()

        assert (1, 1, 0) == (proxy.connects, proxy.tunnels, proxy.refused)
        assert [f"127.0.0.1:{port}"] == proxy.targets
        assert f"http://127.0.0.1:{proxy.port}" == proxy.url


async def test_a_tls_proxy_carries_a_tunnel_too() -> None:
    """The client's TLS ends at the proxy; the target sees plain bytes."""
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async with echo_server() as port, HTTPProxy(ssl=serving) as proxy:
        async with dialled(proxy, trusting) as (reader, writer):
            writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await echoes(reader, writer)
        with pytest.raises(ssl.SSLCertVerificationError):
            await http_ask(proxy, "CONNECT x:1 HTTP/1.1", ssl.create_default_context())

        assert 1 == proxy.tunnels
        assert f"https://127.0.0.1:{proxy.port}" == proxy.url


async def test_the_http_proxy_asks_for_its_password() -> None:
    """407 with a challenge to whoever is wrong or silent; the right one gets through."""
    async with echo_server() as port, HTTPProxy(username="user", password="secret") as proxy:
        connect = f"CONNECT 127.0.0.1:{port} HTTP/1.1"
        silent = await http_ask(proxy, connect)
        wrong = await http_ask(proxy, f"{connect}\r\nProxy-Authorization: Basic eDp5")
        async with dialled(proxy) as (reader, writer):
            writer.write(f"{connect}\r\nproxy-authorization: Basic {BASIC}\r\n\r\n".encode())
            right = await reader.readuntil(b"\r\n\r\n")

        assert silent == wrong
        assert silent.startswith("HTTP/1.1 407 Proxy Authentication Required\r\n")
        assert "Proxy-Authenticate: Basic" in silent
        assert right.startswith(b"HTTP/1.1 200 ")
        assert (3, 1, 2) == (proxy.connects, proxy.tunnels, proxy.refused)
        assert f"http://user:secret@127.0.0.1:{proxy.port}" == proxy.url


async def test_the_http_proxy_refuses_with_the_status_it_was_given() -> None:
    """Every CONNECT gets it, and nothing is reached."""
    async with HTTPProxy(status=403) as proxy:
        answer = await http_ask(proxy, "CONNECT graph.example.com:443 HTTP/1.1")

        assert answer.startswith("HTTP/1.1 403 Forbidden\r\n")
        assert (1, 0, 1) == (proxy.connects, proxy.tunnels, proxy.refused)
        assert ["graph.example.com:443"] == proxy.targets


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET http://x/ HTTP/1.1", "405"),
        ("CONNECT nowhere HTTP/1.1", "400"),
        ("CONNECT", "400"),
        ("", "405"),
    ],
)
async def test_the_http_proxy_turns_other_requests_down(request_line: str, status: str) -> None:
    """They are no CONNECT, and are not counted as one."""
    async with HTTPProxy() as proxy:
        answer = await http_ask(proxy, request_line)

        assert answer.startswith(f"HTTP/1.1 {status} ")
        assert (0, 0, 1) == (proxy.connects, proxy.tunnels, proxy.refused)


async def test_the_http_proxy_says_when_the_target_is_not_there() -> None:
    """502, as proxies do."""
    async with HTTPProxy() as proxy:
        answer = await http_ask(proxy, f"CONNECT 127.0.0.1:{closed_port()} HTTP/1.1")

        assert answer.startswith("HTTP/1.1 502 Bad Gateway\r\n")


def socks_request(kind: int, address: bytes, port: int, command: int = 1) -> bytes:
    return bytes([5, command, 0, kind]) + address + port.to_bytes(2)


@pytest.mark.parametrize(
    ("kind", "address", "target"),
    [(1, b"\x7f\x00\x00\x01", "127.0.0.1"), (3, b"\x09localhost", "localhost")],
)
async def test_socks_opens_a_tunnel_by_address_and_by_name(
    kind: int, address: bytes, target: str
) -> None:
    """RFC 1928, sections 3 to 6, and the target's bytes after them."""
    async with echo_server() as port, SOCKS5Proxy() as proxy:
        async with dialled(proxy) as (reader, writer):
            writer.write(b"\x05\x01\x00")
            assert b"\x05\x00" == await reader.readexactly(2)
            writer.write(socks_request(kind, address, port))
            assert SUCCESS == (await reader.readexactly(10))[:8]
            assert await echoes(reader, writer)

        assert [f"{target}:{port}"] == proxy.targets
        assert (1, 1, 0) == (proxy.connects, proxy.tunnels, proxy.refused)
        assert f"socks5://127.0.0.1:{proxy.port}" == proxy.url


async def test_socks_asks_for_its_password() -> None:
    """RFC 1929: the right pair is let through, a wrong one is told and dropped."""
    async with echo_server() as port, SOCKS5Proxy(username="user", password="secret") as proxy:
        async with dialled(proxy) as (reader, writer):
            writer.write(b"\x05\x02\x00\x02")
            assert b"\x05\x02" == await reader.readexactly(2)
            writer.write(b"\x01\x04user\x06secret")
            assert b"\x01\x00" == await reader.readexactly(2)
            writer.write(socks_request(1, b"\x7f\x00\x00\x01", port))
            assert SUCCESS == (await reader.readexactly(10))[:8]
            assert await echoes(reader, writer)
        async with dialled(proxy) as (reader, writer):
            writer.write(b"\x05\x01\x02\x01\x04user\x05wrong")
            assert b"\x05\x02\x01\x01" == await reader.read()

        assert (1, 1, 1) == (proxy.connects, proxy.tunnels, proxy.refused)
        assert f"socks5://user:secret@127.0.0.1:{proxy.port}" == proxy.url


@pytest.mark.parametrize(
    ("proxy", "sent", "answer"),
    [
        pytest.param(SOCKS5Proxy(username="u"), b"\x05\x01\x00", "05ff", id="no password offered"),
        pytest.param(SOCKS5Proxy(), b"\x05\x01\x02", "05ff", id="only a password offered"),
        pytest.param(SOCKS5Proxy(), b"\x04\x01\x00", "05ff", id="SOCKS4"),
        pytest.param(
            SOCKS5Proxy(reply=2),
            b"\x05\x01\x00" + socks_request(3, b"\x01x", 1),
            "0500 05020001 000000000000",
            id="not allowed",
        ),
        pytest.param(
            SOCKS5Proxy(),
            b"\x05\x01\x00" + socks_request(1, b"\x7f\x00\x00\x01", 1, command=2),
            "0500 05070001 000000000000",
            id="BIND",
        ),
        pytest.param(
            SOCKS5Proxy(),
            b"\x05\x01\x00" + socks_request(9, b"", 1),
            "0500 05080001 000000000000",
            id="unknown kind of address",
        ),
    ],
)
async def test_socks_refuses(proxy: SOCKS5Proxy, sent: bytes, answer: str) -> None:
    """The code says what was wrong, and the connection ends."""
    async with proxy, dialled(proxy) as (reader, writer):
        writer.write(sent)

        assert bytes.fromhex(answer) == await reader.read()
        assert (0, 1) == (proxy.tunnels, proxy.refused)


async def test_socks_says_when_the_target_is_not_there() -> None:
    """Code 5 for a closed port, on IPv4 and (where there is IPv6 at all) on IPv6."""
    async with SOCKS5Proxy() as proxy:
        for kind, address in (1, b"\x7f\x00\x00\x01"), (4, b"\x00" * 15 + b"\x01"):
            async with dialled(proxy) as (reader, writer):
                writer.write(b"\x05\x01\x00" + socks_request(kind, address, closed_port()))
                answer = await reader.read()
                assert answer[:2] == b"\x05\x00"
                assert answer[3] in ((5,) if kind == 1 else (5, 1))


@pytest.mark.parametrize("kind", [HTTPProxy, SOCKS5Proxy])
@pytest.mark.parametrize("said", [b"", b"\x05", b"CONNECT x"])
async def test_a_client_may_leave_at_any_moment(kind: type[Proxy], said: bytes) -> None:
    """Half a request is no tunnel, no refusal and no error."""
    async with kind() as proxy:
        async with dialled(proxy) as (reader, writer):
            writer.write(said)
            writer.write_eof()
            assert b"" == (await reader.read()).removeprefix(b"\x05\xff")

        assert 0 == proxy.tunnels


async def test_leaving_ends_tunnels_that_are_open() -> None:
    """No task and no socket outlives the context, and the client sees its connection end."""
    before = asyncio.all_tasks()
    async with echo_server() as port:
        async with HTTPProxy() as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            # More than the sockets hold: the tunnel is stuck in the middle of sending.
            writer.write(bytes(20_000_000))

        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
    assert before == asyncio.all_tasks()


async def test_a_broken_target_breaks_the_tunnel() -> None:
    """When the target resets the connection, the client's ends too."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # close with a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    async with server, HTTPProxy() as proxy, dialled(proxy) as (reader, writer):
        port = server.sockets[0].getsockname()[1]
        writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x")
        with contextlib.suppress(ConnectionError):
            assert b"" == await reader.read()
