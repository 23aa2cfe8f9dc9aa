"""The bad certificate of an https proxy was reported as if it were the server's, even for `ws://`,
and no option let a proxy have an authority of its own.

The error names the proxy and says what to do, and there is `proxy_ssl`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import gqlwire
from conftest import NEWER, OLDER
from gqlwire.cli import main
from gqlwire.errors import ProxyFailed, TLSFailed, TransportConnectionFailed
from gqlwire.transport.websockets import WebsocketsTransport
from servers.certificates import Certificates, client_context, server_context
from servers.fake import Peer, RawPeer, fake, raw_fake
from servers.launch import Server
from support import leaves_nothing
from wire.proxies import HTTPProxy

tidy = pytest.fixture(autouse=True)(leaves_nothing)

SECURE = pytest.mark.parametrize("is_secure", [False, True], ids=["ws", "wss"])
FAULTS = {
    "another authority": ("server", None, "not trusted here; see proxy_ssl"),
    "expired": ("expired", "ca", "it has expired"),
    "for another host": ("wrong_host", "ca", "it is for another"),
}


async def acknowledge(peer: Peer) -> None:
    await peer.ack()


@asynccontextmanager
async def target(certificates: Certificates, *, is_secure: bool) -> AsyncIterator[str]:
    """A server, with a certificate that the client accepts if it is a secure one."""
    context = server_context(certificates.server) if is_secure else None
    async with fake(acknowledge, ssl=context) as server:
        yield server.url


def options(certificates: Certificates, url: str, **given: Any) -> dict[str, Any]:
    """With the server's authority, but not that of the proxy."""
    context = client_context(certificates.ca) if url.startswith("wss:") else None
    return {"ssl": context, "reconnecting": False, **given}


async def refused(url: str, **given: Any) -> TransportConnectionFailed:
    with pytest.raises(TransportConnectionFailed) as told:
        await gqlwire.connect(url, **given).connect_async()
    return told.value


# --- The row's own -------------------------------------------------------------------------------


@SECURE
@pytest.mark.parametrize(("pair", "authority", "fault"), FAULTS.values(), ids=FAULTS)
async def test_k8_a_bad_certificate_is_the_proxys(
    certificates: Certificates, is_secure: bool, pair: str, authority: str | None, fault: str
) -> None:
    """The error names the proxy, and the server as where it leads to."""
    trusting = None if authority is None else client_context(getattr(certificates, authority))
    async with (
        target(certificates, is_secure=is_secure) as url,
        HTTPProxy(ssl=server_context(getattr(certificates, pair))) as proxy,
    ):
        given = options(certificates, url, proxy=proxy.url, proxy_ssl=trusting)
        failure = await refused(url, **given)

    assert TLSFailed is type(failure)
    assert f"the certificate of the proxy {proxy.url} on the way to {failure.host}" in str(failure)
    assert fault in str(failure)
    assert 0 == proxy.connects


async def test_k8_a_proxy_with_its_own_authority(
    strawberry: Server, certificates: Certificates
) -> None:
    """A real server behind it, in both protocols, with and without reconnecting."""
    context = client_context(certificates.ca)
    async with HTTPProxy(ssl=server_context(certificates.server)) as proxy:
        for protocol in (NEWER, OLDER):
            client = gqlwire.connect(
                strawberry.url,
                proxy=proxy.url,
                proxy_ssl=context,
                subprotocols=[protocol],
                reconnecting=protocol == NEWER,
            )
            async with client as session:
                events = session.subscribe("subscription { countdown(from: 2) }")
                assert [2, 1, 0] == [event["countdown"] async for event in events]

    assert 2 == proxy.tunnels


# --- Its kind ------------------------------------------------------------------------------------


@SECURE
@pytest.mark.parametrize("source", ["argument", "environment"])
async def test_k8_kind_each_has_its_own_context(
    certificates: Certificates, is_secure: bool, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the server's `ssl` nothing counts for the proxy, and the other way round."""
    async with (
        target(certificates, is_secure=is_secure) as url,
        HTTPProxy(ssl=server_context(certificates.server)) as proxy,
    ):
        given = options(certificates, url, proxy_ssl=client_context(certificates.ca))
        if source == "environment":
            monkeypatch.setenv("all_proxy", proxy.url)
        else:
            given["proxy"] = proxy.url
        async with gqlwire.connect(url, **given):
            pass
        assert 1 == proxy.tunnels

        given["proxy_ssl"] = client_context(certificates.other_ca)
        failure = await refused(url, **given)
        assert f"the certificate of the proxy {proxy.url}" in str(failure)

        if is_secure:
            given.update(proxy_ssl=client_context(certificates.ca), ssl=None)
            failure = await refused(url, **given)
            assert f"the certificate of {failure.host} was not accepted" in str(failure)


async def test_k8_kind_a_proxy_that_requires_a_certificate(certificates: Certificates) -> None:
    """Without one the error says so."""
    tls = server_context(certificates.server, client_ca=certificates.ca)
    async with target(certificates, is_secure=False) as url, HTTPProxy(ssl=tls) as proxy:
        shown = client_context(certificates.ca, certificates.client)
        async with gqlwire.connect(url, proxy=proxy.url, proxy_ssl=shown):
            pass
        bare = client_context(certificates.ca)
        failure = await refused(url, proxy=proxy.url, proxy_ssl=bare, reconnecting=False)

    assert "client certificate: see proxy_ssl" in str(failure)
    assert proxy.url in str(failure)


@SECURE
async def test_k8_kind_a_proxy_without_tls(certificates: Certificates, is_secure: bool) -> None:
    """No advice that is for the server, such as `ws://`."""

    async def greet(peer: RawPeer) -> None:
        await peer.send_raw(b"SSH-2.0-proxy\r\n")
        await peer.reader.read()

    async with (
        target(certificates, is_secure=is_secure) as url,
        raw_fake(greet, upgrade=False) as proxy,
    ):
        given = options(certificates, url, proxy=f"https://127.0.0.1:{proxy.port}")
        failure = await refused(url, **given)

    assert TLSFailed is type(failure)
    assert "did you mean http://?" in str(failure)
    assert "ws://" not in str(failure)


@pytest.mark.parametrize("answer", [b"", b"\x15\x03\x03\x00\x02\x02\x46"], ids=["none", "alert"])
async def test_k8_kind_a_proxy_with_tls_that_is_asked_without(
    certificates: Certificates, answer: bytes
) -> None:
    """It hangs up, or sends an alert."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(answer)
        peer.end()

    async with (
        target(certificates, is_secure=False) as url,
        raw_fake(script, upgrade=False) as proxy,
    ):
        failure = await refused(url, proxy=f"http://127.0.0.1:{proxy.port}", reconnecting=False)

    assert ProxyFailed is type(failure)
    assert "did you mean https://?" in str(failure)


@pytest.mark.parametrize(
    "proxy", ["http://proxy.example", "proxy.example", "socks5://p", None, False]
)
def test_k8_kind_tls_settings_without_tls(proxy: Any) -> None:
    """A ValueError, immediately, and without a secret; but the environment may change."""
    context = ssl.create_default_context()
    proxy = proxy and proxy.replace("://", "://user:s3cret@")
    for url in ("ws://server.example", lambda _: "ws://server.example"):
        with pytest.raises(ValueError, match="proxy_ssl needs a") as told:
            WebsocketsTransport(url, proxy=proxy, proxy_ssl=context)
        assert "s3cret" not in str(told.value)
        WebsocketsTransport(url, proxy=True, proxy_ssl=context)
        WebsocketsTransport(url, proxy=proxy, proxy_ssl=None)


def test_k8_kind_the_command(
    tmp_path: Path, certificates: Certificates, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--proxy-ca`: a file that cannot be used, and a proxy without TLS."""
    absent = tmp_path / "absent.pem"
    for proxy, file, fault in [
        ("https://127.0.0.1:9", absent, f"--proxy-ca {absent}: No such file"),
        ("http://127.0.0.1:9", certificates.ca, "proxy_ssl needs an https:// proxy"),
    ]:
        arguments = ["query", "ws://127.0.0.1:9/", "{ a }", "--proxy", proxy]
        assert 2 == main([*arguments, "--proxy-ca", str(file)])
        assert fault in capsys.readouterr().err
