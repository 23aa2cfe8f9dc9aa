"""The HTTP upgrade: what we ask with, and every answer that is not the one to hope for."""

import base64
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from gqlwire.errors import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeRejected,
    Phase,
    TLSFailed,
    TransportProtocolError,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.certificates import Certificates, client_context, server_context
from servers.fake import Peer, RawPeer, fake, raw_fake
from servers.scripted import Script
from support import connected, failure, leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

ONE = {"subprotocols": ["graphql-transport-ws"]}


async def polite(peer: Peer) -> None:
    await peer.ack()


async def rejected(script: Script[RawPeer], **options: Any) -> HandshakeRejected:
    """The error that a server causes which plays `script` instead of an upgrade."""
    async with raw_fake(script, upgrade=False) as server:
        transport = WebsocketsTransport(server.url, **ONE, **options)
        told = await failure(HandshakeRejected, transport.connect())
        host = f"127.0.0.1:{server.port}"
        assert 1 == server.connections

    assert (host, Phase.HANDSHAKE, None, "") == (told.host, told.phase, told.code, told.reason)
    assert Phase.CLOSED is transport.phase
    assert str(told).startswith(host)
    return told


# --- Another status than 101 ---------------------------------------------------------------------

ANSWERED = "answered the WebSocket upgrade with HTTP"
SAID = "it said: Hello, world."
NOTHING_HERE = "nothing is at this path (/graphql)"
NO_UPGRADE = (
    "a proxy in front of it may not pass on the upgrade (nginx needs proxy_http_version 1.1 and "
    "the headers Upgrade and Connection), or it accepts none of the subprotocols"
)
STATUSES = {
    "HTTP/1.1 200 OK": f"200: this is not a WebSocket endpoint; {SAID}",
    "HTTP/1.1 204 No Content": f"204: this is not a WebSocket endpoint; {SAID}",
    "HTTP/1.1 400 Bad Request": f"400; {SAID}",
    "HTTP/1.1 401 Unauthorized": f"401: it requires valid credentials; {SAID}",
    "HTTP/1.1 403 Forbidden": f"403: it forbids access, or {NOTHING_HERE}; {SAID}",
    "HTTP/1.1 404 Not Found": f"404: {NOTHING_HERE}; {SAID}",
    "HTTP/1.1 426 Upgrade Required": f"426: {NO_UPGRADE}; {SAID}",
    "HTTP/1.1 429 Too Many Requests": f"429: too many requests or connections; {SAID}",
    "HTTP/1.1 500 Internal Server Error": f"500; {SAID}",
    "HTTP/1.1 503 Service Unavailable": f"503; {SAID}",
    "HTTP/1.1 460 ": f"460; {SAID}",
    "HTTP/1.1 520 Unknown": f"520; {SAID}",
    "HTTP/1.1 599": f"599; {SAID}",
    "HTTP/1.0 502 Bad Gateway": f"502; {SAID}",
}


@pytest.mark.parametrize(("line", "words"), STATUSES.items())
async def test_a_refused_upgrade_has_status_headers_and_body(line: str, words: str) -> None:
    """Of unregistered statuses, too, such as those of load balancers, and of old proxies."""
    head = f"{line}\r\nContent-Length: 15\r\nRetry-After: 7\r\nX-Trace: a\r\n\r\n"

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(head.encode() + b"Hello,\r\n world.")
        peer.end()

    told = await rejected(script)

    assert int(line.split()[1]) == told.status
    assert f"{told.host} {ANSWERED} {words}" == str(told)
    assert b"Hello,\r\n world." == told.body
    assert {"content-length": "15", "retry-after": "7", "x-trace": "a"} == dict(told.headers)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """The request carries credentials; the error says where it would have led."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.respond(status, {"Location": "wss://elsewhere.example/graphql"}, b"Moved.")

    told = await rejected(script)

    assert (status, "wss://elsewhere.example/graphql") == (told.status, told.headers["location"])
    assert (
        f"{told.host} {ANSWERED} {status}: it has moved to wss://elsewhere.example/graphql; "
        f"redirects are not followed"
    ) == str(told)


async def test_a_long_body_is_cut() -> None:
    """In the sentence after 200 bytes; `body` has more of it."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.respond(500, body=b"\xff" + b"x" * 9000)

    told = await rejected(script)

    assert str(told).endswith(f"HTTP 500; it said: \ufffd{'x' * 199}")
    assert told.body.startswith(b"\xff" + b"x" * 1000)
    assert len(told.body) <= 4096


# --- No WebSocket server -------------------------------------------------------------------------

NO_HTTP = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "no text": b"\xff\xfe\x00\r\n\r\n",
    "an empty line": b"\r\n\r\n",
    "no status": b"HTTP/1.1 ok\r\n\r\n",
    "HTTP/2": b"HTTP/2 ok\r\n\r\n",
}


@pytest.mark.parametrize("answer", NO_HTTP.values(), ids=NO_HTTP)
async def test_an_answer_that_is_not_http_has_no_status(answer: bytes) -> None:
    """The error shows how it began."""
    told = await rejected(lambda peer: peer.send_raw(answer))

    assert (None, {}) == (told.status, told.headers)
    assert str(told).startswith(f"{told.host} did not answer as a WebSocket server does: ")


BREACHES: dict[str, dict[str, str | None]] = {
    "a wrong key": {"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
    "no key": {"Sec-WebSocket-Accept": None},
    "no upgrade": {"Upgrade": None},
    "another upgrade": {"Upgrade": "h2c"},
    "no connection": {"Connection": None},
    "another connection": {"Connection": "close"},
    "a body": {"Content-Length": "2"},
    "a body of many bytes": {"Content-Length": "9" * 30},
    "a nameless header": {"": "x"},
}


@pytest.mark.parametrize("replace", BREACHES.values(), ids=BREACHES)
async def test_an_invalid_upgrade_is_refused(replace: dict[str, str | None]) -> None:
    """101, but with headers that RFC 6455, section 4.1, tells the client not to accept."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.upgrade(replace=replace)

    told = await rejected(script)

    assert 101 == told.status
    assert str(told).startswith(f"{told.host} accepted the upgrade, but not as RFC 6455 requires: ")


@pytest.mark.parametrize(
    "headers",
    [[("X-Long", "x" * 300_000)], [(f"X-{n}", "x") for n in range(30_000)]],
    ids=["long", "many"],
)
async def test_huge_headers_are_refused(headers: list[tuple[str, str]]) -> None:
    """Before they fill the memory."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.upgrade(headers=headers)

    told = await rejected(script)

    assert 101 == told.status
    assert "headers" in str(told)


async def test_headers_without_end_are_refused() -> None:
    """However long the server goes on with them."""

    async def script(peer: RawPeer) -> None:
        await peer.send_raw(b"HTTP/1.1 101 Switching Protocols\r\n")
        while True:
            await peer.send_raw(b"X: " + b"x" * 1000 + b"\r\n")

    assert "headers" in str(await rejected(script))


@pytest.mark.parametrize("how", ["end", "abort"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Swit"])
async def test_a_server_that_hangs_up_during_the_handshake(how: str, said: bytes) -> None:
    """Politely or with a reset, having said something or not."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(said)
        getattr(peer, how)()

    async with raw_fake(script, upgrade=False) as server:
        told = await failure(ConnectionClosed, WebsocketsTransport(server.url).connect())

    assert f"127.0.0.1:{server.port}" == told.host
    assert (Phase.HANDSHAKE, 1006, None) == (told.phase, told.code, told.status)
    assert (
        f"the connection to {told.host} was lost during the handshake: "
        "no close frame arrived (1006)"
        + ("" if said else "; the server may speak TLS on this port (did you mean wss://?)")
    ) == str(told)


async def test_plain_text_for_a_tls_server(certificates: Certificates) -> None:
    """It hangs up on us."""
    context = server_context(certificates.server)
    async with raw_fake(lambda peer: peer.send_raw(b""), upgrade=False, ssl=context) as server:
        url = server.url.replace("wss:", "ws:")
        told = await failure(ConnectionClosed, WebsocketsTransport(url).connect())

    assert (f"127.0.0.1:{server.port}", Phase.HANDSHAKE) == (told.host, told.phase)


async def test_tls_for_a_plain_text_server(certificates: Certificates) -> None:
    """The error says that the port speaks no TLS, and what to try."""

    async def script(peer: RawPeer) -> None:
        await peer.reader.read(100)
        await peer.send_raw(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with raw_fake(script, upgrade=False) as server:
        url, context = server.url.replace("ws:", "wss:"), client_context(certificates.ca)
        told = await failure(TLSFailed, WebsocketsTransport(url, ssl=context).connect())

    assert (f"127.0.0.1:{server.port}", Phase.HANDSHAKE) == (told.host, told.phase)
    assert (
        f"TLS with {told.host} failed: the server does not speak TLS on this port (did you mean ws://?)"
    ) == str(told)


# --- What we ask with ----------------------------------------------------------------------------

Given = Mapping[str, str] | Iterable[tuple[str, str]]


async def asked(url: str = "", **options: Any) -> Any:
    """The headers of the upgrade request; `url` is what it is called by instead of `ws://`."""
    async with fake(polite) as server:
        server_url = server.url.replace("ws://", url or "ws://")
        transport = WebsocketsTransport(server_url, **options)
        await transport.connect()
        await transport.close()
        assert "/graphql" == server.requests[0].path.partition("?")[0]
        return server.requests[0].headers


async def test_the_usual_headers() -> None:
    """One of each, and no more; the User-Agent names us."""
    headers = await asked()

    assert headers["User-Agent"].startswith("gqlwire/")
    assert {
        "host", "upgrade", "connection", "sec-websocket-version", "sec-websocket-key",
        "sec-websocket-protocol", "user-agent",
    } == {name.lower() for name in headers}  # fmt: skip
    assert ["graphql-transport-ws, graphql-ws"] == headers.get_all("Sec-WebSocket-Protocol")
    assert 16 == len(base64.b64decode(headers["Sec-WebSocket-Key"]))


@pytest.mark.parametrize(
    "given",
    [
        {"X-One": "1", "Authorization": "Bearer t"},
        [("X-One", "1"), ("Authorization", "Bearer t")],
        (pair for pair in [("X-One", "1"), ("Authorization", "Bearer t")]),
    ],
    ids=["mapping", "pairs", "generator"],
)
async def test_headers_may_be_a_mapping_or_pairs(given: Given) -> None:
    """Or anything that yields pairs."""
    headers = await asked(headers=given)

    assert (["1"], ["Bearer t"]) == (headers.get_all("X-One"), headers.get_all("Authorization"))


async def test_a_header_may_be_given_twice() -> None:
    """In pairs."""
    headers = await asked(headers=[("Cookie", "a=1"), ("Cookie", "b=2")])

    assert ["a=1", "b=2"] == headers.get_all("Cookie")


async def test_headers_of_the_user_override_ours() -> None:
    """In upper or lower case. Those that make the handshake are refused when they are given."""
    headers = await asked(headers={"user-agent": "mine/1", "host": "virtual.example"})

    assert ["mine/1"] == headers.get_all("User-Agent")
    assert ["virtual.example"] == headers.get_all("Host")
    assert ["graphql-transport-ws, graphql-ws"] == headers.get_all("Sec-WebSocket-Protocol")


@pytest.mark.parametrize("url", ["ws://me:p%40ss%3A@", "ws://me@", "ws://m%C3%A9:@"])
async def test_a_user_in_the_url_is_basic_authorization(url: str) -> None:
    """Percent-decoded, in UTF-8; a missing password is an empty one."""
    headers = await asked(url)
    expected = {"ws://me:p%40ss%3A@": "me:p@ss:", "ws://me@": "me:", "ws://m%C3%A9:@": "mé:"}[url]

    (value,) = headers.get_all("Authorization")
    assert f"Basic {base64.b64encode(expected.encode()).decode()}" == value
    assert headers["Host"].startswith("127.0.0.1:")


async def test_an_authorization_header_wins_over_the_url() -> None:
    """One of the two has to."""
    headers = await asked("ws://me:secret@", headers={"authorization": "Bearer t"})

    assert ["Bearer t"] == headers.get_all("Authorization")


@pytest.mark.parametrize("refused", [False, True])
async def test_secrets_stay_out_of_the_logs(
    caplog: pytest.LogCaptureFixture, refused: bool
) -> None:
    """Not in the lines at INFO, nor in the messages at DEBUG, nor in an error's sentence."""
    caplog.set_level(logging.DEBUG)

    async def script(peer: Peer) -> None:
        assert {"token": "hush-init"} == (await peer.expect("connection_init"))["payload"]
        if refused:
            await peer.send({"type": "connection_error", "payload": "no"})
        else:
            await peer.send({"type": "connection_ack"})

    async with fake(script) as server:
        url = server.url.replace("ws://", "ws://me:hush-password@") + "?token=hush-query"
        transport = WebsocketsTransport(
            url, headers={"X-Key": "hush-header"}, init_payload={"token": "hush-init"}
        )
        if refused:
            told = str(await failure(ConnectionRejected, transport.connect()))
        else:
            await transport.connect()
            await transport.close()
            told = ""
        assert "/graphql?token=hush-query" == server.requests[0].path

    ours = [record for record in caplog.records if record.name.startswith(("gqlwire", "picows"))]
    lines = "\n".join([told, repr(transport), *(record.getMessage() for record in ours)])
    assert '"payload":"<redacted>"' in lines
    assert f"127.0.0.1:{server.port}" in lines
    for secret in ["hush", base64.b64encode(b"me:hush-password").decode()]:
        assert secret not in lines


async def test_the_headers_of_the_answer_are_kept() -> None:
    """`response_headers`, by their names in any case."""
    async with fake(polite, headers={"X-Trace": "7"}) as server, connected(server) as transport:
        assert "7" == transport.response_headers["x-trace"]
        assert "graphql-transport-ws" == transport.response_headers["SEC-WEBSOCKET-PROTOCOL"]


async def test_an_init_payload_that_json_cannot_hold_raises_type_error() -> None:
    """The server is not blamed for it, and nothing hangs."""
    async with fake(polite) as server:
        with pytest.raises(TypeError) as caught:
            await WebsocketsTransport(server.url, init_payload={"at": object()}).connect()

    assert not isinstance(caught.value, TransportProtocolError)


@pytest.mark.parametrize("given", [{"X-One": 1}, [("X-One", None)], {b"X-One": "1"}])
async def test_a_header_that_is_not_text_is_refused(given: Any) -> None:
    """Immediately, not after `connect_timeout`."""
    async with fake(polite) as server:
        with pytest.raises(TypeError):
            await WebsocketsTransport(server.url, headers=given).connect()
