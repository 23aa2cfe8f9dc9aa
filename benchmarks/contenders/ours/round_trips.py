"""gqlwire: `session.execute`, one at a time or many in flight. Modes: `dict`, `typed`."""

from __future__ import annotations

import json
import sys
from typing import Any

import gqlwire
from benchmarks.contenders import gauges
from benchmarks.contenders.round_trips import measure
from benchmarks.contenders.trades import Data


async def main(url: str, mode: str, count: int, in_flight: int) -> None:
    request = gqlwire.gql("query { trades { seq } }")
    options: dict[str, Any] = {"result_type": Data} if mode == "typed" else {}
    async with gqlwire.connect(url) as session:

        async def ask() -> None:
            await session.execute(request, variable_values={"live": 0}, **options)

        answer: Any = await session.execute(request, variable_values={"live": 0})
        assert answer["trades"]
        await measure(ask, count, in_flight)


if __name__ == "__main__":
    gauges.run(main(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3])))
