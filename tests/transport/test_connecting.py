"""The way to an open WebSocket: what can be wrong with it, and giving it up at each step of it."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import gqlwire
from gqlwire.errors import (
    ConnectionClosed,
    ConnectionRefused,
    ConnectTimeout,
    InvalidURL,
    NameNotResolved,
    Phase,
    TransportAlreadyConnected,
    TransportClosed,
    TransportConnectionFailed,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, RawPeer, fake, raw_fake
from support import BOUND, QUERY, failure, leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)


async def silent(peer: RawPeer) -> None:
    """A server that accepts TCP and says nothing."""


async def polite(peer: Peer) -> None:
    """A server that answers one query per connection."""
    await peer.ack()
    await answer(peer)


async def answer(peer: Peer) -> None:
    start = await peer.expect("subscribe")
    await peer.send({"type": "next", "id": start["id"], "payload": {"data": {"hello": "you"}}})
    await peer.send({"type": "complete", "id": start["id"]})


def host_of(server: Any) -> str:
    return f"127.0.0.1:{server.port}"


# --- URLs ----------------------------------------------------------------------------------------

NO_URLS = {
    "": "ws:// or wss://, and a host",
    "hello": "ws:// or wss://, and a host",
    "example.com/graphql": "ws:// or wss://, and a host",
    "//example.com": "ws:// or wss://, and a host",
    "ftp://example.com": "ws:// or wss://, and a host",
    "http://example.com/graphql?a=b": "did you mean 'ws://example.com/graphql'?",
    "HTTPS://example.com": "did you mean 'wss://example.com'?",
    "ws://": "ws:// or wss://, and a host",
    "ws:///graphql": "ws:// or wss://, and a host",
    "ws://:8080/": "ws:// or wss://, and a host",
    "ws://example.com:http/": "Port could not be cast",
    "ws://example.com:65536/": "Port out of range",
    "ws://example.com:-1/": "Port",
    "ws://example.com:0/": "port",
    "ws://[::1/": "IPv6",
    "ws://exa mple.com/": "white space, or characters that are not printable",
    " ws://example.com/": "white space, or characters that are not printable",
    "ws://example.com/\r\nX: y": "white space, or characters that are not printable",
    "ws://example.com/\x00": "white space, or characters that are not printable",
}


@pytest.mark.parametrize(("url", "words"), NO_URLS.items())
async def test_the_constructor_refuses_an_invalid_url(url: str, words: str) -> None:
    """The message shows the URL and says why."""
    with pytest.raises(InvalidURL) as caught:
        WebsocketsTransport(url)

    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(repr(url.partition("?")[0]))
    assert words in str(caught.value)
    with pytest.raises(InvalidURL):
        gqlwire.connect(url)


async def test_a_refused_url_does_not_give_its_password_away() -> None:
    """Errors are logged; the sentence leaves out what is secret."""
    with pytest.raises(InvalidURL) as caught:
        WebsocketsTransport("http://me:hush@example.com/graphql")

    assert "example.com" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", [None, 7, b"ws://example.com/"])
async def test_a_url_is_a_string(url: Any) -> None:
    """Anything else is refused with its type."""
    with pytest.raises(InvalidURL) as caught:
        WebsocketsTransport(url)

    assert f"a URL must be a str, not {type(url).__name__}" == str(caught.value)


# --- Nobody there --------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_closed_port_refuses(closed_port: int, name: str) -> None:
    """Whether the name has one address or several."""
    told = await failure(
        ConnectionRefused, WebsocketsTransport(f"ws://{name}:{closed_port}/graphql").connect()
    )

    assert (f"{name}:{closed_port}", Phase.CONNECT) == (told.host, told.phase)
    assert (None, None, "") == (told.code, told.status, told.reason)
    assert f"{told.host} refuses connections: nothing listens on this port" == str(told)
    assert isinstance(told.__cause__, OSError)


async def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told from a host that refuses; the port's default is in the host."""

    async def getaddrinfo(*args: Any, **options: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    transport = WebsocketsTransport("wss://nonexistent.invalid/graphql?token=hush")
    told = await failure(NameNotResolved, transport.connect())

    assert ("nonexistent.invalid:443", Phase.CONNECT) == (told.host, told.phase)
    assert (
        "the name of nonexistent.invalid:443 cannot be resolved: Name or service not known"
    ) == str(told)


async def test_a_name_that_no_name_can_be() -> None:
    """A label of more than 63 characters never resolves, on any machine."""
    name = "x" * 64 + ".example"
    told = await failure(NameNotResolved, WebsocketsTransport(f"ws://{name}/").connect())

    assert (f"{name}:80", Phase.CONNECT) == (told.host, told.phase)


async def test_a_network_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says what the system says of it."""

    async def sock_connect(*args: Any) -> None:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
    told = await failure(ConnectionRefused, WebsocketsTransport("ws://127.0.0.1:9/").connect())

    assert ("127.0.0.1:9", Phase.CONNECT) == (told.host, told.phase)
    assert "127.0.0.1:9 cannot be reached: No route to host" == str(told)


# --- Nobody answers ------------------------------------------------------------------------------


async def times_out(url: str, phase: Phase) -> ConnectTimeout:
    started = asyncio.get_running_loop().time()
    told = await failure(ConnectTimeout, WebsocketsTransport(url, connect_timeout=0.15).connect())
    assert 0.14 < asyncio.get_running_loop().time() - started < 1
    assert (0.15, phase, None, None) == (told.limit, told.phase, told.code, told.status)
    assert isinstance(told, TimeoutError)
    return told


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Swit", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_a_server_that_does_not_answer_in_time(scheme: str, said: bytes) -> None:
    """It accepts TCP and says nothing, or begins to speak and never ends: `connect_timeout`."""

    async def script(peer: RawPeer) -> None:
        await peer.send_raw(said if scheme == "ws" else b"")

    async with raw_fake(script, upgrade=False) as server:
        told = await times_out(server.url.replace("ws", scheme, 1), Phase.HANDSHAKE)

    assert host_of(server) == told.host
    what = "did not upgrade" if scheme == "ws" else "did not complete the TLS handshake"
    assert f"{told.host} {what} within 0.15 seconds (connect_timeout)" == str(told)


async def test_a_server_that_never_accepts() -> None:
    """Its backlog is full, so that not even TCP comes about."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        crowd = [socket.socket() for _ in range(3)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        told = await times_out(f"ws://127.0.0.1:{port}/", Phase.CONNECT)
        for one in crowd:
            one.close()

    assert f"127.0.0.1:{port}" == told.host
    assert f"{told.host} could not be reached within 0.15 seconds (connect_timeout)" == str(told)


# --- Giving up -----------------------------------------------------------------------------------

Reached = Callable[[], Awaitable[object]]


def hang(monkeypatch: pytest.MonkeyPatch, step: str) -> Reached:
    """Let a step of the loop's never end; what waits until it has been begun."""
    begun = asyncio.Event()

    async def forever(*args: Any, **options: Any) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.get_running_loop(), step, forever)
    return begun.wait


@asynccontextmanager
async def stuck(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[WebsocketsTransport, asyncio.Task[None]]]:
    """A transport that cannot get beyond a stage; in the end the server must be rid of it."""
    gone = asyncio.Event()
    asked = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        if stage in ("upgrade", "ack"):
            await peer.read_request()
        if stage == "ack":
            await peer.upgrade()
            await peer.expect("connection_init")
        asked.set()
        await peer.closed()
        gone.set()

    async with raw_fake(script, upgrade=False) as server:
        url = server.url.replace("ws:", "wss:") if stage == "tls" else server.url
        transport = WebsocketsTransport(url)
        local = {"name": "getaddrinfo", "tcp": "sock_connect"}.get(stage)
        reached = asked.wait if local is None else hang(monkeypatch, local)
        connecting = asyncio.create_task(transport.connect())
        async with asyncio.timeout(BOUND):
            await reached()
        assert transport.phase not in (Phase.CLOSED, Phase.CLOSING)
        yield transport, connecting
        assert Phase.CLOSED is transport.phase
        await asyncio.wait_for(transport.close(), BOUND)
        if local is None:
            await asyncio.wait_for(gone.wait(), BOUND)
        monkeypatch.undo()


STAGES = pytest.mark.parametrize("stage", ["name", "tcp", "tls", "upgrade", "ack"])


@STAGES
async def test_connect_can_be_cancelled(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left of it: no task, no socket, no connection at the server."""
    async with stuck(stage, monkeypatch) as (_, connecting):
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


@STAGES
async def test_connect_ends_when_it_is_closed(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`close()` of another task makes it raise TransportClosed; twice at once is harmless."""
    async with stuck(stage, monkeypatch) as (transport, connecting):
        await asyncio.wait_for(asyncio.gather(transport.close(), transport.close()), BOUND)
        told = await failure(TransportClosed, connecting)

        host = told.host
        assert transport.url.partition("//")[2].startswith(f"{host}/")
        assert (
            f"the transport to {host} is not connected: close() was called while it was connecting"
        ) == str(told)


@STAGES
async def test_connect_times_out_as_a_whole(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own timeout around it works like a cancellation."""
    async with stuck(stage, monkeypatch) as (_, connecting):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connecting, 0.01)


# --- Again, and more than one --------------------------------------------------------------------


async def test_connect_twice() -> None:
    """While it is connected, and while it is connecting, a second connect() is refused."""
    async with fake(polite) as server:
        transport = WebsocketsTransport(server.url)
        first = asyncio.create_task(transport.connect())
        await asyncio.sleep(0)
        early = await failure(TransportAlreadyConnected, transport.connect())
        await first
        late = await failure(TransportAlreadyConnected, transport.connect())
        assert {"hello": "you"} == (await transport.execute(QUERY)).data
        await transport.close()

    assert f"the transport to {host_of(server)} is already connecting" == str(early)
    assert f"the transport to {host_of(server)} is already connected" == str(late)
    assert 1 == server.connections


async def rounds(transport: WebsocketsTransport, count: int) -> None:
    for _ in range(count):
        await transport.connect()
        assert {"hello": "you"} == (await transport.execute(QUERY)).data
        await transport.close()
        await transport.wait_closed()
        assert Phase.CLOSED is transport.phase


async def test_a_transport_connects_again_after_a_close() -> None:
    """As often as one likes, after a failure too."""
    async with fake(polite) as server:
        transport = WebsocketsTransport(server.url)
        await rounds(transport, 3)
    await failure(ConnectionRefused, transport.connect())
    async with fake(polite, port=server.port) as server:
        await rounds(transport, 1)


async def test_a_transport_connects_again_after_the_server_hung_up() -> None:
    """Without a close() of ours between."""

    async def script(peer: Peer) -> None:
        await peer.ack()
        if len(server.peers) == 1:
            await peer.expect("subscribe")
            await peer.close(1012)
        else:
            await answer(peer)

    async with fake(script) as server:
        transport = WebsocketsTransport(server.url)
        await transport.connect()
        assert 1012 == (await failure(ConnectionClosed, transport.execute(QUERY))).code
        await rounds(transport, 1)


async def test_several_transports_connect_at_the_same_time() -> None:
    """They know nothing of one another."""
    async with fake(polite) as server:
        transports = [WebsocketsTransport(server.url) for _ in range(8)]
        await asyncio.gather(*(rounds(transport, 2) for transport in transports))

    assert 16 == server.connections


async def test_before_connect_nothing_runs() -> None:
    """The error says what to do; close() and wait_closed() are harmless."""
    transport = WebsocketsTransport("ws://127.0.0.1:9/")
    told = await failure(TransportClosed, transport.execute(QUERY))
    await asyncio.wait_for(transport.close(), BOUND)
    await asyncio.wait_for(transport.wait_closed(), BOUND)

    assert isinstance(told, TransportConnectionFailed)
    assert (
        "the transport to 127.0.0.1:9 is not connected: connect() first, or use `async with`"
    ) == str(told)
    assert (None, None, Phase.CLOSED) == (
        transport.subprotocol,
        transport.latency,
        transport.phase,
    )
