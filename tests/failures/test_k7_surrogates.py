"""A lone surrogate in the value of a header, which UTF-8 cannot encode, made an attempt hang until
`connect_timeout`: picows raised where the event loop only logged it.

It is a ValueError, immediately, that names the header. JSON can escape a surrogate, so in a payload
and in variables it is sent. Whatever is raised while the request is written ends the attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

import gqlwire
from gqlwire import GraphQLRequest, gql
from gqlwire._wire.upgrade import Upgrade
from gqlwire.cli import main
from gqlwire.errors import CredentialsFailed, InvalidURL, TransportConnectionFailed
from gqlwire.transport import credentials
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, fake
from spelling import NEWER, OLDER, Spelling
from support import leaves_nothing
from virtual_server import VirtualServer, begun, kept, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)
tidy = pytest.fixture(leaves_nothing)

BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
URL = "ws://127.0.0.1:9/graphql"
LONE = "\ud83d"
SURROGATES = st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF), min_size=1)


async def acknowledge(peer: Peer) -> None:
    await peer.ack()


# --- The row's own -------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{"X-Name": f"a{LONE}"}, [("A", "b"), ("X-Name", LONE)]])
def test_k7_in_the_value_of_a_header(headers: Any) -> None:
    """Nothing is connected, and the value, which may be a secret, is not shown."""
    for make in (WebsocketsTransport, gqlwire.connect):
        with pytest.raises(ValueError, match="'X-Name' contains a surrogate") as told:
            make(URL, headers=headers)
        assert LONE not in str(told.value)


async def test_k7_what_a_function_returns() -> None:
    """Before the first acknowledgement that is a ValueError as well, in time."""
    for headers in (lambda _: {"X-Name": LONE}, lambda _: iter([("X-Name", LONE)])):
        client = gqlwire.connect(URL, headers=headers, connect_timeout=None)
        with pytest.raises(CredentialsFailed, match="'X-Name' contains a surrogate") as told:
            await client.connect_async()
        assert isinstance(told.value, ValueError)


# --- Its kind ------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "path": (lambda: WebsocketsTransport(URL + LONE), InvalidURL, "not printable"),
    "query": (lambda: WebsocketsTransport(f"{URL}?a={LONE}"), InvalidURL, "not printable"),
    "host": (lambda: WebsocketsTransport(f"ws://a{LONE}/"), InvalidURL, "not printable"),
    "user": (lambda: WebsocketsTransport(f"ws://{LONE}:b@a/"), InvalidURL, "not printable"),
    "second URL": (lambda: WebsocketsTransport([URL, URL + LONE]), InvalidURL, r"url\[1\]"),
    "header name": (lambda: WebsocketsTransport(URL, headers={LONE: "a"}), ValueError, "header"),
    "subprotocol": (lambda: WebsocketsTransport(URL, subprotocols=[LONE]), ValueError, "unknown"),
    "proxy": (lambda: WebsocketsTransport(URL, proxy=f"http://{LONE}:1"), ValueError, "proxy="),
    "proxy's password": (
        lambda: WebsocketsTransport(URL, proxy=f"socks5://a:{LONE}@b:1"),
        ValueError,
        "proxy=",
    ),
    "proxy's line": (
        lambda: WebsocketsTransport(URL, proxy="http://a:b\r\nX: y@c:1"),
        ValueError,
        "proxy=",
    ),
    "string of a document": (lambda: gql(f'{{ a(b: "{LONE}") }}'), GraphQLError, "U\\+D83D"),
    "comment of a document": (lambda: gql(f"{{ a }} # {LONE}"), GraphQLError, "U\\+D83D"),
    "name in a document": (lambda: gql(f"{{ a{LONE} }}"), GraphQLError, "U\\+D83D"),
    "operation_name": (
        lambda: GraphQLRequest("query A { a }", operation_name=LONE).kind,
        GraphQLError,
        "no operation named",
    ),
}


@pytest.mark.parametrize(("make", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_k7_kind_what_cannot_be_sent(
    make: Callable[[], object], kind: type[Exception], words: str
) -> None:
    """Immediately, and never the UnicodeEncodeError of the place where it would be encoded."""
    with pytest.raises(kind, match=words) as told:
        make()
    assert not isinstance(told.value, UnicodeError)


@BOTH
@tidily
async def test_k7_kind_what_json_can_escape_is_sent(
    server: VirtualServer, spelling: Spelling
) -> None:
    """In `init_payload`, variables and extensions: keys and values."""
    odd = {LONE: [LONE, {"a": f"b{LONE}"}]}
    async with kept(server, spelling=spelling, init_payload=odd) as it:
        query = "query Q($a: Any) { q(a: $a) }"
        asking = await begun(it.session.execute(query, variable_values=odd, extensions=odd))
        sent = server.peer.live[server.peer.id]
        assert (odd, odd) == (sent["variables"], sent["extensions"])
        server.peer.answer({"q": LONE})
        assert {"q": LONE} == await asking
        assert odd == server.peer.said[0]["payload"]


@given(text=SURROGATES, before=st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_k7_kind_any_surrogate_anywhere(text: str, before: str) -> None:
    """High, low, and in pairs: Python does not join them."""
    with pytest.raises(ValueError, match="surrogate"):
        WebsocketsTransport(URL, headers={"A": before + text + before})
    with pytest.raises(InvalidURL):
        WebsocketsTransport(URL + text)


def test_k7_kind_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """What is no UTF-8 on a command line becomes a surrogate."""
    for arguments in (["-H", "X-Name: \udce9"], ["--proxy", "http://\udce9:1"]):
        assert 2 == main(["query", URL, "{ a }", *arguments])
        assert capsys.readouterr().err.removesuffix("\n").isprintable()
    assert 2 == main(["query", f"{URL}\udce9", "{ a }"])
    assert "\\udce9" in capsys.readouterr().err


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("fault", [UnicodeError("odd"), OverflowError("odd"), KeyError("odd")])
@pytest.mark.parametrize("is_first", [False, True])
async def test_k7_kind_a_request_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, is_first: bool
) -> None:
    """Whatever is raised in the callback of the loop: the attempt fails, and nothing is left."""

    class Failing(Upgrade):
        def __init__(self, picows: Any, on_sent: Callable[[], object]) -> None:
            super().__init__(picows, self._fail if is_first else on_sent)

        def _fail(self) -> None:
            raise fault

        def _take(self, data: bytes) -> None:
            raise fault

    monkeypatch.setattr("gqlwire._wire.dial.Upgrade", Failing)
    async with fake(acknowledge) as server:
        client = gqlwire.connect(server.url, connect_timeout=None, reconnecting=False)
        with pytest.raises(TransportConnectionFailed, match="odd") as told:
            await client.connect_async()
        monkeypatch.undo()
        async with client:  # the same client, on the same loop
            pass
    assert fault in (told.value.__cause__, told.value.__context__)


async def test_k7_kind_a_header_that_slips_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row's own, without the check: picows raises, and nobody waits for a time limit."""
    monkeypatch.setattr(credentials, "_check_header", lambda *_: None)
    async with fake(acknowledge) as server:
        client = gqlwire.connect(
            server.url, headers={"X-Name": LONE}, connect_timeout=None, reconnecting=False
        )
        with pytest.raises(TransportConnectionFailed, match="surrogates not allowed"):
            await client.connect_async()
