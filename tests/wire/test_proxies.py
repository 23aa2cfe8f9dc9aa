"""Through real proxies on loopback."""

import ssl
from pathlib import Path

import pytest
from proxies import HTTPProxy, SOCKS5Proxy

import gqlwire
from gqlwire.errors import ConnectTimeout, Phase, ProxyFailed
from servers.certificates import Certificates, client_context, server_context
from servers.launch import Server, start_strawberry

HELLO = {"hello": "Hello, world!"}


async def hello(url: str, **options: object) -> object:
    async with gqlwire.connect(url, **options) as session:
        return await session.execute("{ hello }")


@pytest.mark.parametrize("kind", [HTTPProxy, SOCKS5Proxy])
async def test_a_proxy_is_passed(strawberry: Server, kind: type) -> None:
    """CONNECT (RFC 9110, section 9.3.6) and SOCKS5 (RFC 1928)."""
    async with kind() as proxy:
        assert HELLO == await hello(strawberry.url, proxy=proxy.url)

    assert 1 == proxy.connects


@pytest.mark.parametrize("kind", [HTTPProxy, SOCKS5Proxy])
async def test_a_proxy_with_a_password_is_passed(strawberry: Server, kind: type) -> None:
    """The credentials are in the proxy's URL."""
    async with kind(username="user", password="p@ss") as proxy:
        url = proxy.url.replace("://", "://user:p%40ss@") if "@" not in proxy.url else proxy.url

        assert HELLO == await hello(strawberry.url, proxy=url)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ws_proxy"])
async def test_the_environment_names_the_proxy(
    strawberry: Server, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """By default, as with httpx; `no_proxy` and proxy=None keep it out."""
    async with HTTPProxy() as proxy:
        monkeypatch.setenv(variable, proxy.url)
        assert HELLO == await hello(strawberry.url)
        assert HELLO == await hello(strawberry.url, proxy=None)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert HELLO == await hello(strawberry.url)

    assert 1 == proxy.connects


@pytest.mark.parametrize("kind", [HTTPProxy, SOCKS5Proxy])
async def test_tls_runs_through_a_proxy(certificates: Certificates, kind: type) -> None:
    """The server's certificate is verified all the same."""
    pair = certificates.server
    with start_strawberry(cert=pair.cert, key=pair.key) as server:
        async with kind() as proxy:
            context = client_context(certificates.ca)
            assert HELLO == await hello(server.url, proxy=proxy.url, ssl=context)
            with pytest.raises(gqlwire.errors.TLSFailed, match="not trusted here"):
                await hello(server.url, proxy=proxy.url)


async def test_an_https_proxy_is_verified_by_the_systems_authorities(
    strawberry: Server, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS to the proxy is not that to the server; SSL_CERT_FILE extends whom it trusts."""
    async with HTTPProxy(ssl=server_context(certificates.server)) as proxy:
        with pytest.raises(gqlwire.errors.TransportConnectionFailed):
            await hello(strawberry.url, proxy=proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(Path(certificates.ca)))
        assert ssl.get_default_verify_paths().cafile == str(certificates.ca)

        assert HELLO == await hello(strawberry.url, proxy=proxy.url)


async def test_a_refusal_by_a_proxy_raises_proxy_failed(strawberry: Server) -> None:
    """The error names the proxy, hides its password, and does not blame the server."""
    async with HTTPProxy(status=403) as proxy:
        url = proxy.url.replace("://", "://user:s3cret@")
        with pytest.raises(ProxyFailed) as caught:
            await hello(strawberry.url, proxy=url)

    assert Phase.CONNECT is caught.value.phase
    assert "s3cret" not in str(caught.value)
    assert f"127.0.0.1:{proxy.port}" in str(caught.value)
    assert f"127.0.0.1:{strawberry.port}" in str(caught.value)
    assert "403" in str(caught.value)


async def test_a_refusal_by_a_socks_proxy_raises_proxy_failed(strawberry: Server) -> None:
    """With the reason of its reply (RFC 1928, section 6)."""
    async with SOCKS5Proxy(reply=2) as proxy:
        with pytest.raises(ProxyFailed, match="ruleset"):
            await hello(strawberry.url, proxy=proxy.url)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_missing_proxy_raises_proxy_failed(strawberry: Server, scheme: str) -> None:
    """It is the proxy that cannot be reached, not the server."""
    async with HTTPProxy() as proxy:
        port = proxy.port

    with pytest.raises(ProxyFailed, match="cannot be reached") as caught:
        await hello(strawberry.url, proxy=f"{scheme}://127.0.0.1:{port}")

    assert f"127.0.0.1:{port}" in str(caught.value)


async def test_a_proxy_that_says_nothing_times_out(strawberry: Server) -> None:
    """Within connect_timeout, like everything on the way."""
    from servers.fake import raw_fake

    async def be_mute(peer: object) -> None:
        await peer.reader.read()

    async with raw_fake(be_mute, upgrade=False) as proxy:
        for scheme in ("http", "socks5"):
            with pytest.raises(ConnectTimeout):
                await hello(
                    strawberry.url, proxy=f"{scheme}://127.0.0.1:{proxy.port}", connect_timeout=0.2
                )


@pytest.mark.parametrize("proxy", ["ftp://127.0.0.1:1", "http://[", "http://host:port"])
async def test_an_invalid_proxy_is_refused(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Immediately if it is an argument; when connecting if the environment has it."""
    with pytest.raises(ValueError, match="proxy="):
        gqlwire.connect("ws://127.0.0.1:1/", proxy=proxy)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ProxyFailed, match="http_proxy="):
        await hello("ws://127.0.0.1:1/")
