"""TLS as the seed page promises it, against real servers and certificates made for the test."""

import asyncio
import ssl
from collections.abc import Iterator

import pytest

import gqlwire
from conftest import NEWER, OLDER
from gqlwire.errors import Phase, TLSFailed, TransportConnectionFailed
from servers.certificates import Certificates, KeyPair, client_context, server_context
from servers.fake import Peer, fake
from servers.launch import Server, start_node_apollo, start_node_graphql_ws, start_strawberry

STARTS = {
    "strawberry": start_strawberry,
    "graphql-ws": start_node_graphql_ws,
    "subscriptions-transport-ws": start_node_apollo,
}


@pytest.fixture(scope="module", params=STARTS)
def secure(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[Server]:
    """A server with a certificate of our own authority."""
    pair = certificates.server
    with STARTS[request.param](cert=pair.cert, key=pair.key) as server:
        yield server


@pytest.fixture(scope="module", params=STARTS)
def exclusive(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[Server]:
    """A server that requires a certificate of its clients, too."""
    pair = certificates.server
    with STARTS[request.param](cert=pair.cert, key=pair.key, client_ca=certificates.ca) as server:
        yield server


async def countdown(url: str, **options: object) -> list[int]:
    async with gqlwire.connect(url, **options) as session:
        events = session.subscribe("subscription { countdown(from: 2) }")
        return [event["countdown"] async for event in events]


async def test_an_own_authority_is_trusted_when_it_is_given(
    secure: Server, certificates: Certificates
) -> None:
    """As the seed page does it: a context with the server's public certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.ca)

    assert secure.url.startswith("wss://")
    assert [2, 1, 0] == await countdown(secure.url, ssl=context)


@pytest.mark.parametrize("default", [None, True, False])
async def test_wss_is_verified_by_default(secure: Server, default: bool | None) -> None:
    """A certificate of an unknown authority is refused, whatever `ssl` says short of a context."""
    with pytest.raises(TLSFailed) as caught:
        await countdown(secure.url, ssl=default)

    assert Phase.HANDSHAKE is caught.value.phase
    assert f"127.0.0.1:{secure.port}" == caught.value.host
    assert (
        f"the certificate of 127.0.0.1:{secure.port} was not accepted: it was issued by an "
        f"authority that is not trusted here"
    ) == str(caught.value)


async def test_a_client_certificate_is_shown(exclusive: Server, certificates: Certificates) -> None:
    """With it the server lets us in."""
    context = client_context(certificates.ca, certificates.client)

    assert [2, 1, 0] == await countdown(exclusive.url, ssl=context)


@pytest.mark.parametrize("shown", ["none", "another authority's"])
async def test_a_missing_or_wrong_client_certificate_is_reported(
    exclusive: Server, certificates: Certificates, shown: str
) -> None:
    """TLS 1.3 servers complain after the handshake; the error still says so."""
    pair = None if shown == "none" else certificates.other_client
    context = client_context(certificates.ca, pair)

    with pytest.raises(TransportConnectionFailed) as caught:
        await countdown(exclusive.url, ssl=context)

    assert Phase.HANDSHAKE is caught.value.phase
    assert "client certificate" in str(caught.value)


async def answer(peer: Peer) -> None:
    await peer.ack()


def faults(certificates: Certificates) -> dict[str, tuple[KeyPair, str]]:
    return {
        "it has expired": (certificates.expired, "127.0.0.1"),
        "it is for another IP address": (certificates.wrong_host, "127.0.0.1"),
        "it is for another host name": (certificates.wrong_host, "localhost"),
    }


@pytest.mark.parametrize(
    "fault", ["it has expired", "it is for another IP address", "it is for another host name"]
)
async def test_the_error_says_what_is_wrong_with_a_certificate(
    certificates: Certificates, fault: str
) -> None:
    """Expired, or for another name: each reads differently."""
    pair, name = faults(certificates)[fault]
    async with fake(answer, ssl=server_context(pair)) as server:
        url = server.url.replace("127.0.0.1", name)
        with pytest.raises(TLSFailed) as caught:
            await countdown(url, ssl=client_context(certificates.ca))

    assert f"the certificate of {name}:{server.port} was not accepted: {fault}" == str(caught.value)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_tls_to_a_plain_server_is_reported(strawberry: Server) -> None:
    """`wss` where `ws` was meant."""
    with pytest.raises(TLSFailed, match="does not speak TLS on this port"):
        await countdown(strawberry.url.replace("ws:", "wss:"))


async def test_a_context_for_a_plain_url_is_refused(certificates: Certificates) -> None:
    """It would do nothing, which its giver does not expect."""
    with pytest.raises(ValueError, match="ssl needs a wss:// URL"):
        gqlwire.connect("ws://127.0.0.1/graphql", ssl=client_context(certificates.ca))


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_both_protocols_run_concurrently_over_tls(
    certificates: Certificates, protocol: str
) -> None:
    """Large events, both ways at once, through one TLS socket."""
    pair = certificates.server
    context = client_context(certificates.ca)
    with start_strawberry(cert=pair.cert, key=pair.key) as server:
        async with gqlwire.connect(server.url, ssl=context, subprotocols=[protocol]) as session:

            async def sizes() -> list[int]:
                document = "subscription { ticks(count: 20, size: 100000) { pad } }"
                return [len(event["ticks"]["pad"]) async for event in session.subscribe(document)]

            assert [[100_000] * 20] * 5 == await asyncio.gather(*(sizes() for _ in range(5)))
