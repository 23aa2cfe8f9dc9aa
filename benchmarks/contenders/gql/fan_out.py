"""gql: many live subscriptions on one socket, over websockets.

`events`: a task for each, which takes its events. `tasks`: what one costs in memory, with a task
that waits for it; gql starts none without.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import gql

from benchmarks.contenders import gauges
from benchmarks.contenders.fan_out import take_all, tell_growth
from benchmarks.contenders.gql.client import client_for


async def consume(events: Any) -> None:
    async for _ in events:
        pass


def request_for(order: dict[str, int]) -> gql.GraphQLRequest:
    request = gql.gql("subscription { trades { seq } }")
    request.variable_values = order
    return request


async def measure_tasks(session: Any, count: int) -> None:
    request, question = request_for({}), request_for({"live": 0})
    await session.execute(question)
    tasks: list[Any] = [None] * count
    before = gauges.settled_rss()
    for at in range(count):
        tasks[at] = asyncio.create_task(consume(session.subscribe(request)))
        if at % 100 == 0:
            await asyncio.sleep(0)
    for _ in range(2):
        await asyncio.sleep(0)
        await session.execute(question)
    tell_growth(before, count)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def main(url: str, mode: str, order: dict[str, int]) -> None:
    async with client_for(url, "websockets") as session:
        if mode == "events":
            request = request_for(order)
            await take_all((session.subscribe(request) for _ in range(order["live"])), order)
        else:
            await measure_tasks(session, order["live"])


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
