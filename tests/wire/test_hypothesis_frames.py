"""Arbitrary frames and bytes against a live connection: an error of our tree, or it goes on."""

import asyncio
import json
import re
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conftest import examples
from gqlwire import ExecutionResult
from gqlwire._operations.subscription import Subscription
from gqlwire.errors import CloseTimeout, TransportError
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import PeerClosed, RawPeer, raw_fake
from servers.raw import CLOSE, CONTINUATION, PING, TEXT
from servers.scripted import Script
from support import QUERY, TICKS, leaves_nothing

BOUND = 60.0
few = settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

# --- What a server may say -----------------------------------------------------------------------

# What stands in angle brackets is the protocol's, or known only once the operations run.
OURS = st.sampled_from(["<query>", "<ticks>"])
IDS = OURS | st.sampled_from(["none of ours", 1, None, True, 1.5, [], {}])
KNOWN = "connection_ack connection_error ping pong ka next data error complete start"
TYPES = st.sampled_from([*KNOWN.split(), "", None, 1, {"type": "next"}])
SCALARS = [None, True, 0, "said", float("nan"), "\ud800", 10**30, [], {}]
ERRORS = [*({"message": scalar} for scalar in SCALARS), {"path": ["a", 1]}, *SCALARS]
PAYLOADS = st.sampled_from(SCALARS) | st.fixed_dictionaries(
    {},
    optional={
        "data": st.sampled_from([*SCALARS, {"ticks": 1}]),
        "errors": st.sampled_from(SCALARS) | st.lists(st.sampled_from(ERRORS), max_size=2),
        "extensions": st.sampled_from(SCALARS),
        "hasNext": st.sampled_from(SCALARS),
        "incremental": st.sampled_from(SCALARS),
        "path": st.sampled_from(SCALARS),
    },
)
ANY = st.fixed_dictionaries({"type": TYPES}, optional={"id": IDS, "payload": PAYLOADS})
AIMED = st.fixed_dictionaries(
    {"type": st.sampled_from(["<event>", "<event>", "error"]), "id": OURS, "payload": PAYLOADS}
)
OPEN, DEEP = '{"type":"<event>","id":"<ticks>","payload":', "[" * 20_000
ODD = [
    "",
    "{",
    "{}",
    "null",
    "[]",
    '"',
    "\ufeff{}",
    DEEP,
    OPEN,
    OPEN + DEEP + "]" * len(DEEP) + "}",
]
OBJECTS = (ANY | AIMED).map(json.dumps)
TEXTS = OBJECTS | st.sampled_from(ODD)


@dataclass(frozen=True)
class Garbled:
    """A frame with any header; `length` is what it says, if that is not the truth."""

    first: int
    is_masked: bool
    payload: bytes
    length: int | None

    def encode(self) -> bytes:
        size, mask = len(self.payload) if self.length is None else self.length, self.is_masked << 7
        if size < 126:
            return bytes([self.first, mask | size]) + self.payload
        if size < 1 << 16:
            return struct.pack("!BBH", self.first, mask | 126, size) + self.payload
        return struct.pack("!BBQ", self.first, mask | 127, size) + self.payload


def plain(opcode: int, payload: bytes, *, fin: bool = True) -> Garbled:
    return Garbled(fin << 7 | opcode, is_masked=False, payload=payload, length=None)


GARBLED = st.builds(
    Garbled,
    first=st.integers(0, 255),
    is_masked=st.booleans(),
    payload=st.binary(max_size=130),
    length=st.none() | st.sampled_from([0, 1, 125, 126, 70_000, 1 << 40, (1 << 64) - 1]),
)
LAWFUL = st.builds(
    plain,
    st.sampled_from([CONTINUATION, TEXT, PING, CLOSE]),
    st.binary(max_size=9),
    fin=st.booleans(),
)
CODES = st.integers(0, 65535).map(lambda code: plain(CLOSE, struct.pack("!H", code)))
FRAMES = st.lists(TEXTS | LAWFUL | CODES | GARBLED, min_size=1, max_size=8)
BYTES = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=3)
ENDS = st.sampled_from(["server", "reset", "client"])
EVENT = {"graphql-transport-ws": "next", "graphql-ws": "data"}
START = {"graphql-transport-ws": "subscribe", "graphql-ws": "start"}
PROTOCOLS = st.sampled_from(list(EVENT))


def encoded(item: str | bytes | Garbled, words: dict[str, str]) -> bytes:
    if isinstance(item, str):
        text = re.sub("<[a-z]+>", lambda found: words[found[0]], item)
        return plain(TEXT, text.encode()).encode()
    return item if isinstance(item, bytes) else item.encode()


# --- What has to come of it ----------------------------------------------------------------------


async def consume(events: Subscription[ExecutionResult]) -> None:
    """Take all events; one that is none, or has errors, is not the end."""
    while True:
        try:
            await anext(events)
        except StopAsyncIteration:
            return
        except TransportError:
            continue


async def query(transport: WebsocketsTransport) -> None:
    with suppress(TransportError):
        assert isinstance(await transport.execute(QUERY), ExecutionResult)


@asynccontextmanager
async def waiting(script: Script[RawPeer], protocol: str) -> AsyncIterator[WebsocketsTransport]:
    """A query and a subscription that wait; both, and the connection, have to end in here."""
    async with raw_fake(script) as server, asyncio.timeout(BOUND):
        transport = WebsocketsTransport(server.url, subprotocols=[protocol], close_timeout=0.5)
        await transport.connect()
        async with asyncio.TaskGroup() as group:
            group.create_task(query(transport))
            group.create_task(consume(transport.subscribe(TICKS)))
            yield transport
            await transport.wait_closed()
        await transport.close()


async def say(peer: RawPeer, items: list[Any], protocol: str, *, at_once: bool) -> None:
    """Let both begin, then send all the items, as far as the client stays."""
    await peer.ack()
    words = {name: (await peer.receive())["id"] for name in ("<query>", "<ticks>")}
    words["<event>"] = EVENT[protocol]
    parts = [encoded(item, words) for item in items]
    with suppress(PeerClosed):
        for part in [b"".join(parts)] if at_once else parts:
            await peer.send_raw(part)
            await asyncio.sleep(0)


async def survives(items: list[Any], end: str, protocol: str, *, at_once: bool) -> None:
    """Whatever is said, all that waits ends when the connection does, whoever ends it."""
    said = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await say(peer, items, protocol, at_once=at_once)
        said.set()
        if end != "client":
            peer.end() if end == "server" else peer.abort()

    async with waiting(script, protocol) as transport:
        await said.wait()
        if end == "client":
            with suppress(CloseTimeout):
                await transport.close()


async def lives_on(items: list[str], protocol: str, *, at_once: bool) -> None:
    """Whatever objects are said, a query that comes after them is answered."""
    said = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        await say(peer, items, protocol, at_once=at_once)
        await peer.send_frame(PING)
        said.set()
        start = await peer.expect(START[protocol], skip=["pong", "complete", "stop"])
        result = {"data": {"hello": "there"}}
        await peer.send({"type": EVENT[protocol], "id": start["id"], "payload": result})

    async with waiting(script, protocol) as transport:
        await said.wait()
        result = await transport.execute(QUERY)
        assert {"hello": "there"} == result.data
        await transport.close()


def run(check: Coroutine[Any, Any, None]) -> None:
    async def watched() -> None:
        async with asynccontextmanager(leaves_nothing)():
            await check

    asyncio.run(watched())


@few
@given(items=FRAMES, end=ENDS, protocol=PROTOCOLS, at_once=st.booleans())
def test_any_frames(items: list[Any], end: str, protocol: str, at_once: bool) -> None:
    """Texts of every kind, frames with any header: nothing hangs, and nothing is left."""
    run(survives(items, end, protocol, at_once=at_once))


@few
@given(items=BYTES, end=ENDS, protocol=PROTOCOLS, at_once=st.booleans())
def test_any_bytes(items: list[Any], end: str, protocol: str, at_once: bool) -> None:
    """The same for what is no frame at all."""
    run(survives(items, end, protocol, at_once=at_once))


@few
@given(items=st.lists(OBJECTS, min_size=1, max_size=8), protocol=PROTOCOLS, at_once=st.booleans())
@example(
    items=['{"type":"<event>","id":"<ticks>","payload":{"errors":["\\ud800"]}}'],
    protocol="graphql-ws",
    at_once=True,
)
def test_any_objects(items: list[str], protocol: str, at_once: bool) -> None:
    """An odd message ends its own operation at most: the connection goes on."""
    run(lives_on(items, protocol, at_once=at_once))
