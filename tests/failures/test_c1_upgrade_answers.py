"""C1: valid answers to the upgrade were refused, as picows cannot read them: a `Connection` header
of two elements or two lines, interim answers, long heads. Every 101 that RFC 6455 and RFC 9112
allow opens the WebSocket.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picows import WSHandshakeError, WSListener, WSUpgradeResponse, ws_connect

import gqlwire
from conftest import NEWER, OLDER
from gqlwire._wire.answer import MAX_HEAD, AnswerReader
from gqlwire.errors import HandshakeRejected
from gqlwire.transport.websockets import WebsocketsTransport
from servers.certificates import Certificates, client_context, server_context
from servers.fake import RawPeer, raw_fake
from support import failure, leaves_nothing
from wire.proxies import HTTPProxy, SOCKS5Proxy

tidy = pytest.fixture(autouse=True)(leaves_nothing)

Send = Callable[[RawPeer, bytes], Coroutine[Any, Any, None]]
PROTOCOLS = [NEWER, OLDER]


def accepting(
    key: str, protocol: str, *lines: str, connection: str = "Connection: Upgrade"
) -> bytes:
    """A 101 with these header lines in addition."""
    usual = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        connection,
        f"Sec-WebSocket-Accept: {key}",
        f"Sec-WebSocket-Protocol: {protocol}",
    ]
    return ("\r\n".join([*filter(None, usual), *lines]) + "\r\n\r\n").encode("latin-1")


async def at_once(peer: RawPeer, head: bytes) -> None:
    await peer.send_raw(head)


async def query(
    protocol: str, head: Callable[[str], bytes], send: Send = at_once, **options: Any
) -> Any:
    """The answer to a query by a server that answers the upgrade with `head(key)`."""
    context = options.pop("server_ssl", None)
    through = options.pop("through", None)

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await send(peer, head(peer.accept_key))
        peer._upgraded = True
        assert "connection_init" == (await peer.receive())["type"]
        await peer.send({"type": "connection_ack"})
        id = (await peer.receive())["id"]
        word = "next" if protocol == NEWER else "data"
        await peer.send({"type": word, "id": id, "payload": {"data": {"hello": "world"}}})
        await peer.send({"type": "complete", "id": id})

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(raw_fake(script, upgrade=False, ssl=context))
        if through is not None:
            proxy = await stack.enter_async_context(through)
            options["proxy"] = proxy.url
        async with gqlwire.connect(server.url, subprotocols=[protocol], **options) as session:
            return await session.execute("{ hello }")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "connection",
    [
        "Connection: keep-alive, Upgrade",
        "Connection: keep-alive\r\nConnection: Upgrade",
        "Connection: Upgrade\r\nConnection: close",
        "connection:upgrade",
        "CONNECTION: \tUPGRADE , Keep-Alive \t",
        "Connection: Upgrade, Upgrade",
        "Connection: ,, upgrade,",
        "Connection: keep-alive,\r\n Upgrade",
        "Connection : Upgrade",
    ],
    ids=repr,
)
async def test_c1_a_connection_header_of_any_form(protocol: str, connection: str) -> None:
    """It is a list without case, of any number of lines (RFC 9110, section 7.6.1)."""
    answer = await query(protocol, lambda key: accepting(key, protocol, connection=connection))

    assert {"hello": "world"} == answer


INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
    "102 and 103": b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n",
    "199": b"HTTP/1.1 199 \r\n\r\n",
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
async def test_c1_interim_answers_are_passed_over(protocol: str, interim: bytes) -> None:
    """They say nothing about the final one (RFC 9110, section 15.2)."""
    assert {"hello": "world"} == await query(
        protocol, lambda key: interim + accepting(key, protocol)
    )


async def test_c1_the_status_after_an_interim_answer_counts() -> None:
    """A refusal is still one."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(INTERIM["103"] + b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\nlater")

    async with raw_fake(script, upgrade=False) as server:
        told = await failure(HandshakeRejected, WebsocketsTransport(server.url).connect())

    assert (503, "7", b"later") == (told.status, told.headers["retry-after"], told.body)


LONG = {
    "20 kB": ["Set-Cookie: " + "x" * 20_000],
    "200 kB": ["X-Long: " + "x" * 200_000],
    "2,000 lines": [f"X-{n}: x" for n in range(2000)],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("lines", LONG.values(), ids=LONG)
async def test_c1_long_heads_are_read(protocol: str, lines: list[str]) -> None:
    """As browsers do, up to 256 KiB."""
    answer = await query(protocol, lambda key: accepting(key, protocol, *lines))

    assert {"hello": "world"} == answer


@pytest.mark.parametrize(
    ("status", "piece"),
    [
        (101, b"X: " + b"x" * 1000 + b"\r\n"),
        (100, b"\r\nHTTP/1.1 100 Continue\r\n"),
        (503, b"x"),
    ],
    ids=["lines", "interim answers", "one line"],
)
async def test_c1_a_head_without_end_is_refused_with_the_limit(status: int, piece: bytes) -> None:
    """However it goes on; the memory stays bounded."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(b"HTTP/1.1 %d Whatever\r\n" % status)
        while True:
            await peer.send_raw(piece * 100)

    async with raw_fake(script, upgrade=False) as server:
        told = await failure(HandshakeRejected, WebsocketsTransport(server.url).connect())

    assert status == told.status
    assert f"headers of more than {MAX_HEAD} bytes" in str(told)


# --- The kind -------------------------------------------------------------------------------------


async def byte_by_byte(peer: RawPeer, head: bytes) -> None:
    for at in range(len(head)):
        await peer.send_raw(head[at : at + 1])
        await asyncio.sleep(0)


PATHS = [
    "plain",
    "tls",
    "http proxy",
    "https proxy",
    "socks proxy",
    "tls in http proxy",
    "tls in https proxy",
]


def path_options(
    path: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if "tls" in path:
        options["ssl"] = client_context(certificates.ca)
        options["server_ssl"] = server_context(certificates.server)
    if "https proxy" in path:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
        options["through"] = HTTPProxy(ssl=server_context(certificates.server))
    elif "http proxy" in path:
        options["through"] = HTTPProxy()
    elif "socks proxy" in path:
        options["through"] = SOCKS5Proxy()
    return options


@pytest.mark.parametrize("send", [at_once, byte_by_byte])
@pytest.mark.parametrize("path", PATHS)
async def test_c1_kind_on_every_way_to_the_server(
    path: str, send: Send, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece, or in as many as there are bytes."""
    options = path_options(path, certificates, monkeypatch)

    def head(key: str) -> bytes:
        return INTERIM["103"] + accepting(key, NEWER, connection="Connection: keep-alive, Upgrade")

    assert {"hello": "world"} == await query(NEWER, head, send, **options)


@pytest.mark.parametrize("size", [10, 4_000, 100_000])
@pytest.mark.parametrize("path", ["plain", "tls", "http proxy"])
async def test_c1_kind_frames_that_come_with_the_head(
    path: str, size: int, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read as if they came alone, in whatever pieces the reads were."""
    options = path_options(path, certificates, monkeypatch)
    ack = b'{"type":"connection_ack","payload":{"pad":"' + b"x" * size + b'"}}'
    pong = b'{"type":"pong"}'

    def framed(text: bytes) -> bytes:
        if len(text) < 126:
            return bytes([0x81, len(text)]) + text
        is_long = len(text) > 0xFFFF
        return (
            bytes([0x81, 127 if is_long else 126]) + len(text).to_bytes(8 if is_long else 2) + text
        )

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        frames = framed(pong) + framed(ack) + framed(pong)
        await peer.send_raw(accepting(peer.accept_key, NEWER) + frames)
        peer._upgraded = True
        await peer.receive()

    through = options.pop("through", None)
    async with AsyncExitStack() as stack:
        context = options.pop("server_ssl", None)
        server = await stack.enter_async_context(raw_fake(script, upgrade=False, ssl=context))
        if through is not None:
            options["proxy"] = (await stack.enter_async_context(through)).url
        transport = WebsocketsTransport(server.url, subprotocols=[NEWER], **options)
        await transport.connect()
        assert size == len(transport.payloads["connection_ack"]["pad"])
        await transport.close()


def test_c1_kind_the_headers_of_a_folded_answer() -> None:
    """Folded lines are one (RFC 9112, section 5.2); bare line feeds end a line (section 2.2)."""
    head = b"HTTP/1.1 101 Ok\nA: 1,\r\n\t 2\r\nB :3\nC:\r\n\nrest"

    answer = AnswerReader().take(head)

    assert answer is not None
    assert [("A", "1, 2"), ("B", "3"), ("C", "")] == list(answer.headers.items())
    assert (101, None, b"rest") == (answer.status, answer.fault, answer.rest)


@settings(deadline=None)
@given(
    interim=st.lists(st.sampled_from(list(INTERIM.values())), max_size=3),
    names=st.lists(st.from_regex(r"[A-Za-z][A-Za-z-]{0,8}", fullmatch=True), max_size=4),
    rest=st.binary(max_size=20),
    cuts=st.lists(st.integers(1, 60), max_size=30),
)
def test_c1_kind_any_pieces_tell_the_same(
    interim: list[bytes], names: list[str], rest: bytes, cuts: list[int]
) -> None:
    """How an answer is cut into reads changes nothing."""
    head = b"".join(interim) + accepting("key", NEWER, *(f"{name}: {name}" for name in names))
    whole, pieces = head + rest, AnswerReader()
    at, answer = 0, None
    for size in cuts:
        if answer is None:
            answer = pieces.take(whole[at : at + size])
            at += size
    answer = answer or pieces.take(whole[at:])
    at = max(at, 0)

    expected = AnswerReader().take(whole)
    assert answer is not None
    assert expected is not None
    assert (expected.status, list(expected.headers.items())) == (
        answer.status,
        list(answer.headers.items()),
    )
    assert expected.rest.startswith(answer.rest)


# --- Is the way round picows still needed? --------------------------------------------------------

NO_LONGER_NEEDED = (
    "picows reads this answer by itself now. Once it reads all of the answers of this table, "
    "delete `Upgrade` and `plain` of gqlwire/_wire/upgrade.py, and connect by `picows.ws_connect`."
)
PICOWS_REFUSES: dict[str, Callable[[str], bytes]] = {
    "two elements": lambda key: accepting(key, NEWER, connection="Connection: keep-alive, Upgrade"),
    "two lines": lambda key: accepting(
        key, NEWER, "Connection: Upgrade", connection="Connection: keep-alive"
    ),
    "an interim answer": lambda key: INTERIM["103"] + accepting(key, NEWER),
    "20 kB": lambda key: accepting(key, NEWER, *LONG["20 kB"]),
    "200 lines": lambda key: accepting(key, NEWER, *LONG["2,000 lines"][:200]),
    "a folded line": lambda key: accepting(key, NEWER, "X-A: 1,\r\n 2"),
}


async def accepted_by_picows(head: Callable[[str], bytes]) -> bool:
    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(head(peer.accept_key))

    def listener(_: object, response: WSUpgradeResponse) -> WSListener:
        return WSListener()

    async with raw_fake(script, upgrade=False) as server:
        try:
            transport, _ = await ws_connect(listener, server.url, websocket_handshake_timeout=None)
        except WSHandshakeError:
            return False
        transport.disconnect()
        await transport.wait_disconnected()
        return True


@pytest.mark.parametrize("head", PICOWS_REFUSES.values(), ids=PICOWS_REFUSES)
async def test_c1_picows_alone_still_refuses(head: Callable[[str], bytes]) -> None:
    """If not, the way round it can go."""
    assert await accepted_by_picows(lambda key: accepting(key, NEWER))
    assert not await accepted_by_picows(head), NO_LONGER_NEEDED
