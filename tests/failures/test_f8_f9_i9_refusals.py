"""F8: a wrong path, which Starlette and Django answer with 403, was told as "it forbids access".
F9: the token in the query of a redirect was shown. I9: proxies that do not pass the upgrade on,
ports that speak TLS, and HTTP/2 were told in sentences that did not help.

nginx and haproxy are real ones; what other servers say is played.
"""

from pathlib import Path
from typing import Any

import pytest

import gqlwire
from conftest import NEWER, OLDER
from gqlwire._wire.address import without_secrets
from gqlwire.errors import (
    ConnectionClosed,
    HandshakeRejected,
    TLSFailed,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.certificates import Certificates, client_context, server_context
from servers.fake import Peer, RawPeer, fake, raw_fake
from servers.reverse_proxies import free_port, haproxy, nginx
from support import failure

PROTOCOLS = [NEWER, OLDER]


async def refusal(answer: bytes, path: str = "/graphql", **options: Any) -> HandshakeRejected:
    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(answer)
        peer.end()

    async with raw_fake(script, upgrade=False) as server:
        url = server.url.replace("/graphql", path)
        return await failure(HandshakeRejected, WebsocketsTransport(url, **options).connect())


# --- F8 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_f8_a_wrong_path(protocol: str) -> None:
    """uvicorn's answer for a Starlette application without a route there."""
    answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    told = await refusal(answer, "/grahpql", subprotocols=[protocol])

    assert (
        f"{told.host} answered the WebSocket upgrade with HTTP 403: it forbids access, or nothing "
        "is at this path (/grahpql)"
    ) == str(told)


PATHS = {
    "/": "(/)",
    "": "(/)",
    "/a/b?token=hush": "(/a/b)",
    "/é%20": "(/%C3%A9%20)",
    "/" + "x" * 500: f"(/{'x' * 99}…)",
    "/{path}{0}": "(/{path}{0})",
    "/a;b=c": "(/a;b=c)",
}


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(("path", "shown"), PATHS.items())
async def test_f8_kind_the_path_is_shown(status: int, path: str, shown: str) -> None:
    """As it was asked for, without the query, and cut."""
    told = await refusal(b"HTTP/1.1 %d No\r\n\r\n" % status, path)

    assert str(told).endswith(f"nothing is at this path {shown}")
    assert "hush" not in str(told)


# --- F9 -------------------------------------------------------------------------------------------

LOCATIONS = {
    "https://login.example/?token=hush": "https://login.example/",
    "https://me:hush@login.example/a": "https://***@login.example/a",
    "/login#hush": "/login",
    "/login?next=//hush@example": "***",
    "//hush@login.example/": "***",
    "wss://login.example/graphql": "wss://login.example/graphql",
    "?hush": "",
    "https://login.example/\x1b[2J": "https://login.example/\\x1b[2J",
}


async def test_f9_a_redirect_with_a_token() -> None:
    """The token is in the query of the address."""
    answer = b"HTTP/1.1 302 Found\r\nLocation: https://login.example/?token=hush\r\n\r\n"
    told = await refusal(answer)

    assert "it has moved to https://login.example/; redirects are not followed" in str(told)
    assert "hush" not in f"{told}{told!r}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("location", "shown"), LOCATIONS.items())
async def test_f9_kind_no_redirect_shows_credentials(
    status: int, location: str, shown: str
) -> None:
    """The whole address is in `headers`, for who wants it."""
    told = await refusal(f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\n\r\n".encode())

    assert f"it has moved to {shown}; redirects are not followed" in str(told)
    assert "hush" not in f"{told}{told!r}"
    assert location == told.headers["location"]
    assert "hush" not in without_secrets(location)


# --- nginx and haproxy ----------------------------------------------------------------------------


async def greet(peer: Peer) -> None:
    await peer.ack()
    while True:
        start = await peer.receive()
        if start["type"] in ("subscribe", "start"):
            word = "next" if peer.subprotocol == NEWER else "data"
            await peer.send({"type": word, "id": start["id"], "payload": {"data": {"ok": True}}})
            await peer.send({"type": "complete", "id": start["id"]})


UPGRADED = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "keep-alive, Upgrade";'
)


def nginx_server(port: int, upstream: int, certificates: Certificates | None = None) -> str:
    tls = ""
    if certificates is not None:
        pair = certificates.server
        tls = f"ssl_certificate {pair.cert}; ssl_certificate_key {pair.key};"
    kind = "" if certificates is None else " ssl http2"
    return f"""server {{
      listen 127.0.0.1:{port}{kind}; {tls}
      location /graphql {{ proxy_pass http://127.0.0.1:{upstream}; {UPGRADED} }}
      location /forgotten {{ proxy_pass http://127.0.0.1:{upstream}/graphql; }}
      location /half {{ proxy_pass http://127.0.0.1:{upstream}/graphql; proxy_http_version 1.1; }}
      location /nowhere {{ return 404; }}
      location /moved {{ return 302 https://127.0.0.1/login$is_args$args; }}
      location /denied {{ deny all; }}
    }}"""


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_i9_nginx_with_and_without_the_upgrade_headers(protocol: str, tmp_path: Path) -> None:
    """Without them, the server behind it answers 505 or 426; the error says where to look."""
    port = free_port()
    async with fake(greet) as server, nginx(nginx_server(port, server.port), port, tmp_path):
        url = f"ws://127.0.0.1:{port}"
        async with gqlwire.connect(f"{url}/graphql", subprotocols=[protocol]) as session:
            assert {"ok": True} == await session.execute("{ ok }")
        told = {}
        for path in ("forgotten", "half"):
            transport = WebsocketsTransport(f"{url}/{path}", subprotocols=[protocol])
            told[path] = await failure(HandshakeRejected, transport.connect())

    assert {"forgotten": 505, "half": 426} == {path: one.status for path, one in told.items()}
    assert all("(nginx needs proxy_http_version 1.1 and" in str(one) for one in told.values())


async def test_i9_what_nginx_answers_where_no_websocket_is(tmp_path: Path) -> None:
    """403, 404 and a redirect that repeats the query."""
    port = free_port()
    async with fake(greet) as server, nginx(nginx_server(port, server.port), port, tmp_path):
        told = {}
        for path in ("denied", "nowhere", "moved"):
            url = f"ws://127.0.0.1:{port}/{path}?token=hush"
            told[path] = str(await failure(HandshakeRejected, WebsocketsTransport(url).connect()))

    assert "HTTP 403: it forbids access, or nothing is at this path (/denied)" in told["denied"]
    assert "HTTP 404: nothing is at this path (/nowhere)" in told["nowhere"]
    assert "it has moved to https://127.0.0.1/login; redirects" in told["moved"]
    assert "hush" not in "".join(told.values())


async def test_i9_nginx_with_tls(certificates: Certificates, tmp_path: Path) -> None:
    """`ws://` to a port with TLS; HTTP/2 where the context offers it; and as it should be."""
    port = free_port()
    plain, offering = client_context(certificates.ca), client_context(certificates.ca)
    offering.set_alpn_protocols(["h2", "http/1.1"])
    async with fake(greet) as server:
        servers = nginx_server(port, server.port, certificates)
        async with nginx(servers, port, tmp_path):
            url = f"wss://127.0.0.1:{port}/graphql"
            wrong = WebsocketsTransport(url.replace("wss:", "ws:"))
            told = await failure(HandshakeRejected, wrong.connect())
            over_h2 = WebsocketsTransport(url, ssl=offering)
            of_alpn = await failure(HandshakeRejected, over_h2.connect())
            async with gqlwire.connect(url, ssl=plain) as session:
                assert {"ok": True} == await session.execute("{ ok }")

    assert "HTTP 400: the server speaks TLS on this port (did you mean wss://?)" in str(told)
    assert "it speaks HTTP/2, which ssl= offers by ALPN (h2): offer only http/1.1" in str(of_alpn)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_i9_haproxy(certificates: Certificates, protocol: str, tmp_path: Path) -> None:
    """It hangs up on plain text where it expects TLS; where nobody is behind it, it answers 503."""
    port, without_tls = free_port(), free_port()
    pair = certificates.server
    both = tmp_path / "both.pem"
    both.write_text(pair.cert.read_text() + pair.key.read_text())
    async with fake(greet) as server:
        sections = f"""
frontend secure
  bind 127.0.0.1:{port} ssl crt {both}
  default_backend ours
frontend empty
  bind 127.0.0.1:{without_tls}
  default_backend nobody
backend ours
  server one 127.0.0.1:{server.port}
backend nobody
  server none 127.0.0.1:{free_port()}
"""
        async with haproxy(sections, port, tmp_path):
            url, options = f"wss://127.0.0.1:{port}/graphql", {"subprotocols": [protocol]}
            wrong = WebsocketsTransport(url.replace("wss:", "ws:"), **options)
            told = await failure(ConnectionClosed, wrong.connect())
            nobody = WebsocketsTransport(f"ws://127.0.0.1:{without_tls}/graphql", **options)
            unserved = await failure(HandshakeRejected, nobody.connect())
            context = client_context(certificates.ca)
            async with gqlwire.connect(url, ssl=context, **options) as session:
                assert {"ok": True} == await session.execute("{ ok }")

    assert "the server may speak TLS on this port (did you mean wss://?)" in str(told)
    assert 503 == unserved.status


# --- I9, played -----------------------------------------------------------------------------------

HINTS = {
    b"HTTP/1.1 426 Upgrade Required\r\n\r\n": "a proxy in front of it may not pass on the upgrade",
    b"HTTP/1.1 405 No\r\nAllow: POST\r\n\r\n": "this is not a WebSocket endpoint",
    b"HTTP/1.1 505 No\r\n\r\n": "a proxy in front of it may not pass on the upgrade",
    b"HTTP/1.1 400 Bad\r\n\r\nClient sent an HTTP request to an HTTPS server.": "wss://",
    b"\x15\x03\x03\x00\x02\x02\x46": "wss://",
    b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0": "it speaks HTTP/2",
}


@pytest.mark.parametrize(("answer", "hint"), HINTS.items())
async def test_i9_kind_hints(answer: bytes, hint: str) -> None:
    """Each says where to look."""
    assert hint in str(await refusal(answer))


async def test_i9_kind_no_protocol_in_common_by_alpn(certificates: Certificates) -> None:
    """The server goes on without, as OpenSSL's do; or it refuses the handshake with an alert."""
    ours, theirs = client_context(certificates.ca), server_context(certificates.server)
    ours.set_alpn_protocols(["h2"])
    theirs.set_alpn_protocols(["http/1.1"])
    async with fake(greet, ssl=theirs) as server:
        transport = WebsocketsTransport(server.url, ssl=ours)
        try:
            await transport.connect()
        except TLSFailed as refused:
            told = str(refused)
        else:
            told = "connected without ALPN"
        await transport.close()

    assert "ALPN" in told
