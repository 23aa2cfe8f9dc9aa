"""Several URLs: which one is used after a failure, after which delay, and what is told.

On virtual time, against servers without a network: each host is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

import gqlwire
from doubles import pass_time, settle
from gqlwire import Attempt, Hooks, RetryPolicy
from gqlwire._connection.connection import Connection
from gqlwire._reconnect.failover import Rotation
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.transport import ReconnectingTransport
from gqlwire._wire import Way
from gqlwire.client.options import Settings
from gqlwire.client.session import AsyncClientSession
from gqlwire.errors import (
    ConnectionRefused,
    ConnectTimeout,
    CredentialsFailed,
    HandshakeRejected,
    InvalidURL,
    Phase,
    TLSFailed,
    TransportError,
)
from gqlwire.transport.websockets import WebsocketsTransport
from virtual_server import (
    ACCEPT,
    QUERY,
    SPELLINGS,
    TICKS,
    UNREACHABLE,
    Meeting,
    Peer,
    VirtualServer,
    begun,
    hangs_up,
    tidily,
)

A, B, C = "ws://a.example/graphql", "ws://b.example/graphql", "ws://c.example/graphql"
FROM = "subscription From($after: Int) { n(after: $after) }"
PATIENT = RetryPolicy(initial=True)


class Servers:
    """Servers by their hosts, and the attempts in their order."""

    def __init__(self) -> None:
        self.of: dict[str, VirtualServer] = {host: VirtualServer() for host in "abc"}
        self.attempts: list[str] = []
        self.times: list[float] = []

    def __getitem__(self, host: str) -> VirtualServer:
        return self.of[host]

    async def open_websocket(
        self,
        way: Way,
        offered: tuple[str, ...],
        make_handler: Callable[[str | None, Mapping[str, str]], Connection],
    ) -> Connection:
        host = way.address.host[0]
        self.attempts.append(host)
        self.times.append(round(asyncio.get_running_loop().time() - 1_000, 3))
        return await self.of[host].open_websocket(way, offered, make_handler)

    def will_not(self, *hosts: str) -> None:
        for host in hosts:
            self.of[host].otherwise = Meeting(refused(host))

    def recover(self, *hosts: str) -> None:
        for host in hosts:
            self.of[host].otherwise = ACCEPT

    @property
    def tried(self) -> str:
        return "".join(self.attempts)


@pytest.fixture(name="servers")
def several() -> Servers:
    return Servers()


def refused(host: str) -> ConnectionRefused:
    text = f"{host}.example:80 refused the TCP connection"
    return ConnectionRefused(text, host=f"{host}.example:80", phase=Phase.CONNECT)


@asynccontextmanager
async def session(
    servers: Servers,
    *urls: str,
    policy: RetryPolicy | None = None,
    chance: float = 1.0,
    hooks: Hooks | None = None,
    **options: Any,
) -> AsyncIterator[AsyncClientSession]:
    transport = WebsocketsTransport(list(urls), open_websocket=servers.open_websocket, **options)
    reconnect = ReconnectOptions(
        policy or RetryPolicy(), hooks=hooks or Hooks(), chance=lambda: chance
    )
    lasting = ReconnectingTransport(transport, reconnect)
    await lasting.connect()
    try:
        yield AsyncClientSession(transport, Settings(), lasting)
    finally:
        await lasting.close()


# --- Which one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("subprotocol", SPELLINGS)
@tidily
async def test_a_lost_connection_continues_at_the_next_url(
    servers: Servers, subprotocol: str
) -> None:
    """And stays there, although the first server is back. Nothing is missed by the cursor."""

    def after(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
        return {**variables, "after": last["n"]}

    async with session(servers, A, B, subprotocols=[subprotocol]) as it:
        events = it.subscribe(FROM, variable_values={"after": 0}, resume=after)
        step = await begun(anext(events))
        servers["a"].peer.tell(1)
        assert {"n": 1} == await step
        servers["a"].peer.hang_up(1006)
        await it.wait_ready()
        await settle()
        peer = servers["b"].peer
        assert {"after": 1} == peer.live[peer.id]["variables"]
        peer.tell(2)
        assert {"n": 2} == await anext(events)
        await pass_time(3600)
        assert ("ab", "b.example:80") == (servers.tried, it.transport.link.host)


FAILURES: dict[str, Meeting] = {
    "refused": Meeting(refused("a")),
    "no answer": UNREACHABLE,
    "connect timeout": Meeting(ConnectTimeout("late", limit=1, host="h", phase=Phase.CONNECT)),
    "404": Meeting(HandshakeRejected("no", status=404, headers={})),
    "429": Meeting(HandshakeRejected("no", status=429, headers={"retry-after": "3600"})),
    "500": Meeting(HandshakeRejected("no", status=500, headers={})),
    "503": Meeting(HandshakeRejected("no", status=503, headers={"retry-after": "600"})),
    "403 without a function": Meeting(HandshakeRejected("no", status=403, headers={})),
    "TLS": Meeting(TLSFailed("no", host="h", phase=Phase.CONNECT)),
    "no acknowledgement": Meeting(greeting=None),
    "4400 before it": hangs_up(4400),
    "1013 before it": hangs_up(1013),
    "4499 before it": hangs_up(4499),
}


@pytest.mark.parametrize("meeting", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("policy", [RetryPolicy(), PATIENT], ids=["first", "initial"])
@tidily
async def test_any_failure_of_the_first_attempt_moves_on(
    servers: Servers, meeting: Meeting, policy: RetryPolicy
) -> None:
    """Within `first_delay`: no rule of the policy is needed while there is an untried URL."""
    servers["a"].otherwise = meeting

    async with session(servers, A, B, policy=policy, subprotocols=["graphql-ws"]) as it:
        assert "b.example:80" == it.transport.link.host

    assert "ab" == servers.tried


@pytest.mark.parametrize("meeting", FAILURES.values(), ids=FAILURES)
@tidily
async def test_any_failure_after_a_lost_connection_moves_on(
    servers: Servers, meeting: Meeting
) -> None:
    """To the third one; the one that is lost is asked again after them."""
    options: dict[str, Any] = {"subprotocols": ["graphql-ws"], "connect_timeout": 1}
    async with session(servers, A, B, C, ack_timeout=1, **options) as it:
        servers["b"].otherwise = meeting
        servers["a"].peer.hang_up(1012)
        await it.wait_ready()

    assert "abc" == servers.tried


ENDS = [1000, 1001, 1006, 1011, 1012, 1013, 4400, 4429, 4500]


@pytest.mark.parametrize("code", ENDS)
@tidily
async def test_any_end_of_a_connection_moves_on(servers: Servers, code: int) -> None:
    """Also one that says that the server is busy: the other one may not be."""
    async with session(servers, A, B) as it:
        servers["a"].peer.hang_up(code)
        await it.wait_ready()

    assert "ab" == servers.tried


@tidily
async def test_refused_credentials_are_refreshed_first(servers: Servers) -> None:
    """At the same URL. If those are refused as well, the next one is used."""
    asked: list[tuple[bool, int | None]] = []

    def headers(attempt: Attempt) -> dict[str, str]:
        asked.append((attempt.refresh, attempt.url_index))
        return {}

    async with session(servers, A, B, headers=headers) as it:
        servers["a"].peer.hang_up(4401)
        await it.wait_ready()
        assert "aa" == servers.tried
        await pass_time(100)
        servers["a"].otherwise = Meeting(HandshakeRejected("no", status=401, headers={}))
        servers["a"].peer.hang_up(4401)
        await it.wait_ready()

    assert "aaab" == servers.tried
    assert [(False, 0), (True, 0), (True, 0), (False, 1)] == asked


@tidily
async def test_reconnect_stays(servers: Servers) -> None:
    """The user wants a new connection, not another server."""
    async with session(servers, A, B) as it:
        await it.reconnect()
        assert "aa" == servers.tried
        it.terminate()
        await it.wait_ready()
        assert "aab" == servers.tried


@tidily
async def test_one_url_in_a_list_is_like_none_in_a_list(servers: Servers) -> None:
    """With the same delays."""
    servers.will_not("a")
    with pytest.raises(ConnectionRefused) as raised:
        async with session(servers, A, policy=RetryPolicy(initial=True, attempts=3)):
            pass

    assert [0, 1, 3, 7] == servers.times
    assert str(refused("a")) == str(raised.value)


# --- When ----------------------------------------------------------------------------------------


@tidily
async def test_delays_grow_by_the_round(servers: Servers) -> None:
    """A round of attempts waits as a single attempt does; within it, `first_delay` at most."""
    async with session(servers, A, B) as it:
        servers.will_not("a", "b")
        servers["a"].peer.hang_up(1012)
        await pass_time(20)
        servers.recover("b")
        await it.wait_ready()

    assert "abababab" == servers.tried[:8]
    assert [0, 1, 2, 3, 5, 6, 10, 11, 19, 20] == servers.times[:10]


@tidily
async def test_a_thousand_clients_come_at_different_times(servers: Servers) -> None:
    """The delay before another URL is random: from nothing to `first_delay`."""
    for chance in (0.0, 0.25, 1.0):
        servers.times.clear()
        async with session(servers, A, B, chance=chance) as it:
            begin = servers.times[0]
            servers["a"].peer.hang_up(1012)
            await it.wait_ready()
            assert [0, chance] == [round(time - begin, 3) for time in servers.times]


@tidily
async def test_servers_that_end_each_connection_soon_are_not_asked_in_a_loop(
    servers: Servers,
) -> None:
    """A connection that was not good ends no row, on whichever URL."""
    for host in "ab":
        servers[host].otherwise = Meeting(lasts=0.1)
    async with session(servers, A, B):
        await pass_time(3600)

    assert 160 < len(servers.times) < 320


@tidily
async def test_a_server_that_asks_for_a_pause_gets_it(servers: Servers) -> None:
    """The other ones are asked in the meantime, as often as they would be alone."""
    async with session(servers, A, B, C) as it:
        servers["b"].otherwise = Meeting(
            HandshakeRejected("no", status=503, headers={"retry-after": "600"})
        )
        servers["c"].otherwise = Meeting(HandshakeRejected("no", status=404, headers={}))
        servers.will_not("a")
        servers["a"].peer.hang_up(1012)
        await pass_time(59)
        assert {"a": 6, "b": 1, "c": 1} == {
            host: servers.attempts[1:].count(host) + (host == "a") for host in "abc"
        }
        servers.recover("a")
        await it.wait_ready()
        assert "a.example:80" == it.transport.link.host


@tidily
async def test_both_are_down_and_one_returns(servers: Servers) -> None:
    """Whichever it is."""
    for back in "ab":
        async with session(servers, A, B) as it:
            servers.will_not("a", "b")
            for peer in [peer for server in servers.of.values() for peer in server.open]:
                peer.hang_up(1012)
            await pass_time(300)
            servers.recover(back)
            await it.wait_ready()
            assert f"{back}.example:80" == it.transport.link.host
        servers.recover("a", "b")


# --- The end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reconnecting", [True, False])
@tidily
async def test_a_first_connection_tries_each_url_once(servers: Servers, reconnecting: bool) -> None:
    """Then it raises what happened at each."""
    servers.will_not("a", "b", "c")
    client = gqlwire.connect(
        [A, B, C], open_websocket=servers.open_websocket, reconnecting=reconnecting
    )

    with pytest.raises(ConnectionRefused) as raised:
        await client.connect_async()

    assert "abc" == servers.tried
    assert (
        "c.example:80 refused the TCP connection; the other URLs failed as well: "
        "a.example:80 refused the TCP connection; b.example:80 refused the TCP connection"
    ) == str(raised.value)
    assert "c.example:80" == raised.value.host


@tidily
async def test_without_reconnecting_the_next_url_is_used(servers: Servers) -> None:
    """By `connect`, and the connection runs there."""
    servers.will_not("a")

    def answer(peer: Peer, id: str, request: dict[str, Any]) -> None:
        peer.answer({"get": 1}, id)

    servers["b"].on_start = answer
    client = gqlwire.connect((A, B), open_websocket=servers.open_websocket, reconnecting=False)

    async with client as it:
        assert {"get": 1} == await it.execute(QUERY)

    assert "ab" == servers.tried


@tidily
async def test_failures_that_never_pass_end_it_if_all_are_so(servers: Servers) -> None:
    """With `initial`: a wrong URL among others does not matter."""
    for host in "ab":
        servers[host].otherwise = Meeting(HandshakeRejected(f"{host}: no", status=404, headers={}))

    with pytest.raises(HandshakeRejected, match="b: no; the other URLs failed as well: a: no"):
        async with session(servers, A, B, policy=PATIENT):
            pass
    assert "ab" == servers.tried

    servers.will_not("b")
    servers["b"].plan.extend([Meeting(refused("b"))] * 5)
    servers["b"].otherwise = ACCEPT
    async with session(servers, A, B, policy=PATIENT) as it:
        assert "b.example:80" == it.transport.link.host


@tidily
async def test_attempts_counts_rounds(servers: Servers) -> None:
    """A list of URLs is tried as often as a single one."""
    async with session(servers, A, B, policy=RetryPolicy(attempts=2)) as it:
        servers.will_not("a", "b")
        servers["a"].peer.hang_up(1012)
        with pytest.raises(ConnectionRefused, match="the other URLs failed as well"):
            await it.wait_ready()

    assert "ababab"[: len(servers.tried)] == servers.tried
    assert 6 == len(servers.tried)


@tidily
async def test_should_retry_is_asked_once_for_each_round(servers: Servers) -> None:
    """About the failure after which another attempt may help soonest."""
    asked: list[int | None] = []

    def should_retry(failure: TransportError) -> bool:
        asked.append(failure.status)
        return len(asked) < 3

    async with session(servers, A, B, policy=RetryPolicy(should_retry=should_retry)) as it:
        servers["a"].otherwise = Meeting(HandshakeRejected("no", status=500, headers={}))
        servers["b"].otherwise = Meeting(HandshakeRejected("no", status=502, headers={}))
        servers["a"].peer.hang_up(1012)
        with pytest.raises(HandshakeRejected):
            await it.wait_ready()

    assert (3, "abababab"[: len(servers.tried)]) == (len(asked), servers.tried)


@tidily
async def test_a_first_connection_that_fails_is_not_logged_as_an_error(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """`connect` raises it."""
    servers.will_not("a", "b")
    with pytest.raises(ConnectionRefused):
        await gqlwire.connect([A, B], open_websocket=servers.open_websocket).connect_async()

    assert [] == [record for record in caplog.records if record.levelname == "ERROR"]


@tidily
async def test_a_function_for_the_url_is_one_url(servers: Servers) -> None:
    """It is called for each attempt, and may return another one each time."""
    urls = iter([A, B])
    client = gqlwire.connect(lambda _: next(urls), open_websocket=servers.open_websocket)
    async with client as it:
        servers["a"].peer.hang_up(1012)
        await it.wait_ready()
    assert "ab" == servers.tried


@tidily
async def test_a_function_that_returns_a_list_is_an_error(servers: Servers) -> None:
    """A list of functions, too."""
    wrong: Any = lambda _: [A, B]  # noqa: E731
    client = gqlwire.connect(wrong, open_websocket=servers.open_websocket)
    with pytest.raises((InvalidURL, CredentialsFailed), match="must be a str, not list"):
        await client.connect_async()
    functions: Any = [lambda _: A]
    with pytest.raises(InvalidURL, match="must be a str, not function"):
        gqlwire.connect(functions)


# --- What is told --------------------------------------------------------------------------------


@tidily
async def test_hooks_and_the_log_tell_the_host(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """Of each attempt, connection and failure."""
    caplog.set_level("INFO")
    told: list[Any] = []
    hooks = Hooks(
        connecting=lambda attempt: told.append(attempt.url_index),
        connected=lambda event: told.append(event.host),
        disconnected=lambda event: told.append(event.failure.host),
    )
    servers.will_not("a")

    async with session(servers, A, B, hooks=hooks) as it:
        assert [0, "a.example:80", 1, "b.example:80"] == told
        assert 1 == it.counters.retries

    assert (
        "a.example:80 refused the TCP connection; the next attempt is in 1.0 s" in caplog.messages
    )


@tidily
async def test_suspects_are_tried_at_the_same_url(servers: Servers) -> None:
    """What happens there is compared with the main connection."""

    def start(peer: Peer, id: str, request: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        if "Poison" in request["query"]:
            loop.call_later(0.01, peer.hang_up, 1011)
        else:
            loop.call_soon(partial(peer.tell, 1, id=id))

    asked: list[int | None] = []

    def headers(attempt: Attempt) -> dict[str, str]:
        asked.append(attempt.url_index)
        return {}

    for host in "ab":
        servers[host].on_start = start
    policy = RetryPolicy(first_delay=0.1, longest_delay=0.2)
    async with session(servers, A, B, policy=policy, headers=headers) as it:
        healthy = [it.subscribe(TICKS) for _ in range(3)]
        await asyncio.gather(*(anext(each) for each in healthy))
        poisoned = it.subscribe("subscription Poison { n }")
        with pytest.raises(TransportError, match="1011"):
            async with asyncio.timeout(600):
                await anext(poisoned)
        assert ["ab"[place or 0] for place in asked] == servers.attempts
        assert len(servers["b"].peers) > len(servers["a"].peers)


# --- The option ----------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [[], ()])
def test_a_list_must_not_be_empty(empty: Any) -> None:
    """The message names the option."""
    with pytest.raises(ValueError, match="url is an empty list"):
        gqlwire.connect(empty)


@pytest.mark.parametrize("wrong", ["http://x.example", "", "ws://", "ws://x:99999", 7, None])
def test_a_url_that_cannot_be_used_is_named(wrong: Any) -> None:
    """Immediately, with its place."""
    with pytest.raises(InvalidURL, match=r"url\[1\]: "):
        gqlwire.connect([A, wrong, B])


def test_tls_options_hold_for_all_urls() -> None:
    """A list that mixes them is an error."""
    with pytest.raises(ValueError, match="ssl needs a wss:// URL, not ws://a"):
        gqlwire.connect(["wss://b.example", A], ssl=True)


def test_no_credential_of_a_url_is_shown() -> None:
    """Neither that of an invalid one nor in a repr."""
    with pytest.raises(InvalidURL) as raised:
        gqlwire.connect([A, "http://user:hunter22@x.example"])
    assert "hunter22" not in str(raised.value)
    assert "hunter22" not in repr(WebsocketsTransport([A, "ws://user:hunter22@x.example"]))


def test_rotation_takes_the_one_that_may_be_used_first() -> None:
    """If none may be used yet."""
    rotation = Rotation(3)
    error = refused("a")
    for pause in (50, 10, 30):
        rotation.failed(error, 2, pause)
        moved = rotation.move(0)
    assert (False, 1) == (moved, rotation.place)
