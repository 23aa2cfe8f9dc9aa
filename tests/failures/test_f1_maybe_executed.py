"""A mutation that had run was said not to have been sent, as the last attempt could not connect.

Every error that ends a mutation says by `maybe_executed` whether the server may have executed it:
True from the first byte on, on whichever connection, and False only if no server has seen it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gqlwire
from doubles import VirtualTimeLoop, pass_time, settle
from gqlwire import RetryPolicy, gql
from gqlwire.errors import (
    ConnectionClosed,
    HandshakeRejected,
    IncompleteResult,
    OperationInterrupted,
    OperationTimeout,
    ResultMismatch,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer as RealPeer
from servers.fake import Refusal, fake
from spelling import NEWER, OLDER, Spelling, both
from support import failure
from virtual_server import (
    HOST,
    MUTATION,
    QUERY,
    SPELT,
    UNREACHABLE,
    Kept,
    Meeting,
    Peer,
    VirtualServer,
    assert_nothing_is_left,
    begun,
    keeping,
    kept,
    refused,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

OVERLOADED = refused(HandshakeRejected("503", status=503, host=HOST))
POLICY = RetryPolicy(first_delay=0.1, longest_delay=0.1)
FOR_GOOD = RetryPolicy(should_retry=lambda _: False)


async def ended_by(asking: Awaitable[object]) -> Any:
    """The error that a mutation ends with."""
    with pytest.raises(TransportError) as caught:
        await asking
    return caught.value


# --- As reported ---------------------------------------------------------------------------------


@both
@tidily
async def test_f1_an_idempotent_mutation_that_ran_and_then_met_503(
    server: VirtualServer, spelling: Spelling
) -> None:
    """It ran, its connection was aborted, and there was none again before its time was over."""
    async with kept(server, POLICY, spelling=spelling) as it:
        server.otherwise = OVERLOADED
        asking = await begun(it.session.execute(MUTATION, timeout=0.5, idempotent=True))
        assert 1 == len(server.peer.started)
        server.peer.hang_up(1006)
        told = await ended_by(asking)

    assert (OperationTimeout, True) == (type(told), told.maybe_executed)
    assert "was not sent" not in str(told)
    assert str(told).startswith(
        "the mutation was sent, its connection was lost, and then there was"
    )
    assert "the server may or may not have executed it; the last failure: 503" in str(told)


@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
async def test_f1_over_sockets(protocol: str) -> None:
    """The same on a real server, which counts."""
    ran: list[str] = []

    async def script(peer: RealPeer) -> None:
        await peer.ack()
        start = await peer.expect("subscribe" if protocol == "graphql-transport-ws" else "start")
        ran.append(start["id"])
        server._refuse = unavailable
        peer.abort()

    unavailable = Refusal(503)
    async with fake(script, subprotocols=(protocol,)) as server:
        client = gqlwire.connect(server.url, retry=POLICY, proxy=None)
        async with client as session:
            told = await failure(
                OperationTimeout, session.execute(MUTATION, timeout=0.5, idempotent=True)
            )

    assert (1, True) == (len(ran), told.maybe_executed)
    assert "was not sent" not in str(told)


# --- Each error ----------------------------------------------------------------------------------

Act = Callable[[Kept, VirtualServer], Coroutine[Any, Any, None]]


async def hang_up(it: Kept, server: VirtualServer) -> None:
    server.peer.hang_up(1012)


async def close(it: Kept, server: VirtualServer) -> None:
    await it.lasting.close()


async def drop(it: Kept, server: VirtualServer) -> None:
    it.lasting.terminate()


async def say_no_json(it: Kept, server: VirtualServer) -> None:
    server.peer.say(b"hello")


async def answer_no_result(it: Kept, server: VirtualServer) -> None:
    server.peer.say(server.peer.result(5))


async def answer_errors(it: Kept, server: VirtualServer) -> None:
    server.peer.say(server.peer.result({"data": None, "errors": [{"message": "no"}]}))


async def refuse(it: Kept, server: VirtualServer) -> None:
    server.peer.refuse()


async def answer_nothing(it: Kept, server: VirtualServer) -> None:
    server.peer.complete()


async def answer_a_part(it: Kept, server: VirtualServer) -> None:
    server.peer.say(server.peer.result({"data": {"set": 1}, "hasNext": True}))


async def answer_another_type(it: Kept, server: VirtualServer) -> None:
    server.peer.say(server.peer.result({"data": {"set": 1}}))


async def wait(it: Kept, server: VirtualServer) -> None:
    await pass_time(10)


@both
@pytest.mark.parametrize(
    ("act", "policy", "kind"),
    [
        (hang_up, POLICY, OperationInterrupted),
        (hang_up, FOR_GOOD, ConnectionClosed),
        (drop, POLICY, OperationInterrupted),
        (drop, FOR_GOOD, TransportConnectionFailed),
        (close, POLICY, TransportClosed),
        (say_no_json, POLICY, OperationInterrupted),
        (say_no_json, FOR_GOOD, TransportProtocolError),
        (answer_no_result, POLICY, TransportProtocolError),
        (answer_errors, POLICY, TransportQueryError),
        (refuse, POLICY, TransportQueryError),
        (answer_nothing, POLICY, TransportQueryError),
        (answer_a_part, POLICY, IncompleteResult),
        (answer_another_type, POLICY, ResultMismatch),
        (wait, POLICY, OperationTimeout),
    ],
    ids=lambda it: getattr(it, "__name__", ""),
)
@tidily
async def test_f1_kind_every_error_of_a_mutation_that_was_sent(
    server: VirtualServer,
    spelling: Spelling,
    act: Act,
    policy: RetryPolicy,
    kind: type[TransportError],
) -> None:
    """It may have run, whatever ended it."""
    async with kept(server, policy, spelling=spelling) as it:
        options = {"result_type": list[str]} if act is answer_another_type else {}
        asking = await begun(it.session.execute(MUTATION, timeout=5, **options))
        await act(it, server)
        if policy is FOR_GOOD and act is not say_no_json:
            await settle()
        told = await ended_by(asking)

    # A connection that ended for good tells either of the two, by which of them ran first.
    assert type(told) in (kind, OperationInterrupted)
    assert told.maybe_executed
    assert "not sent" not in str(told) + "".join(getattr(told, "__notes__", []))


@both
@pytest.mark.parametrize("act", [close, wait], ids=lambda it: it.__name__)
@pytest.mark.parametrize("is_clogged", [False, True])
@tidily
async def test_f1_kind_every_error_of_a_mutation_that_was_not_sent(
    server: VirtualServer, spelling: Spelling, act: Act, is_clogged: bool
) -> None:
    """It waits for a connection, or for one that takes data."""
    async with kept(server, POLICY, spelling=spelling, ping_interval=None) as it:
        if is_clogged:
            server.peer.connection.writable(False)
        else:
            server.otherwise = UNREACHABLE
            server.peer.hang_up(1012)
        asking = await begun(it.session.execute(MUTATION, timeout=5))
        await act(it, server)
        told = await ended_by(asking)

    assert type(told) in (TransportClosed, OperationTimeout)
    assert not told.maybe_executed
    if isinstance(told, OperationTimeout):
        assert str(told).startswith("the mutation was not sent: ")
        assert is_clogged is ("took no data" in str(told))
    else:
        assert ["the mutation was not sent"] == told.__notes__


@tidily
async def test_f1_kind_before_and_after_a_session(server: VirtualServer) -> None:
    """Nothing is sent then."""
    it = keeping(server)
    assert not (await ended_by(it.session.execute(MUTATION))).maybe_executed
    await it.lasting.connect()
    await it.lasting.close()
    assert not (await ended_by(it.session.execute(MUTATION))).maybe_executed

    transport: WebsocketsTransport = server.transport()
    assert not (await ended_by(transport.execute(gql(MUTATION)))).maybe_executed
    await transport.connect()
    asking = await begun(transport.execute(gql(MUTATION)))
    server.peer.hang_up()
    assert (await ended_by(asking)).maybe_executed
    assert not (await ended_by(transport.execute(gql(MUTATION)))).maybe_executed
    await transport.close()


@both
@pytest.mark.parametrize("is_sent", [False, True])
@tidily
async def test_f1_kind_a_cancellation_has_a_note(
    server: VirtualServer, spelling: Spelling, is_sent: bool
) -> None:
    """That of a mutation only."""
    async with kept(server, POLICY, spelling=spelling) as it:
        if not is_sent:
            server.otherwise = UNREACHABLE
            server.peer.hang_up(1012)
        notes: dict[str, list[str]] = {}
        for document in (MUTATION, QUERY):
            asking = await begun(it.session.execute(document, timeout=None))
            asking.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await asking
            notes[document] = getattr(caught.value, "__notes__", [])
        with pytest.raises(TimeoutError) as late:
            await asyncio.wait_for(it.session.execute(MUTATION), 1)

    sent = "the mutation was sent; the server may or may not have executed it"
    expected = [sent if is_sent else "the mutation was not sent"]
    assert {MUTATION: expected, QUERY: []} == notes
    assert expected == late.value.__cause__.__notes__


@both
@tidily
async def test_f1_kind_a_send_that_fails_amid_it_counts_as_sent(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Nobody knows how much of it has gone."""

    def lose(peer: Peer, id: str, request: dict[str, Any]) -> None:
        peer.hang_up(1006)

    server.on_start = lose
    async with kept(server, POLICY, spelling=spelling) as it:
        told = await ended_by(it.session.execute(MUTATION))

    assert (OperationInterrupted, True) == (type(told), told.maybe_executed)


@both
@tidily
async def test_f1_kind_a_subscription_to_a_mutation_is_not_sent_again(
    server: VirtualServer, spelling: Spelling
) -> None:
    """As by `execute`."""
    async with kept(server, POLICY, spelling=spelling) as it:
        step = await begun(anext(it.session.subscribe(MUTATION)))
        server.peer.hang_up(1012)
        told = await ended_by(step)
        await it.lasting.ready()
        await pass_time(5)

        waiting = await begun(anext(it.session.subscribe(MUTATION, first_event_timeout=1)))
        server.peer.say(server.peer.result(5))
        unreadable = await ended_by(waiting)
        server.otherwise = UNREACHABLE
        server.peer.hang_up(1012)
        unsent = await ended_by(anext(it.session.subscribe(MUTATION, first_event_timeout=1)))

    assert (ConnectionClosed, True) == (type(told), told.maybe_executed)
    assert [1, 1] == [len(peer.started) for peer in server.peers]
    assert (TransportProtocolError, True) == (type(unreadable), unreadable.maybe_executed)
    assert (OperationTimeout, False) == (type(unsent), unsent.maybe_executed)


@both
@pytest.mark.parametrize("greeting", [4403, b"hello", b"[]", None])
@tidily
async def test_f1_kind_one_connection_for_one_mutation_that_cannot_be_made(
    server: VirtualServer, spelling: Spelling, greeting: bytes | int | None
) -> None:
    """What ends the attempt to connect ends the mutation."""
    server.otherwise = Meeting(greeting=greeting)
    client = server.client(subprotocols=[SPELT[id(spelling)]], ack_timeout=1)
    assert not (await ended_by(client.execute_async(MUTATION))).maybe_executed


# --- Any order of faults -------------------------------------------------------------------------


@dataclass
class Run:
    """What the server has executed, and how each mutation ended, by its key."""

    executed: Counter[str] = field(default_factory=Counter)
    ends: dict[str, BaseException | None] = field(default_factory=dict)

    def judge(self) -> None:
        for key, end in self.ends.items():
            if isinstance(end, TransportError):
                told = end.maybe_executed
            elif isinstance(end, asyncio.CancelledError):
                told = "was sent" in "".join(end.__notes__)
            else:
                assert self.executed[key]
                continue
            # What the virtual server has not got was not sent.
            assert told is (self.executed[key] > 0), (key, end)


seconds = st.sampled_from([0.0, 0.05, 0.2, 0.7])
mutations = st.lists(
    st.fixed_dictionaries(
        {
            "pause": seconds,
            "timeout": st.sampled_from([0.0, 0.1, 0.5, None]),
            "idempotent": st.booleans(),
            "cancelled": st.none() | seconds,
        }
    ),
    min_size=1,
    max_size=6,
)
FAULTS = ["hang up", "tear", "no json", "terminate", "clog", "answer", "refuse"]
faults = st.lists(st.tuples(seconds, st.sampled_from(FAULTS)), max_size=8)
meetings = st.lists(
    st.sampled_from(
        [OVERLOADED, UNREACHABLE, Meeting(greeting=1013), Meeting(), Meeting(lasts=0.1)]
    ),
    max_size=6,
)


@settings(deadline=None)
@given(
    plan=mutations,
    weather=faults,
    meetings=meetings,
    tears=st.booleans(),
    spelling=st.sampled_from([NEWER, OLDER]),
)
def test_f1_kind_whatever_happens(
    plan: list[dict[str, Any]],
    weather: list[tuple[float, str]],
    meetings: list[Meeting],
    tears: bool,
    spelling: Spelling,
) -> None:
    """Faults in any order, time limits, cancellations, and `close()` between them."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(_weathered(plan, weather, meetings, tears, spelling)).judge()


async def _weathered(
    plan: list[dict[str, Any]],
    weather: list[tuple[float, str]],
    meetings: list[Meeting],
    tears: bool,
    spelling: Spelling,
) -> Run:
    run, server = Run(), VirtualServer()

    def note(peer: Peer, id: str, request: dict[str, Any]) -> None:
        run.executed[request["variables"]["key"]] += 1
        if tears and run.executed.total() % 3 == 0:
            peer.hang_up(1006)

    server.on_start = note
    async with kept(server, POLICY, spelling=spelling, connect_timeout=0.3) as it:
        server.plan.extend(meetings)
        tasks = [
            asyncio.create_task(_mutate(it, run, f"{number}", **options))
            for number, options in enumerate(plan)
        ]
        for pause, fault in weather:
            await pass_time(pause)
            await _strike(fault, it, server)
    await asyncio.gather(*tasks)
    assert_nothing_is_left()
    return run


async def _mutate(
    it: Kept,
    run: Run,
    key: str,
    *,
    pause: float,
    timeout: float | None,
    idempotent: bool,
    cancelled: float | None,
) -> None:
    await pass_time(pause)
    asking = asyncio.create_task(
        it.session.execute(
            "mutation M($key: String!) { set(key: $key) }",
            variable_values={"key": key},
            timeout=timeout,
            idempotent=idempotent,
        )
    )
    if cancelled is not None:
        await asyncio.wait([asking], timeout=cancelled)
        asking.cancel()
    await asyncio.wait([asking])
    try:
        await asking
        run.ends[key] = None
    except (TransportError, asyncio.CancelledError) as end:
        run.ends[key] = end


async def _strike(fault: str, it: Kept, server: VirtualServer) -> None:
    peer = server.peer
    if not peer.is_open:
        return
    match fault:
        case "hang up" | "tear":
            peer.hang_up(1012 if fault == "hang up" else 1006)
        case "no json":
            peer.say(b"{")
        case "terminate":
            it.session.terminate()
        case "clog":
            peer.connection.writable(False)
        case _:
            end = partial(peer.answer, {"set": 1}) if fault == "answer" else peer.refuse
            for id in list(peer.live):
                end(id=id)
