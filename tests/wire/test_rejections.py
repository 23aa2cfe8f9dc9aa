"""What is said about an answer to the upgrade that is no WebSocket."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gqlwire._wire.address import parse
from gqlwire._wire.answer import MAX_HEAD, AnswerReader, HeadTooLong, NotHTTP
from gqlwire._wire.rejections import rejected, unreadable
from gqlwire.errors import HandshakeRejected, Phase

ADDRESS = parse("wss://api.example.com/graphql")
HOST = ADDRESS.host


def rejection(status: int | str, body: bytes = b"", headers: str = "") -> HandshakeRejected:
    head = f"HTTP/1.1 {status} Whatever\r\n{headers}\r\n"
    answer = AnswerReader().take(head.encode() + body)
    assert answer is not None
    failure = rejected(answer, ADDRESS)
    assert (HOST, Phase.HANDSHAKE) == (failure.host, failure.phase)
    return failure


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, ": it requires valid credentials"),
        (403, ": it forbids access, or nothing is at this path (/graphql)"),
        (404, ": nothing is at this path (/graphql)"),
        (429, ": too many requests or connections"),
        (200, ": this is not a WebSocket endpoint"),
        (204, ": this is not a WebSocket endpoint"),
        (460, ""),
        (500, ""),
        (503, ""),
        (520, ""),
    ],
)
def test_a_refused_upgrade_shows_its_status(status: int, words: str) -> None:
    """And what the status usually means."""
    failure = rejection(status)

    assert status == failure.status
    assert f"{HOST} answered the WebSocket upgrade with HTTP {status}{words}" == str(failure)


def test_a_refused_upgrade_carries_the_answer() -> None:
    """Header names in lower case; the sentence shows the beginning of the body on one line."""
    body = b'{\n  "error":\t"token expired"\n}'

    failure = rejection(401, body, "WWW-Authenticate: Bearer\r\nX-Id: 7\r\nServer:\r\n")

    assert {"www-authenticate": "Bearer", "x-id": "7", "server": ""} == failure.headers
    assert body == failure.body
    assert str(failure).endswith('; it said: { "error": "token expired" }')


def test_a_long_answer_is_cut() -> None:
    """In the sentence, and in what is kept."""
    failure = rejection(500, b"x" * 100_000)

    assert 4_096 == len(failure.body)
    assert 400 > len(str(failure))


def test_an_answer_that_is_not_text_is_shown_as_well_as_possible() -> None:
    """Invalid bytes are replaced, and what is not printable is escaped."""
    assert str(rejection(500, b"\xff\x1b[2J\x9b")).endswith("it said: \ufffd\\x1b[2J\ufffd")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_reported_and_not_followed(status: int) -> None:
    """The request carries credentials."""
    failure = rejection(status, b"moved", "location: wss://elsewhere/\r\n")

    assert status == failure.status
    assert "it has moved to wss://elsewhere/; redirects are not followed" in str(failure)


def test_a_redirect_to_nowhere_is_a_status_like_any_other() -> None:
    """Without a Location there is no place to tell."""
    assert str(rejection(302)).endswith("with HTTP 302")


def test_headers_that_are_too_long_name_the_limit() -> None:
    """With the status of the first line."""
    failure = unreadable(HeadTooLong(101), ADDRESS, "")

    assert 101 == failure.status
    assert f"headers of more than {MAX_HEAD} bytes" in str(failure)


@settings(deadline=None)
@given(st.binary(), st.binary())
def test_any_answer_to_the_upgrade_is_read_or_refused(raw: bytes, body: bytes) -> None:
    """Nothing foreign gets out, and the error is one line that can be printed."""
    for before in (
        b"",
        b"HTTP/1.1 ",
        b"HTTP/1.1 5",
        b"HTTP/1.1 520 Odd\r\n",
        b"HTTP/1.1 302 x\nLocation: ",
    ):
        try:
            answer = AnswerReader().take(before + raw + b"\r\n\r\n" + body)
        except (NotHTTP, HeadTooLong) as fault:
            failure = unreadable(fault, ADDRESS, "")
        else:
            if answer is None or answer.status == 101:
                continue
            failure = rejected(answer, ADDRESS)
        assert str(failure).isprintable()
