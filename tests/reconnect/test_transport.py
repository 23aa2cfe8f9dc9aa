"""The one task that keeps a connection: when it connects again, after how long, and when it ends.

All of it on virtual time, against a server without a network. What becomes of subscriptions is in
`test_lasting`, of operations with one result in `test_asking`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from doubles import pass_time, settle
from gqlwire import Hooks, RetryPolicy
from gqlwire._reconnect.hooks import Disconnected
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import (
    ConnectionClosed,
    ConnectionRefused,
    ConnectionRejected,
    HandshakeRejected,
    KeepAliveTimeout,
    Phase,
    TransportAlreadyConnected,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
    TransportProtocolError,
)
from gqlwire.retry import Action, Attempt
from virtual_server import (
    ACCEPT,
    MUTE,
    TICKS,
    UNREACHABLE,
    Meeting,
    Peer,
    VirtualServer,
    assert_nothing_is_left,
    begun,
    complains,
    hangs_up,
    keeping,
    kept,
    now,
    slowly,
    soon,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

FORBIDDEN = RetryPolicy(should_retry=lambda failure: False)

REFUSED = ConnectionRefused("nobody listens", host="server.example:80", phase=Phase.CONNECT)
HOUR = 3600.0


def rejected(status: int, **headers: str) -> HandshakeRejected:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HandshakeRejected("no", status=status, headers=named)


def token(attempt: Attempt) -> dict[str, str]:
    """Credentials that can be asked for anew."""
    return {"Authorization": f"{attempt.number}"}


# --- The first connection ------------------------------------------------------------------------


@tidily
async def test_a_failed_first_connection_is_not_retried(server: VirtualServer) -> None:
    """Usually the URL or a credential is wrong."""
    server.will(REFUSED)
    it = keeping(server)

    with pytest.raises(ConnectionRefused):
        await it.lasting.connect()

    assert [1, Phase.CLOSED, False] == [len(server.times), it.lasting.state, it.lasting.is_alive]
    assert 1_000.0 == now()


@tidily
async def test_the_first_connection_is_retried_if_asked(server: VirtualServer) -> None:
    """As long as the policy says."""
    server.will(REFUSED, REFUSED, REFUSED)

    async with kept(server, RetryPolicy(initial=True)) as it:
        assert [1, 2, 4] == server.waits
        assert Phase.OPEN is it.lasting.state


@tidily
async def test_the_policy_limits_the_retries_of_a_first_connection(server: VirtualServer) -> None:
    """The last failure is raised."""
    server.otherwise = Meeting(REFUSED)
    it = keeping(server, RetryPolicy(initial=True, attempts=2))

    with pytest.raises(ConnectionRefused):
        await it.lasting.connect()

    assert [1, 2] == server.waits


@tidily
async def test_connecting_twice_is_an_error(server: VirtualServer) -> None:
    """It is connected, or about to be, already."""
    server.will(slowly(5))
    it = keeping(server)
    first = await begun(it.lasting.connect())

    for state in ("connecting", "connected"):
        with pytest.raises(TransportAlreadyConnected, match=f"is already {state}"):
            await it.lasting.connect()
        await first

    await it.lasting.close()


@tidily
async def test_a_transport_can_be_connected_again_after_its_end(server: VirtualServer) -> None:
    """Whether a failure or close() ended it."""
    server.will(REFUSED)
    it = keeping(server)
    with pytest.raises(ConnectionRefused):
        await it.lasting.connect()

    for _ in range(2):
        await it.lasting.connect()
        assert (Phase.OPEN, True) == (it.lasting.state, it.lasting.is_alive)
        await it.lasting.close()
        assert (Phase.CLOSED, False) == (it.lasting.state, it.lasting.is_alive)


@tidily
async def test_connecting_leaves_nothing_when_it_is_cancelled(server: VirtualServer) -> None:
    """Neither while it connects, nor while it waits for the next attempt."""
    for meeting in (UNREACHABLE, MUTE, Meeting(REFUSED)):
        server.will(meeting)
        it = keeping(server, RetryPolicy(initial=True))
        connecting = await begun(it.lasting.connect())
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting

        assert (Phase.CLOSED, []) == (it.lasting.state, server.open)
        await settle()
        assert_nothing_is_left()


@tidily
async def test_an_invalid_header_raises_in_connect(server: VirtualServer) -> None:
    """As it is, though it is not a TransportError."""
    it = keeping(server, headers=lambda attempt: {"X": "a\r\nb"})

    with pytest.raises(ValueError, match="line break"):
        await it.lasting.connect()
    assert [] == server.times


@tidily
async def test_a_server_that_acknowledges_and_hangs_up_is_asked_again(
    server: VirtualServer,
) -> None:
    """It took our credentials, so that this is no first connection that failed."""
    server.will(Meeting(lasts=0), ACCEPT)

    async with kept(server) as it:
        assert Phase.OPEN is it.lasting.state
        assert 1 == len(server.waits)  # before a second attempt


# --- Drops ---------------------------------------------------------------------------------------


def close_frame(peer: Peer) -> None:
    peer.hang_up(1012, "restart")


def reset(peer: Peer) -> None:
    peer.hang_up(1006)


def garbage(peer: Peer) -> None:
    peer.say(b"<html>")


def fault(peer: Peer) -> None:
    peer.connection.failed(TransportConnectionFailed("our reader is at fault"), code=1002)


def nothing(peer: Peer) -> None:
    """Silence; the keep-alive sees to it."""


ENDS: dict[str, tuple[Callable[[Peer], None], dict[str, Any], type[TransportError], float]] = {
    "a close frame": (close_frame, {}, ConnectionClosed, 0),
    "a reset": (reset, {}, ConnectionClosed, 0),
    "a message that is no JSON": (garbage, {}, TransportProtocolError, 0),
    "a fault in the reader": (fault, {}, TransportConnectionFailed, 0),
    "silence": (nothing, {"keep_alive_timeout": 20}, KeepAliveTimeout, 20),
    "no pong": (nothing, {"ping_interval": 25, "pong_timeout": 5}, KeepAliveTimeout, 30),
}


@pytest.mark.parametrize(("end", "options", "kind", "after"), ENDS.values(), ids=ENDS)
@tidily
async def test_every_lost_connection_is_replaced(
    server: VirtualServer,
    end: Callable[[Peer], None],
    options: dict[str, Any],
    kind: type[TransportError],
    after: float,
) -> None:
    """Once, immediately, in the background; nobody has to ask for it."""
    async with kept(server, **options) as it:
        begin = now()
        end(server.peer)
        await pass_time(after + 1.01)

        assert [round(begin + after + 1 - server.times[0], 3)] == server.waits
        assert kind is type(it.lasting.failure)
        assert (Phase.OPEN, 1) == (it.lasting.state, len(server.open))


@tidily
async def test_a_drop_that_is_reported_many_times_counts_once(server: VirtualServer) -> None:
    """There is one task that connects, and it connects once."""
    async with kept(server) as it:
        connection = server.peer.connection
        server.peer.hang_up(1012)
        it.lasting.terminate()
        connection.closed(1006, "")
        connection.failed(TransportConnectionFailed("again"), code=1002)
        await pass_time(10)

        assert (2, 1) == (len(server.times), len(server.open))


@tidily
async def test_many_waiting_tasks_share_one_attempt(server: VirtualServer) -> None:
    """All continue when the connection is there."""
    async with kept(server) as it:
        server.will(slowly(5))
        server.peer.hang_up()
        waiting = [soon(it.lasting.ready()) for _ in range(100)]

        assert {await task for task in waiting} == {server.peer.connection}
        assert 2 == len(server.times)


@tidily
async def test_the_waits_grow_while_it_fails(server: VirtualServer) -> None:
    """From the failure to the next attempt; the time of the attempt itself comes on top."""
    async with kept(server, RetryPolicy(longest_delay=10)) as it:
        server.will(*[REFUSED] * 6)
        server.peer.hang_up()
        await it.lasting.ready()

        assert [1, 2, 4, 8, 10, 10, 10] == server.waits


@tidily
async def test_a_server_that_closes_with_1000_is_not_asked_without_a_pause(
    server: VirtualServer,
) -> None:
    """Some servers close with 1000 when they restart, though operations are alive."""
    async with kept(server, RetryPolicy(longest_delay=60)) as it:
        events = it.session.subscribe(TICKS)
        step = await begun(anext(events))
        for _ in range(9):
            server.peer.hang_up(1000)
            await it.lasting.ready()
            await settle()

        assert [1, 2, 4, 8, 16, 32, 60, 60, 60] == server.waits
        await pass_time(60)  # it may have been the cause, so it is sent later
        server.peer.tell(7)
        assert {"n": 7} == await step
        await events.aclose()


@tidily
async def test_a_connection_that_lasted_forgives(server: VirtualServer) -> None:
    """If it lived longer than the wait before it, the count begins again; else it goes on."""
    async with kept(server, RetryPolicy(stable_after=30)) as it:
        for _ in range(3):
            server.peer.hang_up()
            await it.lasting.ready()
        await pass_time(3)
        server.peer.hang_up()
        await it.lasting.ready()
        await pass_time(31)
        server.peer.hang_up()
        await it.lasting.ready()

        assert [1, 2, 4, 3 + 8, 31 + 1] == server.waits


@tidily
async def test_an_attempt_that_hangs_is_ended(server: VirtualServer) -> None:
    """After the transport's own limits; then the next one follows."""
    async with kept(server, connect_timeout=7, ack_timeout=3) as it:
        server.will(UNREACHABLE, MUTE)
        server.peer.hang_up()
        await it.lasting.ready()

        assert [1, 7 + 2, 3 + 4] == server.waits


# --- Giving up -----------------------------------------------------------------------------------


@tidily
async def test_the_policy_limits_the_attempts(server: VirtualServer) -> None:
    """The last failure reaches tasks that wait, later tasks, and the subscriptions."""
    told: list[Disconnected] = []
    hooks = Hooks(disconnected=told.append)
    async with kept(server, RetryPolicy(attempts=3), reconnect=ReconnectOptions(hooks=hooks)) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        step = soon(anext(events))
        server.otherwise = Meeting(REFUSED)
        server.peer.hang_up()

        with pytest.raises(ConnectionRefused):
            await it.lasting.ready()
        with pytest.raises(ConnectionRefused):
            await step
        with pytest.raises(ConnectionRefused):
            await it.session.execute("{ get }")
        with pytest.raises(StopAsyncIteration):
            await anext(events)

        assert [1, 2, 4] == server.waits
        assert [True, True, True, False] == [each.will_retry for each in told]
        assert "3 attempts failed in a row (attempts)" == told[-1].why
        assert (Phase.CLOSED, False, True) == (
            it.lasting.state,
            it.lasting.is_alive,
            it.lasting.is_final,
        )


@tidily
async def test_the_policy_limits_the_time_of_attempts(server: VirtualServer) -> None:
    """Counted from the first failure in a row."""
    told: list[Disconnected] = []
    hooks = Hooks(disconnected=told.append)
    async with kept(server, RetryPolicy(elapsed=10), reconnect=ReconnectOptions(hooks=hooks)) as it:
        server.otherwise = Meeting(REFUSED)
        server.peer.hang_up()
        with pytest.raises(ConnectionRefused):
            await it.lasting.ready()

    assert [1, 2, 4, 8] == server.waits
    assert "all attempts failed for 15 seconds (elapsed)" == told[-1].why


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1010, 4400, 4406])
@tidily
async def test_what_is_final_at_first_is_retried_later(server: VirtualServer, code: int) -> None:
    """A server that has acknowledged once may do so again."""
    async with kept(server) as it:
        server.peer.hang_up(code, "so there")
        await it.lasting.ready()

        assert [1] == server.waits

    server.will(hangs_up(code))
    with pytest.raises(ConnectionClosed):
        await keeping(server, RetryPolicy(initial=True)).lasting.connect()


@pytest.mark.parametrize("code", [1002, 1012, 4403])
@tidily
async def test_what_the_policy_forbids_is_final(server: VirtualServer, code: int) -> None:
    """There is no other attempt."""
    async with kept(server, FORBIDDEN) as it:
        server.peer.hang_up(code, "so there")
        with pytest.raises(ConnectionClosed) as told:
            await it.lasting.ready()

        assert (code, "so there", 1) == (told.value.code, told.value.reason, len(server.times))


@tidily
async def test_each_waiting_task_gets_its_own_error(server: VirtualServer) -> None:
    """Raising writes a traceback into it."""
    async with kept(server, FORBIDDEN) as it:
        server.peer.hang_up(4400)
        waiting = [soon(it.lasting.ready()) for _ in range(3)]
        await asyncio.wait(waiting)

        assert 3 == len({id(task.exception()) for task in waiting})


# --- The last word -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "code", "wait"),
    [
        (True, 4400, 1),
        (12.5, 4400, 12.5),
        (0, 1012, 0),
        (Action.RETRY, 4400, 1),
        (Action.LATER, 1012, 120),
        (None, 1012, 1),
        (None, 1013, 120),
    ],
)
@tidily
async def test_should_retry_has_the_last_word(
    server: VirtualServer, word: Any, code: int, wait: float
) -> None:
    """It is asked about each failure, and goes over the tables."""
    asked: list[TransportError] = []

    def should_retry(failure: TransportError) -> Any:
        asked.append(failure)
        return word

    async with kept(server, RetryPolicy(should_retry=should_retry)) as it:
        server.peer.hang_up(code)
        await it.lasting.ready()

        assert [wait] == server.waits
        assert [code] == [getattr(failure, "code", None) for failure in asked]


@pytest.mark.parametrize("word", [False, Action.STOP])
@tidily
async def test_should_retry_can_end_it(server: VirtualServer, word: Any) -> None:
    """Whatever the tables say."""
    async with kept(server, RetryPolicy(should_retry=lambda failure: word)) as it:
        server.peer.hang_up(1012)
        with pytest.raises(ConnectionClosed):
            await it.lasting.ready()

        assert 1 == len(server.times)


@tidily
async def test_should_retry_can_ask_for_credentials(server: VirtualServer) -> None:
    """At once, and once; the next ones wait."""
    asked: list[Attempt] = []

    def headers(attempt: Attempt) -> dict[str, str]:
        asked.append(attempt)
        return {}

    policy = RetryPolicy(should_retry=lambda failure: Action.REFRESH)
    async with kept(server, policy, headers=headers) as it:
        server.peer.hang_up(1012)
        await it.lasting.ready()
        server.peer.hang_up(1012)
        await it.lasting.ready()

        assert [0, 120] == server.waits
    assert [(1, False), (2, True), (3, True)] == [(each.number, each.refresh) for each in asked]


class Awkward(Exception):
    """It cannot be copied: its arguments are not those of its constructor."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Odd(BaseException):
    """No Exception, and nothing that asyncio knows."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ZeroDivisionError(), ZeroDivisionError),
        (Awkward(1, 2), Awkward),
        (Odd("odd"), RuntimeError),
        (asyncio.CancelledError(), TransportClosed),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
@tidily
async def test_a_policy_that_raises_ends_everything(
    server: VirtualServer, error: BaseException, kind: type[Exception]
) -> None:
    """Nobody hangs: whoever waits gets its error."""

    def should_retry(failure: TransportError) -> bool:
        raise error

    it = keeping(server, RetryPolicy(should_retry=should_retry))
    await it.lasting.connect()
    states = it.session.states()
    events = it.session.subscribe(TICKS)
    await started(events, server.peer)
    step = await begun(anext(events))
    server.peer.hang_up(1012)
    for who in (step, soon(it.lasting.ready())):
        with pytest.raises(kind):
            await who

    with pytest.raises(kind):
        await it.session.execute("{ get }")
    assert [Phase.CLOSING, Phase.CLOSED] == [change.state async for change in states]
    assert (Phase.CLOSED, False) == (it.lasting.state, it.lasting.is_alive)
    await it.lasting.close()


@tidily
async def test_invalid_credentials_of_a_function_end_with_the_policy(
    server: VirtualServer,
) -> None:
    """The values cannot be sent; the error is still the ValueError that it is for a value."""
    policy = RetryPolicy(attempts=2)

    def headers(attempt: Attempt) -> dict[str, str]:
        return {"X": "\r\n"} if attempt.number > 1 else {}

    it = keeping(server, policy, headers=headers)
    await it.lasting.connect()
    server.peer.hang_up(1012)

    with pytest.raises(ValueError, match="line break"):
        await it.lasting.ready()
    assert (Phase.CLOSED, 1) == (it.lasting.state, len(server.times))
    await it.lasting.close()


# --- Refusals ------------------------------------------------------------------------------------

REFUSALS: dict[str, Meeting] = {
    "status 401": Meeting(rejected(401)),
    "status 403": Meeting(rejected(403)),
    "code 4401": hangs_up(4401),
    "code 4403": hangs_up(4403),
    "code 1008": hangs_up(1008),
    "Hasura's 1000": hangs_up(1000, "could not verify the token"),
    "Hasura's 4400": hangs_up(4400, "could not verify the token"),
    "connection_error": complains({"message": "expired"}),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@tidily
async def test_a_refusal_asks_for_other_credentials_once(
    server: VirtualServer, refusal: Meeting
) -> None:
    """Without a wait; if it is refused again, the next attempts wait."""
    asked: list[tuple[int, bool, str]] = []

    def headers(attempt: Attempt) -> dict[str, str]:
        asked.append((attempt.number, attempt.refresh, type(attempt.failure).__name__))
        return {}

    async with kept(server, headers=headers) as it:
        server.will(refusal, ACCEPT)
        server.peer.hang_up()
        await it.lasting.ready()
        assert [1, 0] == server.waits

        server.will(refusal, refusal)
        server.peer.hang_up()
        await it.lasting.ready()
        assert [4, 0, 120] == server.waits[2:]

    kind = asked[2][2]
    assert [(1, False, "NoneType"), (2, False, "ConnectionClosed"), (3, True, kind)] == asked[:3]
    assert [(4, False, "ConnectionClosed"), (5, True, kind), (6, True, kind)] == asked[3:]


@tidily
async def test_an_expired_token_is_asked_for_again(server: VirtualServer) -> None:
    """As often as it expires, if the connections in between lasted."""
    asked: list[bool] = []

    async def headers(attempt: Attempt) -> dict[str, str]:
        asked.append(attempt.refresh)
        return {}

    async with kept(server, headers=headers) as it:
        for _ in range(5):
            await pass_time(HOUR)
            server.peer.hang_up(4401, "token expired")
            await it.lasting.ready()

        assert [HOUR] * 5 == server.waits
        assert [False] + [True] * 5 == asked


@tidily
async def test_without_other_credentials_a_refusal_is_waited_out(server: VirtualServer) -> None:
    """They were right before."""
    async with kept(server, headers={"Authorization": "the same"}) as it:
        server.peer.hang_up(4401)
        await it.lasting.ready()

        assert [120] == server.waits


@tidily
async def test_a_first_connection_that_is_refused_is_not_retried(server: VirtualServer) -> None:
    """Unless the policy is about the first connection, too."""
    for policy, attempts in ((None, 1), (RetryPolicy(initial=True), 2)):
        server.times.clear()
        server.will(complains("no"), complains("no"))
        it = keeping(server, policy, headers=token)
        with pytest.raises(ConnectionRejected):
            await it.lasting.connect()

        assert attempts == len(server.times)
        server.plan.clear()


# --- When the server says when -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chance", "wait"), [(0.0, 30.0), (1.0, 31.0)], ids=["at the earliest", "at the latest"]
)
@tidily
async def test_retry_after_is_waited_for(server: VirtualServer, chance: float, wait: float) -> None:
    """Not much longer, and not by all at the same time."""
    async with kept(server, chance=chance) as it:
        server.will(Meeting(rejected(503, retry_after="30")))
        server.peer.hang_up()
        await it.lasting.ready()

        assert [chance, wait] == server.waits


@pytest.mark.parametrize("failure", [1013, 4429, 429], ids=str)
@tidily
async def test_a_busy_server_is_left_alone_for_long(server: VirtualServer, failure: int) -> None:
    """For `later` seconds at least, and up to twice that."""
    meeting = Meeting(rejected(429)) if failure == 429 else hangs_up(failure)
    for chance, wait in ((0.0, 100), (1.0, 200)):
        server.times.clear()
        async with kept(server, RetryPolicy(later=100), chance=chance) as it:
            server.will(meeting)
            server.peer.hang_up()
            await it.lasting.ready()

            assert wait == server.waits[-1]


# --- A ceiling -----------------------------------------------------------------------------------


def most_in_an_hour(times: list[float]) -> int:
    return max(sum(begin <= time < begin + HOUR for time in times) for begin in times)


@tidily
async def test_there_are_no_more_connects_per_hour_than_allowed(server: VirtualServer) -> None:
    """Some servers lock out clients that connect too often."""
    policy = RetryPolicy(connects_per_hour=5, longest_delay=1)
    async with kept(server, policy, chance=0.0):
        server.otherwise = Meeting(lasts=0.5)
        server.peer.hang_up()
        await pass_time(10 * HOUR)

        assert 5 == most_in_an_hour(server.times)
        assert 50 <= len(server.times)


@tidily
async def test_the_ceiling_holds_for_an_idle_connection(server: VirtualServer) -> None:
    """That is closed and made again with each operation."""
    policy = RetryPolicy(connects_per_hour=3)
    reconnect = ReconnectOptions(idle_close_after=1)
    async with kept(server, policy, reconnect=reconnect) as it:
        for _ in range(12):
            await it.lasting.ready()
            await pass_time(60)

        assert 3 == most_in_an_hour(server.times)


@tidily
async def test_the_ceiling_holds_for_reconnect(server: VirtualServer) -> None:
    """Whoever calls for it: the server counts all the same."""
    async with kept(server, RetryPolicy(connects_per_hour=3)) as it:
        for _ in range(7):
            await it.session.reconnect("again")

        assert 3 == most_in_an_hour(server.times)
