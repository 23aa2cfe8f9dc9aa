"""gql: a consumer that sleeps, on websockets or aiohttp."""

from __future__ import annotations

import json
import sys

import gql

from benchmarks.contenders import gauges
from benchmarks.contenders.gql.client import client_for
from benchmarks.contenders.slow import sleep_after_first


async def main(url: str, mode: str, order: dict[str, int]) -> None:
    request = gql.gql("subscription { trades { seq } }")
    request.variable_values = {"live": 0}
    async with client_for(url, mode) as session:
        await session.execute(request)
        request.variable_values = order
        await sleep_after_first(session.subscribe(request))


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
