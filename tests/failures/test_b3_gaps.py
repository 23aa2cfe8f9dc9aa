"""A gap ended for gqlwire when the subscription was sent, although the server then refused it.

It was told too short, and a query that fetched what was missed lost the rest. A gap ends with the
first result after it; it is reported once, then, with its whole length.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from doubles import pass_time, settle
from gqlwire import AsyncClientSession, Reconnected
from gqlwire.errors import TransportQueryError
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    TICKS,
    Peer,
    VirtualServer,
    begun,
    kept,
    now,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

SPELLINGS = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "apollo"])


class Market:
    """A server that has a new event every tenth of a second, and answers queries for past ones.

    `faults`: what happens to the next subscriptions: `error` and `result` are refusals, `drop` is
    the end of the connection, `silent drop` that end after 3 s. Others get each new event.
    """

    def __init__(self, server: VirtualServer) -> None:
        self.server = server
        self.faults: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.begun = now()
        server.on_start = self.start

    @property
    def newest(self) -> int:
        return int((now() - self.begun) * 10)

    def start(self, peer: Peer, id: str, request: dict[str, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self.run(peer, id, request))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self, peer: Peer, id: str, request: dict[str, Any]) -> None:
        if not request["query"].startswith("subscription"):
            peer.answer({"get": self.newest}, id)
            return
        match self.faults.pop(0) if self.faults else "":
            case "error":
                await pass_time(0.2)
                peer.refuse("not ready", id=id)
            case "result":
                await pass_time(0.2)
                peer.say(peer.result({"data": None, "errors": [{"message": "not ready"}]}, id))
                peer.complete(id)
            case "drop":
                peer.hang_up()
            case "silent drop":
                await pass_time(3)
                peer.hang_up()
            case _:
                await self.feed(peer, id)

    async def feed(self, peer: Peer, id: str) -> None:
        while peer.is_open and id in peer.live:
            newest = self.newest
            while self.newest == newest:
                await pass_time(0.02)
            if peer.is_open and id in peer.live:
                peer.tell(self.newest, id=id)


class Reader:
    """Takes the events, and fetches what it has missed, as the docs say."""

    def __init__(self, session: AsyncClientSession) -> None:
        self.session = session
        self.numbers: set[int] = set()
        self.live: list[int] = []
        self.gaps: list[Reconnected] = []
        self.order: list[Any] = []

    async def catch_up(self, gap: Reconnected) -> None:
        self.gaps.append(gap)
        newest = (await self.session.execute("query Get { get }"))["get"]
        self.numbers.update(range(newest + 1))

    async def run(self) -> None:
        events = self.session.subscribe(TICKS, on_reconnect=self.catch_up, tell_reconnects=True)
        async with events:
            async for event in events:
                self.order.append(event)
                if not isinstance(event, Reconnected):
                    self.numbers.add(event["n"])
                    self.live.append(event["n"])


async def caught_up(server: VirtualServer, spelling: Spelling, faults: list[str]) -> Reader:
    """Read for a while; lose the connection, meet the faults, and read for a while again."""
    market = Market(server)
    async with kept(server, spelling=spelling) as it:
        reader = Reader(it.session)
        task = asyncio.create_task(reader.run())
        await pass_time(2)
        market.faults += faults
        server.peer.hang_up()
        while market.faults:
            await pass_time(1)
        await pass_time(120)
        task.cancel()
        await asyncio.wait([task])
    await asyncio.wait([*market.tasks, asyncio.create_task(pass_time(1))])
    return reader


def assert_nothing_was_hidden(reader: Reader, refusals: int) -> None:
    """All events are there; the gap was told once, with all of its length, in its place."""
    newest = max(reader.numbers)
    assert newest > 100
    assert set(range(1, newest + 1)) == reader.numbers - {0}
    [gap] = reader.gaps
    assert refusals == gap.refusals
    [place] = [n for n, event in enumerate(reader.order) if isinstance(event, Reconnected)]
    before, after = reader.order[place - 1]["n"], reader.order[place + 1]["n"]
    assert abs((after - before) / 10 - gap.gap_seconds) < 0.25
    jumps = [(a, b) for a, b in itertools.pairwise(reader.live) if b != a + 1]
    assert [(before, after)] == jumps


@SPELLINGS
@tidily
async def test_b3_refused_twice_and_dropped_in_between(
    server: VirtualServer, spelling: Spelling
) -> None:
    """The query in `on_reconnect` loses nothing."""
    reader = await caught_up(server, spelling, ["error", "drop", "error"])
    assert_nothing_was_hidden(reader, 2)
    assert reader.gaps[0].attempts >= 2
    assert 1006 == reader.gaps[0].failure.code


@pytest.mark.sampled(3)
@SPELLINGS
@pytest.mark.parametrize("first", ["error", "result", "drop", "silent drop", "none"])
@pytest.mark.parametrize("second", ["error", "result", "drop", "silent drop"])
def test_b3_kind_whatever_happens_in_the_gap(first: str, second: str, spelling: Spelling) -> None:
    """Refusals of both forms, and further losses, in any order."""

    @tidily
    async def run() -> None:
        faults = [fault for fault in (first, second, first) if fault != "none"]
        reader = await caught_up(VirtualServer(), spelling, faults)
        refusals = faults.count("error") + faults.count("result")
        assert_nothing_was_hidden(reader, refusals)

    run()


@SPELLINGS
@tidily
async def test_b3_kind_the_end_ends_a_gap_as_well(
    server: VirtualServer, spelling: Spelling
) -> None:
    """`complete` without a result is an answer."""
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True)
        await started(events, server.peer)
        server.peer.hang_up(1012)
        await it.lasting.ready()
        await pass_time(3)
        server.peer.complete()
        gap = await anext(events)
        assert isinstance(gap, Reconnected)
        assert (4.0, 0) == (round(gap.gap_seconds, 3), gap.refusals)
        with pytest.raises(StopAsyncIteration):
            await anext(events)


@SPELLINGS
@tidily
async def test_b3_kind_a_gap_that_never_ends_is_not_told(
    server: VirtualServer, spelling: Spelling
) -> None:
    """If the server refuses more often than the policy allows, that is raised, and no gap told."""
    gaps: list[Reconnected] = []
    server_refuses = False

    def start(peer: Peer, id: str, _: dict[str, Any]) -> None:
        if server_refuses:
            asyncio.get_running_loop().call_soon(peer.refuse, "never", id)

    server.on_start = start
    async with kept(server, spelling=spelling) as it:
        events = it.session.subscribe(TICKS, on_reconnect=gaps.append)
        await started(events, server.peer)
        server_refuses = True
        server.peer.hang_up(1012)
        step = await begun(anext(events))
        with pytest.raises(TransportQueryError, match="never"):
            await step
        await settle()
        assert [] == gaps
