"""Several connections of one session: `max_subscriptions_per_connection`.

On virtual time, against a server without a network that refuses what is over its cap. It counts
queries and mutations as well, as Strawberry does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import Any

import pytest

import gqlwire
from doubles import pass_time, settle
from gqlwire import AsyncClientSession, Client, Hooks, RetryPolicy
from gqlwire.errors import (
    CloseTimeout,
    ConnectionRefused,
    HandshakeRejected,
    Phase,
    TransportClosed,
    TransportQueryError,
)
from virtual_server import (
    MUTE,
    QUERY,
    SPELLINGS,
    TICKS,
    Meeting,
    Peer,
    VirtualServer,
    assert_nothing_is_left,
    begun,
    now,
    soon,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

REFUSED = ConnectionRefused("nobody listens", host="server.example:80", phase=Phase.CONNECT)
BUSY = HandshakeRejected("too many connections", status=503, headers={})
CAP = 4
IDLE = 10
"""After so many seconds without a subscription a further connection is closed."""

BOTH = pytest.mark.parametrize("subprotocol", SPELLINGS)


class Capped:
    """Has the server refuse operations over its cap, and answer the others with an event."""

    def __init__(self, server: VirtualServer, cap: int = CAP, *, answers: bool = True) -> None:
        self.server = server
        self.refusals = 0
        self.most = 0
        self._cap = cap
        self._answers = answers
        self._running: list[Any] = []
        server.on_start = self._start

    def _start(self, peer: Peer, id: str, request: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        self.most = max(self.most, len(peer.live))
        if len(peer.live) > self._cap:
            self.refusals += 1
            loop.call_soon(peer.refuse, "Subscription limit reached", id)
        elif request["query"] == QUERY:
            loop.call_soon(peer.answer, {"get": 1}, id)
        elif self._answers:
            loop.call_soon(partial(peer.tell, len(peer.started), id=id))

    async def run(self, session: AsyncClientSession, count: int) -> list[Any]:
        """So many subscriptions, each with its first event; they run until they are closed."""
        events = [session.subscribe(TICKS) for _ in range(count)]
        self._running += events
        await asyncio.gather(*(anext(each) for each in events))
        return events

    @property
    def loads(self) -> list[int]:
        """How many operations run on each open connection."""
        return [len(peer.live) for peer in self.server.open]


def client(server: VirtualServer, most: int | None = CAP, **options: Any) -> Client:
    options.setdefault("retry", RetryPolicy(first_delay=0.5))
    return server.client(max_subscriptions_per_connection=most, ping_interval=None, **options)


async def stop(*events: Any) -> None:
    for each in events:
        await each.aclose()


# --- Places --------------------------------------------------------------------------------------


@BOTH
@tidily
async def test_further_subscriptions_get_further_connections(
    server: VirtualServer, subprotocol: str
) -> None:
    """None is over the cap, and the first connection keeps a place for queries."""
    capped = Capped(server)

    async with client(server, subprotocols=[subprotocol]) as session:
        await capped.run(session, 12)

        assert [3, 4, 4, 1] == capped.loads
        assert {"get": 1} == await session.execute(QUERY)
        assert 0 == capped.refusals


@tidily
async def test_a_tenth_of_the_first_connection_is_left_for_queries(server: VirtualServer) -> None:
    """Servers count them as well: as many may run at the same time."""
    capped = Capped(server, cap=100)

    async with client(server, 100) as session:
        await capped.run(session, 350)
        assert [90, 100, 100, 60] == capped.loads
        await asyncio.gather(*(session.execute(QUERY) for _ in range(10)))

        assert (0, 100) == (capped.refusals, capped.most)


@pytest.mark.parametrize(("most", "loads"), [(1, [0, 1, 1, 1]), (2, [1, 2]), (50, [3])])
@tidily
async def test_small_caps(server: VirtualServer, most: int, loads: list[int]) -> None:
    """Even one for each connection."""
    capped = Capped(server, cap=most)

    async with client(server, most) as session:
        await capped.run(session, 3)
        await session.execute(QUERY)

        assert (loads, 0) == (capped.loads, capped.refusals)


@tidily
async def test_subscriptions_that_start_at_the_same_time_take_places(server: VirtualServer) -> None:
    """Also while they wait for a connection that is being made."""
    capped = Capped(server)
    server.otherwise = Meeting(delay=3)

    async with client(server) as session:
        waiting = soon(capped.run(session, 11))
        await pass_time(1)
        assert 3 == len(server.times)
        assert [3] == capped.loads
        await waiting

        assert ([3, 4, 4], 0) == (capped.loads, capped.refusals)


@tidily
async def test_a_place_is_free_again(server: VirtualServer) -> None:
    """After the end of a subscription, whoever ends it; and after a start that was cancelled."""
    capped = Capped(server)

    async with client(server) as session:
        events = await capped.run(session, 11)
        await stop(events[0], events[4])
        server.open[2].complete(server.open[2].started[0])
        async with asyncio.timeout(1):
            assert [] == [each async for each in events[7]]
        await capped.run(session, 3)
        assert [3, 4, 4] == capped.loads

        server.otherwise = MUTE
        for _ in range(3):
            step = await begun(anext(session.subscribe(TICKS)))
            step.cancel()
            await settle()
        assert 4 == len(server.times)


@tidily
async def test_a_start_that_was_cancelled_chooses_again(server: VirtualServer) -> None:
    """The next step may find room on an earlier connection."""
    capped = Capped(server)

    async with client(server) as session:
        first, *_ = await capped.run(session, 3)
        server.otherwise = MUTE
        waiting = session.subscribe(TICKS)
        step = await begun(anext(waiting))
        step.cancel()
        await settle()
        await first.aclose()

        assert {"n": 4} == await anext(waiting)
        assert 3 == capped.loads[0]


@tidily
async def test_merged_subscriptions_are_on_several_connections(server: VirtualServer) -> None:
    """The merger does not notice."""
    Capped(server)

    async with client(server) as session:
        async with gqlwire.merge([session.subscribe(TICKS) for _ in range(10)]) as merged:
            found = [await anext(merged) for _ in range(10)]
            for peer in server.open:
                for id in [*peer.live]:
                    peer.tell("more", id=id)
            found += [await anext(merged) for _ in range(10)]

        assert 10 == sum(event == {"n": "more"} for _, event in found)
        assert Counter(subscription for subscription, _ in found).most_common(1)[0][1] == 2
        assert [0, 0, 0] == [len(peer.live) for peer in server.open]


@tidily
async def test_a_connection_without_subscriptions_is_closed(server: VirtualServer) -> None:
    """After a while, in case another one starts soon. When it is needed it is made again."""
    capped = Capped(server)

    async with client(server) as session:
        events = await capped.run(session, 8)
        await stop(events[-1])
        await pass_time(IDLE - 1)
        assert [3, 4, 0] == capped.loads
        events += await capped.run(session, 1)
        await stop(events[-1])
        await pass_time(IDLE + 1)
        assert [3, 4] == capped.loads
        assert Phase.OPEN is session.state
        assert 1000 == server.peers[2].close_code

        await capped.run(session, 1)
        assert [3, 4, 1] == capped.loads


# --- Supervision ---------------------------------------------------------------------------------


@BOTH
@tidily
async def test_each_connection_is_kept(server: VirtualServer, subprotocol: str) -> None:
    """After a drop of all, each subscription is back, and none is over the cap."""
    capped = Capped(server)

    async with client(server, subprotocols=[subprotocol]) as session:
        events = await capped.run(session, 12)
        for peer in server.open:
            peer.hang_up(1012)
        await asyncio.gather(*(anext(each) for each in events))

        assert sorted([3, 4, 4, 1]) == sorted(capped.loads)
        assert (0, 8, 12) == (
            capped.refusals,
            session.counters.connections,
            session.counters.resubscriptions,
        )


@tidily
async def test_a_gap_of_one_connection_is_none_for_the_others(server: VirtualServer) -> None:
    """And a place in a gap is taken."""
    capped = Capped(server)

    async with client(server) as session:
        events = await capped.run(session, 7)
        server.otherwise = Meeting(REFUSED)
        server.open[0].hang_up(1012)
        await pass_time(30)
        server.open[0].tell("still", id=server.open[0].started[0])
        assert {"n": "still"} == await anext(events[3])
        assert Phase.OPEN is not session.state
        server.otherwise = Meeting()
        await capped.run(session, 1)
        await session.wait_ready()
        await settle()

        assert ([1, 3, 4], 0) == (sorted(capped.loads), capped.refusals)


@tidily
async def test_a_further_connection_that_cannot_be_made_is_tried_again(
    server: VirtualServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Its subscriptions wait, as they would for the first one. The log says what they wait for."""
    capped = Capped(server)
    caplog.set_level(logging.WARNING)

    async with client(server) as session:
        await capped.run(session, 3)
        server.will(BUSY, BUSY, BUSY)
        await capped.run(session, 1)

        assert ([3, 1], 5) == (capped.loads, len(server.times))
    [said] = [text for text in caplog.messages if "could not be made" in text]
    assert (
        "connection 2 to server.example:80 could not be made beside others "
        "(max_subscriptions_per_connection): too many connections; 1 subscriptions wait for it"
    ) == said


@tidily
async def test_a_further_connection_that_fails_for_good(server: VirtualServer) -> None:
    """Only its subscriptions fail, and the next one tries again."""
    capped = Capped(server)

    async with client(server, retry=RetryPolicy(attempts=2, first_delay=0)) as session:
        events = await capped.run(session, 3)
        server.will(REFUSED, REFUSED, REFUSED)
        with pytest.raises(ConnectionRefused):
            await capped.run(session, 1)

        assert (Phase.OPEN, 2) == (session.state, session.counters.retries)
        await capped.run(session, 1)
        assert ([3, 1], 2) == (capped.loads, session.counters.retries)
        server.open[0].tell("still", id=server.open[0].started[0])
        assert {"n": "still"} == await anext(events[0])


@tidily
async def test_the_session_is_over_if_the_first_connection_fails_for_good(
    server: VirtualServer,
) -> None:
    """Then all raise its failure."""
    capped = Capped(server)

    async with client(server, retry=RetryPolicy(attempts=1, first_delay=0)) as session:
        events = await capped.run(session, 7)
        server.otherwise = Meeting(REFUSED)
        server.open[0].hang_up(1012)
        for each in events:
            with pytest.raises(ConnectionRefused):
                await anext(each)

        assert Phase.CLOSED is session.state
        await settle()
        assert [] == server.open


@tidily
async def test_closing_takes_close_timeout_in_all(server: VirtualServer) -> None:
    """And not for each connection."""
    capped = Capped(server)
    server.otherwise = Meeting(answers_close=False)
    it = client(server, close_timeout=5)
    session = await it.connect_async()
    events = await capped.run(session, 12)
    begin = now()

    with pytest.raises(CloseTimeout):
        await it.close_async()

    assert 5 == round(now() - begin, 3)
    for each in events:
        with pytest.raises(TransportClosed, match="closed by close"):
            await anext(each)
    await settle()
    assert_nothing_is_left()


@tidily
async def test_closing_can_be_cancelled(server: VirtualServer) -> None:
    """Then all sockets are dropped."""
    capped = Capped(server)
    server.otherwise = Meeting(answers_close=False)
    it = client(server)
    await capped.run(await it.connect_async(), 8)

    closing = await begun(it.close_async())
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await settle()
    assert [["close", "abort"]] * 3 == [peer.asked for peer in server.peers]


@tidily
async def test_reconnect_and_terminate_replace_all(server: VirtualServer) -> None:
    """That are in use: one without subscriptions is left alone."""
    capped = Capped(server)

    async with client(server) as session:
        events = await capped.run(session, 8)
        await stop(events[-1])
        await pass_time(IDLE + 1)
        before = server.open
        await session.reconnect("why not")
        await settle()
        assert [False, False] == [peer.is_open for peer in before]
        assert [3, 4] == sorted(capped.loads)

        before = server.open
        session.terminate()
        await session.wait_ready()
        await settle()
        assert [False, False] == [peer.is_open for peer in before]
        assert [3, 4] == sorted(capped.loads)


@tidily
async def test_hooks_say_which_connection(server: VirtualServer) -> None:
    """Counted from 1; so do the attempts that functions get."""
    capped = Capped(server)
    told: list[tuple[str, int]] = []
    asked: list[int] = []
    hooks = Hooks(
        connecting=lambda attempt: told.append(("connecting", attempt.connection)),
        connected=lambda event: told.append(("connected", event.connection)),
        disconnected=lambda event: told.append(("disconnected", event.connection)),
    )

    def headers(attempt: gqlwire.Attempt) -> dict[str, str]:
        asked.append(attempt.connection)
        return {}

    async with client(server, hooks=hooks, headers=headers) as session:
        await capped.run(session, 8)
    await settle()

    made = Counter((what, number) for number in (1, 2, 3) for what in ("connecting", "connected"))
    assert made == Counter(told[:6])
    assert Counter(("disconnected", number) for number in (1, 2, 3)) == Counter(told[6:])
    assert [1, 2, 3] == asked


@tidily
async def test_the_state_is_that_of_the_connection_that_is_least_far(server: VirtualServer) -> None:
    """But to open a further one is no change."""
    capped = Capped(server)

    async with client(server) as session:
        states = session.states()
        await capped.run(session, 4)
        server.will(REFUSED)
        server.open[1].hang_up(1012)
        assert Phase.CLOSING is session.state
        await session.wait_ready()
        assert Phase.OPEN is session.state
    told = [change.state async for change in states]

    assert [
        Phase.CLOSING,
        Phase.WAITING,
        Phase.CONNECT,
        Phase.WAITING,
        Phase.CONNECT,
        Phase.OPEN,
        Phase.CLOSED,
    ] == told


@tidily
async def test_connects_per_hour_holds_for_all_together(server: VirtualServer) -> None:
    """A server counts what comes from one client."""
    capped = Capped(server)

    async with client(server, retry=RetryPolicy(connects_per_hour=3)) as session:
        begin = now()
        await capped.run(session, 8)
        assert begin == round(now(), 3)
        await capped.run(session, 4)
        assert 3600 == round(now() - begin)


@tidily
async def test_each_connection_has_its_own_back_pressure(server: VirtualServer) -> None:
    """A slow consumer does not stop those on other connections."""
    Capped(server)

    async with client(server) as session:
        slow = [session.subscribe(TICKS, buffer=1) for _ in range(4)]
        await asyncio.gather(*(anext(each) for each in slow))
        server.open[1].tell(1, 2, 3, id=server.open[1].started[0])

        assert [False, True] == ["pause" in peer.asked for peer in server.open]
        await stop(*slow)


# --- The option ----------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0, -1, 1.5, float("nan")])
def test_a_cap_is_a_whole_number(server: VirtualServer, most: Any) -> None:
    """Of at least one."""
    with pytest.raises(ValueError, match="max_subscriptions_per_connection must be at least 1"):
        client(server, most)


@tidily
async def test_a_cap_needs_reconnecting(server: VirtualServer) -> None:
    """Without it there is one connection, and nobody would open another."""
    it = client(server, reconnecting=False)
    with pytest.raises(ValueError, match="needs reconnecting=True"):
        await it.connect_async()


@tidily
async def test_a_client_can_be_used_again(server: VirtualServer) -> None:
    """Each session begins with one connection."""
    capped = Capped(server)
    it = client(server)

    for _ in range(2):
        async with it as session:
            await capped.run(session, 5)
            assert [3, 2] == capped.loads
        await settle()
        assert [] == server.open


# --- A cap that nobody told of -------------------------------------------------------------------

APPSYNC = {
    "errors": [
        {
            "errorType": "MaxSubscriptionsReachedError",
            "message": "Max number of 100 subscriptions reached",
        }
    ]
}
REFUSALS = {
    "Strawberry": [{"message": "Subscription limit reached"}],
    "Strawberry, older protocol": {"message": "Subscription limit reached"},
    "AppSync": APPSYNC,
    "AppSync, one error": APPSYNC["errors"][0],
}


@pytest.mark.parametrize("reconnecting", [True, False])
@pytest.mark.parametrize("payload", REFUSALS.values(), ids=REFUSALS)
@tidily
async def test_a_cap_without_the_option_is_named(
    server: VirtualServer, caplog: pytest.LogCaptureFixture, payload: Any, reconnecting: bool
) -> None:
    """Once, although each refused subscription raises."""
    caplog.set_level(logging.WARNING)

    def refuse(peer: Peer, id: str, request: dict[str, Any]) -> None:
        message = {"type": "error", "id": id, "payload": payload}
        asyncio.get_running_loop().call_soon(peer.say, message)

    server.on_start = refuse
    async with client(server, None, reconnecting=reconnecting) as session:
        for _ in range(3):
            with pytest.raises(TransportQueryError):
                await anext(session.subscribe(TICKS))

    [said] = caplog.messages
    assert said.startswith("server.example:80 limits the subscriptions of one connection: ")
    assert said.endswith("; max_subscriptions_per_connection opens further connections")


@pytest.mark.parametrize("message", ["not allowed", "limit exceeded", "no such subscription"])
@tidily
async def test_another_refusal_names_no_option(
    server: VirtualServer, caplog: pytest.LogCaptureFixture, message: str
) -> None:
    """Only texts that say nothing else are known."""

    def refuse(peer: Peer, id: str, request: dict[str, Any]) -> None:
        asyncio.get_running_loop().call_soon(peer.refuse, message, id)

    server.on_start = refuse
    async with client(server, None) as session:
        with pytest.raises(TransportQueryError):
            await anext(session.subscribe(TICKS))

    assert [] == caplog.messages


@BOTH
@tidily
async def test_the_health_shows_all_connections(server: VirtualServer, subprotocol: str) -> None:
    """Each with its own subscriptions; one that waits is a problem of the session."""
    Capped(server)
    client = server.client(max_subscriptions_per_connection=CAP, subprotocols=[subprotocol])
    async with client as session:
        all_ = [session.subscribe(TICKS) for _ in range(6)]
        for events in all_:
            await anext(events)
        health = session.health()
        assert [3, 3] == [len(each.subscriptions) for each in health.connections]
        assert (Phase.OPEN, 6, []) == (health.state, health.live_subscriptions, health.problems())
        assert health.connections == client.health().connections

        server.otherwise = Meeting(REFUSED)
        server.peers[1].hang_up(1012)
        await pass_time(0.001)
        await settle()
        health = session.health()
        assert [Phase.OPEN, session.state] == [each.state for each in health.connections]
        assert 1 == len([said for said in health.problems() if "no connection" in said])
        assert health.is_alive
        for events in all_:
            await events.aclose()
