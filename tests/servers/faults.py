"""A proxy on loopback that does to connections what networks and dying servers do to them.

    async with FaultProxy(server.port) as proxy:
        ...                                  # a client, at proxy.url
        proxy.newest.reset()                 # now
        proxy.greeting = Fault.SILENCE       # each connection, from its beginning

It knows where an HTTP head ends and where WebSocket frames begin (RFC 6455, section 5.2), and
nothing of GraphQL. It runs in the loop of the test, and its `async with` leaves nothing behind.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Generic, Self, TypeVar

from .scripted import reset

T = TypeVar("T")

_CHUNK = 65536
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_CLOSE_FRAME = 0x88
_PATIENCE = 60.0


class Fault(StrEnum):
    """What can happen to a connection."""

    CUT = "cut"
    """Both ends are told that there is no more (FIN), without a close frame."""
    RESET = "reset"
    """Both ends are reset (RST)."""
    TEAR = "tear"
    """Cut in the middle of the next frame of the server's."""
    SILENCE = "silence"
    """Half open: what either end says is swallowed, and neither learns of the other's end."""
    DELAY = "delay"
    """All comes later, by `FaultProxy.latency`."""
    STALL = "stall"
    """Nothing is read of either end."""
    THROTTLE = "throttle"
    """All comes slowly, at `FaultProxy.rate`."""
    SPLIT = "split"
    """Each byte comes by itself, to who reads in the same loop at least."""
    SWALLOW_CLOSE = "swallow close"
    """Close frames are swallowed, and neither end learns of the other's."""


PASSING = (Fault.DELAY, Fault.STALL, Fault.THROTTLE, Fault.SPLIT)
"""Those that end, after the seconds that are said."""


class FaultProxy:
    """Carries connections to `port` of this machine, and does faults to them.

    `connections` counts those that came, `refused` those of them for which there was no server,
    `faults` what was done, by kind. `unavailable`: how many of the next connections are answered
    with `rejection`, which is HTTP 503 at first. `greeting` is done to each as it comes. `latency`
    is in seconds, `rate` in bytes per second each way.
    """

    def __init__(self, port: int, *, latency: float = 0.05, rate: float = 20_000) -> None:
        self.latency = latency
        self.rate = rate
        self.greeting: Fault | None = None
        self.unavailable = 0
        self.rejection = UNAVAILABLE
        self.connections = 0
        self.refused = 0
        self.faults: Counter[Fault] = Counter()
        self._target = port
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._own_faults: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        tasks = list(self._links.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._server.wait_closed()
        if self._own_faults:
            raise BaseExceptionGroup("the proxy itself is at fault", self._own_faults) from error

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/graphql"

    @property
    def links(self) -> list["Link"]:
        """The connections by which both ends still hear each other, the newest last."""
        return [link for link in self._links if link.is_sound]

    @property
    def newest(self) -> "Link":
        return self.links[-1]

    @property
    def sockets(self) -> int:
        """How many sockets are open now, to clients and to the server."""
        return sum(link.sockets for link in self._links)

    async def linked(self) -> "Link":
        """Wait until there is a sound connection; the newest."""
        await self.until(lambda: bool(self.links))
        return self.newest

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true of the connections. Bounded."""
        async with asyncio.timeout(_PATIENCE):
            while not true():
                await self._news.wait()

    def strike(
        self, fault: Fault, *, everywhere: bool = False, seconds: float | None = None
    ) -> int:
        """Do this to the newest sound connection, or to all; return to how many.

        A fault of PASSING is over after so many seconds, or never.
        """
        links = self.links if everywhere else self.links[-1:]
        for link in links:
            link.suffer(fault, seconds)
        return len(links)

    def note(self, fault: Fault | None = None) -> None:
        """Something has changed. For the links only."""
        if fault is not None:
            self.faults[fault] += 1
        self._news.set()
        self._news = asyncio.Event()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = Link(self, reader, writer)
        if self.greeting is not None:
            link.suffer(self.greeting)
        self._links[link] = task = asyncio.create_task(link.run(self._target))
        task.add_done_callback(lambda task: self._forget(link, task))

    def _forget(self, link: "Link", task: asyncio.Task[None]) -> None:
        del self._links[link]
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            self._own_faults.append(fault)
        self.note()


class Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(
        self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()
        self._client = (reader, writer)
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._ends: dict[Fault, float] = {}
        self._told = asyncio.Event()
        self._is_deaf = False
        self._is_torn = False
        self._says_goodbye = True

    # --- Faults -------------------------------------------------------------------------------

    def suffer(self, fault: Fault, seconds: float | None = None) -> None:
        """Do this fault now; one that passes is over after so many seconds, or never."""
        if fault in PASSING:
            self._ends[fault] = self._loop.time() + (float("inf") if seconds is None else seconds)
            self._told.set()
            self._told = asyncio.Event()
            self._proxy.note(fault)
        else:
            at_once: dict[Fault, Callable[[], None]] = {
                Fault.CUT: self.cut,
                Fault.RESET: self.reset,
                Fault.TEAR: self.tear,
                Fault.SILENCE: self.silence,
                Fault.SWALLOW_CLOSE: self.swallow_close,
            }
            at_once[fault]()

    def cut(self) -> None:
        self._part()
        self._proxy.note(Fault.CUT)

    def reset(self) -> None:
        self._is_deaf = True
        for writer in self._writers():
            reset(writer.transport)
        self._proxy.note(Fault.RESET)

    def tear(self) -> None:
        self._is_torn = True
        self._proxy.note(Fault.TEAR)

    def silence(self) -> None:
        self._is_deaf = True
        self._says_goodbye = False
        self._proxy.note(Fault.SILENCE)

    def swallow_close(self) -> None:
        self._says_goodbye = False
        self._proxy.note(Fault.SWALLOW_CLOSE)

    def close_with(self, code: int, reason: str = "") -> None:
        """Close as the server would; that is cut off. 1005 is a close frame without a code."""
        payload = b"" if code == 1005 else code.to_bytes(2) + reason.encode()
        if not self._client[1].is_closing():
            self._client[1].write(bytes([_CLOSE_FRAME, len(payload)]) + payload)
        self._is_deaf = True
        if self._server is not None:
            self._server[1].transport.abort()

    def inject(self, data: bytes) -> None:
        """Send this to the client, as if the server had; it comes between two frames."""
        # The server may have ended its half a moment ago: nothing can be written after that.
        with contextlib.suppress(RuntimeError):
            if not self._client[1].is_closing():
                self._client[1].write(data)

    # --- What there is ------------------------------------------------------------------------

    @property
    def is_sound(self) -> bool:
        """Whether the ends are connected, and nothing was done that parts them."""
        return self._server is not None and not (self._is_deaf or self._is_torn)

    @property
    def sockets(self) -> int:
        return sum(not writer.is_closing() for writer in self._writers())

    def _writers(self) -> list[asyncio.StreamWriter]:
        return [self._client[1]] + ([] if self._server is None else [self._server[1]])

    def _part(self) -> None:
        self._is_deaf = True
        for writer in self._writers():
            _write_eof(writer)

    def _suffers(self, fault: Fault) -> bool:
        return self._ends.get(fault, 0.0) > self._loop.time()

    # --- Carrying -----------------------------------------------------------------------------

    async def run(self, port: int) -> None:
        """Carry bytes until both ends have no more. For the proxy only."""
        try:
            if self._proxy.unavailable:
                self._proxy.unavailable -= 1
                await self._refuse(*self._client)
                return
            try:
                self._server = await asyncio.open_connection("127.0.0.1", port, limit=_CHUNK)
            except OSError:
                self._proxy.refused += 1
                reset(self._client[1].transport)
                return
            self._proxy.note()
            await self._carry(self._server)
        finally:
            for writer in self._writers():
                writer.transport.abort()
            # An aborted transport lets go of its socket in the next turn of the loop.
            await asyncio.sleep(0)

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self._proxy.rejection)
            writer.write_eof()
            await reader.read()

    async def _carry(self, server: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        async with asyncio.TaskGroup() as ways:
            ways.create_task(self._upwards(server))
            ways.create_task(self._downwards(server))

    async def _upwards(self, server: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        ended_well = await self._pump(self._client[0], server[1], is_down=False)
        if ended_well and self._says_goodbye and not self._is_deaf:
            _write_eof(server[1])
        else:
            # The client is gone: nothing is hidden from it any more, and the server must not send.
            server[1].transport.abort()

    async def _downwards(self, server: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        ended_well = await self._pump(server[0], self._client[1], is_down=True)
        if not self._says_goodbye:
            return
        if ended_well:
            _write_eof(self._client[1])
        else:
            reset(self._client[1].transport)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_down: bool
    ) -> bool:
        """Carry one way to the end; return whether that was an orderly one."""
        frames = Frames()
        try:
            while data := await reader.read(_CHUNK):
                await self._hold()
                for frame in frames.feed(data):
                    if not self._is_deaf:
                        await self._pass(frame, writer, is_down=is_down)
        except OSError:
            return False
        return True

    async def _hold(self) -> None:
        if self._suffers(Fault.DELAY):
            await asyncio.sleep(self._proxy.latency)
        while self._suffers(Fault.STALL):
            # It may be over sooner, if the same fault comes again.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._ends[Fault.STALL]):
                    await self._told.wait()

    async def _pass(self, frame: bytes, writer: asyncio.StreamWriter, *, is_down: bool) -> None:
        if frame[0] == _CLOSE_FRAME and not self._says_goodbye:
            return
        if self._is_torn and is_down:
            await self._send(writer, frame[: len(frame) // 2])
            self._part()
        elif self._suffers(Fault.SPLIT):
            for place in range(len(frame)):
                await self._send(writer, frame[place : place + 1])
                # Data written in a turn of the loop is only read after the next turn has begun.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        elif self._suffers(Fault.THROTTLE):
            await asyncio.sleep(len(frame) / self._proxy.rate)
            await self._send(writer, frame)
        else:
            await self._send(writer, frame)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self._is_deaf or writer.is_closing():
            return
        writer.write(data)
        # The reader of an end reports that the end is gone.
        with contextlib.suppress(OSError):
            await writer.drain()


class Frames:
    """Cuts a stream into the head of its HTTP message and the WebSocket frames after it.

    Data after another answer than 101 stays as it comes.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._cut: Callable[[], int] = self._head

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take new data; return the pieces that are complete by now."""
        self._rest += data
        while size := self._cut():
            piece = bytes(self._rest[:size])
            del self._rest[:size]
            yield piece

    def _head(self) -> int:
        end = self._rest.find(b"\r\n\r\n") + 4
        if end < 4:
            return 0
        line = bytes(self._rest[: self._rest.find(b"\r\n")])
        is_upgrade = not line.startswith(b"HTTP/") or b" 101 " in line
        self._cut = self._frame if is_upgrade else self._all
        return end

    def _all(self) -> int:
        return len(self._rest)

    def _frame(self) -> int:
        if len(self._rest) < 2:
            return 0
        length, size = self._rest[1] & 0x7F, 2
        if length > 125:
            more = 2 if length == 126 else 8
            size += more
            if len(self._rest) < size:
                return 0
            length = int.from_bytes(self._rest[2:size])
        size += length + (4 if self._rest[1] & 0x80 else 0)
        return size if len(self._rest) >= size else 0


def _write_eof(writer: asyncio.StreamWriter) -> None:
    # The other end may have gone a moment ago.
    with contextlib.suppress(OSError):
        if not writer.is_closing():
            writer.write_eof()


# --- Schedule --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strike(Generic[T]):
    """One fault of a schedule: after `pause` seconds, for `seconds` if it passes."""

    fault: T
    pause: float
    everywhere: bool
    seconds: float


def schedule(
    seed: int, faults: Sequence[T], count: int, *, longest_pause: float, longest: float
) -> Iterator[Strike[T]]:
    """So many faults, each kind as often as the others, in an order that `seed` says.

    One in four comes immediately after the one before, during whatever that has begun.
    """
    chance = random.Random(seed)
    deck: list[T] = []
    for _ in range(count):
        if not deck:
            deck = list(faults)
            chance.shuffle(deck)
        yield Strike(
            deck.pop(),
            pause=max(0.0, chance.uniform(-longest_pause / 3, longest_pause)),
            everywhere=chance.random() < 0.5,
            seconds=chance.uniform(0, longest),
        )
