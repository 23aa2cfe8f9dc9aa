"""gqlwire: a subscription into `async for`.

Modes: `dict`, `typed` (into a msgspec.Struct), and the same taken in lists: `batches`,
`typed-batches`.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import gqlwire
from benchmarks.contenders import gauges
from benchmarks.contenders.trades import Data

BATCH = 100


class Meter:
    """Counts events and notes their time; the first step is not counted."""

    def __init__(self) -> None:
        self.count = 0
        self.first = 0
        self._began = self._used = 0.0

    def start(self, count: int) -> None:
        self.count = self.first = count
        self._began, self._used = time.perf_counter(), time.process_time()

    def tell(self) -> None:
        gauges.tell(
            events=self.count - self.first,
            seconds=time.perf_counter() - self._began,
            cpu=time.process_time() - self._used,
        )


async def one_by_one(events: Any, meter: Meter) -> Any:
    async for _ in events:
        meter.start(1)
        break
    count = 1
    last = None
    async for event in events:
        count += 1
        last = event
    meter.count = count
    meter.tell()
    return last


async def in_lists(events: Any, meter: Meter) -> Any:
    batches = events.batches(max_size=BATCH)
    async for batch in batches:
        meter.start(len(batch))
        break
    count = meter.count
    async for batch in batches:
        count += len(batch)
    meter.count = count
    meter.tell()
    return batch[-1]


async def main(url: str, mode: str, order: dict[str, int]) -> None:
    request = gqlwire.gql("subscription { trades { seq } }")
    kind, _, lists = mode.rpartition("-")
    is_typed = "typed" in (mode, kind)
    options: dict[str, Any] = {"result_type": Data} if is_typed else {}
    compression: Any = "deflate" if "deflate" in sys.argv else None
    meter = Meter()
    async with gqlwire.connect(url, compression=compression) as session:
        events = session.subscribe(request, variable_values=order, **options)
        take = in_lists if lists == "batches" else one_by_one
        last = await take(events, meter)
    assert meter.count == order["events"], meter.count
    assert (last.trades[0].seq if is_typed else last["trades"][0]["seq"]) >= 1_000_000


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
