"""K5: errors showed the query, the user or the password of a URL. No text that gqlwire writes has a
credential in it: no sentence of an error, no traceback, no line of a log, no repr.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import gqlwire
from conftest import NEWER, OLDER, examples
from gqlwire._wire import Way
from gqlwire._wire.address import parse, without_secrets
from gqlwire._wire.proxy import proxy_for
from gqlwire.errors import InvalidURL, ProxyFailed, TransportError
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, RawPeer, fake, raw_fake
from support import leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

SECRET = "hush"

URLS = [
    f"ws://host:port/?token={SECRET}",
    f"ws://host/ a?token={SECRET}",
    f"ws://host:0/?token={SECRET}",
    f"ws://user:{SECRET}/x@host:port/",
    f"ws://user:x/{SECRET}@host/ ",
    f"ws://user:x?{SECRET}@host:port/",
    f"ws://user:x#{SECRET}@host:port/",
    f"ws://user:x@{SECRET}@host:port/",
    f"ws://{SECRET}@host:port/",
    f"ws://{SECRET}@/",
    f"ws://{SECRET}:@host:port",
    f"http://{SECRET}@host/?token={SECRET}",
    f"https://host/?{SECRET}#{SECRET}",
    f"user:{SECRET}@host/graphql",
    f"{SECRET}@host",
    f"graphql?token={SECRET}",
    f"//user:{SECRET}@host/",
    f"ws:/user:{SECRET}@host/",
    f"ws://[{SECRET}@host/",
    f"ftp://host/?token={SECRET}",
    f"ws://host/#{SECRET} ",
    f"ws://host?\n{SECRET}",
    f"ws://b\u00fc..cher/?token={SECRET}",
]


def texts(failure: BaseException) -> str:
    """Everything that a traceback or a log would show of it."""
    lines = traceback.format_exception(failure)
    shown = [line for line in lines if not line.lstrip().startswith("File")]
    # The source lines of this file are no part of what gqlwire writes.
    return "\n".join([str(failure), repr(failure), *shown[-1:]])


@pytest.mark.parametrize("url", URLS)
def test_k5_an_invalid_url_is_shown_without_credentials(url: str) -> None:
    """For credentials in any place of it."""
    with pytest.raises(InvalidURL) as caught:
        WebsocketsTransport(url)

    assert SECRET not in texts(caught.value)
    assert SECRET not in "".join(map(str, _chain(caught.value)))


def _chain(failure: BaseException | None) -> list[BaseException]:
    """The exceptions that a traceback shows."""
    shown = []
    while failure is not None:
        shown.append(failure)
        hidden = failure.__suppress_context__
        failure = failure.__cause__ or (None if hidden else failure.__context__)
    return shown


PROXIES = [
    f"http://{SECRET}@proxy.example:port",
    f"ftp://{SECRET}@proxy.example",
    f"http://user:{SECRET}/x@proxy.example:port",
    f"user:{SECRET}@:1",
    f"{SECRET}@proxy.example:port",
    f"http://{SECRET}@",
    f"{SECRET}://user@proxy.example",
]


@pytest.mark.parametrize("proxy", PROXIES)
def test_k5_an_invalid_proxy_is_shown_without_credentials(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an argument, and as a variable."""
    monkeypatch.setenv("http_proxy", proxy)
    for given_proxy in (proxy, True):
        with pytest.raises(ValueError, match="proxy") as caught:
            proxy_for("ws://host/", given_proxy)
        assert SECRET not in "".join(map(str, _chain(caught.value)))


async def refuses_407(peer: RawPeer) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")
    await peer.send_raw(b"HTTP/1.1 407 No\r\n\r\n")


@pytest.mark.parametrize("user", [f"{SECRET}@", f"user:{SECRET}@", f"{SECRET}:@"])
async def test_k5_a_proxy_that_fails_is_shown_without_credentials(user: str) -> None:
    """Where it refuses, and where nobody listens."""
    async with raw_fake(refuses_407, upgrade=False) as server:
        refusing = server.url.replace("ws://", f"http://{user}").removesuffix("/graphql")
        for proxy in (refusing, f"socks5://{user}127.0.0.1:1", f"http://{user}127.0.0.1:1"):
            transport = WebsocketsTransport("ws://host/", proxy=proxy)
            with pytest.raises(ProxyFailed) as caught:
                await transport.connect()
            assert SECRET not in "".join(map(str, _chain(caught.value)))
            assert "***@127.0.0.1" in str(caught.value)


# --- A server that repeats the URL ----------------------------------------------------------------


def echo_body(path: str) -> bytes:
    body = f'{{"message":"Route GET:{path} not found"}}'.encode()
    return b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def echo_location(path: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: https://login.example{path}\r\n\r\n".encode()


def echo_location_path(path: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: /login/{path}\r\n\r\n".encode()


def echo_line(path: str) -> bytes:
    return f"ERR bad request {path}\r\n".encode()


def echo_header(path: str) -> bytes:
    return f"HTTP/1.1 101 Ok\r\nUpgrade: {path}\r\n{path}\r\n\r\n".encode()


ECHOES = [echo_body, echo_location, echo_location_path, echo_line, echo_header]


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize("echo", ECHOES, ids=lambda echo: echo.__name__)
async def test_k5_kind_a_server_that_repeats_the_url(
    echo: Callable[[str], bytes], protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As Fastify does in the body of its 404, and any server in a redirect to a login."""
    caplog.set_level(logging.DEBUG)

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(echo(peer.path))
        peer.end()

    async with raw_fake(script, upgrade=False) as server:
        url = server.url.replace("ws://", f"ws://me:{SECRET}-pass@")
        url += f"?token={SECRET}-query%2B&x={SECRET}"
        policy = gqlwire.RetryPolicy(first_delay=0, attempts=2, initial=True)
        with pytest.raises(TransportError) as caught:
            async with gqlwire.connect(url, subprotocols=[protocol], retry=policy):
                pass

    assert SECRET not in "".join(map(str, _chain(caught.value)))
    assert SECRET not in "\n".join(record.getMessage() for record in caplog.records)


async def test_k5_kind_a_repr_shows_no_credential() -> None:
    """Of what holds them."""
    url = f"ws://user:{SECRET}@host/?token={SECRET}"
    way = Way(address=parse(url), headers=[("X", SECRET)], proxy=f"http://{SECRET}@proxy:1")

    assert SECRET not in f"{way!r}{way.address!r}{WebsocketsTransport(url)!r}"


# --- Any URL --------------------------------------------------------------------------------------

MARKED = st.text("ab:/?#@%[]. \u00fc", max_size=6).map(lambda text: f"{SECRET}{text}{SECRET}")
HOSTS = st.sampled_from(["host", "host:1", "host:x", "[::1]", "[::1", "", "h\u00fc", "a b", "h:0"])
PATHS = st.sampled_from(["", "/", "/graphql", "/ x", "/\u00e9"])
SCHEMES = st.sampled_from(["ws://", "wss://", "http://", "ftp://", "ws:", "//", ""])


@given(SCHEMES, st.none() | MARKED, HOSTS, PATHS, st.none() | MARKED)
def test_k5_kind_no_invalid_url_shows_a_credential(
    scheme: str, user: str | None, host: str, path: str, query: str | None
) -> None:
    """Whatever is wrong with it, and whatever characters the credentials have."""
    url = scheme + (f"{user}@" if user else "") + host + path + (f"?token={query}" if query else "")
    told = ""
    try:
        address = parse(url)
    except InvalidURL as failure:
        told = "".join(map(str, _chain(failure)))
    else:
        # With these, the URL is valid, and what was meant for a password is a path.
        if not set("/?#") & set(user or ""):
            told = f"{address.host}{address.place}{address!r}"
    assert SECRET not in told
    assert SECRET not in without_secrets(url)


@given(SCHEMES, MARKED, HOSTS)
def test_k5_kind_no_invalid_proxy_shows_a_credential(scheme: str, user: str, host: str) -> None:
    """The same for proxies."""
    told = ""
    try:
        proxy_for("ws://host/", f"{scheme}{user}@{host}")
    except ValueError as failure:
        told = "".join(map(str, _chain(failure)))
    assert SECRET not in told


@settings(
    max_examples=examples(30),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=4, max_size=12),
    st.sampled_from(ECHOES),
)
@example("00\\0", echo_header)
def test_k5_kind_no_answer_of_a_server_shows_the_query(
    token: str, echo: Callable[[str], bytes]
) -> None:
    """Whatever the token, where the server repeats it as it came."""
    for mark in "#&=?/":
        token = token.replace(mark, "x")
    marked = f"{SECRET}{token}"

    async def attempt() -> None:
        async def script(peer: RawPeer) -> None:
            await peer.read_request()
            await peer.send_raw(echo(peer.path))
            peer.end()

        async with raw_fake(script, upgrade=False) as server:
            transport = WebsocketsTransport(f"{server.url}?token={marked}")
            with pytest.raises(TransportError) as caught:
                await transport.connect()
            assert SECRET not in "".join(map(str, _chain(caught.value)))

    asyncio.run(attempt())


async def test_k5_a_connection_that_works_logs_no_credential(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor does one that is dropped."""
    caplog.set_level(logging.DEBUG)

    async def script(peer: Peer) -> None:
        await peer.ack()
        await peer.expect("ping")
        await peer.close(1012)

    async with fake(script) as server:
        url = server.url.replace("ws://", f"ws://me:{SECRET}@") + f"?token={SECRET}"
        transport = WebsocketsTransport(url)
        await transport.connect()
        await transport.send_ping()
        await transport.wait_closed()

    told = [record for record in caplog.records if not record.name.startswith("servers")]
    assert {"gqlwire", "gqlwire.wire"} <= {record.name for record in told}
    assert SECRET not in "\n".join(record.getMessage() for record in told)
