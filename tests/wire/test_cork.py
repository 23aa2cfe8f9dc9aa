"""What is sent in one turn of the loop leaves together, and is not held back any longer."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from doubles import on_virtual_time, settle
from gqlwire._streams.backpressure import ReadGate
from gqlwire._wire import Way
from gqlwire._wire import cork as cork_module
from gqlwire._wire.address import parse
from gqlwire._wire.cork import Cork
from gqlwire._wire.dial import open_websocket
from servers.certificates import Certificates, client_context, server_context
from servers.fake import RawPeer, raw_fake
from servers.raw import CLOSE, PING, TEXT
from support import BOUND, leaves_nothing

# --- What the kernel is told ---------------------------------------------------------------------

CORK = 3


class Told:
    """A socket that only notes its options; with a `fault` it has been closed."""

    def __init__(self) -> None:
        self.options: list[tuple[int, ...]] = []
        self.fault: OSError | None = None

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)
        if self.fault is not None:
            raise self.fault

    @property
    def told(self) -> list[int]:
        """Whether to hold back, in the order in which it was told."""
        assert {(socket.IPPROTO_TCP, CORK)} >= {option[:2] for option in self.options}
        return [option[2] for option in self.options]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for a socket, on a platform that has the option, whatever this one has."""
    monkeypatch.setattr(cork_module, "_TCP_CORK", CORK)
    return Told()


def noted(cork: Cork) -> int:
    """Do what a wire does before it sends a message."""
    cork.sent += 1
    if cork.sent > 1:
        cork.hold()
    return cork.sent


@on_virtual_time
async def test_the_first_message_after_a_read_leaves_immediately(told: Any) -> None:
    """If a client asks and waits, again and again, neither the kernel nor the loop is called."""
    cork = Cork(told)
    loop = asyncio.get_running_loop()

    for _ in range(3):
        asked = len(loop._ready)  # type: ignore[attr-defined]
        assert 1 == noted(cork)
        assert asked == len(loop._ready)  # type: ignore[attr-defined]
        await settle()
        cork.sent = 0

    assert [] == told.told


@on_virtual_time
async def test_the_second_message_after_a_read_waits_for_the_end_of_its_turn(told: Any) -> None:
    """It may be of a later turn than the first, which nobody was told of; but the third is not."""
    cork = Cork(told)

    seen = []
    for _ in range(5):
        noted(cork)
        seen.append([*told.told])
        await settle()

    assert [[], [1], [1, 0], [1, 0, 1], [1, 0, 1, 0]] == seen


@pytest.mark.parametrize("again", [1, 2])
@on_virtual_time
async def test_held_messages_are_released_though_something_is_read(told: Any, again: int) -> None:
    """In the same turn, and whatever is sent after that."""
    cork = Cork(told)

    noted(cork)
    noted(cork)
    cork.sent = 0
    for _ in range(again):
        noted(cork)
    assert 0 not in told.told
    await settle()

    assert 0 == told.told[-1]


@pytest.mark.parametrize("count", [2, 3, 1000])
@on_virtual_time
async def test_from_the_second_on_messages_wait_for_the_end_of_the_turn(
    told: Any, count: int
) -> None:
    """However many: the kernel is told twice a turn."""
    cork = Cork(told)

    noted(cork)
    assert [] == told.told
    for _ in range(count - 1):
        noted(cork)
        assert [1] == told.told
    await settle()

    assert [1, 0] == told.told


@on_virtual_time
async def test_each_turn_is_counted_separately(told: Any) -> None:
    """Messages of the last turn do not count in the next."""
    cork = Cork(told)

    for count in (2, 1, 1, 5, 1):
        for _ in range(count):
            noted(cork)
        await settle()
        cork.sent = 0

    assert [1, 0, 1, 0] == told.told


@on_virtual_time
async def test_nothing_is_held_back_into_the_next_turn(told: Any) -> None:
    """It is let go before the loop waits for anything."""
    cork = Cork(told)

    noted(cork)
    noted(cork)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert [1, 0] == told.told


@on_virtual_time
async def test_a_socket_that_is_closed_within_the_turn_is_harmless(told: Any) -> None:
    """It has nothing to hold back; `on_virtual_time` fails for what is raised in the loop."""
    told.fault = OSError(9, "Bad file descriptor")
    cork = Cork(told)

    noted(cork)
    noted(cork)
    await settle()

    assert [1, 0] == told.told


@on_virtual_time
async def test_without_tcp_cork_the_kernel_is_not_called(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS and Windows."""
    monkeypatch.setattr(cork_module, "_TCP_CORK", None)
    cork = Cork(told)

    noted(cork)
    noted(cork)
    await settle()

    assert [] == told.told


# --- On a real socket ----------------------------------------------------------------------------

tidy = pytest.fixture(leaves_nothing)

needs_cork = pytest.mark.skipif(
    not hasattr(socket, "TCP_CORK"), reason="this system has no TCP_CORK"
)
TEXTS = [b"message %d" % number for number in range(50)]


class Quiet:
    """A `Handler` to whom nothing is told but the beginning and the end."""

    def __init__(self) -> None:
        self.wire: Any = None
        self.left = asyncio.Event()
        self.reasons: list[Any] = []

    def opened(self, wire: Any) -> None:
        self.wire = wire

    gate = ReadGate()

    def received(self, text: bytes) -> None:
        raise AssertionError(text)

    def received_all(self, texts: list[bytes]) -> None:
        raise AssertionError(texts)

    def heard(self) -> None:
        """Of a pong, or a close frame."""

    def ponged(self) -> None:
        raise AssertionError("nobody asked")

    def writable(self, yes: bool) -> None:
        """Nothing waits here."""

    def closed(self, code: int, reason: str) -> None:
        self.reasons.append(code)
        self.wire.close(1000, "")

    def failed(self, failure: Exception, code: int) -> None:
        raise failure

    def gone(self) -> None:
        self.left.set()


@dataclass
class Sending:
    """An open WebSocket, its socket, and what the server has had of it."""

    wire: Any
    handler: Quiet
    socket: Any
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    seen: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, texts: list[bytes]) -> None:
        for text in texts:
            self.wire.send(text)

    @property
    def is_corked(self) -> bool:
        return bool(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK))

    @property
    def segments(self) -> int:
        """How many segments with data the kernel has sent (`tcpi_data_segs_out`)."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
        assert 160 == len(info)
        count: int = struct.unpack_from("=I", info, 156)[0]
        return count


@asynccontextmanager
async def sending(count: int, contexts: Any = (None, None)) -> AsyncIterator[Sending]:
    """A connection to a server that reads `count` frames, tells so, and hangs up at the end."""
    it: Sending
    done = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        while len(it.frames) < count:
            frame = await peer.receive_frame()
            it.frames.append((frame.opcode, frame.payload))
        it.seen.set()
        await done.wait()
        peer.end()

    async with raw_fake(script, ssl=contexts[0]) as server, asyncio.timeout(BOUND):
        handler = Quiet()
        way = Way(parse(server.url), ssl_context=contexts[1])
        it = Sending(None, handler, None)
        await open_websocket(way, ("graphql-transport-ws",), lambda *_: handler)
        it.wire = handler.wire
        it.socket = it.wire._transport.underlying_transport.get_extra_info("socket")
        yield it
        done.set()
        await handler.left.wait()


@pytest.fixture(params=["plain", "TLS"])
async def contexts(request: pytest.FixtureRequest, certificates: Certificates) -> Any:
    if request.param == "plain":
        return None, None
    return server_context(certificates.server), client_context(certificates.ca)


@needs_cork
async def test_many_messages_leave_in_few_real_segments(tidy: None) -> None:
    """The first at once, all others together when the turn is over; each by itself without that."""
    async with sending(len(TEXTS)) as it:
        before = it.segments
        it.send(TEXTS)
        assert it.is_corked
        await it.seen.wait()
        assert not it.is_corked

        assert [(TEXT, text) for text in TEXTS] == it.frames
        # Two; the kernel may repeat some, or cork no longer than 200 ms on a machine that stalls.
        assert 2 <= it.segments - before <= 10


@needs_cork
async def test_a_real_socket_is_released_though_more_is_sent_in_the_next_turn(tidy: None) -> None:
    """A task that sends in every turn does not hold back what it sent in the last."""
    async with sending(len(TEXTS)) as it:
        for pair in zip(TEXTS[::2], TEXTS[1::2], strict=True):
            assert not it.is_corked
            it.send([*pair])
            assert it.is_corked
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await it.seen.wait()

        assert [(TEXT, text) for text in TEXTS] == it.frames


async def test_all_arrives_in_order_on_a_real_socket(tidy: None, contexts: Any) -> None:
    """Large ones between small ones, and a ping among them; in TLS, too."""
    texts = [b"x" * size for size in (1, 70_000, 2, 1_000_000, 3, 125, 126)]
    async with sending(len(texts) + 1, contexts) as it:
        it.send(texts[:4])
        it.wire.ping()
        it.send(texts[4:])
        await it.seen.wait()

        expected = [(TEXT, text) for text in texts]
        expected.insert(4, (PING, b""))
        assert expected == it.frames


async def test_a_close_frame_of_the_same_turn_arrives_on_a_real_socket(
    tidy: None, contexts: Any
) -> None:
    """Behind all that was sent before it."""
    async with sending(len(TEXTS) + 1, contexts) as it:
        it.send(TEXTS)
        it.wire.close(1000, "bye")
        await it.seen.wait()

        assert [*((TEXT, text) for text in TEXTS), (CLOSE, b"\x03\xe8bye")] == it.frames


@pytest.mark.parametrize("count", [1, 2, 50])
async def test_a_real_socket_that_is_dropped_in_the_same_turn_is_harmless(
    tidy: None, contexts: Any, count: int
) -> None:
    """Its connection ends, and no more; `tidy` fails for what is raised in the loop."""
    async with sending(0, contexts) as it:
        it.send(TEXTS[:count])
        it.wire.abort()
        await it.handler.left.wait()
        assert [1006] == it.handler.reasons
        assert -1 == it.socket.fileno()

        # The wire does not know yet; its user may still send.
        it.send(TEXTS[:count])
        await asyncio.sleep(0)


async def test_without_tcp_cork_a_real_socket_still_sends(
    tidy: None, contexts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message separately."""
    monkeypatch.setattr(cork_module, "_TCP_CORK", None)
    async with sending(len(TEXTS), contexts) as it:
        it.send(TEXTS)
        if hasattr(socket, "TCP_CORK"):
            assert not it.is_corked
        await it.seen.wait()

        assert [(TEXT, text) for text in TEXTS] == it.frames
