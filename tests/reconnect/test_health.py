"""`session.health()`: how a session is, in each state, and what to conclude from it."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from lasting import REFUSED, lose
from test_separate_connections import end_all, peer_of, suspected

import gqlwire
from doubles import on_virtual_time, pass_time, settle
from gqlwire import ConnectionHealth, Health, RetryPolicy
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import ConnectionRefused, Phase, TransportClosed, TransportError
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    HOST,
    MUTE,
    QUERY,
    TICKS,
    VirtualServer,
    begun,
    hangs_up,
    keeping,
    kept,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

SPELLINGS = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "apollo"])
OTHER = "subscription Other { n }"


def main(health: Health) -> ConnectionHealth:
    """Of the one connection, in a form that goes through JSON."""
    assert health.to_dict() == json.loads(json.dumps(health.to_dict(), allow_nan=False))
    return health.connections[0]


# --- In each state -------------------------------------------------------------------------------


@tidily
async def test_a_session_that_was_never_connected(server: VirtualServer) -> None:
    """There is nothing, and since when is not known."""
    health = keeping(server).session.health()

    it = main(health)
    assert (Phase.CLOSED, None, None) == (health.state, health.since, health.state_age)
    assert (HOST, None, Phase.CLOSED, None) == (it.host, it.protocol, it.state, it.last_frame_age)
    assert (0, None, None, None) == (
        it.attempts,
        it.next_attempt_in,
        it.last_failure,
        it.outage_age,
    )
    assert (0, 0, 0, 0) == (
        health.live_operations,
        health.live_subscriptions,
        health.buffered_events,
        health.buffered_bytes,
    )
    assert not health.is_alive


@SPELLINGS
@tidily
async def test_the_states_of_a_first_connection(server: VirtualServer, spelling: Spelling) -> None:
    """Connect, init, open: each with its age."""
    it = keeping(server, spelling=spelling, connect_timeout=3, ack_timeout=5)
    server.will(MUTE)
    connecting = asyncio.ensure_future(it.lasting.connect())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert Phase.CONNECT is it.session.health().state
    await pass_time(2)

    health = it.session.health()
    assert (Phase.INIT, Phase.INIT) == (health.state, main(health).state)
    assert (2.0, 2.0, 1) == (health.state_age, main(health).outage_age, main(health).attempts)
    assert health.is_alive
    assert [f"there is no connection to {HOST} for 2.0 s"] == health.problems()

    server.peer.say({"type": "connection_ack"})
    await connecting
    await pass_time(7)
    health = it.session.health()
    protocol = "graphql-transport-ws" if spelling is NEWER else "graphql-ws"
    assert (Phase.OPEN, 7.0) == (health.state, health.state_age)
    assert (protocol, 7.0, None, 0) == (
        main(health).protocol,
        main(health).last_frame_age,
        main(health).outage_age,
        main(health).attempts,
    )
    assert (True, []) == (health.is_alive, health.problems())
    await it.lasting.close()

    health = it.session.health()
    assert (Phase.CLOSED, None) == (health.state, main(health).last_failure)
    assert (False, ["the session is closed"]) == (health.is_alive, health.problems())


@tidily
async def test_while_it_waits_it_says_why_and_how_long(server: VirtualServer) -> None:
    """Alive, and not ready; the outage begins with the loss, not with the last attempt."""
    async with kept(server, RetryPolicy(first_delay=4)) as it:
        before = datetime.now(UTC)
        server.will(REFUSED, REFUSED)
        await pass_time(3)
        server.peer.hang_up(1012)
        await pass_time(5)

        health = it.session.health()
        found = main(health)
        assert (Phase.WAITING, 1.0, 7.0) == (
            health.state,
            health.state_age,
            found.next_attempt_in,
        )
        assert (5.0, 1, 8.0) == (found.outage_age, found.attempts, found.last_frame_age)
        failure = found.last_failure
        assert failure
        assert ("ConnectionRefused", "nobody listens", None, 1.0) == (
            failure.type,
            failure.message,
            failure.code,
            failure.age,
        )
        assert before.timestamp() - 0.001 <= failure.at.timestamp() <= time.time() + 0.001
        assert health.is_alive
        sentence = f"there is no connection to {HOST} for 5.0 s: nobody listens"
        assert [sentence] == health.problems() == health.problems(max_outage=5)
        assert [] == health.problems(max_outage=5.1)

        await it.lasting.ready()
        await pass_time(60)
        health = it.session.health()
        assert (Phase.OPEN, 0, None) == (
            health.state,
            main(health).attempts,
            main(health).outage_age,
        )
        failure = main(health).last_failure
        assert failure
        assert "ConnectionRefused" == failure.type  # the last one is remembered
        assert [] == health.problems()


@tidily
async def test_the_next_attempt_waits_for_a_limit_of_the_policy(server: VirtualServer) -> None:
    """After the wait of the policy, `connects_per_hour` makes it wait again."""
    policy = RetryPolicy(first_delay=4, connects_per_hour=1)
    async with kept(server, policy) as it:
        await pass_time(600)
        server.peer.hang_up(1012)
        for passed, left in ((10, 2990.0), (980, 2010.0), (2009, 1.0)):
            await pass_time(passed)
            found = main(it.session.health())
            assert (Phase.WAITING, left) == (found.state, found.next_attempt_in)
        await pass_time(2)
        assert (Phase.OPEN, None) == (
            it.session.state,
            main(it.session.health()).next_attempt_in,
        )


@tidily
async def test_an_idle_session_is_ready(server: VirtualServer) -> None:
    """It has no connection because it needs none."""
    async with kept(server, reconnect=ReconnectOptions(idle_close_after=5)) as it:
        await pass_time(20)
        health = it.session.health()

        assert (Phase.IDLE, 15.0) == (health.state, health.state_age)
        found = main(health)
        assert (None, None, 20.0) == (found.outage_age, found.last_failure, found.last_frame_age)
        assert (True, []) == (health.is_alive, health.problems(max_frame_age=1, max_event_age=1))


FINAL = {
    "refused": (lambda server: server.will(REFUSED), "nobody listens", None),
    "closed": (lambda server: server.will(hangs_up(4400)), "4400", 4400),
    "no first": (lambda server: server.will(hangs_up(1011)), "1011", 1011),
}


@pytest.mark.parametrize("name", FINAL)
@tidily
async def test_a_session_that_is_over_is_not_alive(server: VirtualServer, name: str) -> None:
    """With the failure: a restart may help."""
    plan, said, code = FINAL[name]
    it = keeping(server)
    plan(server)
    with pytest.raises(TransportError):
        await it.lasting.connect()
    health = it.session.health()

    failure = main(health).last_failure
    assert failure
    assert (False, code) == (health.is_alive, failure.code)
    assert said in health.problems()[0]
    assert health.problems()[0].startswith("the session is closed: ")


# --- Operations ----------------------------------------------------------------------------------


@SPELLINGS
@tidily
async def test_each_subscription_is_told_apart(server: VirtualServer, spelling: Spelling) -> None:
    """By name, with what it has had, and what waits for its consumer."""
    async with kept(server, spelling=spelling) as it:
        ticks = it.session.subscribe(TICKS, buffer=3, overflow="drop_oldest")
        other = it.session.subscribe(OTHER)
        unnamed = it.session.subscribe("subscription { n }")
        for events in (ticks, other):
            await started(events, server.peer)
        step = await begun(anext(unnamed))
        query = await begun(it.session.execute(QUERY))
        await pass_time(4)
        server.peer.tell(1, 2, 3, 4, 5, id=ticks.id)
        await pass_time(2)

        health = it.session.health()
        found = main(health).subscriptions
        assert ["Ticks", "Other", None] == [each.name for each in found]
        assert [ticks.id, other.id, unnamed.id] == [each.id for each in found]
        assert ["live"] * 3 == [each.state for each in found]
        assert [2.0, 6.0, None] == [each.last_event_age for each in found]
        assert [6.0] * 3 == [each.age for each in found]
        assert [6, 1, 0] == [each.events for each in found]
        assert [2, 0, 0] == [each.dropped for each in found]
        assert [3, 0, 0] == [each.buffered_events for each in found]
        assert (1, 3, 3) == (
            health.live_operations,
            health.live_subscriptions,
            health.buffered_events,
        )
        assert ticks.buffered_size == health.buffered_bytes == found[0].buffered_bytes > 0
        assert [
            "the subscription Other has had no event for 6.0 s",
            f"the subscription with the id {unnamed.id} has had no event for 6.0 s",
        ] == health.problems(max_event_age=5)
        assert [] == health.problems(max_event_age=6) == health.problems()
        assert [f"{HOST} has sent nothing for 2.0 s"] == health.problems(max_frame_age=1)

        step.cancel()
        query.cancel()
        await asyncio.wait([step, query])
        await end_all(ticks, other, unnamed)
        health = it.session.health()
        assert (0, 0, ()) == (
            health.live_operations,
            health.live_subscriptions,
            main(health).subscriptions,
        )


@SPELLINGS
@tidily
async def test_a_gap_is_seen_until_a_result_comes(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Lost, sent again, live; the age of the last event outlives the connection."""
    async with kept(server, RetryPolicy(first_delay=2), spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await pass_time(3)
        server.peer.hang_up(1012)
        await pass_time(1)
        [lost] = main(it.session.health()).subscriptions
        assert ("lost", 1.0, 4.0) == (lost.state, lost.gap_age, lost.last_event_age)

        await it.lasting.ready()
        await pass_time(5)
        health = it.session.health()
        [sent] = main(health).subscriptions
        assert ("resubscribed", 7.0, 10.0) == (sent.state, sent.gap_age, sent.last_event_age)
        assert [] == health.problems()  # the server may have no event

        server.peer.tell(1)
        await pass_time(1)
        [live] = main(it.session.health()).subscriptions
        assert ("live", None, 1.0, 2) == (
            live.state,
            live.gap_age,
            live.last_event_age,
            live.events,
        )
        await events.aclose()


@tidily
async def test_a_subscription_that_was_refused_is_a_problem(server: VirtualServer) -> None:
    """Although the connection is there."""
    async with kept(server, RetryPolicy(first_delay=8)) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.refuse()
        await pass_time(1)

        health = it.session.health()
        assert Phase.OPEN is health.state
        assert ["the subscription Ticks is lost for 9.0 s"] == health.problems()
        assert [] == health.problems(max_outage=10)
        await events.aclose()


@SPELLINGS
@tidily
async def test_the_connections_of_suspects_are_shown(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Each with its own subscriptions; nobody is in two places."""
    async with kept(server, spelling=spelling) as it:
        healthy, suspect = await suspected(it, server)
        health = it.session.health()

        assert [False, True] == [each.is_separate for each in health.connections]
        assert [2, 1] == [len(each.subscriptions) for each in health.connections]
        apart = health.connections[1]
        assert [suspect.id] == [each.id for each in apart.subscriptions]
        assert (Phase.OPEN, HOST) == (apart.state, apart.host)
        assert 3 == health.live_subscriptions
        peer_of(server, suspect).tell(7, id=suspect.id)
        assert {"n": 7} == await anext(suspect)
        assert "live" == it.session.health().connections[1].subscriptions[0].state
        peer_of(server, suspect).hang_up(1006)
        await settle()
        waiting = it.session.health().connections[1]
        assert (Phase.WAITING, None) == (waiting.state, waiting.protocol)
        assert [] != it.session.health().problems()
        await end_all(suspect, *healthy)


# --- When events and frames come -----------------------------------------------------------------

BY = {
    "consumer waits": {},
    "merged": {"merged": True},
    "batches": {"batches": True},
    "buffered": {"buffered": True},
}


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("how", BY)
@SPELLINGS
@tidily
async def test_each_event_counts_whatever_way_it_goes(
    server: VirtualServer, spelling: Spelling, how: str, keep_alive: bool
) -> None:
    """Also without keep-alive; other frames and neighbours make no event younger."""
    options: dict[str, Any] = {"ping_interval": 1000} if keep_alive else {}
    async with kept(server, spelling=spelling, **options) as it:
        events, other = it.session.subscribe(TICKS), it.session.subscribe(OTHER)
        for each in (events, other):
            await started(each, server.peer)
        consumer: Any = events
        if how == "merged":
            consumer = gqlwire.merge([events])
        if how == "batches":
            consumer = events.batches()
        for number in range(4):
            step = None if how == "buffered" else await begun(anext(consumer))
            await pass_time(2)
            server.peer.tell(number, id=events.id)
            await pass_time(3)
            server.peer.tell(number, number, id=other.id)
            await pass_time(4)
            server.peer.say({"type": "news"})
            await pass_time(1)

            found = main(it.session.health())
            assert [8.0, 5.0] == [each.last_event_age for each in found.subscriptions]
            assert 1.0 == found.last_frame_age
            if step is not None:
                await step
        await end_all(consumer if how == "merged" else events, other)


@tidily
async def test_latency_and_duplicates_are_shown(server: VirtualServer) -> None:
    """Of the last ping, and of a key."""
    async with kept(server, ping_interval=10) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"])
        await started(events, server.peer)
        assert None is main(it.session.health()).latency
        await pass_time(10.25)
        server.peer.say({"type": "pong"})
        await lose(it, server)
        server.peer.tell(0, 1)
        assert {"n": 1} == await anext(events)

        [found] = main(it.session.health()).subscriptions
        assert (3, 1) == (found.events, found.duplicates)
        await pass_time(10.5)
        server.peer.say({"type": "pong"})
        assert 0.5 <= (main(it.session.health()).latency or 0) < 1.5
        await events.aclose()


# --- A session that does not reconnect -----------------------------------------------------------


@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
@on_virtual_time
async def test_a_session_that_does_not_reconnect_has_it_as_well(protocol: str) -> None:
    """Open, with its subscriptions; then closed for good, with the failure."""
    server = VirtualServer()
    client = server.client(reconnecting=False, subprotocols=[protocol])
    async with client as session:
        events = session.subscribe(TICKS)
        await started(events, server.peer)
        await pass_time(3)
        health = session.health()
        [found] = main(health).subscriptions
        assert (Phase.OPEN, 3.0, protocol) == (
            health.state,
            health.state_age,
            main(health).protocol,
        )
        assert ("Ticks", "live", 3.0, 1) == (
            found.name,
            found.state,
            found.last_event_age,
            found.events,
        )
        assert (True, []) == (health.is_alive, health.problems())

        server.peer.hang_up(1011, "broken")
        with pytest.raises(TransportError):
            await anext(events)
        health = session.health()
        failure = main(health).last_failure
        assert failure
        assert (False, 1011, 0) == (health.is_alive, failure.code, health.live_subscriptions)
        assert "1011 broken" in health.problems()[0]
    assert not session.health().is_alive


# --- Limits --------------------------------------------------------------------------------------

WRONG: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "negative": (ValueError, {"max_outage": -1}),
    "nan": (ValueError, {"max_event_age": float("nan")}),
    "none": (TypeError, {"max_outage": None}),
    "text": (TypeError, {"max_frame_age": "1"}),
    "bool": (TypeError, {"max_event_age": True}),
}


@pytest.mark.parametrize("name", WRONG)
@tidily
async def test_a_limit_that_is_none_is_named(server: VirtualServer, name: str) -> None:
    """Whatever the state is."""
    error, limits = WRONG[name]

    with pytest.raises(error, match=next(iter(limits))):
        keeping(server).session.health().problems(**limits)


@tidily
async def test_no_secret_and_no_long_text_is_shown(server: VirtualServer) -> None:
    """Of the URL only the host; of a server's text 500 characters."""
    server.url = "ws://user:s3cret@server.example/graphql?token=s3cret"
    long = ConnectionRefused("x" * 10_000, host=HOST, phase=Phase.CONNECT)
    async with kept(server, url="ws://server.example/graphql?token=s3cret") as it:
        server.will(long)
        server.peer.hang_up(1012)
        await pass_time(1.5)
        text = json.dumps(it.session.health().to_dict())

        assert "s3cret" not in text
        assert len(text) < 2_000
        with pytest.raises(TransportClosed):
            await asyncio.gather(it.lasting.close(), it.lasting.ready())
