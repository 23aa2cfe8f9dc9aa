"""Operations with one result over connections that are lost: never sent twice unless that is safe.

What was not sent yet waits, within its own timeout; what was sent is interrupted, or repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from doubles import pass_time, settle
from gqlwire import RetryPolicy
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import (
    ConnectionClosed,
    ConnectionRefused,
    ConnectTimeout,
    IncompleteResult,
    OperationInterrupted,
    OperationTimeout,
    Phase,
    TransportClosed,
    TransportConnectionFailed,
    TransportProtocolError,
    TransportQueryError,
)
from spelling import Spelling, both
from virtual_server import (
    HOST,
    MUTATION,
    QUERY,
    TICKS,
    UNREACHABLE,
    Meeting,
    Peer,
    VirtualServer,
    answering,
    begun,
    hangs_up,
    kept,
    now,
    slowly,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

REFUSED = ConnectionRefused("nobody listens", host=HOST, phase=Phase.CONNECT)
RETRY_QUERIES = ReconnectOptions(retry_queries=True)


# --- What was sent -------------------------------------------------------------------------------


@both
@tidily
async def test_a_mutation_that_ran_is_never_sent_again(
    server: VirtualServer, spelling: Spelling
) -> None:
    """It raises, and says that it may have run, and why it is not known."""
    reconnect = ReconnectOptions(retry_queries=True)
    async with kept(server, spelling=spelling, reconnect=reconnect) as it:
        asking = await begun(it.session.execute(MUTATION))
        assert 1 == len(server.peer.live)
        server.peer.hang_up(1012, "restart")
        with pytest.raises(OperationInterrupted) as told:
            await asking
        await it.lasting.ready()
        await pass_time(5)

        assert [1, 0] == [len(peer.started) for peer in server.peers]
        it_is = told.value
        assert (True, HOST, 1012, "restart", Phase.OPEN) == (
            it_is.maybe_executed,
            it_is.host,
            it_is.code,
            it_is.reason,
            it_is.phase,
        )
        assert isinstance(it_is.__cause__, ConnectionClosed)
        assert str(it_is).startswith(
            "the connection was lost during the mutation "
            "(the server may or may not have executed it): "
        )
        assert str(it_is.__cause__) in str(it_is)


@pytest.mark.parametrize(
    ("operation", "retry_queries", "idempotent", "is_repeated"),
    [
        (QUERY, False, False, False),
        (QUERY, True, False, True),
        (QUERY, False, True, True),
        (MUTATION, False, False, False),
        (MUTATION, True, False, False),
        (MUTATION, False, True, True),
        (TICKS, False, False, False),
        (TICKS, True, False, True),
    ],
)
@tidily
async def test_only_idempotent_operations_are_repeated(
    server: VirtualServer,
    operation: str,
    retry_queries: bool,
    idempotent: bool,
    is_repeated: bool,
) -> None:
    """Queries with `retry_queries`, and mutations that are said to be idempotent."""
    reconnect = ReconnectOptions(retry_queries=retry_queries)
    async with kept(server, reconnect=reconnect) as it:
        asking = await begun(it.session.execute(operation, idempotent=idempotent))
        server.will(REFUSED)
        server.peer.hang_up()
        answering(server)
        if is_repeated:
            assert {"get": 1} == await asking
        else:
            with pytest.raises(OperationInterrupted):
                await asking
        await it.lasting.ready()

        assert int(is_repeated) == len(server.peer.started)


@tidily
async def test_a_repetition_has_an_id_of_its_own(server: VirtualServer) -> None:
    """A server that still has the old connection must not confuse the two."""
    async with kept(server, reconnect=RETRY_QUERIES) as it:
        asking = await begun(it.session.execute(QUERY))
        for _ in range(3):
            server.peer.hang_up()
            await it.lasting.ready()
            await settle()
        server.peer.answer({"get": 7})

        assert {"get": 7} == await asking
        assert 4 == len({id for peer in server.peers for id in peer.started})


@tidily
async def test_an_answer_that_came_before_the_loss_is_one(server: VirtualServer) -> None:
    """Though who asked has not run meanwhile."""
    async with kept(server) as it:
        asking = await begun(it.session.execute(MUTATION))
        server.peer.answer({"set": 1})
        server.peer.hang_up()

        assert {"set": 1} == await asking


@tidily
async def test_a_refusal_is_not_repeated(server: VirtualServer) -> None:
    """It is the server's answer, whatever becomes of the connection."""
    async with kept(server, reconnect=RETRY_QUERIES) as it:
        asking = await begun(it.session.execute(QUERY))
        server.peer.refuse("no such field")
        server.peer.hang_up()
        with pytest.raises(TransportQueryError, match="no such field"):
            await asking
        await it.lasting.ready()

        assert [] == server.peer.started


@tidily
async def test_the_loss_may_be_one_without_a_code(server: VirtualServer) -> None:
    """As when a message could not be read: then there are no code and no phase."""
    async with kept(server) as it:
        asking = await begun(it.session.execute(MUTATION))
        server.peer.say(b"<html>")
        with pytest.raises(OperationInterrupted, match="not JSON") as told:
            await asking

        assert (None, "", None) == (told.value.code, told.value.reason, told.value.phase)
        assert isinstance(told.value.__cause__, TransportProtocolError)


@pytest.mark.parametrize("idempotent", [False, True])
@tidily
async def test_closing_ends_a_running_operation_with_transport_closed(
    server: VirtualServer, idempotent: bool
) -> None:
    """Not with OperationInterrupted: there is no other connection."""
    async with kept(server) as it:
        asking = await begun(it.session.execute(MUTATION, idempotent=idempotent))
        await it.lasting.close()

        with pytest.raises(TransportClosed, match=r"closed by close\(\)"):
            await asking


@tidily
async def test_reconnect_interrupts_a_running_mutation(server: VirtualServer) -> None:
    """A mutation raises; a query that may be repeated runs on the new connection."""
    async with kept(server, reconnect=RETRY_QUERIES) as it:
        mutation = await begun(it.session.execute(MUTATION))
        query = await begun(it.session.execute(QUERY))
        answering(server)
        await it.session.reconnect("new token")

        with pytest.raises(OperationInterrupted, match="closed by reconnect"):
            await mutation
        assert {"get": 1} == await query


@tidily
async def test_a_repeatable_operation_raises_the_final_failure(server: VirtualServer) -> None:
    """If there is no other connection to repeat it on."""
    policy = RetryPolicy(should_retry=lambda failure: False)
    async with kept(server, policy, reconnect=RETRY_QUERIES) as it:
        asking = await begun(it.session.execute(QUERY))
        server.peer.hang_up(4400, "no")

        with pytest.raises(ConnectionClosed, match="4400 no"):
            await asking


# --- What was not sent ---------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [QUERY, MUTATION])
@tidily
async def test_an_operation_that_was_not_sent_waits_for_a_connection(
    server: VirtualServer, operation: str
) -> None:
    """It is sent once. That is no repetition, so it need not be idempotent."""
    answering(server)
    async with kept(server) as it:
        server.will(REFUSED, hangs_up(1012), UNREACHABLE)
        server.peer.hang_up()
        asking = await begun(it.session.execute(operation, timeout=60))

        assert {"get": 1} == await asking
        assert [0, 0, 1] == [len(peer.started) for peer in server.peers]


@tidily
async def test_an_operation_that_waits_for_room_was_not_sent(server: VirtualServer) -> None:
    """A socket without room keeps it back; the next connection sends it."""
    answering(server)
    async with kept(server) as it:
        server.peer.connection.writable(False)
        asking = [await begun(it.session.execute(MUTATION)) for _ in range(3)]
        assert {} == server.peer.live
        server.peer.hang_up()

        assert [{"get": 1}] * 3 == await asyncio.gather(*asking)
        assert [0, 3] == [len(peer.started) for peer in server.peers]


@tidily
async def test_an_operation_that_waits_for_room_outlives_a_silent_server(
    server: VirtualServer,
) -> None:
    """The end of the connection is a TimeoutError, but not that of the operation."""
    async with kept(server, keep_alive_timeout=5) as it:
        server.peer.connection.writable(False)
        asking = await begun(it.session.execute(MUTATION, timeout=60))
        answering(server)

        assert {"get": 1} == await asking
        assert [0, 1] == [len(peer.started) for peer in server.peers]


@tidily
async def test_the_wait_for_a_connection_is_within_the_timeout(server: VirtualServer) -> None:
    """The error says that it was not sent, and what the last failure was."""
    async with kept(server) as it:
        server.otherwise = Meeting(REFUSED)
        server.peer.hang_up()
        begin = now()
        with pytest.raises(OperationTimeout) as told:
            await it.session.execute(MUTATION, timeout=5)

        assert (5, 5, HOST) == (round(now() - begin, 3), told.value.limit, told.value.host)
        assert (
            f"the mutation was not sent: there was no connection to {HOST} within 5 seconds "
            "(execute_timeout); the last failure: nobody listens"
        ) == str(told.value)


@tidily
async def test_the_wait_and_the_answer_share_the_timeout(server: VirtualServer) -> None:
    """What the connection took is no longer there for the answer; the limit is told whole."""
    async with kept(server) as it:
        server.will(slowly(3))
        server.peer.hang_up()
        begin = now()
        with pytest.raises(OperationTimeout, match="did not answer the query within 10 seconds"):
            await it.session.execute(QUERY)

        assert 10 == round(now() - begin, 3)
        assert server.peer.started == server.peer.stopped


@tidily
async def test_repetitions_share_the_timeout(server: VirtualServer) -> None:
    """However often it is lost, it is over in time."""
    async with kept(server, RetryPolicy(growth=1), reconnect=RETRY_QUERIES) as it:
        begin = now()
        server.on_start = lambda peer, *_: asyncio.get_running_loop().call_later(1, peer.hang_up)
        with pytest.raises(OperationTimeout):
            await it.session.execute(QUERY, timeout=9)

        assert 9 == round(now() - begin, 3)
        assert 3 < sum(len(peer.started) for peer in server.peers)


@tidily
async def test_a_query_that_is_lost_again_and_again_is_given_up(server: VirtualServer) -> None:
    """It may be what ends the connections, to the harm of all others."""
    async with kept(server, RetryPolicy(growth=1), reconnect=RETRY_QUERIES) as it:
        server.on_start = lambda peer, *_: asyncio.get_running_loop().call_later(1, peer.hang_up)
        with pytest.raises(OperationInterrupted) as told:
            await it.session.execute(QUERY, timeout=None)

        assert told.value.maybe_executed
        assert 6 == sum(len(peer.started) for peer in server.peers)


@tidily
async def test_without_a_timeout_it_waits_for_ever(server: VirtualServer) -> None:
    """As a service does that would rather be late."""
    answering(server)
    async with kept(server) as it:
        server.will(*[REFUSED] * 500)
        server.peer.hang_up()

        assert {"get": 1} == await it.session.execute(QUERY, timeout=None)
        assert 14_000 < server.times[-1] - server.times[0]


@tidily
async def test_the_final_failure_is_not_taken_for_its_own_timeout(server: VirtualServer) -> None:
    """That is a TimeoutError, too."""
    async with kept(server, RetryPolicy(attempts=1), connect_timeout=2) as it:
        server.otherwise = UNREACHABLE
        server.peer.hang_up()
        with pytest.raises(ConnectTimeout):
            await it.session.execute(QUERY, timeout=60)


@tidily
async def test_the_clients_timeout_is_that_of_each_operation(server: VirtualServer) -> None:
    """Which may have another."""
    async with server.client(execute_timeout=3) as session:
        for timeout, options in ((3, {}), (7, {"timeout": 7})):
            begin = now()
            with pytest.raises(OperationTimeout):
                await session.execute(QUERY, **options)
            assert timeout == round(now() - begin, 3)

        assert server.peer.started == server.peer.stopped


@tidily
async def test_an_operation_that_waits_can_be_cancelled(server: VirtualServer) -> None:
    """It is not sent then."""
    async with kept(server) as it:
        server.will(slowly(5))
        server.peer.hang_up()
        asking = await begun(it.session.execute(MUTATION))
        asking.cancel()
        await asyncio.wait([asking])
        await it.lasting.ready()
        await settle()

        assert (True, []) == (asking.cancelled(), server.peer.started)


# --- As on a connection that is not kept ----------------------------------------------------------


@tidily
async def test_an_operation_can_time_out_while_it_waits_for_room(server: VirtualServer) -> None:
    """The wait for room is part of the limit, and nothing is sent after it."""
    async with kept(server) as it:
        server.peer.connection.writable(False)
        with pytest.raises(OperationTimeout, match="within 4 seconds"):
            await it.session.execute(QUERY, timeout=4)
        server.peer.connection.writable(True)

        assert [] == server.peer.started


@tidily
async def test_an_operation_that_is_completed_without_a_result_raises(
    server: VirtualServer,
) -> None:
    """It is not repeated."""
    async with kept(server, reconnect=RETRY_QUERIES) as it:
        asking = await begun(it.session.execute(QUERY))
        server.peer.complete()

        with pytest.raises(TransportQueryError, match="without a result"):
            await asking


@tidily
async def test_a_subscription_is_stopped_after_its_first_event(server: VirtualServer) -> None:
    """Which is its answer; so is a result that announces more."""
    async with kept(server) as it:
        asking = await begun(it.session.execute(TICKS))
        server.peer.tell(1)
        assert {"n": 1} == await asking

        asking = await begun(it.session.execute(QUERY))
        server.peer.say(server.peer.result({"data": {"get": 1}, "hasNext": True}))
        with pytest.raises(IncompleteResult):
            await asking
        assert server.peer.started == server.peer.stopped


@tidily
async def test_a_whole_result_has_its_errors(server: VirtualServer) -> None:
    """Errors and all, as from one that is not kept."""
    async with kept(server) as it:
        asking = await begun(it.session.execute(QUERY, get_execution_result=True))
        server.peer.say(server.peer.result({"data": None, "errors": [{"message": "no"}]}))

        assert [{"message": "no"}] == (await asking).errors


# --- Many ----------------------------------------------------------------------------------------


@tidily
async def test_a_thousand_mutations_under_drops_are_each_sent_once(server: VirtualServer) -> None:
    """Each that the server saw was answered or interrupted, and nothing else was told."""
    seen: dict[str, int] = {}
    outcomes: dict[str, int] = {"answered": 0, "interrupted": 0}
    lives = iter(range(100_000))

    def on_start(peer: Peer, id: str, request: dict[str, Any]) -> None:
        name = request["variables"]["name"]
        seen[name] = seen.get(name, 0) + 1
        action: Callable[..., Any] = peer.hang_up if next(lives) % 37 == 0 else peer.answer
        arguments = () if action == peer.hang_up else ({"set": name}, id)
        asyncio.get_running_loop().call_later(0.01 * (len(seen) % 7), action, *arguments)

    server.on_start = on_start
    document = "mutation Set($name: String!) { set(name: $name) }"

    async def ask(name: str) -> None:
        await pass_time(int(name) % 100 * 0.1)
        try:
            answer = await it.session.execute(
                document, variable_values={"name": name}, timeout=None
            )
        except OperationInterrupted:
            outcomes["interrupted"] += 1
        else:
            assert {"set": name} == answer
            outcomes["answered"] += 1

    async with kept(server, RetryPolicy(growth=1, first_delay=0.1)) as it:
        await asyncio.gather(*(ask(str(name)) for name in range(1_000)))

    assert {1} == {*seen.values()}
    assert 1_000 == sum(outcomes.values()) == len(seen)
    assert 20 < outcomes["interrupted"]
    assert 20 < len(server.peers)


@tidily
async def test_an_interruption_is_a_connection_failure(server: VirtualServer) -> None:
    """Who catches those, catches it."""
    async with kept(server) as it:
        asking = await begun(it.session.execute(MUTATION))
        it.session.terminate()

        with pytest.raises(TransportConnectionFailed, match=r"dropped by terminate\(\)"):
            await asking
