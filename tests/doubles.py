"""Stand-ins for what a connection needs from the world: a wire, a clock, a gate.

`MemoryWire` is a WebSocket without a network, `on_virtual_time` a loop whose clock jumps to the
next alarm as soon as nothing else is left to do. So a minute passes in no time, and a test whose
tasks wait for something that never happens fails immediately. `SteadyLoop` is for tests over real
sockets: its clock does not run while other processes have the processor.
"""

from __future__ import annotations

import asyncio
import functools
import json
import selectors
import time
from typing import TYPE_CHECKING, Any

from gqlwire._connection.keepalive import KeepAlive, Limits
from gqlwire._operations.link import Link
from gqlwire._operations.subscription import Subscription
from gqlwire._streams.backpressure import ReadGate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import ParamSpec

    from gqlwire._connection.connection import Connection
    from gqlwire._streams.sink import Item
    from gqlwire._streams.stream import EventStream

    P = ParamSpec("P")

# --- Time ------------------------------------------------------------------------------------


class _JumpingSelector(selectors.SelectSelector):
    """Waits for no file; lets the clock jump instead."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("every task waits for what will never happen")
        if timeout and not ready:
            self._jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose time is only that of its alarms."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self.faults: list[dict[str, Any]] = []
        super().__init__(_JumpingSelector(self._jump))
        self.set_exception_handler(lambda _, fault: self.faults.append(fault))

    def time(self) -> float:
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += seconds


def on_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a loop of its own, whose clock jumps.

    An exception raised into the loop, which would only log it, fails the test.
    """

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))
            loop = runner.get_loop()
            assert isinstance(loop, VirtualTimeLoop)
            assert [] == loop.faults

    return run


class _PatientSelector(selectors.DefaultSelector):
    """Reports how long it has waited, but never more than it was asked to wait."""

    def __init__(self, waited: Callable[[float], None]) -> None:
        super().__init__()
        self._waited = waited

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        begin = time.monotonic()
        ready = super().select(timeout)
        took = time.monotonic() - begin
        self._waited(took if timeout is None else min(took, timeout))
        return ready


class SteadyLoop(asyncio.SelectorEventLoop):
    """A loop whose clock runs only while the loop works or waits.

    On a busy machine a process is stopped for a tenth of a second now and then. With the usual
    clock, time limits would expire in that time, before the process has read what arrived in time.
    Client and server of a test run on one loop, so with this clock neither is late for the other.
    """

    def __init__(self) -> None:
        self._waited = 0.0
        super().__init__(_PatientSelector(self._wait))

    def time(self) -> float:
        return self._waited + time.process_time()

    def _wait(self, seconds: float) -> None:
        self._waited += seconds


async def pass_time(seconds: float) -> None:
    """Let the virtual clock run for so long, with everything that happens on the way."""
    await asyncio.sleep(seconds)


async def settle() -> None:
    """Let everything happen that can happen without time passing (but for a microsecond)."""
    await asyncio.sleep(1e-6)


class ManualTimer:
    """A call that a `ManualClock` will make."""

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.callback = callback
        self._when = when
        self.cancelled = False

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """A clock that the test moves. `calls` counts the timers that were set."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now
        self.calls = 0
        self._timers: list[ManualTimer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> ManualTimer:
        self.calls += 1
        timer = ManualTimer(when, callback)
        self._timers.append(timer)
        return timer

    @property
    def alarms(self) -> list[float]:
        """When it will make calls."""
        return sorted(timer.when() for timer in self._timers if not timer.cancelled)

    def go_to(self, now: float) -> None:
        """Move on to `now`; each call on the way is made in time."""
        while self.alarms and self.alarms[0] <= now:
            self.now = max(self.now, self.alarms[0])
            self._make_next_call()
        self.now = now

    def stall_to(self, now: float) -> None:
        """Move on to `now` as a busy loop does: each call on the way is made late."""
        self.now = now
        while self.alarms and self.alarms[0] <= now:
            self._make_next_call()

    def _make_next_call(self) -> None:
        timer = min((it for it in self._timers if not it.cancelled), key=ManualTimer.when)
        self._timers.remove(timer)
        timer.callback()


# --- Keep-alive ------------------------------------------------------------------------------


class Watched:
    """The keep-alive of a connection: when it pinged, and when and why it found the server dead.

    With `sends`, each ping that is due is sent.
    """

    def __init__(self, limits: Limits, *, sends: bool = True) -> None:
        self.clock = ManualClock()
        self.gate = ReadGate()
        self.pings: list[float] = []
        self.deaths: list[tuple[float, float, str]] = []
        self._sends = sends
        self.it = KeepAlive(
            limits, self.clock, self.gate, on_ping=self._ping, on_dead=self._note_death
        )

    def _ping(self) -> None:
        self.pings.append(self.clock.now)
        if self._sends:
            self.it.pinged()

    def _note_death(self, limit: float, when: str) -> None:
        self.deaths.append((self.clock.now, limit, when))
        self.it.stop()

    def at(self, now: float) -> KeepAlive:
        """Move the clock; return the keep-alive, to report an event to it."""
        self.clock.go_to(now)
        return self.it

    def heard_at(self, now: float) -> None:
        """A burst of frames arrives; a connection notes it so."""
        if now > self.clock.now:
            self.at(now)
        self.it.last_heard = now
        self.it.unanswered_since = None


# --- Wire ------------------------------------------------------------------------------------


class MemoryWire:
    """A `Wire` without a network. It keeps what was sent, and the other calls, in order.

    As on a real one, a close frame is answered and then the socket is no more; with
    `answers_close=False` the server leaves it unanswered.
    """

    def __init__(self, *, answers_close: bool = True) -> None:
        self.handler: Connection | None = None
        self.sent: list[bytes] = []
        self.asked: list[str] = []
        self.close_code: int | None = None
        self._answers_close = answers_close
        self._is_over = False

    @property
    def said(self) -> list[Any]:
        """What was sent, decoded."""
        return [json.loads(text) for text in self.sent]

    def send(self, text: bytes) -> None:
        self.sent.append(text)

    def ping(self) -> None:
        self.asked.append("ping")

    def close(self, code: int, reason: str) -> None:
        self.asked.append("close")
        self.close_code = code
        if self._answers_close:
            self._end()

    def abort(self) -> None:
        self.asked.append("abort")
        self._end()

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def _end(self) -> None:
        if not self._is_over and self.handler is not None:
            self._is_over = True
            asyncio.get_running_loop().call_soon(self._tell_end, self.handler)

    @staticmethod
    def _tell_end(handler: Connection) -> None:
        handler.closed(1006, "")
        handler.gone()


# --- Link ------------------------------------------------------------------------------------


def link_to(connection: Connection) -> Link:
    """A link with this one connection, which no other follows."""
    dialer: Any = connection  # of which a link asks its host only
    link = Link(dialer)
    link.live = connection
    return link


# --- Streams ---------------------------------------------------------------------------------


class StreamFeed:
    """A `Feed` whose operation has begun, with a stream of the test's."""

    id = "1"
    is_over = False
    is_lost = False

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    async def start(self) -> EventStream:
        return self._stream

    def payload(self, item: Item) -> Item:
        return item

    def end(self, stream: EventStream) -> Exception:
        return stream.ending()

    def stop(self) -> None:
        pass

    def stop_from_anywhere(self) -> None:
        pass


async def next_event(stream: EventStream) -> Item:
    """Take the next event of a stream, as a step of its subscription does."""
    feed: Any = StreamFeed(stream)
    return await anext(Subscription(feed, lambda item: item))


class RecordingOwner:
    """An `Owner` that calls a function when its stream ends because it is full; keeps nothing."""

    def __init__(self, overrun: Callable[[], None]) -> None:
        self.overrun = overrun

    def full(self) -> None:
        pass

    def takes_more(self) -> bool:
        return True

    def roomy(self) -> None:
        pass

    def keeps(self, failure: Exception) -> bool:
        return False


class RecordingGate:
    """A `ReadGate` that only records its calls."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.waiting = 0
        self.asked = 0
        self.loop = None
        self.paused = False
        self.burst = [0.0]

    def hold(self, stream: EventStream) -> None:
        self.told.append("hold")

    def release(self, stream: EventStream) -> None:
        self.told.append("release")
