"""Each finished `execute` with a time limit of its own left memory and an alarm until it was over.

What an operation needs for its time limit is gone with it, whatever the limits are.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import ManualClock, VirtualTimeLoop, settle
from gqlwire._connection.deadlines import Deadlines
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.reply import Reply, State
from gqlwire.errors import OperationTimeout
from spelling import Spelling, both
from virtual_server import QUERY, VirtualServer, answering, kept, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)

COUNT = 5_000
TRACED = 500
FEW = 64
"""Alarms and groups of time limits that a connection may keep for its next operations."""


def timers() -> int:
    """Those that are set in the running loop, cancelled or not."""
    loop: Any = asyncio.get_running_loop()
    return len(loop._scheduled)


def size_of(deadlines: Deadlines) -> int:
    return len(deadlines._waiting) + len(deadlines._firsts)


# --- As reported ---------------------------------------------------------------------------------


@both
@tidily
async def test_f11_each_operation_with_a_time_limit_of_its_own(
    server: VirtualServer, spelling: Spelling
) -> None:
    """One after the other: neither alarms nor memory grow."""
    answering(server)
    async with kept(server, spelling=spelling, ping_interval=None) as it:

        async def run(first: int, count: int = COUNT) -> None:
            for number in range(first, first + count):
                await it.session.execute(QUERY, timeout=600 + number / 1_000)
            # What the test itself keeps of them.
            server.peer.sent.clear()
            server.peer.started.clear()
            await settle()

        await run(-100, 100)
        timers_before = timers()
        await run(0)
        assert timers() <= timers_before + 200  # asyncio keeps up to a hundred cancelled ones
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        await run(COUNT, TRACED)
        gc.collect()
        grown = tracemalloc.take_snapshot().compare_to(before, "filename")
        tracemalloc.stop()

        deadlines = server.peer.connection.deadlines
        assert size_of(deadlines) < FEW
        ours = sum(each.size_diff for each in grown if "/gqlwire/" in each.traceback[0].filename)
        assert ours < 50 * TRACED  # bytes; it was 1.4 kB for each


# --- Any limits ----------------------------------------------------------------------------------


@pytest.mark.sampled(3)
@both
@pytest.mark.parametrize(
    "limits",
    [
        [600 + number / 1_000 for number in range(COUNT)],
        [600 - number / 1_000 for number in range(COUNT)],
        [float(number % 100 + 1) for number in range(COUNT)],
        [10.0] * COUNT,
        [10.0 if number % 2 else 20.0 + number for number in range(COUNT)],
    ],
    ids=["rising", "falling", "a hundred", "the same", "the same and others"],
)
@tidily
async def test_f11_kind_many_at_the_same_time(
    server: VirtualServer, spelling: Spelling, limits: list[float]
) -> None:
    """They are gone with the last of them, however they end."""
    async with kept(server, spelling=spelling, ping_interval=None) as it:
        tasks = [asyncio.create_task(it.session.execute(QUERY, timeout=limit)) for limit in limits]
        await settle()
        for number, id in enumerate(server.peer.started):
            if number % 3 == 0:
                server.peer.answer({"get": 1}, id)
            elif number % 3 == 1:
                tasks[number].cancel()
            else:
                server.peer.refuse(id=id)
        await asyncio.gather(*tasks, return_exceptions=True)

        deadlines = server.peer.connection.deadlines
        assert size_of(deadlines) < FEW
        assert [] == [reply for waiting in deadlines._waiting.values() for reply in waiting]


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "remove", "wait"]),
        st.integers(0, 400).map(lambda tenths: tenths / 10),
    ),
    max_size=150,
)


@settings(deadline=None)
@given(steps)
def test_f11_kind_each_expires_in_time(course: list[tuple[str, float]]) -> None:
    """Whatever is added and removed: neither late nor early, and little is kept."""

    async def run() -> None:
        clock, gate = ManualClock(), ReadGate()
        deadlines = Deadlines(clock)
        live: dict[Reply, tuple[float, float]] = {}
        for what, amount in course:
            if what == "add":
                reply = Reply(gate)
                reply.state = State.SENT
                deadlines.add(reply, amount)
                if amount > 0:
                    live[reply] = (clock.now + amount, amount)
                else:
                    assert reply.state is State.EXPIRED
            elif what == "remove" and live:
                reply = list(live)[int(amount * 10) % len(live)]
                deadlines.remove(reply, live.pop(reply)[1])
            elif what == "wait":
                clock.go_to(clock.now + amount)
            for reply, (deadline, _) in list(live.items()):
                is_due = deadline <= clock.now
                assert (reply.state is State.EXPIRED) is is_due
                if is_due:
                    del live[reply]
            assert size_of(deadlines) <= 4 * len(live) + FEW
        deadlines.stop()
        assert [] == clock.alarms

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


@both
@tidily
async def test_f11_kind_an_operation_whose_connection_ends_amid_its_start(
    server: VirtualServer, spelling: Spelling
) -> None:
    """It sets no alarm on the connection that is over; `tidily` would find it."""
    server.on_start = lambda peer, *_: peer.hang_up(1006)
    async with kept(server, spelling=spelling) as it:
        for _ in range(3):
            with pytest.raises(OperationTimeout):
                await it.session.execute(QUERY, timeout=5, idempotent=True)
