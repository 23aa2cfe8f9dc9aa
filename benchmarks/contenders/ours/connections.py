"""gqlwire: many clients in one process.

Modes: `quiet`, `pings`, one per second each, and `once`, whose connections are not kept alive.
"""

from __future__ import annotations

import json
import sys

import gqlwire
from benchmarks.contenders import gauges
from benchmarks.contenders.connections import measure


async def main(url: str, mode: str, count: int, idle: float) -> None:
    interval = 1 if mode == "pings" else None

    async def open_one() -> gqlwire.Client:
        client = gqlwire.connect(url, ping_interval=interval, reconnecting=mode != "once")
        await client.connect_async()
        return client

    await measure(open_one, gqlwire.Client.close_async, count, idle)


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3])))
