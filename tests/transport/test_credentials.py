"""URL, headers and init payload: as values, or asked for at each attempt, before the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from doubles import pass_time
from gqlwire import RetryPolicy
from gqlwire.errors import CredentialsFailed, InvalidURL, Phase
from gqlwire.retry import Attempt
from gqlwire.transport.websockets import WebsocketsTransport
from virtual_server import (
    MUTE,
    URL,
    VirtualServer,
    keeping,
    kept,
    now,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)


def value_of(value: Any) -> Any:
    return value


def function_of(value: Any) -> Any:
    return lambda attempt: value


def coroutine_function_of(value: Any) -> Any:
    async def give(attempt: Attempt) -> Any:
        await asyncio.sleep(0.5)
        return value

    return give


def future_of(value: Any) -> Any:
    def give(attempt: Attempt) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.get_loop().call_later(0.5, future.set_result, value)
        return future

    return give


def object_of(value: Any) -> Any:
    class Source:
        async def __call__(self, attempt: Attempt) -> Any:
            return value

    return Source()


GIVEN = pytest.mark.parametrize(
    "given", [value_of, function_of, coroutine_function_of, future_of, object_of]
)


def transport_for(server: VirtualServer, **options: Any) -> WebsocketsTransport:
    url = options.pop("url", server.url)
    return WebsocketsTransport(url, open_websocket=server.open_websocket, **options)


async def connected(transport: WebsocketsTransport) -> None:
    await transport.connect()
    await transport.close()


# --- Values, functions, coroutine functions ------------------------------------------------------


@GIVEN
@tidily
async def test_each_may_be_a_value_or_a_function(
    server: VirtualServer, given: Callable[[Any], Any]
) -> None:
    """Plain, a coroutine function, or whatever returns something that can be awaited."""
    transport = transport_for(
        server,
        url=given("ws://other.example:81/path"),
        headers=given({"Authorization": "Bearer t"}),
        init_payload=given({"token": "t"}),
    )
    await connected(transport)

    way = server.peer.way
    assert ("other.example:81", [("Authorization", "Bearer t")]) == (
        way.address.host,
        way.headers,
    )
    assert {"type": "connection_init", "payload": {"token": "t"}} == server.peer.said[0]
    assert "other.example:81" == transport.host


@GIVEN
@tidily
async def test_headers_and_payload_may_be_none(
    server: VirtualServer, given: Callable[[Any], Any]
) -> None:
    """Then none are sent."""
    await connected(transport_for(server, headers=given(None), init_payload=given(None)))

    assert ([], {"type": "connection_init"}) == (server.peer.way.headers, server.peer.said[0])


@GIVEN
@tidily
async def test_headers_may_be_pairs(server: VirtualServer, given: Callable[[Any], Any]) -> None:
    """One name may occur twice; an iterator is read once, whoever gives it."""
    pairs = [("Cookie", "a=1"), ("Cookie", "b=2")]
    transport = transport_for(server, headers=given(iter(pairs)))
    await connected(transport)

    assert pairs == server.peer.way.headers


@tidily
async def test_pairs_that_were_given_as_a_value_last(server: VirtualServer) -> None:
    """A generator would be empty at the second attempt."""
    pairs = [("A", "1"), ("B", "2")]
    async with kept(server, headers=(pair for pair in pairs)) as it:
        server.peer.hang_up()
        await it.lasting.ready()

    assert [pairs, pairs] == [peer.way.headers for peer in server.peers]


@tidily
async def test_credential_functions_are_called_for_each_attempt(server: VirtualServer) -> None:
    """With its number and the last failure; each connection has its own values."""
    attempts: list[tuple[str, int, bool]] = []

    def asked(name: str, value: Any) -> Any:
        def ask(attempt: Attempt) -> Any:
            attempts.append((name, attempt.number, attempt.failure is not None))
            return value(attempt.number)

        return ask

    async with kept(
        server,
        headers=asked("headers", lambda number: {"N": str(number)}),
        init_payload=asked("init_payload", lambda number: {"n": number}),
    ) as it:
        for _ in range(2):
            server.peer.hang_up()
            await it.lasting.ready()

    names = ("headers", "init_payload")
    assert [(name, number, number > 1) for number in (1, 2, 3) for name in names] == attempts
    assert [[("N", str(number))] for number in (1, 2, 3)] == [
        peer.way.headers for peer in server.peers
    ]
    assert [{"n": 1}, {"n": 2}, {"n": 3}] == [peer.said[0]["payload"] for peer in server.peers]


@tidily
async def test_without_reconnecting_each_attempt_is_a_first_one(server: VirtualServer) -> None:
    """The transport knows of no other."""
    attempts: list[Attempt] = []
    transport = transport_for(server, headers=attempts.append)
    await connected(transport)
    await connected(transport)

    assert [Attempt(1, None, False)] * 2 == attempts


@tidily
async def test_all_of_them_are_asked_before_the_socket_is_opened(server: VirtualServer) -> None:
    """Servers close with 4408 if connection_init is late; so the answer may take its time."""
    order: list[str] = []

    def slow(name: str, value: Any) -> Any:
        async def ask(attempt: Attempt) -> Any:
            await asyncio.sleep(3)
            order.append(name)
            assert [] == server.times
            return value

        return ask

    transport = transport_for(
        server,
        url=slow("url", URL),
        headers=slow("headers", {}),
        init_payload=slow("init_payload", {"t": 1}),
    )
    begin = now()
    await transport.connect()

    assert ["url", "headers", "init_payload"] == order
    assert (9, [begin + 9]) == (now() - begin, server.times)
    await transport.close()


@tidily
async def test_the_host_of_a_url_that_is_asked_for_is_known_later(server: VirtualServer) -> None:
    """Errors before that do without it."""
    transport = transport_for(server, url=lambda attempt: URL)
    before = transport.host
    await connected(transport)

    assert ("server.example:80", True) == (transport.host, before != transport.host)


# --- Functions that fail -------------------------------------------------------------------------


def raises(attempt: Attempt) -> Any:
    raise ZeroDivisionError("no token")


async def raises_later(attempt: Attempt) -> Any:
    await asyncio.sleep(1)
    raise ZeroDivisionError("no token")


async def dawdles(attempt: Attempt) -> Any:
    await asyncio.sleep(1_000)


async def times_out_by_itself(attempt: Attempt) -> Any:
    async with asyncio.timeout(1):
        await asyncio.sleep(1_000)


async def awaits_what_is_cancelled(attempt: Attempt) -> Any:
    """As of a refresh of the token that many share, when somebody cancels it."""
    shared = asyncio.ensure_future(asyncio.sleep(1_000))
    asyncio.get_running_loop().call_later(1, shared.cancel)
    await shared


FAILURES = pytest.mark.parametrize(
    ("function", "words", "seconds"),
    [
        (raises, "raised ZeroDivisionError('no token')", 0),
        (raises_later, "raised ZeroDivisionError('no token')", 1),
        (dawdles, "took too long", 7),
        (times_out_by_itself, "took too long", 1),
        (awaits_what_is_cancelled, "raised CancelledError()", 1),
    ],
)


@FAILURES
@pytest.mark.parametrize("name", ["url", "headers", "init_payload"])
@tidily
async def test_a_function_that_fails_is_a_failure_to_connect(
    server: VirtualServer, name: str, function: Any, words: str, seconds: float
) -> None:
    """It says which one, and what; no socket was opened."""
    transport = transport_for(server, connect_timeout=7, **{name: function})
    begin = now()
    with pytest.raises(CredentialsFailed) as told:
        await transport.connect()

    assert f"no connection was attempted: the function for {name} {words}" == str(told.value)
    assert (Phase.CONNECT, []) == (told.value.phase, server.times)
    assert told.value.__cause__ is not None
    assert seconds == now() - begin
    assert Phase.CLOSED is transport.phase


@FAILURES
@tidily
async def test_a_function_that_fails_is_asked_again(
    server: VirtualServer, function: Any, words: str, seconds: float
) -> None:
    """By the policy: a server of tokens may be away for a while. Nobody hangs."""
    asked: list[Attempt] = []

    def sometimes(attempt: Attempt) -> Any:
        asked.append(attempt)
        return function(attempt) if len(asked) in (2, 3) else None

    async with kept(server, headers=sometimes, connect_timeout=7) as it:
        server.peer.hang_up()
        await it.lasting.ready()

        assert [seconds + 1 + seconds + 2 + 4] == server.waits
        assert [1, 2, 3, 4] == [attempt.number for attempt in asked]
        assert isinstance(asked[3].failure, CredentialsFailed)


@tidily
async def test_a_function_has_all_the_time_without_a_limit(server: VirtualServer) -> None:
    """`connect_timeout=None` waits for ever."""

    async def ask(attempt: Attempt) -> dict[str, str]:
        await asyncio.sleep(100_000)
        return {}

    await connected(transport_for(server, headers=ask, connect_timeout=None))

    assert 101_000 == round(now())


@tidily
async def test_cancelling_reaches_the_function(server: VirtualServer) -> None:
    """It is a cancellation then, and no failure of its."""
    ended: list[bool] = []

    async def ask(attempt: Attempt) -> dict[str, str]:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(True)
        return {}

    for client in (transport_for(server, headers=ask), keeping(server, headers=ask).lasting):
        connecting = asyncio.ensure_future(client.connect())
        await pass_time(1)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting

    assert [True, True] == ended


# --- What cannot be ------------------------------------------------------------------------------

ODD: list[tuple[str, Any, type[Exception], str]] = [
    ("url", "http://example.com/", InvalidURL, "did you mean 'ws://example.com/'"),
    ("url", None, InvalidURL, "not NoneType"),
    ("url", b"ws://example.com/", InvalidURL, "not bytes"),
    ("headers", {"A": "b\r\nC: d"}, ValueError, "'A' contains a line break"),
    ("headers", "A: b", TypeError, "headers"),
    ("headers", 7, TypeError, "headers"),
    ("headers", {"A": 1}, TypeError, "headers"),
    ("headers", ["A"], TypeError, "headers"),
    ("init_payload", {"t": object()}, TypeError, "init_payload cannot be sent as JSON"),
]


@pytest.mark.parametrize(("name", "value", "kind", "words"), ODD)
@tidily
async def test_invalid_credentials_raise_an_error_that_says_what_is_wrong(
    server: VirtualServer, name: str, value: Any, kind: type[Exception], words: str
) -> None:
    """By the constructor or by connect(), and nothing is sent."""
    for given in (value_of, function_of):
        with pytest.raises(kind) as told:
            await transport_for(server, **{name: given(value)}).connect()
        assert words in str(told.value)
    assert [] == server.times


@tidily
async def test_an_invalid_url_from_a_function_is_asked_for_again(server: VirtualServer) -> None:
    """It was right before; what makes it may have had a bad moment."""
    urls = iter([URL, "http://example.com/", URL])
    async with server.client(url=lambda attempt: next(urls)) as session:
        server.peer.hang_up()
        await session.wait_ready()
    assert 2 == len(server.times)


@tidily
async def test_a_missing_acknowledgement_makes_the_next_attempt_ask_again(
    server: VirtualServer,
) -> None:
    """Each attempt sends what its own call returned."""
    numbers: list[int] = []

    def ask(attempt: Attempt) -> dict[str, int]:
        numbers.append(attempt.number)
        return {"n": attempt.number}

    server.will(MUTE)
    async with kept(server, RetryPolicy(initial=True), init_payload=ask, ack_timeout=3):
        pass

    assert [1, 2] == numbers
    assert [{"n": 1}, {"n": 2}] == [peer.said[0]["payload"] for peer in server.peers]
