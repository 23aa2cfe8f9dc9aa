"""A credentials function that *returned* a wrong type once ended a client for good; one that raised
was asked again.

Both are asked again once the server has acknowledged a connection. Before that, a wrong type is a
TypeError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gqlwire.errors import CredentialsFailed, TransportError
from gqlwire.retry import Attempt
from spelling import NEWER, OLDER, Spelling
from virtual_server import TICKS, URL, VirtualServer, keeping, kept, started, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)


def unreadable() -> Iterator[tuple[str, str]]:
    yield "A", "1"
    raise KeyError("no such secret")


WRONG: dict[str, tuple[str, Any]] = {
    "headers: a str": ("headers", "Bearer t"),
    "headers: a number": ("headers", 7),
    "headers: bytes for a value": ("headers", {"Authorization": b"t"}),
    "headers: None for a value": ("headers", {"Authorization": None}),
    "headers: a line break": ("headers", {"Authorization": "a\r\nb: c"}),
    "headers: triples": ("headers", [("a", "b", "c")]),
    "init_payload: a set of objects": ("init_payload", {"token": object()}),
    "init_payload: a list": ("init_payload", ["t"]),
    "init_payload: a str": ("init_payload", "t"),
    "init_payload: a number": ("init_payload", 7),
    "url: None": ("url", None),
    "url: bytes": ("url", URL.encode()),
    "url: http": ("url", "http://server.example/graphql"),
    "url: no host": ("url", "ws:///graphql"),
}
CASES = pytest.mark.parametrize(("name", "wrong"), WRONG.values(), ids=WRONG)
RIGHT: dict[str, Any] = {"url": URL, "headers": {}, "init_payload": {}}


@CASES
@pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
@pytest.mark.parametrize("is_async", [False, True])
@tidily
async def test_g3_a_wrong_answer_once_is_as_a_failure(
    server: VirtualServer, name: str, wrong: Any, spelling: Spelling, is_async: bool
) -> None:
    """The subscription continues after the next attempt."""
    answers = iter([RIGHT[name], wrong, wrong, RIGHT[name]])
    failures: list[str] = []

    def answer(attempt: Attempt) -> Any:
        failures.append(type(attempt.failure).__name__)
        return next(answers)

    async def answer_soon(attempt: Attempt) -> Any:
        return answer(attempt)

    options = {name: answer_soon if is_async else answer}
    async with kept(server, spelling=spelling, **options) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.hang_up()
        await it.session.wait_ready()

        assert [1 + 2 + 4] == server.waits
        await events.aclose()
    kind = "InvalidURL" if name == "url" else "UnusableCredentials"
    assert ["NoneType", "ConnectionClosed", kind, kind] == failures


@CASES
@tidily
async def test_g3_at_first_it_is_a_clear_error(
    server: VirtualServer, name: str, wrong: Any
) -> None:
    """As for a value; it names the option, and not the secret."""
    with pytest.raises((TypeError, ValueError)) as told:
        await keeping(server, **{name: lambda _: wrong}).lasting.connect()

    assert isinstance(told.value, TransportError)
    assert [] == server.times
    if name != "url":
        assert f"the function for {name} returned what cannot be used" in str(told.value)
        assert "Bearer" not in str(told.value)


@tidily
async def test_g3_kind_an_iterator_that_raises_on_the_way(server: VirtualServer) -> None:
    """It is as a function that raises."""
    answers: Iterator[Any] = iter([{}, unreadable(), {}])
    async with kept(server, headers=lambda _: next(answers)) as it:
        server.peer.hang_up()
        await it.session.wait_ready()
        assert [1 + 2] == server.waits

    with pytest.raises(CredentialsFailed, match="no such secret"):
        await keeping(server, headers=lambda _: unreadable()).lasting.connect()


@tidily
async def test_g3_kind_a_url_that_does_not_go_with_the_options(server: VirtualServer) -> None:
    """TLS settings for `ws://`."""
    secure = "wss://server.example/graphql"
    answers = iter([secure, URL, secure])
    async with kept(server, url=lambda _: next(answers), ssl=True) as it:
        server.peer.hang_up()
        await it.session.wait_ready()

        assert [1 + 2] == server.waits
