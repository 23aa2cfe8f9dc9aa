"""A `resume` that let out CancelledError stopped all subscriptions in silence; one that dropped the
connection ended its own.

Right: only that subscription ends, with its error, and no task of gqlwire dies unseen.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from saving import FROM, Memory, lose, n, take

import gqlwire
from doubles import pass_time, settle
from gqlwire import RetryPolicy, Scalar
from spelling import Spelling, both
from virtual_server import TICKS, Kept, VirtualServer, kept, started, tidily, virtual_server

if TYPE_CHECKING:
    from collections.abc import Callable

served = pytest.fixture(name="server")(virtual_server)


class Custom(BaseException):
    """Neither an Exception, nor one that ends a program."""


FAULTS: list[BaseException] = [
    asyncio.CancelledError(),
    asyncio.CancelledError("with a text"),
    Custom(),
    GeneratorExit(),
    KeyError("seq"),
    StopIteration(),
    StopAsyncIteration(),
    TimeoutError(),
]


def raising(fault: BaseException) -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        raise fault

    return function


async def neighbours(it: Kept, server: VirtualServer) -> list[Any]:
    """Two feeds, one before and one after the bad one in the order of starting."""
    events = it.session.subscribe(TICKS)
    await started(events, server.peer)
    return [events]


async def fails_with(events: Any, fault: BaseException) -> None:
    """The next step raises the fault, as it is or as the cause of an error."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        await anext(events)
    if isinstance(fault, Exception) and not isinstance(fault, StopAsyncIteration | StopIteration):
        assert fault is caught.value


@both
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@tidily
async def test_g2_a_resume_that_raises_anything_ends_its_subscription_alone(
    server: VirtualServer, fault: BaseException, spelling: Spelling
) -> None:
    """The others get their events on the same connection, queries too."""
    async with kept(server, spelling=spelling) as it:
        first = it.session.subscribe(TICKS)
        bad = it.session.subscribe(FROM, resume=raising(fault))
        last = it.session.subscribe(TICKS)
        for events in (first, bad, last):
            await started(events, server.peer)
        await lose(it, server)
        assert 2 == len(server.peer.started)
        for events in (first, last):
            server.peer.tell(5, id=events.id)
            assert n(5) == await take(events, 1)

        await fails_with(bad, fault)
        assert bad.is_over
        for events in (first, last):
            await events.aclose()


@both
@tidily
async def test_g2_a_resume_that_terminates_the_connection(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Its subscription continues on the next one, as the others do."""
    asked: list[int] = []
    async with kept(server, spelling=spelling) as it:

        def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
            asked.append(last["n"])
            if len(asked) == 1:
                it.session.terminate()
            return {"after": last["n"]}

        first = it.session.subscribe(TICKS)
        mine = it.session.subscribe(FROM, resume=resume)
        last = it.session.subscribe(TICKS)
        for events in (first, mine, last):
            await started(events, server.peer)
        await lose(it, server)
        await it.lasting.ready()
        await settle()
        for events in (first, mine, last):
            server.peer.tell(7, id=events.id)
            assert n(7) == await take(events, 1)

        assert [0, 0] == asked
        assert 3 == len(server.peer.live)
        for events in (first, mine, last):
            await events.aclose()
        assert {} == server.peer.live


# --- Its kind: what else a function may do --------------------------------------------------------


Deed = "Callable[[Kept, Any], None]"


def closes_itself(it: Kept, events: Any) -> None:
    with contextlib.suppress(StopIteration):
        events.aclose().send(None)


def closes_itself_in_a_task(it: Kept, events: Any) -> None:
    keep.append(asyncio.ensure_future(events.aclose()))


def reconnects(it: Kept, events: Any) -> None:
    keep.append(asyncio.ensure_future(it.session.reconnect("new credentials")))


def terminates_twice(it: Kept, events: Any) -> None:
    it.session.terminate()
    it.session.terminate()


def cancels_the_task(it: Kept, events: Any) -> None:
    task = asyncio.current_task()
    if task is not None and task not in keep:
        task.cancel()


keep: list[Any] = []


@pytest.mark.parametrize("spread", [0, 2])
@pytest.mark.parametrize(
    "deed",
    [closes_itself, closes_itself_in_a_task, reconnects, terminates_twice, cancels_the_task],
)
@tidily
async def test_g2_kind_whatever_a_resume_does_the_others_live_on(
    server: VirtualServer, deed: Any, spread: float
) -> None:
    """And the server runs no operation that nobody takes the events of."""
    keep.clear()
    done: list[int] = []
    async with kept(server, RetryPolicy(spread=spread)) as it:

        def resume(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
            if not done:
                done.append(1)
                deed(it, mine)
            return {"after": last["n"]}

        others = [it.session.subscribe(TICKS), it.session.subscribe(TICKS)]
        mine = it.session.subscribe(FROM, resume=resume)
        for events in (others[0], mine, others[1]):
            await started(events, server.peer)
        await lose(it, server)
        await it.lasting.ready()
        await pass_time(30)
        for events in others:
            server.peer.tell(7, id=events.id)
            assert n(7) == await take(events, 1)
        assert len(server.peer.live) == 2 + (not mine.is_over)
        for events in (*others, mine):
            await events.aclose()

        assert {} == server.peer.live


@both
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@tidily
async def test_g2_kind_a_key_that_raises_anything_fails_its_step_alone(
    server: VirtualServer, fault: BaseException, spelling: Spelling
) -> None:
    """The next step continues; so does a merger."""
    faults = [fault]

    def key(event: Any) -> Any:
        if event["n"] == 2 and faults:
            raise faults.pop()
        return event["n"]

    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS, key=key)
        await started(events, server.peer)
        server.peer.tell(1, 2, 3)
        assert n(1) == await take(events, 1)
        if not isinstance(fault, StopAsyncIteration):
            await fails_with(events, fault)
        else:
            with pytest.raises((RuntimeError, StopAsyncIteration)):
                await anext(events)
        assert n(3) == await take(events, 1)
        faults.append(fault)
        other = it.session.subscribe(TICKS)
        await started(other, server.peer)
        async with gqlwire.merge([events, other]) as merged:
            server.peer.tell(2, 4, id=events.id)
            server.peer.tell(9, id=other.id)
            found: list[Any] = []
            while len(found) < 2:
                with contextlib.suppress(Exception):
                    found.append((await anext(merged))[1]["n"])
            assert [4, 9] == sorted(found)


@pytest.mark.parametrize("deed", [closes_itself, terminates_twice, reconnects])
@tidily
async def test_g2_kind_whatever_a_key_does_nothing_hangs(server: VirtualServer, deed: Any) -> None:
    """It is called during the step of its subscription."""
    keep.clear()
    async with kept(server) as it:

        def key(event: Any) -> Any:
            if event["n"] == 2:
                deed(it, events)
            return event["n"]

        events = it.session.subscribe(TICKS, key=key)
        other = it.session.subscribe(TICKS)
        for each in (events, other):
            await started(each, server.peer)
        server.peer.tell(1, 2, id=events.id)
        assert n(1, 2) == await take(events, 2)
        await it.lasting.ready()
        await settle()
        server.peer.tell(3, id=other.id)
        assert n(3) == await take(other, 1)
        if deed is closes_itself:
            with pytest.raises(StopAsyncIteration):
                await anext(events)
        else:
            server.peer.tell(4, id=events.id)
            assert n(4) == await take(events, 1)
        await events.aclose()
        await other.aclose()


class Money:
    """Written by a scalar of the user's."""


@pytest.mark.parametrize("fault", FAULTS[:4], ids=repr)
@tidily
async def test_g2_kind_whatever_writes_the_variables_ends_its_subscription_alone(
    server: VirtualServer, fault: BaseException
) -> None:
    """Here a scalar; it is called while the subscription is sent again."""
    async with server.client(scalars={Money: Scalar(encode=raising(fault))}) as session:
        others = [session.subscribe(TICKS), session.subscribe(TICKS)]
        bad = session.subscribe(FROM, resume=lambda last, variables: {"after": Money()})
        for events in (others[0], bad, others[1]):
            await started(events, server.peer)
        server.peer.hang_up(1012)
        await pass_time(60)
        for events in others:
            server.peer.tell(5, id=events.id)
            assert n(5) == await take(events, 1)

        with pytest.raises(RuntimeError, match="a function of yours raised") as caught:
            await anext(bad)
        assert fault is caught.value.__cause__


@pytest.mark.parametrize("option", ["resume", "key"])
@pytest.mark.parametrize("fault", FAULTS[:4], ids=repr)
@tidily
async def test_g2_kind_at_the_start_it_is_the_first_step_that_fails(
    server: VirtualServer, option: str, fault: BaseException
) -> None:
    """As an error, and not as if the program's own task had been cancelled."""
    options: dict[str, Any] = {"resume": lambda last, variables: variables}
    options[option] = raising(fault)
    async with kept(server) as it:
        events = it.session.subscribe(FROM, checkpoint=Memory(b'{"data":{"n":1}}'), **options)
        with pytest.raises(RuntimeError, match=f"{option}= of a subscription raised") as caught:
            await anext(events)

        assert fault is caught.value.__cause__
        assert [] == server.peer.started
