"""A subscription over lost connections: helpers of its tests."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from doubles import settle
from gqlwire.errors import (
    ConnectionClosed,
    ConnectionRefused,
    Phase,
    TransportError,
)
from virtual_server import (
    HOST,
    Kept,
    Peer,
    VirtualServer,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)


REFUSED = ConnectionRefused("nobody listens", host=HOST, phase=Phase.CONNECT)


FROM = "subscription From($after: Int) { n(after: $after) }"


LOST = ConnectionClosed(code=1006)


def n(*numbers: Any) -> list[dict[str, Any]]:
    return [{"n": number} for number in numbers]


async def take(events: Any, count: int) -> list[Any]:
    """The outcomes of so many steps: values, or errors."""
    found: list[Any] = []
    async with asyncio.timeout(1_000):
        for _ in range(count):
            try:
                found.append(await anext(events))
            except StopAsyncIteration:
                found.append("the end")
            except TransportError as told:
                found.append(told)
    return found


async def lose(it: Kept, server: VirtualServer, code: int = 1012) -> None:
    """Lose the connection, and get another."""
    server.peer.hang_up(code)
    await it.lasting.ready()
    await settle()


class N(msgspec.Struct):
    n: int


def written(id: str, payload: bytes) -> bytes:
    """A result as the server writes all of them, whatever its payload is."""
    return b'{"type":"next","id":"%s","payload":%s}' % (id.encode(), payload)


def outcome(step: Any) -> Any:
    return step.n if isinstance(step, N) else type(step)


def after(last: Any, variables: dict[str, Any]) -> dict[str, Any]:
    return {**variables, "after": last["n"]}


def asked_after(peer: Peer) -> list[Any]:
    payloads = [said.get("payload", {}) for said in peer.said]
    return [payload["variables"]["after"] for payload in payloads if "variables" in payload]
