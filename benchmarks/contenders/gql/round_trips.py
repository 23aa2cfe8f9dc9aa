"""gql: `session.execute`, one at a time or many in flight. Modes: `websockets`, `aiohttp`."""

from __future__ import annotations

import json
import sys

import gql

from benchmarks.contenders import gauges
from benchmarks.contenders.gql.client import client_for
from benchmarks.contenders.round_trips import measure


async def main(url: str, mode: str, count: int, in_flight: int) -> None:
    request = gql.gql("query { trades { seq } }")
    request.variable_values = {"live": 0}
    async with client_for(url, mode) as session:

        async def ask() -> None:
            await session.execute(request)

        answer = await session.execute(request)
        assert answer["trades"]
        await measure(ask, count, in_flight)


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3])))
