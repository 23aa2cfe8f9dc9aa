"""Helpers for tests over real sockets: connecting, failing within a bound, leaving nothing."""

import asyncio
import gc
import json
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from gqlwire import gql
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Fake, RawFake

BOUND = 60.0
"""Seconds after which a test takes a thing for hung; what it waits for comes in milliseconds."""

QUERY = gql("{ hello }")
TICKS = gql("subscription { ticks }")

E = TypeVar("E", bound=BaseException)


@asynccontextmanager
async def connected(server: Fake | RawFake, **options: Any) -> AsyncIterator[WebsocketsTransport]:
    """A transport that is connected to `server`, and closed at the end."""
    transport = WebsocketsTransport(server.url, **options)
    async with asyncio.timeout(BOUND):
        await transport.connect()
    try:
        yield transport
    finally:
        async with asyncio.timeout(BOUND):
            await transport.close()


async def failure(kind: type[E], operation: Awaitable[object]) -> E:
    """The exception of exactly this kind that `operation` raises before it would count as hung."""
    with pytest.raises(kind) as caught:
        async with asyncio.timeout(BOUND):
            await operation
    assert kind is type(caught.value)
    return caught.value


def message(type: str, id: str | None = None, payload: Any = None) -> str:
    """One message of the server, without the fields that are None."""
    parts = {"type": type, "id": id, "payload": payload}
    said = {name: part for name, part in parts.items() if part is not None}
    return json.dumps(said, ensure_ascii=False)


def tick(id: str, value: Any, type: str = "next") -> str:
    """One event of the subscription `id`."""
    return message(type, id, {"data": {"ticks": value}})


async def leaves_nothing() -> AsyncIterator[None]:
    """Fail a test that leaves a task, a socket, a timer or a complaint of asyncio's behind.

    To be made an autouse fixture. An unclosed transport's warning is an error of its own.
    """
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    sockets = _open_sockets()
    # Old objects are not searched again for leftovers of this test: that would take longer
    # than the test.
    gc.freeze()
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}, _open_sockets() - sockets
    timers = await _pending_timers()
    for _ in range(2):  # a finalizer may ask the loop for one more turn
        gc.collect()
        await asyncio.sleep(0)
    gc.unfreeze()
    assert left == (set(), set()), f"tasks, sockets: {left}"
    assert not timers, timers
    assert not complaints, complaints


async def _pending_timers() -> list[asyncio.TimerHandle]:
    """The timers that are left, but for those of 10 ms that picows sets after a bad frame.

    And but for aiofastnet's own alarm for a TLS handshake, which it leaves set when the handshake
    is given up.
    """
    loop: Any = asyncio.get_running_loop()
    soon = loop.time() + 0.03
    while True:
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]
        if all(timer.when() > soon for timer in timers):
            return [timer for timer in timers if "_check_handshake_timeout" not in repr(timer)]
        await asyncio.sleep(0)


def _open_sockets() -> set[str]:
    """The sockets of this process, where the system tells."""
    directory = "/proc/self/fd"
    found = set()
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        try:
            target = os.readlink(f"{directory}/{name}")
        except OSError:  # that of the listing itself
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found
