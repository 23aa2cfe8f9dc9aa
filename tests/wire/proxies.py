"""Real proxies on loopback for tests: HTTP CONNECT (RFC 9110, section 9.3.6) and SOCKS5 (RFC 1928).

Each is an async context manager that leaves neither a task nor a socket behind. They know nothing
of WebSocket or GraphQL: they carry bytes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl as tls
    from collections.abc import AsyncIterator
    from types import TracebackType


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refusal(Exception):
    """The client is not let through; `answer` are the bytes that tell it so."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


class Proxy:
    """What both kinds share: the server, its counters, and the tunnels.

    `connects` counts requests for a tunnel and `targets` lists where they wanted to go, as
    `host:port`; `tunnels` counts those that were opened, `refused` the clients that were turned
    away. With a user name, a client has to show it and the password. With `ssl`, clients have to
    speak TLS to the proxy itself.
    """

    scheme = ""

    def __init__(
        self,
        *,
        username: str | None = None,
        password: str = "",
        ssl: tls.SSLContext | None = None,
    ) -> None:
        self.username = username
        self.password = password
        self.ssl = ssl
        self.connects = 0
        self.tunnels = 0
        self.refused = 0
        self.targets: list[str] = []
        self._clients: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.ssl)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for client in self._clients:
            client.cancel()
        ends = await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    @property
    def url(self) -> str:
        """The proxy's URL, with the user name and password that it asks for."""
        user = "" if self.username is None else f"{self.username}:{self.password}@"
        return f"{self.scheme}://{user}127.0.0.1:{self.port}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client may leave at any moment, and that is no fault of the test's.
        with contextlib.suppress(OSError, EOFError):
            async with _closing(writer):
                try:
                    upstream = await self._admit(reader, writer)
                except Refusal as refusal:
                    self.refused += 1
                    writer.write(refusal.answer)
                    await writer.drain()
                    return
                self.tunnels += 1
                async with _closing(upstream[1]):
                    await _tunnel((reader, writer), upstream)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        """Hear what the client wants, go there and tell it so, or raise `Refusal`."""
        raise NotImplementedError

    def _wanted(self, host: str, port: int) -> None:
        self.connects += 1
        self.targets.append(f"{host}:{port}")


class HTTPProxy(Proxy):
    """An HTTP proxy that opens tunnels with CONNECT.

    To a client that does not show the user name and password it answers 407. With `status` it
    answers that to every CONNECT.
    """

    def __init__(
        self,
        *,
        username: str | None = None,
        password: str = "",
        ssl: tls.SSLContext | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(username=username, password=password, ssl=ssl)
        self.scheme = "https" if ssl else "http"
        self.status = status

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.split("\r\n")
        method, target = (*request.split(" "), "")[:2]
        if method != "CONNECT":
            raise Refusal(_http(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: CONNECT\r\n"))
        host, _, port = target.rpartition(":")
        if not (host and port.isdecimal()):
            raise Refusal(_http(HTTPStatus.BAD_REQUEST))
        host = host.strip("[]")
        self._wanted(host, int(port))
        if self.status is not None:
            raise Refusal(_http(HTTPStatus(self.status)))
        self._check_credentials(lines)
        try:
            upstream = await asyncio.open_connection(host, int(port))
        except OSError:
            raise Refusal(_http(HTTPStatus.BAD_GATEWAY)) from None
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return upstream

    def _check_credentials(self, lines: list[str]) -> None:
        if self.username is None:
            return
        pair = f"{self.username}:{self.password}".encode()
        expected = f"Basic {base64.b64encode(pair).decode()}"
        for line in lines:
            name, _, value = line.partition(":")
            if name.lower() == "proxy-authorization" and value.strip() == expected:
                return
        raise Refusal(
            _http(
                HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
                'Proxy-Authenticate: Basic realm="tests"\r\n',
            )
        )


class SOCKS5Proxy(Proxy):
    """A SOCKS5 proxy: CONNECT to names, IPv4 and IPv6, with or without a password (RFC 1929).

    With `reply` it answers that code (RFC 1928, section 6) to every CONNECT: 2 is "not allowed".
    """

    scheme = "socks5"
    NO_AUTHENTICATION, PASSWORD, NO_METHOD = 0x00, 0x02, 0xFF

    def __init__(
        self, *, username: str | None = None, password: str = "", reply: int | None = None
    ) -> None:
        super().__init__(username=username, password=password)
        self.reply = reply

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Stream:
        await self._greet(reader, writer)
        host, port = await self._read_request(reader)
        self._wanted(host, port)
        if self.reply is not None:
            raise Refusal(_socks(self.reply))
        try:
            upstream = await asyncio.open_connection(host, port)
        except OSError as error:
            raise Refusal(_socks(_reply_to(error))) from None
        writer.write(_socks(0, *upstream[1].get_extra_info("sockname")[:2]))
        return upstream

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, count = await reader.readexactly(2)
        offered = await reader.readexactly(count)
        method = self.NO_AUTHENTICATION if self.username is None else self.PASSWORD
        if version != 5 or method not in offered:
            raise Refusal(bytes([5, self.NO_METHOD]))
        writer.write(bytes([5, method]))
        if self.username is None:
            return
        _, length = await reader.readexactly(2)
        username = await reader.readexactly(length)
        (length,) = await reader.readexactly(1)
        password = await reader.readexactly(length)
        if (username, password) != (self.username.encode(), self.password.encode()):
            raise Refusal(b"\x01\x01")
        writer.write(b"\x01\x00")

    async def _read_request(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        _, command, _, kind = await reader.readexactly(4)
        if command != 1:
            raise Refusal(_socks(7))
        if kind == 3:
            (length,) = await reader.readexactly(1)
            host = (await reader.readexactly(length)).decode("ascii")
        elif kind in (1, 4):
            packed = await reader.readexactly(4 if kind == 1 else 16)
            host = str(ipaddress.ip_address(packed))
        else:
            raise Refusal(_socks(8))
        return host, int.from_bytes(await reader.readexactly(2))


def _http(status: HTTPStatus, header: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} {status.phrase}\r\n{header}"
        "Content-Length: 0\r\nConnection: close\r\n\r\n"
    ).encode()


def _socks(reply: int, host: str = "0.0.0.0", port: int = 0) -> bytes:
    address = ipaddress.ip_address(host)
    kind = 1 if address.version == 4 else 4
    return bytes([5, reply, 0, kind]) + address.packed + port.to_bytes(2)


def _reply_to(error: OSError) -> int:
    if isinstance(error, ConnectionRefusedError):
        return 5
    return 4 if isinstance(error, socket.gaierror) else 1


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        # An orderly close would wait for the peer to read, and a test is being torn down.
        writer.transport.abort()
        raise
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _tunnel(client: Stream, upstream: Stream) -> None:
    """Carry bytes both ways until both ends have said that there are no more."""
    try:
        async with asyncio.TaskGroup() as ways:
            ways.create_task(_copy(client[0], upstream[1]))
            ways.create_task(_copy(upstream[0], client[1]))
    except* OSError:
        # One end broke: let the other one see it rather than wait.
        client[1].transport.abort()
        upstream[1].transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()  # TLS cannot be half closed
