"""A subscription over connections that are lost: the same loop; nothing lost, doubled or hidden."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import gqlwire
from doubles import pass_time, settle
from gqlwire import Hooks, Reconnected, RetryPolicy
from gqlwire._operations.subscription import Subscription
from gqlwire._reconnect.options import Survival
from gqlwire.errors import (
    ConnectionClosed,
    ConnectionRefused,
    OperationTimeout,
    Phase,
    ResultMismatch,
    SlowConsumer,
    TransportClosed,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
)
from spelling import Spelling, both
from virtual_server import (
    HOST,
    TICKS,
    UNREACHABLE,
    Kept,
    Peer,
    VirtualServer,
    begun,
    kept,
    now,
    slowly,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

REFUSED = ConnectionRefused("nobody listens", host=HOST, phase=Phase.CONNECT)
FROM = "subscription From($after: Int) { n(after: $after) }"
LOST = ConnectionClosed(code=1006)


def n(*numbers: Any) -> list[dict[str, Any]]:
    return [{"n": number} for number in numbers]


async def take(events: Any, count: int) -> list[Any]:
    """The outcomes of so many steps: values, or errors."""
    found: list[Any] = []
    async with asyncio.timeout(1_000):
        for _ in range(count):
            try:
                found.append(await anext(events))
            except StopAsyncIteration:
                found.append("the end")
            except TransportError as told:
                found.append(told)
    return found


async def lose(it: Kept, server: VirtualServer, code: int = 1012) -> None:
    """Lose the connection, and get another."""
    server.peer.hang_up(code)
    await it.lasting.ready()
    await settle()


# --- The same iterator ---------------------------------------------------------------------------


@both
@tidily
async def test_the_same_loop_goes_on(server: VirtualServer, spelling: Spelling) -> None:
    """The same request, with a fresh id, on the new connection; the old one gets no stop."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        ids = [events.id]
        for number in range(1, 4):
            step = await begun(anext(events))
            await lose(it, server)
            ids.append(events.id)
            server.peer.tell(number)
            assert {"n": number} == await step

        assert ids == [peer.started[0] for peer in server.peers]
        assert 4 == len({*ids})
        sent = [message for peer in server.peers for message in peer.said[1:]]
        assert [sent[0]["payload"]] * 4 == [message["payload"] for message in sent]
        assert [[]] * 4 == [peer.stopped for peer in server.peers]
        await events.aclose()


@both
@tidily
async def test_what_was_buffered_survives(server: VirtualServer, spelling: Spelling) -> None:
    """Whichever way it came: the first results are read at once, later ones when they are taken."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.tell(2, 3)
        server.peer.tell(4)
        await lose(it, server)
        server.peer.tell(5)
        server.peer.tell(6, 7)

        assert n(*range(1, 8)) == await take(events, 7)
        await events.aclose()


@tidily
async def test_what_was_handed_over_and_not_taken_survives(server: VirtualServer) -> None:
    """The consumer waits, gets an event, and has not run when the connection is lost."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        step = await begun(anext(events))
        server.peer.tell(1)
        server.peer.hang_up()
        await it.lasting.ready()

        assert {"n": 1} == await step
        await settle()
        server.peer.tell(2)
        assert n(2) == await take(events, 1)
        await events.aclose()


@tidily
async def test_what_was_handed_to_one_who_is_cancelled_is_not_sent_on(
    server: VirtualServer,
) -> None:
    """That ends the subscription, as it does on one connection."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        step = await begun(anext(events))
        server.peer.tell(1)
        server.peer.hang_up()
        step.cancel()
        await asyncio.wait([step])
        await it.lasting.ready()
        await settle()

        assert [] == server.peer.started
        assert ["the end"] == await take(events, 1)


ODD: dict[str, tuple[bytes, Any]] = {
    "errors": (b'{"data":{"n":1},"errors":[{"message":"odd"}]}', TransportQueryError),
    "errors alone": (b'{"errors":[{"message":"odd"}]}', TransportQueryError),
    "a mismatch": (b'{"data":{"n":"one"}}', ResultMismatch),
    "NaN": (b'{"data":{"n":NaN}}', ResultMismatch),
    "nothing": (b"{}", TransportProtocolError),
    "null": (b"null", TransportProtocolError),
    "a lone surrogate": (b'{"data":{"n":1,"s":"\\ud800"}}', 1),
    "extensions": (b'{"data":{"n":1},"extensions":{"a":1}}', 1),
    "white space": (b' { "data" : { "n" : 1 } } ', 1),
    "another key after it": (b'{"data":{"n":1}},"more":[1]', 1),
    "its id once more": (b'{"data":{"n":1}},"type":"next"', 1),
}


class N(msgspec.Struct):
    n: int


def written(id: str, payload: bytes) -> bytes:
    """A result as the server writes all of them, whatever its payload is."""
    return b'{"type":"next","id":"%s","payload":%s}' % (id.encode(), payload)


def outcome(step: Any) -> Any:
    return step.n if isinstance(step, N) else type(step)


@pytest.mark.parametrize("is_lost", [False, True], ids=["not lost", "lost"])
@pytest.mark.parametrize("is_awaited", [False, True], ids=["buffered", "handed over"])
@pytest.mark.parametrize(("payload", "wanted"), ODD.values(), ids=ODD)
@tidily
async def test_what_is_odd_is_read_the_same_after_a_loss(
    server: VirtualServer, payload: bytes, wanted: Any, is_awaited: bool, is_lost: bool
) -> None:
    """A result that is more, or less, than a plain one is not made another by losing its socket."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, result_type=N)
        step = await begun(anext(events))
        server.peer.tell(0)
        await step
        first = await begun(anext(events)) if is_awaited else None
        server.peer.say(
            b'{"type":"next","id":"%s","payload":%s}' % (server.peer.id.encode(), payload)
        )
        if is_lost:
            server.peer.hang_up()
            await it.lasting.ready()
            await settle()
        server.peer.tell(2)

        if first is not None:
            [found] = await asyncio.gather(first, return_exceptions=True)
        else:
            [found] = await take(events, 1)
        assert wanted == outcome(found)
        assert N(2) == await anext(events)
        await events.aclose()


@tidily
async def test_what_ended_it_before_the_loss_ends_it(server: VirtualServer) -> None:
    """It is not begun again: it was complete."""
    async with kept(server) as it:
        done, failed = it.session.subscribe(TICKS), it.session.subscribe(TICKS)
        for events in (done, failed):
            await started(events, server.peer)
        server.peer.tell(1, id=done.id)
        server.peer.complete(done.id)
        server.peer.refuse("no more", failed.id)
        await lose(it, server)

        assert [*n(1), "the end"] == await take(done, 2)
        [told] = await take(failed, 1)
        assert "no more" == str(told)
        assert [] == server.peer.started


@tidily
async def test_a_message_that_is_no_json_costs_the_connection_and_not_the_subscription(
    server: VirtualServer,
) -> None:
    """What came before it is delivered; what came after it was not read, and is lost with it."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        broken = b'{"type":"next","id":"%s","payload":{]}' % server.peer.id.encode()
        server.peer.tell(1)
        server.peer.say(broken)
        server.peer.tell(2)
        step = await begun(anext(events))
        assert {"n": 1} == await step
        step = await begun(anext(events))
        await it.lasting.ready()
        await settle()
        assert 2 == len(server.peers)
        server.peer.tell(3)

        assert {"n": 3} == await step
        await events.aclose()


@tidily
async def test_what_is_no_json_is_no_event_after_a_loss(server: VirtualServer) -> None:
    """Whether it is found before the connection is lost or after; what followed it is none, too."""
    for is_awaited in (False, True):
        async with kept(server) as it:
            events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=after)
            await started(events, server.peer)
            step = await begun(anext(events)) if is_awaited else None
            broken = written(server.peer.id, b"{]")
            if not is_awaited:
                server.peer.tell(1)
            server.peer.say(broken)
            server.peer.tell(2)
            server.peer.hang_up()
            await it.lasting.ready()
            await settle()

            assert [0 if is_awaited else 1] == asked_after(server.peer)
            server.peer.tell(3)
            if step is None:
                assert n(1, 3) == await take(events, 2)
            else:
                assert {"n": 3} == await step
            assert (0, 0) == (events.dropped, events.buffered)
            assert 3 == events.delivered
            await events.aclose()


@tidily
async def test_what_turns_out_to_be_none_of_its_events_is_none_after_a_loss(
    server: VirtualServer,
) -> None:
    """It looked like one, up to its payload."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.say(written(server.peer.id, b'{"data":{"n":9}},"type":"news"'))
        server.peer.tell(2)
        await lose(it, server)
        server.peer.tell(3)

        assert n(1, 2, 3) == await take(events, 3)
        await events.aclose()


@tidily
async def test_a_subscription_that_waits_for_its_first_connection_begins_on_it(
    server: VirtualServer,
) -> None:
    """Once."""
    async with kept(server) as it:
        server.will(slowly(5))
        server.peer.hang_up()
        events = it.session.subscribe(TICKS)
        step = await begun(anext(events))
        await it.lasting.ready()
        await settle()
        server.peer.tell(1)

        assert {"n": 1} == await step
        assert 1 == len(server.peer.started)
        await events.aclose()


@tidily
async def test_a_subscription_that_waits_for_room_goes_to_the_next_connection(
    server: VirtualServer,
) -> None:
    """As nothing of it was sent."""
    async with kept(server) as it:
        server.peer.connection.writable(False)
        events = it.session.subscribe(TICKS)
        step = await begun(anext(events))
        await lose(it, server)
        server.peer.tell(1)

        assert {"n": 1} == await step
        assert [[], [events.id]] == [peer.started for peer in server.peers]
        await events.aclose()


# --- The end -------------------------------------------------------------------------------------


@tidily
async def test_it_ends_with_the_connection_if_it_shall_not_survive(server: VirtualServer) -> None:
    """By the failure, after what was buffered; it is not taken along."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, survive=False)
        await started(events, server.peer)
        server.peer.tell(1)
        await lose(it, server)

        value, end = await take(events, 2)
        assert ({"n": 1}, ConnectionClosed, 1012) == (value, type(end), end.code)
        assert (["the end"], []) == (await take(events, 1), server.peer.started)


@tidily
async def test_a_stop_while_it_is_lost_sends_nothing(server: VirtualServer) -> None:
    """Nobody is there to be told, and nothing is begun again."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.hang_up()
        await events.aclose()
        await events.aclose()
        await it.lasting.ready()
        await settle()

        assert ([[], []], 1) == (
            [peer.stopped for peer in server.peers],
            sum(len(peer.started) for peer in server.peers),
        )


@tidily
async def test_a_stop_after_a_loss_is_sent_once(server: VirtualServer) -> None:
    """To the connection that it runs on, with the id that it has there."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        await events.aclose()
        await events.aclose()

        assert [[], [events.id]] == [peer.stopped for peer in server.peers]


@tidily
async def test_a_step_that_is_cancelled_while_it_is_lost_ends_it(server: VirtualServer) -> None:
    """Nothing is sent, and nothing begun again."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        step = await begun(anext(events))
        server.peer.hang_up()
        step.cancel()
        await asyncio.wait([step])
        await it.lasting.ready()
        await settle()

        assert [[], []] == [peer.stopped for peer in server.peers]
        assert [] == server.peer.started


@pytest.mark.parametrize("is_lost", [True, False])
@tidily
async def test_dropping_the_last_reference_ends_it(server: VirtualServer, is_lost: bool) -> None:
    """While it is lost as well as after: it is not taken along for nobody."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        if is_lost:
            server.peer.hang_up()
        else:
            await lose(it, server)
        del events
        gc.collect()
        await it.lasting.ready()
        await settle()

        assert {} == server.peer.live
        assert [] == server.peer.started if is_lost else server.peer.started == server.peer.stopped


@pytest.mark.parametrize("options", [{}, {"resume": lambda last, given: given}])
@tidily
async def test_a_subscription_is_not_kept_alive_by_what_carries_it(
    server: VirtualServer, options: dict[str, Any]
) -> None:
    """Nor by what recomputes its variables."""
    async with kept(server) as it:
        for _ in range(3):
            events = it.session.subscribe(TICKS, **options)
            await started(events, server.peer)
            await lose(it, server)
            server.peer.tell(1)
            await anext(events)
            del events
            gc.collect()
            await settle()

        assert [] == [each for each in gc.get_objects() if isinstance(each, Subscription)]


@tidily
async def test_the_end_of_the_client_ends_what_is_lost(server: VirtualServer) -> None:
    """By what ended the client, after what was buffered."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.hang_up()
        await settle()

    value, end = await take(events, 2)
    assert ({"n": 1}, TransportClosed) == (value, type(end))


@tidily
async def test_one_that_never_began_has_nothing_to_lose(server: VirtualServer) -> None:
    """It is closed before its first step, and then a drop comes."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await events.aclose()
        await lose(it, server)

        assert (["the end"], []) == (await take(events, 1), server.peer.started)


# --- Telling the gap -----------------------------------------------------------------------------


@tidily
async def test_the_gap_is_told_to_a_hook(server: VirtualServer) -> None:
    """When the subscription goes on; it may be a coroutine function."""
    told: list[Reconnected] = []

    async def tell(event: Reconnected) -> None:
        told.append(event)

    async with kept(server) as it:
        one = it.session.subscribe(TICKS, on_reconnect=told.append)
        other = it.session.subscribe(TICKS, on_reconnect=tell)
        for events in (one, other):
            await started(events, server.peer)
        server.will(REFUSED)
        await lose(it, server)

        assert [(3.0, 2, 1012)] * 2 == [
            (round(event.gap_seconds, 3), event.attempts, event.failure.code) for event in told
        ]
        for events in (one, other):
            await events.aclose()


@tidily
async def test_the_gap_is_told_between_the_events(server: VirtualServer) -> None:
    """After what came before it, and before what came after it, each time."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True)
        await started(events, server.peer)
        server.peer.tell(1, 2)
        await lose(it, server)
        server.peer.tell(3)
        await lose(it, server)
        await lose(it, server)
        server.peer.tell(4)

        found = await take(events, 7)
        kinds = [each["n"] if isinstance(each, dict) else "gap" for each in found]
        assert [1, 2, "gap", 3, "gap", "gap", 4] == kinds
        assert (5, 0) == (events.delivered, events.dropped)
        await events.aclose()


@tidily
async def test_a_consumer_that_waits_is_told_of_the_gap_at_once(server: VirtualServer) -> None:
    """When the subscription goes on, and not with its next event."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True)
        await started(events, server.peer)
        step = await begun(anext(events))
        await lose(it, server)

        event = await step
        assert isinstance(event, Reconnected)
        assert isinstance(event.failure, ConnectionClosed)
        found = round(event.gap_seconds, 3), event.attempts, event.failure.code
        assert (1.0, 1, 1012) == found
        await events.aclose()


@pytest.mark.parametrize(
    ("overflow", "buffer", "wanted"),
    [
        ("drop_oldest", 2, ["gap", 5, 6]),
        ("latest", 1, ["gap", 6]),
        ("block", 2, [1, 2, 3, "gap", 4, 5, 6]),
    ],
)
@tidily
async def test_no_overflow_drops_a_notice(
    server: VirtualServer, overflow: str, buffer: int, wanted: list[Any]
) -> None:
    """It stands before the first event after the gap that is still there."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True, overflow=overflow, buffer=buffer)
        await started(events, server.peer)
        server.peer.tell(1, 2, 3)
        await lose(it, server)
        for number in (4, 5, 6):
            server.peer.tell(number)
        server.peer.complete()

        found = await take(events, len(wanted) + 1)
        kinds = [each["n"] if isinstance(each, dict) else "gap" for each in found[:-1]]
        assert wanted == kinds
        assert "the end" == found[-1]
        events_taken = [kind for kind in kinds if kind != "gap"]
        assert 7 == events.dropped + len(events_taken) + 1
        assert len(events_taken) + 1 == events.delivered


@tidily
async def test_without_tell_reconnects_nothing_comes_between_the_events(
    server: VirtualServer,
) -> None:
    """Though the subscription needs to know, for its keys."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"])
        await started(events, server.peer)
        await lose(it, server)
        server.peer.tell(1)

        assert n(1) == await take(events, 1)
        await events.aclose()


# --- Resuming ------------------------------------------------------------------------------------


def after(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
    return {**variables, "after": last["n"]}


def asked_after(peer: Peer) -> list[Any]:
    return [said["payload"]["variables"]["after"] for said in peer.said if "payload" in said]


@both
@tidily
async def test_it_goes_on_after_the_newest_event_that_came(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Delivered or not: what is buffered will be."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=after)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.tell(1)
        server.peer.tell(2, 3)
        await lose(it, server)
        server.peer.tell(4, 5)
        step = await begun(anext(events))
        server.peer.hang_up()
        assert {"n": 1} == await step
        await it.lasting.ready()
        await settle()

        assert [[-1], [0], [3], [5]] == [asked_after(peer) for peer in server.peers]
        assert n(2, 3, 4, 5) == await take(events, 4)
        await events.aclose()


@pytest.mark.parametrize("tail", [b"", b',"more":[1]'], ids=["plain", "odd"])
@tidily
async def test_it_goes_on_after_what_was_handed_over(server: VirtualServer, tail: bytes) -> None:
    """What a merger has of it, but has not given out yet, came as well, however it was written."""
    async with kept(server) as it:
        events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=after)
        other = it.session.subscribe(TICKS)
        await started(other, server.peer)
        await started(events, server.peer)
        merged = gqlwire.merge([other, events])
        step = await begun(anext(merged))
        server.peer.tell(1, id=other.id)
        server.peer.say(written(events.id or "", b'{"data":{"n":8}}' + tail))
        assert (other, {"n": 1}) == await step
        await lose(it, server)

        variables = [{}, {"after": 8}]
        assert variables == [
            said["payload"].get("variables", {}) for said in server.peer.said if "payload" in said
        ]
        assert (events, {"n": 8}) == await anext(merged)
        await merged.aclose()


@tidily
async def test_what_turns_out_to_be_no_event_is_none_to_go_on_from(server: VirtualServer) -> None:
    """Though a merger holds it: the one before it is. Before any step there is none."""
    async with kept(server) as it:
        events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=after)
        assert events.newest() is None
        other = it.session.subscribe(TICKS)
        await started(other, server.peer)
        await started(events, server.peer, 5)
        merged = gqlwire.merge([other, events])
        step = await begun(anext(merged))
        server.peer.tell(1, id=other.id)
        server.peer.say(written(events.id or "", b'{"data":{"n":8}},"type":"news"'))
        await step
        await lose(it, server)

        assert {"after": 5} == server.peer.said[-1]["payload"]["variables"]
        await merged.aclose()


@tidily
async def test_what_carries_errors_is_none_to_go_on_from(server: VirtualServer) -> None:
    """Neither are a notice, and what could not be read: the one before it is."""
    async with kept(server) as it:
        events = it.session.subscribe(
            FROM, variable_values={"after": -1}, resume=after, tell_reconnects=True
        )
        await started(events, server.peer)
        server.peer.tell(1)
        server.peer.say(server.peer.result({"data": {"n": 99}, "errors": [{"message": "x"}]}))
        server.peer.say(server.peer.result({}))
        await lose(it, server)
        await lose(it, server)

        assert [[-1], [1], [1]] == [asked_after(peer) for peer in server.peers]
        await events.aclose()


@tidily
async def test_before_there_was_an_event_it_begins_anew(server: VirtualServer) -> None:
    """`resume` is not asked, and the variables are those that were given."""
    async with kept(server) as it:
        events = it.session.subscribe(
            FROM, variable_values={"after": -1}, resume=lambda last, given: pytest.fail("asked")
        )
        step = await begun(anext(events))
        await lose(it, server)

        assert [[-1], [-1]] == [asked_after(peer) for peer in server.peers]
        step.cancel()
        await asyncio.wait([step])


@tidily
async def test_the_variables_that_were_given_are_what_resume_gets(server: VirtualServer) -> None:
    """Each time those, and not its own answer to the last gap."""
    asked: list[tuple[Any, Any]] = []

    def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
        asked.append((last, variables))
        return {"after": last["n"] * 10}

    async with kept(server) as it:
        events = it.session.subscribe(FROM, variable_values={"after": -1}, resume=resume)
        await started(events, server.peer)
        await lose(it, server)
        await lose(it, server)

        assert [({"n": 0}, {"after": -1})] * 2 == asked
        await events.aclose()


@tidily
async def test_the_variables_of_a_request_are_given_ones_too(server: VirtualServer) -> None:
    """Wherever they stand."""
    async with kept(server) as it:
        request = gqlwire.GraphQLRequest(FROM, variable_values={"after": 4})
        events = it.session.subscribe(request, resume=after)
        await started(events, server.peer, 5)
        await lose(it, server)

        assert [[4], [5]] == [asked_after(peer) for peer in server.peers]
        await events.aclose()


@tidily
async def test_a_resume_that_raises_ends_its_subscription(server: VirtualServer) -> None:
    """With its error, after what was buffered; the others go on, and so does the connection."""

    def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError("no cursor")

    async with kept(server) as it:
        bad, good = it.session.subscribe(FROM, resume=resume), it.session.subscribe(TICKS)
        for events in (bad, good):
            await started(events, server.peer)
        server.peer.tell(1, id=bad.id)
        await lose(it, server)
        server.peer.tell(2)

        assert n(1) == await take(bad, 1)
        with pytest.raises(ZeroDivisionError, match="no cursor"):
            await anext(bad)
        assert ["the end"] == await take(bad, 1)
        assert n(2) == await take(good, 1)
        assert Phase.OPEN is it.session.state
        await good.aclose()


@tidily
async def test_variables_that_cannot_be_sent_end_their_subscription(server: VirtualServer) -> None:
    """As they would at its beginning."""
    async with kept(server) as it:
        events = it.session.subscribe(FROM, resume=lambda last, given: {"after": object()})
        await started(events, server.peer)
        await lose(it, server)

        with pytest.raises(TypeError):
            await anext(events)


@tidily
async def test_a_typed_event_is_what_resume_gets(server: VirtualServer) -> None:
    """As its consumer gets it; also what is buffered."""
    asked: list[Any] = []

    def resume(last: N, variables: dict[str, Any]) -> dict[str, Any]:
        asked.append(last)
        return {"after": last.n}

    async with kept(server) as it:
        events = it.session.subscribe(FROM, result_type=N, resume=resume)
        step = await begun(anext(events))
        server.peer.tell(0)
        assert N(0) == await step
        await lose(it, server)
        server.peer.tell(1, 2)
        await lose(it, server)

        assert [N(0), N(2)] == asked
        assert [N(1), N(2)] == await take(events, 2)
        await events.aclose()


# --- Keys ----------------------------------------------------------------------------------------


@tidily
async def test_what_comes_again_at_the_seam_is_dropped(server: VirtualServer) -> None:
    """Until something new comes: after that, equal keys are events of their own."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"])
        await started(events, server.peer)
        server.peer.tell(1, 2, 2, 3)
        await lose(it, server)
        server.peer.tell(2, 3, 4, 3, 4, 4)

        assert n(1, 2, 2, 3, 4, 3, 4, 4) == await take(events, 8)
        await lose(it, server)
        server.peer.tell(4, 4, 5)
        assert n(5) == await take(events, 1)
        await events.aclose()


@tidily
async def test_what_was_buffered_counts_at_the_seam(server: VirtualServer) -> None:
    """Though its consumer had not seen it when the connection was lost."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"], tell_reconnects=True)
        await started(events, server.peer)
        server.peer.tell(1, 2)
        await lose(it, server)
        server.peer.tell(0, 1, 2, 3)

        found = await take(events, 4)
        assert [1, 2, "gap", 3] == [
            each["n"] if isinstance(each, dict) else "gap" for each in found
        ]
        await events.aclose()


@tidily
async def test_only_the_last_keys_are_remembered(server: VirtualServer) -> None:
    """A thousand: a feed that runs for months shall not grow."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: event["n"])
        await started(events, server.peer, -1)
        server.peer.tell(*range(1_500))
        await take(events, 1_500)
        await lose(it, server)
        server.peer.tell(*range(500, 1_501))
        server.peer.tell(3)

        assert n(1_500, 3) == await take(events, 2)
        tracker: Any = events._tracker
        assert 1_000 == len(tracker._keys)
        await events.aclose()


@tidily
async def test_a_key_that_raises_is_raised_by_its_step(server: VirtualServer) -> None:
    """And the next step goes on."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, key=lambda event: 1 // event["n"])
        step = await begun(anext(events))
        server.peer.tell(0, 1)
        with pytest.raises(ZeroDivisionError):
            await step

        assert n(1) == await take(events, 1)
        await events.aclose()


# --- Refusals ------------------------------------------------------------------------------------


def refuse(peer: Peer) -> None:
    """By `error`."""
    peer.refuse("not yet")


def complete_with_errors(peer: Peer) -> None:
    """As Tibber does: errors and no data, and then it is complete."""
    id = peer.id
    peer.say(peer.result({"errors": [{"message": "not yet"}], "data": None}, id))
    peer.complete(id)


REFUSALS = pytest.mark.parametrize("refusal", [refuse, complete_with_errors])


@REFUSALS
@both
@tidily
async def test_a_refusal_on_a_new_connection_is_tried_again(
    server: VirtualServer,
    spelling: Spelling,
    refusal: Callable[[Peer], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After waits that grow; no event comes of it, and the others do not notice."""
    async with kept(server, spelling=spelling) as it:
        events, other = it.session.subscribe(TICKS), it.session.subscribe(TICKS)
        await started(other, server.peer)
        await started(events, server.peer)
        step = await begun(anext(events))
        await lose(it, server)
        server.peer.tell(1, id=other.id)
        assert n(1) == await take(other, 1)
        waits = []
        server.peer.live.pop(other.id or "")
        for _ in range(3):
            begin = now()
            made = len(server.peer.started)
            refusal(server.peer)
            while len(server.peer.started) == made:
                await pass_time(0.1)
            waits.append(round(now() - begin))
        server.peer.tell(2, id=events.id)

        assert {"n": 2} == await step
        assert [1, 2, 4] == waits
        assert 2 == len(server.times)
        warnings = [record.getMessage() for record in caplog.records]
        assert (
            f"{HOST} refused a subscription on a new connection: not yet; again in 1.0 s"
            == warnings[0]
        )
        server.peer.live[other.id or ""] = {}
        for each in (events, other):
            await each.aclose()
        assert 2 == len(server.peer.stopped)


@REFUSALS
@tidily
async def test_it_gives_up_after_so_many_refusals(
    server: VirtualServer, refusal: Callable[[Peer], None]
) -> None:
    """Then its consumer is told what the server said."""
    async with kept(server, RetryPolicy(resubscribe_attempts=2)) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.peer.hang_up()
        await it.lasting.ready()
        server.on_start = lambda peer, *_: asyncio.get_running_loop().call_soon(refusal, peer)
        await settle()
        refusal(server.peer)
        [told] = await take(events, 1)

        assert (TransportQueryError, "not yet") == (type(told), str(told))
        assert ["the end"] == await take(events, 1)
        assert 3 == len(server.peer.started)
        assert Phase.OPEN is it.session.state


@REFUSALS
@tidily
async def test_a_result_forgives_refusals(
    server: VirtualServer, refusal: Callable[[Peer], None]
) -> None:
    """The count begins anew with the next loss."""
    async with kept(server, RetryPolicy(resubscribe_attempts=1)) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        for number in range(1, 5):
            await lose(it, server)
            refusal(server.peer)
            await pass_time(1.1)
            server.peer.tell(number)
            assert n(number) == await take(events, 1)

        assert [1, 2, 2, 2, 2] == [len(peer.started) for peer in server.peers]
        await events.aclose()


@tidily
async def test_a_refusal_after_a_result_is_the_end(server: VirtualServer) -> None:
    """As it is on a first connection: then the server means it."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.tell(1)
        server.peer.refuse("that is all")

        value, told = await take(events, 2)
        assert ({"n": 1}, "that is all") == (value, str(told))


@tidily
async def test_a_refusal_on_the_first_connection_is_the_end(server: VirtualServer) -> None:
    """Nothing was lost: the operation is wrong."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        step = await begun(anext(events))
        server.peer.refuse("no such field")

        with pytest.raises(TransportQueryError, match="no such field"):
            await step


@tidily
async def test_an_event_with_errors_that_is_no_refusal_is_released(server: VirtualServer) -> None:
    """After a second, in which the end did not come; in order with what comes then."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        begin = now()
        step = await begun(anext(events))
        for text in ("one", "two"):
            server.peer.say(server.peer.result({"errors": [{"message": text}], "data": None}))
        with pytest.raises(TransportQueryError, match="one"):
            await step
        assert 1.0 == round(now() - begin, 3)
        server.peer.tell(1)
        server.peer.tell(2, 3)

        found = await take(events, 4)
        assert ["two", {"n": 1}, {"n": 2}, {"n": 3}] == [str(found[0]), *found[1:]]
        await events.aclose()


@tidily
async def test_an_event_with_errors_is_released_by_the_next_one(server: VirtualServer) -> None:
    """Which shows that it was none of an end."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.say(
            server.peer.result({"errors": [{"message": "one"}], "data": None}),
            server.peer.result({"data": {"n": 1}}),
            server.peer.result({"data": {"n": 2}}),
        )
        begin = now()
        found = await take(events, 3)

        assert ["one", {"n": 1}, {"n": 2}] == [str(found[0]), *found[1:]]
        assert begin == now()
        await events.aclose()


@pytest.mark.parametrize(
    "payload",
    [
        {"data": {"n": None}, "errors": [{"message": "partly"}]},
        {"data": {"errors": 1}},
        {"data": {"n": '"errors"'}},
        {"errors": "?"},
        ["errors"],
        {},
    ],
)
@tidily
async def test_what_is_no_refusal_is_an_event(server: VirtualServer, payload: Any) -> None:
    """It has data, or is not to be read; it is delivered at once."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, get_execution_result=True)
        step = await begun(anext(events))
        server.peer.tell(0)
        await step
        await lose(it, server)
        begin = now()
        server.peer.say(server.peer.result(payload))
        server.peer.tell(1)
        found = await take(events, 2)

        assert {"n": 1} == found[1].data
        assert payload == {"errors": "?"} or begin == now()
        await events.aclose()


@tidily
async def test_a_completion_on_a_new_connection_is_the_end(server: VirtualServer) -> None:
    """Without errors it is no refusal: the server has no more."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.complete()

        assert ["the end"] == await take(events, 1)
        routes: Any = server.peer.connection.routes
        assert ({}, {}) == (routes._sinks, routes._streams)


@REFUSALS
@tidily
async def test_what_was_refused_is_carried_over_by_a_loss(
    server: VirtualServer, refusal: Callable[[Peer], None]
) -> None:
    """It does not wait any longer than for the new connection."""
    async with kept(server, RetryPolicy(first_delay=50, longest_delay=50), chance=0.5) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        refusal(server.peer)
        await lose(it, server)
        assert 1 == len(server.peer.live)
        await pass_time(100)

        assert [1, 1, 1] == [len(peer.started) for peer in server.peers]
        server.peer.tell(1)
        assert n(1) == await take(events, 1)
        await events.aclose()


@tidily
async def test_an_event_with_errors_survives_a_loss_on_probation(server: VirtualServer) -> None:
    """It was no refusal, as its end did not come."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        server.peer.say(server.peer.result({"errors": [{"message": "one"}], "data": None}))
        await lose(it, server)
        server.peer.tell(1)

        found = await take(events, 2)
        assert ["one", {"n": 1}] == [str(found[0]), found[1]]
        await events.aclose()


@pytest.mark.parametrize("when", ["held", "refused"])
@REFUSALS
@tidily
async def test_it_can_be_stopped_amid_a_refusal(
    server: VirtualServer, refusal: Callable[[Peer], None], when: str
) -> None:
    """One that is over on the server is not stopped there, and nothing is begun again."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        await lose(it, server)
        if when == "refused":
            refusal(server.peer)
        else:
            server.peer.say(server.peer.result({"errors": [{"message": "x"}]}))
        await events.aclose()
        assert (1 if when == "held" else 0) == len(server.peer.stopped)
        await pass_time(100)

        assert 1 == len(server.peer.started)
        assert ["the end"] == await take(events, 1)


@tidily
async def test_should_retry_has_the_last_word_on_refusals(server: VirtualServer) -> None:
    """Of subscriptions, too; one that raises ends that subscription with its error."""

    def should_retry(failure: TransportError) -> bool | None:
        if "raise" in str(failure):
            raise ZeroDivisionError("the policy's")
        return False if isinstance(failure, TransportQueryError) else None

    async with kept(server, RetryPolicy(should_retry=should_retry)) as it:
        told = []
        other = it.session.subscribe(TICKS)
        await started(other, server.peer)
        for text in ("no", "raise"):
            events = it.session.subscribe(TICKS)
            await started(events, server.peer)
            await lose(it, server)
            server.peer.refuse(text, events.id)
            [outcome] = await asyncio.gather(anext(events), return_exceptions=True)
            told.append((type(outcome), str(outcome)))
            assert Phase.OPEN is it.session.state

        assert [(TransportQueryError, "no"), (ZeroDivisionError, "the policy's")] == told
        server.peer.tell(1, id=other.id)
        assert n(1) == await take(other, 1)
        await other.aclose()


@tidily
async def test_who_was_left_alone_is_left_alone(server: VirtualServer) -> None:
    """What comes late about a subscription that is not carried any more changes nothing."""
    async with kept(server) as it:
        feed = it.lasting.feed(gqlwire.gql(TICKS))
        it.lasting.proven(feed)
        assert it.lasting.refused(feed, LOST) is False
        it.lasting.join(feed)
        it.lasting.leave(feed)
        it.lasting.leave(feed)
        await lose(it, server)
        feed.fail(LOST)
        feed.resubscribe(server.peer.connection, 1)

        assert [] == server.peer.started


# --- Many ----------------------------------------------------------------------------------------


@tidily
async def test_many_subscriptions_are_spread(server: VirtualServer) -> None:
    """Over so many seconds, on average; by default they go at once."""
    for spread, seconds in ((0.0, 0.0), (10.0, 10.0)):
        async with kept(server, RetryPolicy(spread=spread), chance=0.5) as it:
            all_ = [it.session.subscribe(TICKS) for _ in range(20)]
            for events in all_:
                await started(events, server.peer)
            await lose(it, server)
            times: list[float] = []
            begin = now()
            while len(server.peer.started) < 20:
                await pass_time(0.05)
            times.append(now() - begin)

            assert seconds == round(times[-1], 0)
            for events in all_:
                await events.aclose()


@tidily
async def test_a_loss_amid_the_spread_begins_it_anew(server: VirtualServer) -> None:
    """Each is on the newest connection once, and on none twice."""
    async with kept(server, RetryPolicy(spread=10), chance=0.5) as it:
        all_ = [it.session.subscribe(TICKS) for _ in range(20)]
        for events in all_:
            await started(events, server.peer)
        await lose(it, server)
        await pass_time(5)
        assert 5 < len(server.peer.started) < 15
        await lose(it, server)
        await pass_time(12)

        assert (20, 20) == (len(server.peer.started), len(server.peer.live))
        assert {events.id for events in all_} == {*server.peer.live}
        for events in all_:
            await events.aclose()


@tidily
async def test_one_that_ends_amid_the_spread_is_left_out(server: VirtualServer) -> None:
    """It is not begun for nobody."""
    async with kept(server, RetryPolicy(spread=10), chance=0.5) as it:
        one, other = it.session.subscribe(TICKS), it.session.subscribe(TICKS)
        for events in (one, other):
            await started(events, server.peer)
        server.peer.hang_up()
        await it.lasting.ready()
        await other.aclose()
        await pass_time(12)

        assert [one.id] == server.peer.started
        await one.aclose()


@tidily
async def test_they_wait_for_a_socket_that_takes_no_more(server: VirtualServer) -> None:
    """As others that send; and if it is lost meanwhile, they go to the next one."""
    clogged = False

    def clog(event: object) -> None:
        connection = it.lasting.live
        if clogged and connection is not None:
            connection.writable(False)

    async with kept(server, survival=Survival(hooks=Hooks(connected=clog))) as it:
        all_ = [it.session.subscribe(TICKS) for _ in range(3)]
        for events in all_:
            await started(events, server.peer)
        clogged = True
        for _ in range(2):
            await lose(it, server)
            await pass_time(5)
            assert [] == server.peer.started
        server.peer.connection.writable(True)
        await settle()
        assert 3 == len(server.peer.started)
        for events in all_:
            await events.aclose()


# --- Lists and mergers ---------------------------------------------------------------------------


@tidily
async def test_batches_go_on_over_a_loss(server: VirtualServer) -> None:
    """What came by both connections may be in one list, notices in between."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True)
        await started(events, server.peer)
        batches = events.batches()
        server.peer.tell(1, 2)
        await lose(it, server)
        server.peer.tell(3)
        server.peer.tell(4, 5)

        batch = await anext(batches)
        assert [1, 2, "gap", 3, 4, 5] == [
            each["n"] if isinstance(each, dict) else "gap" for each in batch
        ]
        step = await begun(anext(batches))
        await lose(it, server)
        assert isinstance((await step)[0], Reconnected)
        await events.aclose()


@tidily
async def test_a_merger_goes_on_over_a_loss(server: VirtualServer) -> None:
    """With what was handed to it and not taken, for each of its subscriptions, in their order."""
    async with kept(server) as it:
        all_ = [it.session.subscribe(TICKS) for _ in range(3)]
        async with gqlwire.merge(all_) as merged:
            step = await begun(anext(merged))
            found: dict[Any, list[int]] = {each: [] for each in all_}

            async def collect(count: int) -> None:
                for _ in range(count):
                    subscription, event = await anext(merged)
                    found[subscription].append(event["n"])

            for number in (0, 1):
                for each in all_:
                    server.peer.tell(number, id=each.id)
            subscription, event = await step
            found[subscription].append(event["n"])
            await lose(it, server)
            for each in all_:
                server.peer.tell(2, 3, id=each.id)
            await collect(11)
            waiting = await begun(collect(3))
            await lose(it, server)
            for each in all_:
                server.peer.tell(4, id=each.id)
            await waiting

            assert [[0, 1, 2, 3, 4]] * 3 == [*found.values()]
        assert 3 == len(server.peer.stopped)


@pytest.mark.parametrize("options", [{"tell_reconnects": True}, {"key": lambda event: event["n"]}])
@tidily
async def test_a_merger_of_tracked_subscriptions(
    server: VirtualServer, options: dict[str, Any]
) -> None:
    """Tells notices as events of theirs, and drops what comes again."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, **options)
        async with gqlwire.merge([events]) as merged:
            step = await begun(anext(merged))
            server.peer.tell(0, 1)
            assert (events, {"n": 0}) == await step
            await lose(it, server)
            server.peer.tell(1, 2)
            found = [(await anext(merged))[1] for _ in range(2)]

            wanted = [1, "gap"] if "tell_reconnects" in options else [1, 2]
            assert wanted == [each["n"] if isinstance(each, dict) else "gap" for each in found]


# --- Slow consumers ------------------------------------------------------------------------------


@tidily
async def test_a_full_stream_holds_back_the_new_connection(server: VirtualServer) -> None:
    """It was paused for it before the loss; the new one is read until the next event, and then
    paused in its turn; when the consumer has caught up, it is read on."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, buffer=2)
        await started(events, server.peer)
        server.peer.tell(1, 2, 3)
        assert ["pause"] == server.peer.asked
        server.peer.hang_up()
        assert ["pause", "resume"] == server.peer.asked[:2]
        await it.lasting.ready()
        await settle()
        assert [] == server.peer.asked
        server.peer.tell(4)
        assert ["pause"] == server.peer.asked

        assert n(1, 2, 3, 4) == await take(events, 4)
        assert ["pause", "resume"] == server.peer.asked
        step = await begun(anext(events))
        server.peer.tell(5)
        assert {"n": 5} == await step
        await events.aclose()


@tidily
async def test_one_that_has_caught_up_while_it_was_lost_holds_nothing_back(
    server: VirtualServer,
) -> None:
    """The new connection is read."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, buffer=2)
        await started(events, server.peer)
        server.peer.tell(1, 2, 3)
        server.peer.hang_up()
        assert n(1, 2, 3) == await take(events, 3)
        await it.lasting.ready()
        await settle()
        server.peer.tell(4, 5)

        assert [] == server.peer.asked
        assert n(4, 5) == await take(events, 2)
        await events.aclose()


@tidily
async def test_a_slow_consumer_is_ended_on_the_new_connection(server: VirtualServer) -> None:
    """And that one is told to stop, with the id that it has there."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, buffer=2, overflow="error")
        await started(events, server.peer)
        server.peer.tell(1, 2)
        await lose(it, server)
        server.peer.tell(3)

        *_, told = await take(events, 3)
        assert SlowConsumer is type(told)
        assert [[], [events.id]] == [peer.stopped for peer in server.peers]


# --- Deadlines -----------------------------------------------------------------------------------


@tidily
async def test_the_wait_for_a_first_event_includes_that_for_a_connection(
    server: VirtualServer,
) -> None:
    """It is counted from the first step on, and says what was missing."""
    async with kept(server, connect_timeout=None) as it:
        server.will(UNREACHABLE)
        server.peer.hang_up()
        begin = now()
        events = it.session.subscribe(TICKS, first_event_timeout=5)
        with pytest.raises(OperationTimeout) as told:
            await anext(events)

        assert 5 == round(now() - begin, 3)
        assert str(told.value).startswith(
            f"the subscription was not sent: there was no connection to {HOST} within 5 seconds "
            "(first_event_timeout); the last failure: "
        )
        assert ["the end"] == await take(events, 1)


@tidily
async def test_a_connection_that_came_late_leaves_less_time_for_the_first_event(
    server: VirtualServer,
) -> None:
    """The limit is one for both."""
    async with kept(server) as it:
        server.will(slowly(3))
        server.peer.hang_up()
        begin = now()
        events = it.session.subscribe(TICKS, first_event_timeout=5)
        with pytest.raises(OperationTimeout, match="within 5 seconds"):
            await anext(events)

        assert 5 == round(now() - begin, 3)
        assert [events.id] == server.peer.stopped


@tidily
async def test_the_final_failure_is_not_taken_for_the_deadline(server: VirtualServer) -> None:
    """Though it may be a TimeoutError."""
    policy = RetryPolicy(attempts=1)
    async with kept(server, policy, connect_timeout=2) as it:
        server.otherwise = UNREACHABLE
        server.peer.hang_up()
        events = it.session.subscribe(TICKS, first_event_timeout=50)
        with pytest.raises(gqlwire.errors.ConnectTimeout):
            await anext(events)


@tidily
async def test_silence_while_it_is_lost_is_silence(server: VirtualServer) -> None:
    """The consumer waits no longer than it wanted; nothing is begun again for it."""
    async with kept(server, connect_timeout=None) as it:
        events = it.session.subscribe(TICKS, idle_timeout=30)
        await started(events, server.peer)
        server.will(slowly(60))
        step = await begun(anext(events))
        server.peer.hang_up()
        begin = now()
        with pytest.raises(OperationTimeout, match="the server sent no event"):
            await step
        assert 30 == round(now() - begin, 3)
        await it.lasting.ready()
        await settle()

        assert [] == server.peer.started


# --- What is left --------------------------------------------------------------------------------


@tidily
async def test_nothing_grows_with_the_number_of_losses(server: VirtualServer) -> None:
    """Neither in what carries them over nor in what feeds them."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True, key=lambda event: event["n"])
        await started(events, server.peer, -1)
        stream, resubscribing = events.stream, it.lasting._resubscribing
        assert stream is not None
        for number in range(50):
            await lose(it, server)
            server.peer.tell(number)
            assert {"n": number} == (await take(events, 2))[1]
            server.peers[:-1] = []

        assert (1, {}, {}) == (
            len(resubscribing._feeds),
            resubscribing._alarms,
            stream._marks or {},
        )
        gc.collect()
        connections = [
            each
            for each in gc.get_objects()
            if type(each).__name__ == "Connection" and type(each).__module__.startswith("gqlwire")
        ]
        assert 2 >= len(connections)
        await events.aclose()
        assert {} == resubscribing._feeds
