"""Two real servers, of which one is killed. `-rP` prints the figures."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import gqlwire
from gqlwire import AsyncClientSession, RetryPolicy
from gqlwire.errors import ConnectionRefused, OperationInterrupted, Phase
from servers.launch import Server, start_node_graphql_ws, start_strawberry

EVERY = 20
"""Milliseconds between the events of a feed."""
SOON = RetryPolicy(first_delay=0.05, longest_delay=0.2)

FEED = (
    "subscription Feed($since: Float!, $every: Int!, $after: Int) "
    "{ feed(since: $since, intervalMs: $every, after: $after) { seq } }"
)


@pytest.fixture(name="servers")
def pair() -> Iterator[list[Server]]:
    """Of two kinds, with the same schema."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(start_strawberry()),
            stack.enter_context(start_node_graphql_ws()),
        ]


class Follower:
    """A feed with a cursor: the clock that it tells is the same on both servers."""

    def __init__(self, session: AsyncClientSession) -> None:
        self.seqs: list[int] = []
        self._arrival = asyncio.Event()
        self._events = session.subscribe(
            FEED,
            variable_values={"since": time.time(), "every": EVERY, "after": 0},
            resume=lambda last, given: {**given, "after": last["feed"]["seq"]},
        )

    async def run(self) -> None:
        async for event in self._events:
            self.seqs.append(event["feed"]["seq"])
            self._arrival.set()

    async def more(self, count: int = 10) -> float:
        """Wait for so many more events; return how many seconds that took."""
        begin, wanted = time.monotonic(), len(self.seqs) + count
        while len(self.seqs) < wanted:
            self._arrival.clear()
            await self._arrival.wait()
        return time.monotonic() - begin


async def ask(session: AsyncClientSession) -> object:
    while True:
        try:
            return await session.execute("{ hello }")
        except OperationInterrupted:
            pass  # it was under way when the server died


async def test_one_of_two_servers_dies(servers: list[Server]) -> None:
    """Queries are answered and the feed loses nothing; both die, and one returns."""
    first, second = servers
    async with (
        gqlwire.connect([first.url, second.url], retry=SOON) as session,
        asyncio.TaskGroup() as group,
    ):
        feed = Follower(session)
        task = group.create_task(feed.run())
        await feed.more()

        first.kill()
        took = await feed.more()
        assert {"hello": "Hello, world!"} == await ask(session)
        assert f"127.0.0.1:{second.port}" == session.transport.link.host

        states = session.states()
        second.kill()
        async for change in states:
            if change.state is Phase.WAITING:
                break
        first.restart()
        again = await feed.more()
        assert {"hello": "Hello, world!"} == await ask(session)
        assert f"127.0.0.1:{first.port}" == session.transport.link.host
        connections = session.counters.connections
        task.cancel()

    assert [*range(1, len(feed.seqs) + 1)] == feed.seqs
    assert 3 == connections
    print(
        f"ten more events {took:.2f} s after the first of two servers was killed, and "
        f"{again:.2f} s after it was back and the second was killed; "
        f"{len(feed.seqs)} events, none lost"
    )


async def test_all_servers_are_down(servers: list[Server]) -> None:
    """What `connect` raises names each of them."""
    for server in servers:
        server.kill()
    with pytest.raises(ConnectionRefused) as raised:
        await gqlwire.connect([server.url for server in servers]).connect_async()

    for server in servers:
        assert f"127.0.0.1:{server.port} refuses connections" in str(raised.value)
