"""Each way in which connecting can fail reads differently, and nothing foreign gets out."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from picows import WSError, WSInvalidURL
from python_socks import ProxyError, ProxyTimeoutError

from gqlwire._wire.failures import During, translate
from gqlwire.errors import (
    ConnectionRefused,
    ConnectTimeout,
    InvalidURL,
    NameNotResolved,
    Phase,
    ProxyFailed,
    TLSFailed,
    TransportConnectionFailed,
    TransportError,
)

HOST = "api.example.com:443"
PROXY = "http://proxy.example.com:3128"


def translated(
    cause: BaseException, during: During = During.TCP, proxy: str | None = None
) -> TransportError:
    failure = translate(cause, host=HOST, during=during, proxy=proxy)
    assert failure.__cause__ is cause
    return failure


# --- Reaching the server ---------------------------------------------------------------------

GONE = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
NO_ROUTE = OSError(errno.EHOSTUNREACH, "No route to host")
RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        (
            GONE,
            NameNotResolved,
            f"the name of {HOST} cannot be resolved: Name or service not known",
        ),
        (
            REFUSED,
            ConnectionRefused,
            f"{HOST} refuses connections: nothing listens on this port",
        ),
        (NO_ROUTE, ConnectionRefused, f"{HOST} cannot be reached: No route to host"),
        (
            OSError("Multiple exceptions: one, other"),
            ConnectionRefused,
            f"{HOST} cannot be reached: Multiple exceptions: one, other",
        ),
        (TimeoutError(), ConnectionRefused, f"{HOST} cannot be reached: TimeoutError"),
    ],
)
def test_a_server_that_cannot_be_reached(
    cause: OSError, kind: type[TransportConnectionFailed], words: str
) -> None:
    """The sentence names the host, and what the system says."""
    failure = translated(cause)

    assert kind is type(failure)
    assert words == str(failure)
    assert isinstance(failure, TransportConnectionFailed)
    assert (HOST, Phase.CONNECT) == (failure.host, failure.phase)


def test_a_host_that_can_be_no_name() -> None:
    """Python's IDNA codec finds out, as late as it looks the name up."""
    with pytest.raises(UnicodeError) as caught:
        ("x" * 64 + ".example").encode("idna")

    failure = translated(caught.value)

    assert NameNotResolved is type(failure)
    assert f"the name of {HOST} cannot be resolved: it is not a host name" == str(failure)


@pytest.mark.parametrize("cause", [GONE, REFUSED, NO_ROUTE])
def test_a_proxy_that_cannot_be_reached(cause: OSError) -> None:
    """The server is not to blame."""
    failure = translated(cause, proxy=PROXY)

    assert ProxyFailed is type(failure)
    assert f"the proxy {PROXY} on the way to {HOST} cannot be reached: {cause.strerror}" == str(
        failure
    )


@pytest.mark.parametrize(
    "cause", [ProxyError("407 Proxy Authentication Required"), ProxyTimeoutError("timed out")]
)
def test_a_proxy_that_does_not_pass_us_on(cause: Exception) -> None:
    """With what it said."""
    failure = translated(cause, During.PROXY, PROXY)

    assert ProxyFailed is type(failure)
    assert f"the proxy {PROXY} did not connect to {HOST}: {cause}" == str(failure)


@pytest.mark.parametrize("proxy", [None, PROXY])
def test_a_connection_that_breaks_during_the_handshake(proxy: str | None) -> None:
    """By then everything was reached."""
    failure = translated(RESET, During.UPGRADE, proxy)

    assert TransportConnectionFailed is type(failure)
    assert (
        f"the connection to {HOST} was lost during the handshake: Connection reset by peer"
        == str(failure)
    )


@pytest.mark.parametrize("cause", [WSError("odd"), ValueError("odd"), UnicodeError("odd")])
def test_any_other_failure_shows_its_own_message(cause: Exception) -> None:
    """After the host."""
    failure = translated(cause, During.UPGRADE)

    assert TransportConnectionFailed is type(failure)
    assert f"no connection to {HOST}: odd" == str(failure)


def test_an_unexpected_exception_shows_its_class() -> None:
    """It may have no message at all."""
    assert f"no connection to {HOST}: KeyError('x')" == str(translated(KeyError("x")))


def test_a_url_that_picows_does_not_like_is_an_invalid_one() -> None:
    """Its own message, which shows the URL, is left out of the traceback, too."""
    cause = WSInvalidURL("ws://", "no host")

    failure = translate(cause, host=HOST, during=During.TCP, proxy=None)

    assert InvalidURL is type(failure)
    assert "ws://" not in str(failure)
    assert failure.__cause__ is None


@pytest.mark.parametrize("ours", [InvalidURL("no"), ConnectTimeout("late", limit=1.0)])
def test_our_own_error_is_left_as_it_is(ours: TransportError) -> None:
    """It is not its own cause: a chain of causes must end."""
    failure = translate(ours, host=HOST, during=During.TCP, proxy=None)

    assert ours is failure
    assert failure.__cause__ is not failure


# --- TLS -------------------------------------------------------------------------------------


def handshake(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str = "api.example.com"
) -> ssl.SSLError:
    """Let the two shake hands in memory; return what the client finds wrong."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname=name)
    theirs = server.wrap_bio(there, back, server_side=True)
    for _ in range(10):
        try:
            ours.do_handshake()
            ours.read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as fault:
            return fault
        with contextlib.suppress(ssl.SSLError):
            theirs.do_handshake()
    raise AssertionError("they agree")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def trusting(authority: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is not None:
        authority.configure_trust(context)
    return context


def sentence(fault: ssl.SSLError) -> str:
    failure = translated(fault, During.TLS)
    assert TLSFailed is type(failure)
    assert isinstance(failure, TransportConnectionFailed)
    assert (HOST, Phase.HANDSHAKE) == (failure.host, failure.phase)
    return str(failure)


def test_a_certificate_of_an_unknown_authority(authority: trustme.CA) -> None:
    """The commonest fault of test servers."""
    server = serving(authority.issue_cert("api.example.com"))

    said = sentence(handshake(trusting(None), server))

    assert f"the certificate of {HOST} was not accepted: it was issued by an authority" in said


def test_a_certificate_for_another_name(authority: trustme.CA) -> None:
    """Or for another address."""
    by_name = serving(authority.issue_cert("other.example.com"))
    by_address = serving(authority.issue_cert("127.0.0.2"))

    assert "it is for another host name" in sentence(handshake(trusting(authority), by_name))
    assert "it is for another IP address" in sentence(
        handshake(trusting(authority), by_address, "127.0.0.1")
    )


def test_a_certificate_that_has_expired(authority: trustme.CA) -> None:
    """Renewed too late."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    server = serving(authority.issue_cert("api.example.com", not_after=yesterday))

    assert "it has expired" in sentence(handshake(trusting(authority), server))


def test_a_certificate_that_is_not_valid_yet(authority: trustme.CA) -> None:
    """Or our clock is wrong."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    server = serving(authority.issue_cert("api.example.com", not_before=tomorrow))

    assert "it is not valid yet" in sentence(handshake(trusting(authority), server))


def test_a_server_that_requires_a_client_certificate(authority: trustme.CA) -> None:
    """And gets none."""
    server = serving(authority.issue_cert("api.example.com"))
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)

    assert "the server requires a client certificate" in sentence(
        handshake(trusting(authority), server)
    )


def test_a_server_that_does_not_trust_the_client_certificate(authority: trustme.CA) -> None:
    """Of an authority of our own."""
    server = serving(authority.issue_cert("api.example.com"))
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    client = trusting(authority)
    trustme.CA().issue_cert("me.example.com").configure_cert(client)

    assert "the server does not trust the client certificate" in sentence(handshake(client, server))


def test_a_server_that_speaks_no_tls() -> None:
    """Plain HTTP on that port."""
    answer = ssl.MemoryBIO()
    answer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    client = ssl.create_default_context().wrap_bio(answer, ssl.MemoryBIO(), server_hostname="h")
    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()

    assert "does not speak TLS on this port (did you mean ws://?)" in sentence(caught.value)


def test_no_tls_version_in_common(authority: trustme.CA) -> None:
    """One side is from another time."""
    server = serving(authority.issue_cert("api.example.com"))
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    client = trusting(authority)
    client.minimum_version = ssl.TLSVersion.TLSv1_3

    said = sentence(handshake(client, server))

    assert said.startswith(f"TLS with {HOST} failed: ")
    assert len(said) > len(f"TLS with {HOST} failed: ")


@pytest.mark.parametrize(
    "fault",
    [
        ssl.SSLError("ssl handshake failed, unknown error_code=1"),
        ssl.SSLSyscallError("ssl handshake failed"),
        ssl.SSLZeroReturnError("ssl handshake failed"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_fault_of_tls_without_a_reason(fault: ssl.SSLError) -> None:
    """What picows's engine raises has none: only OpenSSL's binding in Python sets it."""
    said = sentence(fault)

    assert said.startswith(f"TLS with {HOST} failed: ")
    assert str(fault.args[-1]) in said


# --- All of them -----------------------------------------------------------------------------


def test_each_failure_reads_differently() -> None:
    """gql says `Connect failed` to all of it."""
    expired = ssl.SSLCertVerificationError(1, "certificate verify failed")
    expired.verify_code, expired.verify_message = 10, "certificate has expired"
    causes = [GONE, REFUSED, NO_ROUTE, expired, RESET]

    assert len(causes) == len({str(translated(cause)) for cause in causes})


@pytest.mark.parametrize("during", During)
@pytest.mark.parametrize("proxy", [None, PROXY])
@pytest.mark.parametrize(
    "kind",
    [OSError, ValueError, WSError, ProxyError, ProxyTimeoutError, OverflowError, RecursionError],
)
def test_everything_foreign_becomes_ours(
    kind: type[Exception], during: During, proxy: str | None
) -> None:
    """Whatever it is, whenever it comes, whichever way was taken."""
    failure = translate(kind("odd"), host=HOST, during=during, proxy=proxy)

    assert isinstance(failure, TransportConnectionFailed)
    assert "odd" in str(failure)
