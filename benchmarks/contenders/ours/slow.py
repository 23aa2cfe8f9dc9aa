"""gqlwire: a consumer that sleeps, by overflow policy, with the default buffer."""

from __future__ import annotations

import json
import sys

import gqlwire
from benchmarks.contenders import gauges
from benchmarks.contenders.slow import sleep_after_first


async def main(url: str, policy: str, order: dict[str, int]) -> None:
    request = gqlwire.gql("subscription { trades { seq } }")
    async with gqlwire.connect(url) as session:
        await session.execute(request, variable_values={"live": 0})
        async with session.subscribe(request, variable_values=order, overflow=policy) as events:
            await sleep_after_first(events)


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
