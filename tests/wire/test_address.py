"""URLs: what they stand for, and what is wrong with those that cannot be one."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gqlwire._wire.address import parse
from gqlwire.errors import InvalidURL, TransportError


@pytest.mark.parametrize(
    ("url", "wire", "host", "place"),
    [
        ("ws://h/graphql", "ws://h/graphql", "h:80", "ws://h/graphql"),
        ("wss://h/graphql", "wss://h/graphql", "h:443", "wss://h/graphql"),
        ("ws://h:8000/graphql", "ws://h:8000/graphql", "h:8000", "ws://h:8000/graphql"),
        # The path of a request is never empty (RFC 9112, section 3.2.1).
        ("ws://h", "ws://h/", "h:80", "ws://h/"),
        ("ws://h?a=1", "ws://h/?a=1", "h:80", "ws://h/"),
        # A query is sent, and may hold a token: it is no part of the place.
        ("ws://h/g?token=s&x=%20", "ws://h/g?token=s&x=%20", "h:80", "ws://h/g"),
        # A fragment is nobody's business (RFC 6455, section 3).
        ("ws://h/g#here", "ws://h/g", "h:80", "ws://h/g"),
        ("WSS://Example.COM/Graph", "wss://example.com/Graph", "example.com:443", None),
        ("ws://[::1]:8000/g", "ws://[::1]:8000/g", "[::1]:8000", "ws://[::1]:8000/g"),
        ("ws://[::1]/g", "ws://[::1]/g", "[::1]:80", "ws://[::1]/g"),
        ("ws://127.0.0.1:65535/", "ws://127.0.0.1:65535/", "127.0.0.1:65535", None),
        ("ws://user:secret@h/g", "ws://h/g", "h:80", "ws://h/g"),
        ("ws://user:secret@h:81/g?a", "ws://h:81/g?a", "h:81", "ws://h:81/g"),
        # The request is ASCII; what is escaped already stays as it is.
        (
            "ws://bücher.example/é%2B?a=%2B&name=José",
            "ws://xn--bcher-kva.example/%C3%A9%2B?a=%2B&name=Jos%C3%A9",
            "bücher.example:80",
            "ws://xn--bcher-kva.example/%C3%A9%2B",
        ),
    ],
)
def test_a_url_has_a_form_for_the_request_and_one_for_messages(
    url: str, wire: str, host: str, place: str | None
) -> None:
    """Without user and fragment; for the log without the query, too."""
    address = parse(url)

    assert (wire, host, place or wire) == (address.url, address.host, address.place)
    assert url.lower().startswith("wss") is address.is_secure


@pytest.mark.parametrize(
    ("url", "credentials"),
    [
        ("ws://user:secret@h/", "user:secret"),
        ("ws://user@h/", "user:"),
        ("ws://user:@h/", "user:"),
        ("ws://:secret@h/", ":secret"),
        ("ws://us%40er:s%3Ae%2Fcret@h/", "us@er:s:e/cret"),
        ("ws://%C3%A9:%C3%A9@h/", "é:é"),
    ],
)
def test_a_user_in_the_url_is_basic_authorization(url: str, credentials: str) -> None:
    """Percent-encoding undone, UTF-8 (RFC 7617)."""
    authorization = parse(url).authorization

    assert authorization is not None
    scheme, _, encoded = authorization.partition(" ")
    assert ("Basic", credentials) == (scheme, base64.b64decode(encoded).decode())


def test_without_a_user_there_is_no_authorization() -> None:
    """None, not an empty one."""
    assert parse("ws://h/").authorization is None


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://h/graphql", "ws://h/graphql"),
        ("https://h:444/graphql?a=1", "wss://h:444/graphql"),
    ],
)
def test_a_url_of_http_is_refused_with_the_one_that_was_meant(url: str, meant: str) -> None:
    """It is the commonest slip."""
    with pytest.raises(InvalidURL, match="WebSocket") as caught:
        parse(url)

    assert f"did you mean {meant!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "ws:// or wss://"),
        ("h", "ws:// or wss://"),
        ("/graphql", "ws:// or wss://"),
        ("ftp://h/graphql", "ws:// or wss://"),
        ("wss:/h/graphql", "ws:// or wss://"),
        ("wss:h", "ws:// or wss://"),
        ("ws://", "ws:// or wss://"),
        ("ws:///graphql", "ws:// or wss://"),
        ("ws://:8000/graphql", "ws:// or wss://"),
        ("ws://user@/graphql", "ws:// or wss://"),
        ("ws://h:port/graphql", "not a URL"),
        ("ws://h:65536/graphql", "not a URL"),
        ("ws://h:-1/graphql", "not a URL"),
        ("ws://[::1/graphql", "not a URL"),
        ("ws://[h]/graphql", "not a URL"),
        ("ws://h/graph ql", "white space"),
        (" ws://h/graphql", "white space"),
        ("ws://h/graphql\n", "white space"),
        ("ws://h/\r\nHost: evil/", "white space"),
        ("ws://h/\x00", "white space"),
        ("ws://h\t/graphql", "white space"),
    ],
)
def test_an_invalid_url_of_a_server_is_refused(url: str, words: str) -> None:
    """The message says why, and shows the URL."""
    with pytest.raises(InvalidURL, match=words) as caught:
        parse(url)

    assert repr(url.replace("user@", "***@")) in str(caught.value)


def test_port_zero_is_not_taken_for_the_default_port() -> None:
    """Nobody listens there, so it is a slip; to go to port 80 instead would hide it."""
    with pytest.raises(InvalidURL):
        parse("ws://h:0/graphql")


@pytest.mark.parametrize("url", [None, 1, b"ws://h/", ["ws://h/"]])
def test_a_url_that_is_not_a_str_is_refused(url: Any) -> None:
    """The message names its type."""
    with pytest.raises(InvalidURL, match=type(url).__name__):
        parse(url)


@settings(deadline=None)
@given(
    st.text()
    | st.builds(
        "{}://{}{}".format,
        st.sampled_from(["ws", "wss", "WS", "http"]),
        st.text("ab:@[]%/?#1.\u2100\ud800\xa0 ", max_size=12),
        st.text(max_size=12),
    )
)
def test_any_text_is_an_address_or_refused_with_our_own_error(url: str) -> None:
    """And an address can be read again, to the same effect."""
    try:
        address = parse(url)
    except TransportError as refused:
        assert isinstance(refused, InvalidURL)  # noqa: PT017  # others fail the test by themselves
        return

    assert "@" not in address.url.split("/")[2]
    assert address.url.startswith(address.place)
    again = parse(address.url)
    assert (address.url, address.place) == (again.url, again.place)
    assert address.host == again.host or not address.host.isascii()
