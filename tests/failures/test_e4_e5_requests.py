"""E4: a URL with both escapes and letters that are not ASCII was escaped twice, so that its token
was corrupted. E5: headers that cannot be sent, or that gqlwire sets itself, were sent as they were
or ignored without a word.
"""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gqlwire
from conftest import NEWER, OLDER
from gqlwire._wire.address import parse
from gqlwire.errors import CredentialsFailed, TransportError
from gqlwire.transport.credentials import header_items
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, fake
from support import leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)


async def polite(peer: Peer) -> None:
    await peer.ack()


# --- E4 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
async def test_e4_what_is_escaped_stays_as_it_is(protocol: str) -> None:
    """What the server reads is what the user wrote."""
    async with fake(polite) as server:
        url = f"{server.url}?token=a%2Bb&name=José"
        async with gqlwire.connect(url, subprotocols=[protocol]):
            path = server.requests[0].path

    assert "/graphql?token=a%2Bb&name=Jos%C3%A9" == path
    assert {"token": ["a+b"], "name": ["José"]} == parse_qs(urlsplit(path).query)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/graphql%2Fé", "/graphql%2F%C3%A9"),
        ("/é?x=%25", "/%C3%A9?x=%25"),
        ("/?%zz=é", "/?%zz=%C3%A9"),
        ("/?a=+&é=%C3%A9", "/?a=+&%C3%A9=%C3%A9"),
        ('/?j={"a":[1]}&é', '/?j={"a":[1]}&%C3%A9'),
        ("/😀?😀=%F0%9F%98%80", "/%F0%9F%98%80?%F0%9F%98%80=%F0%9F%98%80"),
        ("/?token=a%2Bb", "/?token=a%2Bb"),
    ],
)
def test_e4_kind_only_what_is_not_ascii_is_escaped(given: str, sent: str) -> None:
    """In the path and in the query."""
    assert f"ws://h{sent}" == parse(f"ws://h{given}").url


@given(st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="?#%"), max_size=9))
def test_e4_kind_any_text_arrives(text: str) -> None:
    """An escaped text stays, and the same text unescaped arrives as the same."""
    url = parse(f"ws://h/%2B{text}?q=%2B{text}").url

    assert url.isascii()
    assert (f"/++{text}"[2:], "%2B" in url) == (unquote(urlsplit(url).path)[1:], True)


# --- E5 -------------------------------------------------------------------------------------------

NO_NAMES = [
    "X:A",
    "X A",
    "",
    " X",
    "X\t",
    "Xé",
    "X\r\nY",
    "X(",
    "Authorization: Bearer hush",
    "X\0",
]
TAKEN = {
    "Upgrade": "handshake itself",
    "connection": "handshake itself",
    "Sec-WebSocket-Key": "handshake itself",
    "sec-websocket-version": "handshake itself",
    "Sec-WebSocket-Accept": "handshake itself",
    "Sec-WebSocket-Protocol": "subprotocols=",
    "SEC-WEBSOCKET-EXTENSIONS": 'compression="deflate"',
    "Content-Length": "has no body",
    "Transfer-Encoding": "has no body",
    "Expect": "has no body",
    "Proxy-Authorization": "proxy=",
}


@pytest.mark.parametrize("as_pairs", [False, True])
@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_e5_a_name_that_cannot_be_sent_is_refused(name: str, as_pairs: bool) -> None:
    """Before anything is sent; a value that slipped into the name is not shown."""
    headers: Any = [(name, "x")] if as_pairs else {name: "x"}
    with pytest.raises(ValueError, match="is not the name of a header") as caught:
        gqlwire.connect("ws://127.0.0.1:1/", headers=headers)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("name", "words"), TAKEN.items())
def test_e5_a_header_of_the_handshake_is_refused(name: str, words: str) -> None:
    """The error says what to do instead, and does not show the value."""
    with pytest.raises(ValueError, match=words) as caught:
        gqlwire.connect("ws://127.0.0.1:1/", headers={name: "hush"})

    assert repr(name) in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("protocol", [NEWER, OLDER])
@pytest.mark.parametrize("name", ["Upgrade", "X A"])
async def test_e5_kind_a_function_that_returns_such_headers(name: str, protocol: str) -> None:
    """It is found out when it is called, before a connection is made."""
    async with fake(polite) as server:
        transport = WebsocketsTransport(
            server.url, headers=lambda _: {name: "x"}, subprotocols=[protocol]
        )
        with pytest.raises((ValueError, CredentialsFailed), match="header"):
            await transport.connect()

        assert 0 == server.connections


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\0", "a\x1b", "a\x7f", "\ud83d"], ids=repr)
def test_e5_kind_a_value_that_cannot_be_sent(value: str) -> None:
    """It would end the request early, or never arrive."""
    with pytest.raises(ValueError, match="the header 'X' contains"):
        header_items({"X": value})


def test_e5_kind_all_others_are_sent() -> None:
    """Of any case, and with any text for a value."""
    headers = {"host": "h", "Authorization": "Bearer t", "X_y.z": "é\t", "Cookie": ""}

    assert list(headers.items()) == header_items(headers)


@given(st.text(max_size=8), st.text(max_size=8))
def test_e5_kind_a_header_is_refused_or_is_one_line(name: str, value: str) -> None:
    """Whatever it is."""
    try:
        ((name, value),) = header_items([(name, value)])
    except (ValueError, TransportError):
        return
    line = f"{name}: {value}".encode()
    assert [line] == line.splitlines()
    assert name.isascii()
