"""Checkpoints in memory, and a program that is started again, for the tests of what is saved."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from doubles import settle
from virtual_server import SPELT, VirtualServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gqlwire import Subscription
    from gqlwire.client import Client
    from spelling import Spelling
    from virtual_server import Kept

FROM = "subscription From($after: Int) { n(after: $after) }"


class Memory:
    """A checkpoint that keeps what it was given; `fault` is raised in place of saving."""

    def __init__(self, stored: bytes | None = None) -> None:
        self.stored = stored
        self.saved: list[bytes] = []
        self.fault: BaseException | None = None

    def load(self) -> bytes | None:
        return self.stored

    def save(self, event: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.stored = event
        self.saved.append(event)

    @property
    def numbers(self) -> list[Any]:
        """The numbers of the events that were saved."""
        return numbers_of(self.saved)


class Remote(Memory):
    """The same in a database: both methods are coroutine functions.

    A save takes as long as `gate` is closed. `begun` are the events whose save has begun, `at_once`
    is the highest number of saves that ran at the same time.
    """

    def __init__(self, stored: bytes | None = None) -> None:
        super().__init__(stored)
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun: list[bytes] = []
        self.at_once = 0
        self._running = 0

    async def load(self) -> bytes | None:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().load()

    async def save(self, event: bytes) -> None:  # type: ignore[override]
        self.begun.append(event)
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        try:
            await self.gate.wait()
            super().save(event)
        finally:
            self._running -= 1


def numbers_of(events: list[bytes]) -> list[Any]:
    return [json.loads(event)["data"]["n"] for event in events]


def after(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
    return {**variables, "after": last["n"]}


def client_of(server: VirtualServer, spelling: Spelling, **options: Any) -> Client:
    return server.client(subprotocols=[SPELT[id(spelling)]], **options)


def variables_of(server: VirtualServer) -> list[Any]:
    """The variables of each operation that was started on the newest connection."""
    return [said["payload"].get("variables") for said in server.peer.said if "query" in str(said)]


async def until(is_so: Callable[[], object]) -> None:
    """Let the loop run, and threads, until something is so."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.001)


async def begun(events: Subscription[Any]) -> asyncio.Task[Any]:
    """A first step that has started the operation, wherever its checkpoint is."""
    step = asyncio.get_running_loop().create_task(events.__anext__())
    while events.id is None and not step.done():
        await asyncio.sleep(0.001)
    await settle()
    return step


def n(*numbers: Any) -> list[dict[str, Any]]:
    """Events with these numbers."""
    return [{"n": number} for number in numbers]


async def take(events: Any, count: int) -> list[Any]:
    """The events of so many steps."""
    return [await anext(events) for _ in range(count)]


async def lose(it: Kept, server: VirtualServer, code: int = 1012) -> None:
    """Lose the connection, and get another."""
    server.peer.hang_up(code)
    await it.lasting.ready()
    await settle()
