"""One client entered more than once: nested, at once, cancelled, failing, in another loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from doubles import VirtualTimeLoop, pass_time, settle
from gqlwire import Client, RetryPolicy
from gqlwire.client.sharing import Shared
from gqlwire.errors import (
    CloseTimeout,
    ConnectionClosed,
    ConnectionRefused,
    Phase,
    TransportAlreadyConnected,
    TransportClosed,
)
from virtual_server import (
    MUTE,
    QUERY,
    TICKS,
    UNREACHABLE,
    Meeting,
    VirtualServer,
    answering,
    begun,
    slowly,
    soon,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

REFUSED = ConnectionRefused("nobody listens", host="server.example:80", phase=Phase.CONNECT)
EITHER = pytest.mark.parametrize("reconnecting", [True, False], ids=["kept", "not kept"])


def client_of(server: VirtualServer, *, reconnecting: bool = True, **options: Any) -> Client:
    return server.client(reconnecting=reconnecting, **options)


async def hold(client: Client, released: asyncio.Event) -> Any:
    """Enter it, and stay inside until released."""
    async with client as session:
        await released.wait()
        return session


# --- Nested, and at once -------------------------------------------------------------------------


@EITHER
@tidily
async def test_nested_contexts_share_one_connection(
    server: VirtualServer, reconnecting: bool
) -> None:
    """The last to leave closes it."""
    answering(server)
    client = client_of(server, reconnecting=reconnecting)
    async with client as outer:
        async with client as inner, client as innermost:
            assert outer is inner is innermost is client.session
        assert {"get": 1} == await outer.execute(QUERY)
        assert 1 == len(server.open)

    assert ([], None, 1) == (server.open, client.session, len(server.times))


@EITHER
@tidily
async def test_tasks_that_enter_together_share_one_attempt(
    server: VirtualServer, reconnecting: bool
) -> None:
    """The last task to leave closes the connection, whichever that is."""
    server.will(slowly(3))
    client = client_of(server, reconnecting=reconnecting)
    released = [asyncio.Event() for _ in range(5)]
    tasks = [soon(hold(client, each)) for each in released]
    await pass_time(4)
    assert (1, 1) == (len(server.times), len(server.open))
    for number in (3, 0, 4, 1, 2):
        assert 1 == len(server.open)
        released[number].set()
        await settle()

    assert [] == server.open
    assert 1 == len({id(await task) for task in tasks})


@EITHER
@tidily
async def test_a_client_can_be_entered_again(server: VirtualServer, reconnecting: bool) -> None:
    """Each time with a new connection."""
    client = client_of(server, reconnecting=reconnecting)
    for count in range(1, 4):
        async with client:
            assert (count, 1) == (len(server.times), len(server.open))
        assert [] == server.open


@EITHER
@tidily
async def test_entering_a_client_that_is_closing_makes_a_new_connection(
    server: VirtualServer, reconnecting: bool
) -> None:
    """As soon as the old one is gone."""
    server.will(Meeting(answers_close=False))
    answering(server)
    client = client_of(server, reconnecting=reconnecting, close_timeout=5)
    async with client:
        pass
    assert 5 == round(asyncio.get_running_loop().time() - 1_000)

    server.will(Meeting(answers_close=False))
    async with client:
        leaving = soon(client.__aexit__(None, None, None))
        await client.__aenter__()
        await leaving
    # One that is left while others enter is theirs.
    session = await client.connect_async()
    closing = soon(client.close_async())
    await asyncio.sleep(0)
    other = await client.connect_async()
    assert session is not other
    assert {"get": 1} == await other.execute(QUERY)
    await asyncio.gather(closing, return_exceptions=True)
    assert {"get": 1} == await other.execute(QUERY)
    await client.close_async()
    assert [] == server.open


# --- Failures ------------------------------------------------------------------------------------


@EITHER
@tidily
async def test_a_failed_attempt_raises_in_every_waiting_task(
    server: VirtualServer, reconnecting: bool
) -> None:
    """The next task that enters tries again."""
    server.will(Meeting(REFUSED, delay=1))
    client = client_of(server, reconnecting=reconnecting)
    outcomes = await asyncio.gather(
        *(client.connect_async() for _ in range(3)), return_exceptions=True
    )
    assert [ConnectionRefused] * 3 == [type(outcome) for outcome in outcomes]

    async with client:
        assert (2, 1) == (len(server.times), len(server.open))
    assert [] == server.open


@EITHER
@tidily
async def test_entering_just_after_a_failure_tries_again(
    server: VirtualServer, reconnecting: bool
) -> None:
    """Even before the tasks that waited for the failed attempt have run. The number of users is
    right.
    """
    server.will(Meeting(REFUSED, delay=1))
    client = client_of(server, reconnecting=reconnecting)
    waiting = [await begun(client.connect_async()) for _ in range(2)]
    making: Any = client._shared._making
    entering: list[asyncio.Task[Any]] = []
    making.add_done_callback(lambda _: entering.append(soon(client.connect_async())))
    await asyncio.wait(waiting)
    await asyncio.wait(entering)
    assert 1 == len(server.open)

    await client.__aexit__(None, None, None)
    assert [] == server.open
    for task in waiting:
        assert isinstance(task.exception(), ConnectionRefused)


@EITHER
@tidily
async def test_a_dead_connection_is_replaced_for_the_next_task_that_enters(
    server: VirtualServer, reconnecting: bool
) -> None:
    """A task that has the old session keeps it, and the last task to leave closes."""
    answering(server)
    never = RetryPolicy(should_retry=lambda failure: False)
    client = client_of(server, reconnecting=reconnecting, retry=never)
    async with client as old:
        server.peer.hang_up(4400)
        await settle()
        async with client as new:
            assert old is not new
            assert {"get": 1} == await new.execute(QUERY)
            if reconnecting:
                with pytest.raises(ConnectionClosed):
                    await old.execute(QUERY)
        assert 1 == len(server.open)
    assert [] == server.open


# --- Cancelling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("meeting", [UNREACHABLE, MUTE, slowly(3)])
@EITHER
@tidily
async def test_cancelling_the_only_task_that_enters_leaves_nothing_open(
    server: VirtualServer, reconnecting: bool, meeting: Meeting
) -> None:
    """No socket, and no task."""
    server.will(meeting)
    client = client_of(server, reconnecting=reconnecting)
    entering = await begun(client.connect_async())
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering

    assert [] == server.open
    async with client:
        assert 1 == len(server.open)


@EITHER
@tidily
async def test_cancelling_a_task_that_enters_leaves_the_attempt_to_the_others(
    server: VirtualServer, reconnecting: bool
) -> None:
    """Also if the cancelled task was the first."""
    server.will(slowly(3))
    client = client_of(server, reconnecting=reconnecting)
    entering = [await begun(client.connect_async()) for _ in range(3)]
    entering[0].cancel()
    entering[2].cancel()
    session = await entering[1]

    assert [True, False, True] == [task.cancelled() for task in entering]
    assert session is client.session
    await client.__aexit__(None, None, None)
    assert [] == server.open


@pytest.mark.parametrize("others", [0, 1])
@EITHER
@tidily
async def test_a_task_cancelled_as_the_connection_opens_has_not_entered(
    server: VirtualServer, reconnecting: bool, others: int
) -> None:
    """A connection that nobody uses is closed. Other tasks keep theirs."""
    client = client_of(server, reconnecting=reconnecting)
    entering = soon(client.connect_async())
    waiting = [soon(client.connect_async()) for _ in range(others)]
    await asyncio.sleep(0)
    making: Any = client._shared._making
    making.add_done_callback(lambda _: entering.cancel())
    await asyncio.wait([entering])
    await settle()

    assert entering.cancelled()
    assert others == len(server.open)
    if others:
        async with client as session:
            assert session is await waiting[0]
        assert 1 == len(server.open) == len(server.times)
        await client.__aexit__(None, None, None)
    assert [] == server.open


@EITHER
@tidily
async def test_closing_raises_transport_closed_in_tasks_that_are_entering(
    server: VirtualServer, reconnecting: bool
) -> None:
    """And not CancelledError: nobody has cancelled them."""
    server.will(slowly(3))
    client = client_of(server, reconnecting=reconnecting)
    entering = [await begun(client.connect_async()) for _ in range(2)]
    await client.close_async()
    for task in entering:
        with pytest.raises(TransportClosed):
            await task
    assert [] == server.open

    async with client:
        async with client:
            pass
        assert 1 == len(server.open)
    assert [] == server.open


@EITHER
@tidily
async def test_closing_a_client_ends_it_for_all_its_users(
    server: VirtualServer, reconnecting: bool
) -> None:
    """Twice is harmless, and leaving afterwards is, too."""
    client = client_of(server, reconnecting=reconnecting)
    await client.close_async()
    async with client as session, client:
        await client.close_async()
        await client.close_async()
        assert [] == server.open
        with pytest.raises(TransportClosed):
            await anext(session.subscribe(TICKS))

    async with client:
        assert 1 == len(server.open)
    assert [] == server.open


@EITHER
@tidily
async def test_each_close_waits_for_the_end_of_the_socket(
    server: VirtualServer, reconnecting: bool
) -> None:
    """Also the second of two at once."""
    server.will(Meeting(answers_close=False))
    client = client_of(server, reconnecting=reconnecting, close_timeout=5)
    await client.connect_async()
    closing = [await begun(client.close_async()) for _ in range(2)]
    await pass_time(4)
    assert [False, False] == [task.done() for task in closing]
    await asyncio.wait(closing)

    assert "abort" in server.peer.asked
    assert [CloseTimeout, type(None)] == [type(task.exception()) for task in closing]


@EITHER
@tidily
async def test_a_close_that_is_cancelled_drops_the_socket(
    server: VirtualServer, reconnecting: bool
) -> None:
    """And the client can be entered again."""
    server.will(Meeting(answers_close=False))
    client = client_of(server, reconnecting=reconnecting)
    await client.connect_async()
    closing = await begun(client.close_async())
    closing.cancel()
    await asyncio.wait([closing])

    assert "abort" in server.peer.asked
    async with client:
        assert 1 == len(server.open)


# --- Loops ---------------------------------------------------------------------------------------


def test_a_client_can_be_used_in_a_later_loop(server: VirtualServer) -> None:
    """Also if the first loop was closed with the client still open."""
    client = client_of(server, reconnecting=False)

    async def use(*, leave: bool) -> None:
        await client.connect_async()
        if leave:
            await client.close_async()

    for leave in (True, False, True):
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(use(leave=leave))
    assert 3 == len(server.times)


def test_a_connected_client_cannot_be_used_in_another_loop(server: VirtualServer) -> None:
    """The error says so."""
    client = client_of(server)
    with (
        asyncio.Runner(loop_factory=VirtualTimeLoop) as one,
        asyncio.Runner(loop_factory=VirtualTimeLoop) as other,
    ):
        one.run(client.connect_async())
        with pytest.raises(TransportAlreadyConnected, match="in another event loop"):
            other.run(client.connect_async())
        one.run(client.close_async())
        other.run(client.connect_async())
        other.run(client.close_async())
    assert 2 == len(server.times)


# --- By itself -----------------------------------------------------------------------------------


@tidily
async def test_a_shared_object_whose_end_fails_is_replaced() -> None:
    """The error reaches the task that ended it, and the next task gets a new object."""
    made: list[int] = []

    async def make() -> int:
        made.append(len(made))
        return made[-1]

    async def end() -> None:
        raise ZeroDivisionError

    shared = Shared(make, end, lambda: True)
    assert [0, 0] == [await shared.enter() for _ in range(2)]
    await shared.leave()
    with pytest.raises(ZeroDivisionError):
        await shared.leave()
    assert 1 == await shared.enter()
    await settle()


@tidily
async def test_a_client_without_a_transport_cannot_be_entered() -> None:
    """It can only validate; and only one kind of transport can be kept."""
    with pytest.raises(ValueError, match="no transport"):
        await Client().connect_async()

    class Other:
        """A transport of somebody's own."""

    other: Any = Other()
    with pytest.raises(TypeError, match="Other cannot reconnect"):
        await Client(transport=other).connect_async(reconnecting=True)


@tidily
async def test_connect_async_can_change_whether_a_client_reconnects(server: VirtualServer) -> None:
    """`connect_async(reconnecting=...)` overrides the client's option from then on."""
    client = Client(transport=server.transport())
    assert client.reconnecting is False
    session = await client.connect_async(reconnecting=True)
    assert Phase.OPEN is session.state
    await client.close_async()
    session = await client.connect_async(reconnecting=False)
    with pytest.raises(RuntimeError, match="set reconnecting=True"):
        _ = session.state
    await client.close_async()
