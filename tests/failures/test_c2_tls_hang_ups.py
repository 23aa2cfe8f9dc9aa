"""C2: a server that hung up after the ClientHello made 46 lines of "--- Logging error ---" on
stderr for each attempt, and the error named no more than a class. It is one sentence, and nothing
else is written anywhere. A `ws://` URL for a port that speaks TLS gets a hint.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import aiofastnet
import pytest

import gqlwire
from gqlwire._wire.upgrade import QuietLoop
from gqlwire.errors import (
    ConnectionClosed,
    HandshakeRejected,
    Phase,
    ProxyFailed,
    TLSFailed,
    TransportConnectionFailed,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.certificates import Certificates, client_context, server_context
from servers.fake import RawPeer, raw_fake
from support import failure, leaves_nothing
from wire.proxies import HTTPProxy

tidy = pytest.fixture(autouse=True)(leaves_nothing)


async def hang_up(peer: RawPeer) -> None:
    """Read the ClientHello, and say nothing."""
    await peer.reader.read(1)
    await peer.reader.read(8192)
    peer.end()


PROGRAM = """
import asyncio, gqlwire, gqlwire.errors

async def main():
    try:
        async with gqlwire.connect({url!r}):
            pass
    except gqlwire.errors.TransportError as failure:
        print(failure)

asyncio.run(main())
"""


async def test_c2_a_server_that_hangs_up_after_the_client_hello() -> None:
    """One sentence, and nothing on stderr."""
    async with raw_fake(hang_up, upgrade=False) as server:
        program = PROGRAM.format(url=server.url.replace("ws:", "wss:"))
        ran = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True
        )

    assert "" == ran.stderr
    assert (
        f"the connection to 127.0.0.1:{server.port} was lost during the TLS handshake: the server "
        "closed it without an answer (the server may not speak TLS on this port, or not know this "
        "host name)\n"
    ) == ran.stdout


# --- The kind: other ways to hang up, on other ways to the server ---------------------------------


async def hang_up_at_once(peer: RawPeer) -> None:
    peer.end()


async def reset(peer: RawPeer) -> None:
    await peer.reader.read(1)
    peer.abort()


async def half_a_record(peer: RawPeer) -> None:
    await peer.reader.read(1)
    await peer.send_raw(b"\x16\x03\x03\x00\x7a\x02\x00")
    peer.end()


async def alert(peer: RawPeer) -> None:
    await peer.reader.read(1)
    await peer.send_raw(b"\x15\x03\x03\x00\x02\x02\x28")
    peer.end()


HANG_UPS = [hang_up, hang_up_at_once, reset, half_a_record, alert]


@pytest.mark.parametrize("through", [None, HTTPProxy], ids=["directly", "http proxy"])
@pytest.mark.parametrize("script", HANG_UPS, ids=lambda script: script.__name__)
async def test_c2_kind_a_handshake_that_fails_is_one_sentence(
    script: Callable[[RawPeer], Any], through: type[HTTPProxy] | None
) -> None:
    """`leaves_nothing` sees what goes to the loop's exception handler, which is nothing."""
    async with raw_fake(script, upgrade=False) as server, HTTPProxy() as proxy:
        url = server.url.replace("ws:", "wss:")
        transport = WebsocketsTransport(url, proxy=proxy.url if through else None)
        with pytest.raises(TransportConnectionFailed) as caught:
            await transport.connect()

    told = str(caught.value)
    assert Phase.HANDSHAKE is caught.value.phase
    assert f"127.0.0.1:{server.port}" in told
    assert "TLS" in told
    assert "Error" not in told  # the name of a class tells nothing


async def test_c2_kind_a_session_that_reconnects(caplog: pytest.LogCaptureFixture) -> None:
    """Each attempt is a line of gqlwire's log, and nobody else writes one."""
    policy = gqlwire.RetryPolicy(first_delay=0, attempts=3, initial=True)
    async with raw_fake(hang_up, upgrade=False) as server:
        url = server.url.replace("ws:", "wss:")
        with pytest.raises(TransportConnectionFailed, match="TLS handshake"):
            async with gqlwire.connect(url, retry=policy):
                pass

    assert {"gqlwire"} >= {record.name for record in caplog.records}


async def test_c2_kind_a_proxy_that_hangs_up_during_tls() -> None:
    """The proxy is to blame, not the server."""
    async with raw_fake(hang_up, upgrade=False) as proxy:
        url = proxy.url.replace("ws:", "https:").removesuffix("/graphql")
        transport = WebsocketsTransport("wss://api.example/", proxy=url)
        told = await failure(ProxyFailed, transport.connect())

    assert f"the proxy {url}" in str(told)
    assert "it closed the connection" in str(told)


# --- ws:// to a port that speaks TLS --------------------------------------------------------------

WSS = "the server may speak TLS on this port (did you mean wss://?)"
SPEAKS_TLS = "the server speaks TLS on this port (did you mean wss://?)"


async def test_c2_plain_text_for_a_real_tls_server(certificates: Certificates) -> None:
    """It hangs up."""
    context = server_context(certificates.server)
    async with raw_fake(lambda peer: peer.send_raw(b""), upgrade=False, ssl=context) as server:
        transport = WebsocketsTransport(server.url.replace("wss:", "ws:"))
        with pytest.raises(TransportConnectionFailed) as caught:
            await transport.connect()

    assert "did you mean wss://?" in str(caught.value)


ANSWERS = {
    "nothing": (b"", ConnectionClosed, WSS),
    "an alert": (b"\x15\x03\x01\x00\x02\x02\x16", HandshakeRejected, SPEAKS_TLS),
    "half an alert": (b"\x15\x03", HandshakeRejected, SPEAKS_TLS),
    "nginx": (
        b"HTTP/1.1 400 No\r\n\r\n<title>400 The plain HTTP request was sent to HTTPS port</title>",
        HandshakeRejected,
        SPEAKS_TLS,
    ),
    "Go": (
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        HandshakeRejected,
        SPEAKS_TLS,
    ),
    "Apache": (
        b"HTTP/1.1 400 No\r\n\r\nYou're speaking plain HTTP to an SSL-enabled server port.<br />",
        HandshakeRejected,
        SPEAKS_TLS,
    ),
}


@pytest.mark.parametrize(("answer", "kind", "hint"), ANSWERS.values(), ids=ANSWERS)
async def test_c2_kind_a_port_that_speaks_tls(answer: bytes, kind: type, hint: str) -> None:
    """Whatever it says to plain text."""

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.send_raw(answer)
        peer.end()

    async with raw_fake(script, upgrade=False) as server:
        told = await failure(kind, WebsocketsTransport(server.url).connect())

    assert hint in str(told)


async def test_c2_a_server_that_answers_plain_text_to_tls(certificates: Certificates) -> None:
    """The other way round, through a proxy, too, before TLS has even begun."""

    async def script(peer: RawPeer) -> None:
        await peer.send_raw(b"SSH-2.0-OpenSSH_9.6\r\n")

    context = client_context(certificates.ca)
    async with raw_fake(script, upgrade=False) as server, HTTPProxy() as proxy:
        url = server.url.replace("ws:", "wss:")
        for through in (None, proxy.url):
            transport = WebsocketsTransport(url, ssl=context, proxy=through)
            told = await failure(TLSFailed, transport.connect())
            assert "does not speak TLS on this port (did you mean ws://?)" in str(told)


async def test_c2_the_quiet_loop_is_taken_for_the_loop() -> None:
    """aiofastnet does otherwise for a ProactorEventLoop, that of Windows."""
    loop = asyncio.get_running_loop()
    quiet: Any = QuietLoop(loop)
    told: list[dict[str, Any]] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        quiet.call_exception_handler({"message": "x", "exception": ConnectionResetError})
        quiet.call_exception_handler({"message": "y", "exception": KeyError()})
    finally:
        loop.set_exception_handler(before)

    assert isinstance(quiet, type(loop))
    assert quiet.time() <= loop.time()
    assert ["y"] == [context["message"] for context in told]


# --- Is the way round aiofastnet still needed? ----------------------------------------------------


async def test_c2_aiofastnet_alone_still_reports_a_class() -> None:
    """If not, the way round it can go."""
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        async with raw_fake(hang_up, upgrade=False) as server:
            with pytest.raises(ConnectionResetError):
                await aiofastnet.create_connection(
                    loop, asyncio.Protocol, "127.0.0.1", server.port, ssl=True
                )
    finally:
        loop.set_exception_handler(before)

    assert [ConnectionResetError] == [context["exception"] for context in told], (
        "aiofastnet no longer passes a class for an exception: delete `QuietLoop` of "
        "gqlwire/_wire/upgrade.py, and give the loop itself to aiofastnet in reach.py"
    )
