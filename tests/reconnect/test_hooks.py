"""What is told of a connection: to hooks, to the log, and by the counters."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from doubles import pass_time, settle
from gqlwire import Hooks, RetryPolicy
from gqlwire._operations.options import Reconnected
from gqlwire._reconnect.counters import Counters
from gqlwire._reconnect.hooks import Connected, Disconnected
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire._reconnect.report import Report
from gqlwire._reconnect.states import Changes
from gqlwire.errors import ConnectionClosed, ConnectionRefused, Phase, TransportClosed
from gqlwire.retry import Attempt
from virtual_server import (
    HOST,
    QUERY,
    TICKS,
    Meeting,
    VirtualServer,
    answering,
    begun,
    keeping,
    kept,
    slowly,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

REFUSED = ConnectionRefused("nobody listens", host="server.example:80", phase=Phase.CONNECT)
Event = Attempt | Connected | Disconnected | Reconnected


def recording(told: list[Event]) -> Hooks:
    return Hooks(told.append, told.append, told.append, told.append)


def recording_soon(told: list[Event]) -> Hooks:
    async def tell(event: Event) -> None:
        await asyncio.sleep(0)
        told.append(event)

    return Hooks(tell, tell, tell, tell)


# --- What is told --------------------------------------------------------------------------------


@pytest.mark.parametrize("hooks_for", [recording, recording_soon])
@tidily
async def test_hooks_get_every_event_in_order(server: VirtualServer, hooks_for: Any) -> None:
    """Functions are called immediately, coroutine functions run in tasks of their own."""
    told: list[Event] = []
    server.will(Meeting(greeting=b'{"type":"connection_ack","payload":{"hello":"you"}}'))
    async with kept(server, reconnect=ReconnectOptions(hooks=hooks_for(told))) as it:
        server.will(REFUSED)
        await pass_time(100)
        server.peer.hang_up(1012, "restart")
        await it.lasting.ready()
        await settle()

    match told:
        case [
            Attempt(1, None, False),
            Connected({"hello": "you"}, False),
            Disconnected(ConnectionClosed(code=1012), True, 1.0, ""),
            Attempt(2, ConnectionClosed(), False),
            Disconnected(ConnectionRefused(), True, 2.0, ""),
            Attempt(3, ConnectionRefused(), False),
            Connected(None, True),
            Reconnected(gap, 2, ConnectionClosed(code=1012)),
            *rest,
        ]:
            assert 3.0 == round(gap, 3)
        case _:
            pytest.fail(str(told))
    # What is told last may not have come to its turn: closing does not wait for it.
    assert rest == [] or (
        [(TransportClosed, False, 0.0, "close()")]
        == [(type(end.failure), end.will_retry, end.delay, end.why) for end in rest]
    )


@tidily
async def test_a_first_connection_that_took_more_attempts_was_retried(
    server: VirtualServer,
) -> None:
    """But it is no reconnection: none was lost."""
    told: list[Event] = []
    server.will(REFUSED)
    policy = RetryPolicy(initial=True)
    async with kept(server, policy, reconnect=ReconnectOptions(hooks=recording(told))):
        assert Connected(None, True, host=HOST) == told[-1]


@tidily
async def test_the_gap_begins_with_the_first_loss(server: VirtualServer) -> None:
    """Also if reconnect() throws away what was made meanwhile."""
    told: list[Reconnected] = []
    hooks = Hooks(reconnected=told.append)
    async with kept(server, reconnect=ReconnectOptions(hooks=hooks)) as it:
        server.will(slowly(5))
        server.peer.hang_up()
        await pass_time(2)
        await it.session.reconnect()

    [event] = told
    assert (2.0, 2) == (round(event.gap_seconds, 3), event.attempts)


@tidily
async def test_closing_an_idle_connection_is_not_reported_as_a_loss(server: VirtualServer) -> None:
    """Its end is reported, and the next connection, but no loss."""
    told: list[Event] = []
    reconnect = ReconnectOptions(idle_close_after=5, hooks=recording(told))
    async with kept(server, reconnect=reconnect) as it:
        await pass_time(60)
        await it.lasting.ready()

    kinds = [type(event).__name__ for event in told]
    assert [
        "Attempt",
        "Connected",
        "Disconnected",
        "Attempt",
        "Connected",
        "Disconnected",
    ] == kinds
    ends = [(end.will_retry, end.why) for end in told if isinstance(end, Disconnected)]
    assert [(False, "idle_close_after"), (False, "close()")] == ends


@tidily
async def test_a_call_of_reconnect_is_reported_as_such(server: VirtualServer) -> None:
    """With its rule, and no delay."""
    told: list[Event] = []
    async with kept(server, reconnect=ReconnectOptions(hooks=recording(told))) as it:
        await it.session.reconnect("new token")
        match told[2:]:
            case [
                Disconnected(TransportClosed(), True, 0.0, "reconnect()"),
                Attempt(1, None, True),
                Connected(None, True),
                Reconnected(0.0, 1, TransportClosed()),
            ]:
                pass
            case _:
                pytest.fail(str(told))


# --- Hooks that misbehave ------------------------------------------------------------------------


def raises(event: object) -> None:
    raise ZeroDivisionError("a hook's")


async def raises_later(event: object) -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError("a hook's")


def lets_out_a_cancellation(event: object) -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    future.result()


class Nameless:
    def __call__(self, event: object) -> None:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        return "<nameless>"


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        (raises, "raises"),
        (raises_later, "raises_later"),
        (lets_out_a_cancellation, "lets_out_a_cancellation"),
        (Nameless(), "<nameless>"),
    ],
)
@tidily
async def test_a_hook_that_raises_is_logged_and_called_again(
    server: VirtualServer, hook: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has what it raised. The connection is not affected."""
    hooks = Hooks(hook, hook, hook, hook)
    async with kept(server, reconnect=ReconnectOptions(hooks=hooks)) as it:
        events = it.session.subscribe(TICKS, on_reconnect=hook)
        await started(events, server.peer)
        server.peer.hang_up()
        await it.lasting.ready()
        await settle()
        server.peer.tell(1)

        assert {"n": 1} == await anext(events)
        await events.aclose()

    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert {f"hook {name} raised; gqlwire still calls it next time"} == {
        record.getMessage() for record in errors
    }
    assert 7 <= len(errors)
    assert all(record.exc_info and record.exc_info[1] is not None for record in errors)


@tidily
async def test_a_hook_that_takes_long_holds_nothing_up(server: VirtualServer) -> None:
    """And is cancelled when the connection is closed."""
    ended: list[str] = []

    async def dawdle(event: object) -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(type(event).__name__)

    hooks = Hooks(connecting=dawdle, connected=dawdle)
    async with kept(server, reconnect=ReconnectOptions(hooks=hooks)) as it:
        server.peer.hang_up()
        await it.lasting.ready()
        await settle()
        assert [] == ended

    assert ["Attempt", "Attempt", "Connected", "Connected"] == sorted(ended)


@tidily
async def test_a_hook_may_close_the_connection(server: VirtualServer) -> None:
    """It does not wait for itself."""
    closed = asyncio.Event()

    async def close(event: object) -> None:
        await it.lasting.close()
        closed.set()

    it = keeping(server, reconnect=ReconnectOptions(hooks=Hooks(disconnected=close)))
    await it.lasting.connect()
    server.peer.hang_up()
    await closed.wait()

    assert Phase.CLOSED is it.session.state


@tidily
async def test_a_hook_may_ask_for_something_and_reconnect(server: VirtualServer) -> None:
    """It runs by itself, as any other task."""
    asked: list[Any] = []

    async def ask(event: Connected) -> None:
        asked.append(await it.session.execute(QUERY))
        if not event.was_retry:
            await it.session.reconnect()

    answering(server)
    it = keeping(server, reconnect=ReconnectOptions(hooks=Hooks(connected=ask)))
    await it.lasting.connect()
    await pass_time(5)

    assert [{"get": 1}] * 2 == asked
    await it.lasting.close()


@tidily
async def test_the_tasks_of_hooks_are_not_lost() -> None:
    """The loop itself holds tasks by weak references only."""
    report = Report(Hooks(), Changes())
    done: list[int] = []

    async def hook(number: int) -> None:
        await asyncio.get_running_loop().create_task(asyncio.sleep(1))
        done.append(number)

    for number in range(10):
        report.call(hook, number)
    gc.collect()
    await pass_time(2)

    assert [*range(10)] == sorted(done)
    assert set() == report._tasks
    await report.close(None)


@tidily
async def test_any_awaitable_that_a_hook_returns_is_awaited() -> None:
    """Such as a future."""
    report = Report(Hooks(), Changes())
    future = asyncio.get_running_loop().create_future()
    report.call(lambda event: future, 1)
    await settle()
    assert 1 == len(report._tasks)
    future.set_result(None)
    await settle()

    assert 0 == len(report._tasks)
    await report.close(None)


# --- Log -----------------------------------------------------------------------------------------


@tidily
async def test_the_log_warns_when_it_takes_long(
    server: VirtualServer, caplog: pytest.LogCaptureFixture
) -> None:
    """After a minute, five, a quarter of an hour and an hour; each attempt before is INFO."""
    caplog.set_level(logging.INFO, "gqlwire")
    async with kept(server, RetryPolicy(longest_delay=30)) as it:
        server.will(*[REFUSED] * 200)
        server.peer.hang_up()
        await it.lasting.ready()

    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ["for 1 min", "for 5 min", "for 15 min", "for 60 min"] == [
        record.getMessage().partition(": ")[0].partition("connection ")[2] for record in warnings
    ]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert "nobody listens; the next attempt is in 2.0 s" in told
    assert 190 < len(told)


@tidily
async def test_the_log_warns_of_a_first_connection_too(
    server: VirtualServer, caplog: pytest.LogCaptureFixture
) -> None:
    """That takes long, where it is retried: nothing was lost, but nothing is there."""
    server.will(*[REFUSED] * 20)
    async with kept(server, RetryPolicy(initial=True, longest_delay=30)):
        pass

    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ["no connection for 1 min: nobody listens"] == [
        record.getMessage().partition(";")[0] for record in warnings[:1]
    ]


# --- Counters ------------------------------------------------------------------------------------


@tidily
async def test_the_counters_count_over_all_connections(server: VirtualServer) -> None:
    """What is over included: connections, subscriptions, messages of unknown types."""
    async with kept(server, ping_interval=10) as it:
        assert Counters(connections=1, bytes_sent=26, bytes_received=25) == it.session.counters

        events = it.session.subscribe(TICKS, buffer=2, overflow="drop_oldest")
        await started(events, server.peer)
        for round_ in range(3):
            server.peer.say({"type": "news"}, {"type": f"news {round_}"})
            server.peer.tell(1, 2, 3)
            await pass_time(10.5)
            server.peer.say({"type": "pong"})
            server.will(REFUSED)
            server.peer.hang_up(1012)
            await it.lasting.ready()
            await settle()

        found = it.session.counters
        assert (4, 6, 3) == (found.connections, found.retries, found.resubscriptions)
        assert (10, 7) == (found.events, found.dropped)
        assert {"news": 3, "news 0": 1, "news 1": 1, "news 2": 1} == found.unknown_messages
        assert 0.5 == round(found.latency or 0, 3)
        assert found.bytes_sent == sum(len(text) for peer in server.peers for text in peer.sent)
        await events.aclose()
        assert (10, 7) == (it.session.counters.events, it.session.counters.dropped)

    assert found.bytes_sent < it.session.counters.bytes_sent
    assert (4, 10) == (it.session.counters.connections, it.session.counters.events)


@tidily
async def test_counters_are_a_snapshot(server: VirtualServer) -> None:
    """What is done to one, or happens later, does not change it, nor others."""
    async with kept(server) as it:
        first = it.session.counters
        first.unknown_messages["mine"] = 1
        first.connections = 100
        server.peer.say({"type": "news"})
        server.peer.hang_up()
        second = it.session.counters
        second.unknown_messages["mine"] = 1

        assert ({"mine": 1}, 100) == (first.unknown_messages, first.connections)
        assert ({"news": 1}, 1) == (
            it.session.counters.unknown_messages,
            it.session.counters.connections,
        )


@tidily
async def test_an_attempt_that_was_given_up_is_counted_as_an_attempt(
    server: VirtualServer,
) -> None:
    """Not as a connection."""
    async with kept(server) as it:
        server.will(slowly(5))
        server.peer.hang_up()
        await pass_time(2)
        calling = await begun(it.session.reconnect())
        await calling

        found = it.session.counters
        assert (2, 2) == (found.connections, found.retries)
        assert 2 * 25 == found.bytes_received


@tidily
async def test_the_counters_of_a_client_start_at_zero_with_each_connect(
    server: VirtualServer,
) -> None:
    """Each time that the client is entered."""
    client = server.client()
    for _ in range(2):
        async with client as session:
            assert 1 == session.counters.connections
