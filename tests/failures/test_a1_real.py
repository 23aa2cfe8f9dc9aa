"""A subscription that makes a real server end the whole connection starved its neighbours.

It has to raise the cause, after few drops of the others, which lose nothing if they have a cursor.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

import gqlwire
from conftest import NEWER, OLDER
from gqlwire import AsyncClientSession, Reconnected, RetryPolicy
from gqlwire.errors import OperationInterrupted, TransportError
from servers.launch import (
    Server,
    start_framework,
    start_node_apollo,
    start_node_graphql_ws,
    start_strawberry,
)

HEALTHY = 20
DROPS = 6
EVERY = 50
"""Milliseconds between the events of a healthy feed."""
PATIENCE = 60.0
SOON = RetryPolicy(first_delay=0.05, longest_delay=0.5)

FEED = (
    "subscription Feed($since: Float!, $every: Int!, $after: Int) "
    "{ feed(since: $since, intervalMs: $every, after: $after) { seq } }"
)
POISON = "subscription Poison($count: Int!, $end: String!) { poison(count: $count, end: $end) }"


@dataclass
class Fate:
    """What became of a healthy feed."""

    seqs: list[int] = field(default_factory=list)
    gaps: list[Reconnected] = field(default_factory=list)


async def follow(session: AsyncClientSession, fate: Fate, since: float) -> None:
    variables = {"since": since, "every": EVERY, "after": 0}
    events = session.subscribe(
        FEED,
        variable_values=variables,
        resume=lambda last, given: {**given, "after": last["feed"]["seq"]},
        on_reconnect=fate.gaps.append,
    )
    async for event in events:
        fate.seqs.append(event["feed"]["seq"])


async def ask(session: AsyncClientSession, answers: list[str]) -> None:
    while True:
        try:
            await session.execute("{ hello }")
            answers.append("answered")
        except OperationInterrupted:
            answers.append("interrupted")
        await asyncio.sleep(1)


async def swallow(session: AsyncClientSession, count: int, end: str) -> TransportError:
    """Subscribe to the poison; return what it raises."""
    try:
        async with asyncio.timeout(PATIENCE):
            async for _ in session.subscribe(POISON, variable_values={"count": count, "end": end}):
                pass
    except TransportError as failure:
        return failure
    raise AssertionError("it ended well")


async def until_all_have(fates: list[Fate], seq: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while any(not fate.seqs or fate.seqs[-1] < seq for fate in fates):
            await asyncio.sleep(EVERY / 1_000)


async def assert_isolated(server: Server, protocol: str, count: int, end: str) -> None:
    """The culprit raises the cause; the others live, after few drops; queries are answered."""
    fates, answers, since = [Fate() for _ in range(HEALTHY)], list[str](), time.time()
    async with gqlwire.connect(server.url, subprotocols=[protocol], retry=SOON) as session:
        tasks = [asyncio.create_task(follow(session, fate, since)) for fate in fates]
        if (server.name, protocol) != ("strawberry", OLDER):  # which runs only subscriptions
            tasks.append(asyncio.create_task(ask(session, answers)))
        await until_all_have(fates, 1)

        failure = await swallow(session, count, end)

        answers.clear()
        await until_all_have(fates, max(fate.seqs[-1] for fate in fates) + 50)
        assert "after this subscription had been sent" in str(failure)
        assert not any(task.done() for task in tasks)
        assert max(len(fate.gaps) for fate in fates) <= DROPS
        assert all(fate.seqs == list(range(1, len(fate.seqs) + 1)) for fate in fates)
        assert "interrupted" not in answers
        assert answers or len(tasks) == HEALTHY
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


Start = Callable[[], Server]
APOLLO_4: Start = partial(start_framework, "apollo-server-4")

# With these the server answers to the operation, by closing with a code.
CASES: list[Any] = [
    (start_node_graphql_ws, NEWER, 0, "undefined"),
    (APOLLO_4, NEWER, 0, "raise"),
    (start_node_graphql_ws, NEWER, 0, "4500"),
    (start_node_apollo, OLDER, 0, "4400"),
    (start_strawberry, NEWER, 0, "1011"),
    (start_strawberry, OLDER, 0, "4500"),
    *(
        pytest.param(*case, marks=pytest.mark.long)
        for case in [
            (APOLLO_4, NEWER, 100, "raise"),
            *(
                (start, protocol, count, end)
                for start, protocol in [
                    (start_node_graphql_ws, NEWER),
                    (start_node_apollo, OLDER),
                    (start_strawberry, NEWER),
                    (start_strawberry, OLDER),
                ]
                for count, end in [(0, "reset"), (0, "1000"), (100, "reset"), (100, "4500")]
            ),
        ]
    ),
]


def _named(value: object) -> str | None:
    if isinstance(value, partial):
        return str(value.args[0])
    return getattr(value, "__name__", None)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("start", "protocol", "count", "end"), CASES, ids=_named)
async def test_a1_real(start: Start, protocol: str, count: int, end: str) -> None:
    """At its first subscribe, or after some events."""
    with start() as server:
        await assert_isolated(server, protocol, count, end)
