"""Some clients of a simulated year: `python -m benchmarks.year_clients FIRST COUNT DAYS SEED`.

It prints a line of JSON for each. `benchmarks.year` starts it with the `src` and `tests` of the
version to simulate on the path. All above the socket is the real client: what is simulated is the
server (`tests/virtual_server.py`) and the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections import Counter
from typing import Any

from benchmarks.year_world import MINUTE, Luck, World
from doubles import VirtualTimeLoop
from gqlwire import Hooks
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import ConnectionRefused, HandshakeRejected, Phase
from virtual_server import TICKS, Kept, Meeting, Peer, VirtualServer, hangs_up, keeping, now

RESTART_AFTER = 10 * MINUTE
"""So long after its end somebody, or something, starts a client again."""


class Levels(logging.Handler):
    """Counts the lines of the log by their level."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[record.levelname] += 1


class Life:
    """One client for a year: a loop over one subscription, which is started again if it ends."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.luck = Luck(world, seed)
        self.server = VirtualServer()
        self.server.otherwise = self._meeting
        self.server.on_start = self._answer
        self.begin = now()
        self.connections = self.attempts = self.ended = 0
        self.lost_at: float | None = 0.0
        self.gaps: list[float] = []

    def time(self) -> float:
        """The seconds since the year began."""
        return now() - self.begin

    def _meeting(self) -> Meeting:
        self.attempts += 1
        self.server.times.clear()
        del self.server.peers[:-1]
        way = self.luck.attempt(self.time())
        if not way:
            lasts, code = self.luck.end_of_connection(self.time())
            return Meeting(lasts=lasts, code=code)
        if way == "refused":
            return Meeting(ConnectionRefused("nobody listens", phase=Phase.CONNECT))
        if len(way) == 3:
            return Meeting(HandshakeRejected(f"HTTP {way}", status=int(way), phase=Phase.HANDSHAKE))
        return hangs_up(int(way))

    def _answer(self, peer: Peer, id: str, _: dict[str, Any]) -> None:
        is_refused = self.world.refuses_subscriptions(self.time())
        answer = (
            (lambda: peer.refuse("not ready", id)) if is_refused else lambda: peer.tell(1, id=id)
        )
        asyncio.get_running_loop().call_later(0.05, lambda: peer.is_open and answer())

    def _lost(self, _: object) -> None:
        if self.lost_at is None:
            self.lost_at = self.time()

    def _connected(self, _: object) -> None:
        self.connections += 1

    def _client(self) -> Kept:
        hooks = Hooks(connected=self._connected, disconnected=self._lost)
        return keeping(
            self.server,
            chance=self.luck.chance.random,
            reconnect=ReconnectOptions(hooks=hooks),
            init_payload=lambda attempt: {"token": attempt.number},
            subprotocols=["graphql-transport-ws"],
        )

    async def _run(self) -> None:
        """Connect, and take events until the subscription ends."""
        it = self._client()
        try:
            await it.lasting.connect()
            async for _ in it.session.subscribe(TICKS):
                if self.lost_at is not None:
                    self.gaps.append(self.time() - self.lost_at)
                    self.lost_at = None
        finally:
            self._lost(None)
            with contextlib.suppress(Exception):
                await it.lasting.close()

    async def go(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.world.end):
                while True:
                    with contextlib.suppress(Exception):
                        await self._run()
                    self.ended += 1
                    await asyncio.sleep(RESTART_AFTER)
        if self.lost_at is not None and self.lost_at < self.world.end:
            self.gaps.append(self.world.end - self.lost_at)


def year_long_loop() -> VirtualTimeLoop:
    """Return a loop whose clock can count a year: a float of its seconds ends at 4e-9."""
    loop: Any = VirtualTimeLoop()
    loop._clock_resolution = 1e-6  # noqa: SLF001  # else a timer would never be due
    return loop


async def live(world: World, seed: int, levels: Levels) -> dict[str, Any]:
    levels.counts.clear()
    life = Life(world, seed)
    await life.go()
    return {
        "connections": life.connections,
        "attempts": life.attempts,
        "ended": life.ended,
        "warnings": levels.counts["WARNING"],
        "errors": levels.counts["ERROR"],
        "lines": levels.counts.total(),
        "gaps": [round(gap, 2) for gap in life.gaps],
    }


def main(arguments: list[str]) -> None:
    first, count, days, seed = map(int, arguments)
    levels, logger = Levels(), logging.getLogger("gqlwire")
    logger.setLevel(logging.INFO)
    logger.addHandler(levels)
    logger.propagate = False
    world = World(seed, days)
    for number in range(first, first + count):
        with asyncio.Runner(loop_factory=year_long_loop) as runner:
            print(
                json.dumps(runner.run(live(world, seed * 1_000_003 + number, levels))), flush=True
            )


if __name__ == "__main__":
    main(sys.argv[1:])
