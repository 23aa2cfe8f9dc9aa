"""Choose what happens to events that arrive faster than you take them.

python slow_consumer.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import sys

import gqlwire
from gqlwire import AsyncClientSession, Buffer
from gqlwire.transport.exceptions import SlowConsumer

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"

BEATS = "subscription { heartbeat(intervalMs: 5) { beat } }"


async def busy(session: AsyncClientSession) -> None:
    """Do something else while 50 beats pass."""
    async with session.subscribe(BEATS) as beats:
        async for _ in beats:
            if beats.delivered == 50:
                return


async def main() -> None:
    async with gqlwire.connect(URL) as session:
        # By default no event is lost: they wait in a buffer (65,536 events, 16 MiB).
        async with session.subscribe(BEATS) as beats:
            await anext(beats)
            await busy(session)
            first = (await anext(beats))["heartbeat"]["beat"]
            print(f"block: next is {first}, dropped {beats.dropped}")

        # If old events are worthless, keep the ten newest.
        async with session.subscribe(BEATS, buffer=10, overflow="drop_oldest") as beats:
            await anext(beats)
            await busy(session)
            print(f"drop_oldest: {beats.buffered} wait, some dropped: {beats.dropped > 0}")

        # If only the newest event matters, such as a price on a screen, keep that one.
        async with session.subscribe(BEATS, overflow="latest") as beats:
            await anext(beats)
            await busy(session)
            print(f"latest: {beats.buffered} waits, some dropped: {beats.dropped > 0}")

        # If a missing event is worse than an error, raise SlowConsumer.
        bound = Buffer(events=10, size=100_000)
        async with session.subscribe(BEATS, buffer=bound, overflow="error") as beats:
            await anext(beats)
            await busy(session)
            try:
                async for _ in beats:
                    pass
            except SlowConsumer as error:
                print(f"error: after {beats.delivered} events: {type(error).__name__}")
                print(f"error: {error.events} events had been waiting")


asyncio.run(main())
