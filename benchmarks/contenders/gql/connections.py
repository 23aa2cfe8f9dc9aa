"""gql: many clients in one process, on websockets or aiohttp, without pings."""

from __future__ import annotations

import json
import sys

import gql

from benchmarks.contenders import gauges
from benchmarks.contenders.connections import measure
from benchmarks.contenders.gql.client import client_for


async def main(url: str, mode: str, count: int, idle: float) -> None:
    library, _, pings = mode.partition("-")

    async def open_one() -> gql.Client:
        client = client_for(url, library)
        if pings:
            client.transport.ping_interval = 1
        await client.connect_async()
        return client

    await measure(open_one, gql.Client.close_async, count, idle)


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3])))
