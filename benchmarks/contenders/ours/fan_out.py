"""gqlwire: many live subscriptions on one socket.

`events`: a task for each, which takes its events. `merged`: one loop over all of them.

`idle`: what one costs in memory that is live on the wire and has no task. `tasks`: what it costs
together with a task that waits for it. `bare-tasks`: what a task alone costs that waits for a
future.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import gqlwire
from benchmarks.contenders import gauges
from benchmarks.contenders.fan_out import take_all, take_all_pairs, tell_growth

REQUEST = gqlwire.gql("subscription { trades { seq } }")
QUERY = gqlwire.gql("query { trades { seq } }")
WARM_UP = 100


async def start(events: Any) -> None:
    """Start a subscription without a task: its first step is taken by hand, and left unfinished."""
    while events.id is None:
        step = events.__anext__().__await__()
        next(step)
        step.close()
        if events.id is None:
            # The socket is full.
            await asyncio.sleep(0)


async def consume(events: Any) -> None:
    async for _ in events:
        pass


async def arrived(session: gqlwire.AsyncClientSession) -> None:
    """Wait until the server has got everything that was sent before."""
    await session.execute(QUERY, variable_values={"live": 0})


async def measure_idle(session: gqlwire.AsyncClientSession, count: int) -> None:
    def subscribe(order: dict[str, int]) -> Any:
        return session.subscribe(REQUEST, variable_values=order)

    for _ in range(WARM_UP):
        events = subscribe({})
        await start(events)
        await events.aclose()
    await arrived(session)
    held: list[Any] = [None] * count
    before = gauges.settled_rss()
    for at in range(count):
        held[at] = subscribe({})
        await start(held[at])
        if at % 100 == 0:
            await asyncio.sleep(0)
    await arrived(session)
    tell_growth(before, count)
    # They were live: one event for each, the last of which comes to a subscription of its own.
    async for _ in subscribe({"events": count + 1, "live": count + 1}):
        assert {1} == {events.buffered for events in held}
        break


async def measure_tasks(session: gqlwire.AsyncClientSession, count: int) -> None:
    await arrived(session)
    held: list[Any] = [None] * count
    tasks: list[Any] = [None] * count
    before = gauges.settled_rss()
    for at in range(count):
        held[at] = session.subscribe(REQUEST, variable_values={})
        tasks[at] = asyncio.create_task(consume(held[at]))
        if at % 100 == 0:
            await asyncio.sleep(0)
    await arrived(session)
    while any(events.id is None for events in held):
        await arrived(session)
    tell_growth(before, count)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def measure_bare_tasks(count: int) -> None:
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        await loop.create_future()

    tasks: list[Any] = [None] * count
    before = gauges.settled_rss()
    for at in range(count):
        tasks[at] = asyncio.create_task(wait())
    await asyncio.sleep(0)
    tell_growth(before, count)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def main(url: str, mode: str, order: dict[str, int]) -> None:
    async with gqlwire.connect(url) as session:
        if mode == "events":
            one = (session.subscribe(REQUEST, variable_values=order) for _ in range(order["live"]))
            await take_all(one, order)
        elif mode == "merged":
            many = [session.subscribe(REQUEST, variable_values=order) for _ in range(order["live"])]
            await take_all_pairs(gqlwire.merge(many), many, order)
        elif mode == "idle":
            await measure_idle(session, order["live"])
        elif mode == "tasks":
            await measure_tasks(session, order["live"])
        else:
            await measure_bare_tasks(order["live"])


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
