"""350 subscriptions on a real Strawberry server, which allows 100 for each connection.

`-rP` prints the figures.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

import gqlwire
from gqlwire import AsyncClientSession, RetryPolicy
from gqlwire.errors import TransportQueryError
from servers.launch import Server, start_strawberry

COUNT, CAP, SOCKETS = 350, 100, 4
EVERY = 500
"""Milliseconds between the events of a feed."""
SOON = RetryPolicy(first_delay=0.05, longest_delay=0.5)

FEED = (
    "subscription Feed($since: Float!, $every: Int!, $after: Int) "
    "{ feed(since: $since, intervalMs: $every, after: $after) { seq } }"
)


@pytest.fixture(name="server")
def capped() -> Iterator[Server]:
    with start_strawberry(max_subscriptions=CAP) as server:
        yield server


@dataclass
class Followers:
    """So many feeds, and the numbers that each has had, in order."""

    session: AsyncClientSession
    since: float = field(default_factory=lambda: time.time() - 1)
    seqs: dict[int, list[int]] = field(default_factory=dict)
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, number: int) -> None:
        variables = {"since": self.since, "every": EVERY, "after": 0}
        events = self.session.subscribe(
            FEED,
            variable_values=variables,
            resume=lambda last, given: {**given, "after": last["feed"]["seq"]},
        )
        taken = self.seqs[number] = []
        async for event in events:
            taken.append(event["feed"]["seq"])
            self.arrival.set()

    async def until_all_have(self, seq: int) -> float:
        """Wait until each has had this number; return how many seconds that took."""
        begin = time.monotonic()
        while len(self.seqs) < COUNT or any(not it or it[-1] < seq for it in self.seqs.values()):
            self.arrival.clear()
            await self.arrival.wait()
        return time.monotonic() - begin

    @property
    def newest(self) -> int:
        return max(seqs[-1] for seqs in self.seqs.values())


async def ask(server: Server) -> object:
    """How many sockets and feeds it has, on a socket of its own.

    Strawberry answers no queries in the older protocol.
    """
    async with gqlwire.connect(server.url) as session:
        return await session.execute("{ sockets active }")


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["graphql-transport-ws", "graphql-ws"])
async def test_350_subscriptions_on_a_server_that_allows_100(server: Server, protocol: str) -> None:
    """Each gets its events. After the server was killed all are back, and nothing is lost."""
    async with (
        gqlwire.connect(
            server.url,
            max_subscriptions_per_connection=CAP,
            retry=SOON,
            subprotocols=[protocol],
        ) as session,
        asyncio.TaskGroup() as group,
    ):
        feeds = Followers(session)
        tasks = [group.create_task(feeds.follow(number)) for number in range(COUNT)]
        first = await feeds.until_all_have(1)
        assert {"sockets": SOCKETS + 1, "active": COUNT} == await ask(server)

        server.kill()
        server.restart()
        again = await feeds.until_all_have(feeds.newest + 2)
        assert {"sockets": SOCKETS + 1, "active": COUNT} == await ask(server)
        counters = session.counters
        for task in tasks:
            task.cancel()

    for seqs in feeds.seqs.values():
        assert [*range(1, seqs[-1] + 1)] == seqs
    assert (8, COUNT) == (counters.connections, counters.resubscriptions)
    print(
        f"{protocol}: {COUNT} subscriptions on {SOCKETS} sockets; "
        f"all had an event after {first:.2f} s, and again {again:.2f} s after the server was back; "
        f"{counters.events} events, none lost, none twice"
    )


async def test_the_cap_without_the_option(server: Server) -> None:
    """What the pages say that the server says."""
    variables = {"since": time.time(), "every": 60_000}
    async with gqlwire.connect(server.url) as session:
        running = [session.subscribe(FEED, variable_values=variables) for _ in range(CAP + 1)]
        steps = [asyncio.ensure_future(anext(each)) for each in running]
        done, _ = await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
        [refused] = done
        with pytest.raises(TransportQueryError, match="Subscription limit reached"):
            refused.result()
        for step in steps:
            step.cancel()
