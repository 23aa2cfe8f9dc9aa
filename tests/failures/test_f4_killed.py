"""A program that is killed must get each event again that it had not dealt with, whatever it did.

Right: with a checkpoint in a file, no event is missed over any number of kills.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from servers.fake import Peer, fake

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio, sys
import gqlwire
from datetime import timedelta

url, path, protocol, every = sys.argv[1:]

async def main():
    async with gqlwire.connect(url, subprotocols=[protocol]) as session:
        events = session.subscribe(
            "subscription From($after: Int) { n(after: $after) }",
            resume=lambda last, variables: {"after": last["n"]},
            checkpoint=gqlwire.FileCheckpoint(path),
            checkpoint_every=int(every) if every.isdigit() else float(every),
        )
        async for event in events:
            print(event["n"], flush=True)  # this is how it deals with an event

asyncio.run(main())
"""
KILLS = 3


async def counting(peer: Peer) -> None:
    """Numbers from the one after the cursor on, as fast as they are taken."""
    await peer.ack()
    start = await peer.receive()
    number = ((start["payload"].get("variables") or {}).get("after")) or 0
    word = "next" if start["type"] == "subscribe" else "data"
    while True:
        number += 1
        await peer.send({"id": start["id"], "type": word, "payload": {"data": {"n": number}}})
        await asyncio.sleep(0)


async def life(command: list[Any], count: int) -> list[int]:
    """Run the program until it has dealt with so many events, and kill it then."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    dealt = [int(await process.stdout.readline()) for _ in range(count)]
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    whole = rest[: rest.rfind(b"\n") + 1]
    return dealt + [int(number) for number in whole.split()]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("protocol", "every"),
    [
        ("graphql-transport-ws", "1"),
        ("graphql-ws", "1"),
        ("graphql-transport-ws", "7"),
        ("graphql-transport-ws", "0.01"),
    ],
)
async def test_f4_kind_a_process_that_is_killed_misses_no_event(
    tmp_path: Path, protocol: str, every: str
) -> None:
    """It may get some again: those that it had not dealt with, or not saved yet."""
    path = tmp_path / "feed.json"
    dealt: set[int] = set()
    async with asyncio.timeout(60), fake(counting) as server:
        command = [sys.executable, "-c", PROGRAM, server.url, path, protocol, every]
        for number in range(KILLS):
            numbers = await life(command, 9 + 7 * number)
            assert numbers == [*range(numbers[0], numbers[-1] + 1)]
            assert numbers[0] <= max(dealt, default=0) + 1
            assert number == 0 or numbers[0] > 1
            dealt |= {*numbers}

    assert dealt == {*range(1, max(dealt) + 1)}
    assert {"feed.json"} <= {*os.listdir(tmp_path)} <= {"feed.json", ".feed.json.tmp"}
