"""What a client has to hold to, whatever a server does to it: `endures` runs an attack and judges.

- Only errors of gqlwire's tree reach the user, and their texts are short and printable.
- Nothing is written to stderr, and asyncio has nothing to complain of.
- Memory grows in proportion to what the server sent.
- Every step ends within the time limits that it has.
- No task, socket or timer is left.
- Another client in the process does not notice.
- The same client works on a good server afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import selectors
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from attacks import Attack
from hostile import LONG, Hostile
from msgspec import Struct

import gqlwire
from gqlwire import AsyncClientSession, Client, RetryPolicy
from gqlwire.errors import Phase, TransportError
from gqlwire.transport import negotiation
from support import leaves_nothing

CONNECT, ACK, CLOSE = 5.0, 3.0, 2.0
"""The time limits of the client, in seconds."""

OFFERS = 3
"""How many connections one attempt may make: the whole offer, and each protocol alone."""

ATTEMPT = OFFERS * (CONNECT + ACK + CLOSE)
PAUSE = 2 * RetryPolicy().later + RetryPolicy().longest_delay
MAX_MESSAGE = 64 * 1024
HOUR, MONTH = 3600.0, 30 * 24 * 3600.0

MEMORY, PER_BYTE, DEFLATE = 2_000_000, 48, 1_000_000
"""What may be allocated at the same time, in bytes: so much, and so much for each byte received.

JSON takes up to 24 bytes for each byte of text once it is decoded: a message of `[[],[],[]…`. The
two streams of a connection with compression take 0.2 MB.
"""

TEXT = 8 * 1024
"""How many characters an error, or a line of the log, may have."""

STEPS = 10_000
TURNS = 300_000

QUERY = "{ hello }"
TICKS = "subscription { ticks }"


class Hello(Struct):
    """What the typed query wants."""

    hello: str


class Tick(Struct):
    """What the typed subscription wants."""

    ticks: int


# --- Time ------------------------------------------------------------------------------------


class _HastySelector(selectors.DefaultSelector):
    """Lets the clock jump as soon as no socket has anything more to say.

    The kernel passes on what is sent on the loopback interface within a millisecond, mostly
    immediately: everything is in this process. If it once takes longer, a time limit is over too
    early, which no check minds.
    """

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        self._turns += 1
        assert self._turns < TURNS, "the loop turns without an end"
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        ready = super().select(1.0 if timeout is None else 0.001)
        if not ready:
            assert timeout is not None, "every task waits for what will never happen"
            self._jump(timeout)
        return ready


class HastyLoop(asyncio.SelectorEventLoop):
    """A loop over real sockets, whose time is only that of its alarms."""

    def __init__(self) -> None:
        self._now = 1_000.0
        super().__init__(_HastySelector(self._jump))

    def time(self) -> float:
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += seconds

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Without a thread, which would need time."""
        return socket.getaddrinfo(host, port, **options)


def now() -> float:
    return asyncio.get_running_loop().time()


# --- What is watched -------------------------------------------------------------------------


class Watch(logging.Handler):
    """What must not be seen: faults of asyncio, text on stderr, long or unprintable texts."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Judge one line of a log."""
        text = record.getMessage()
        if record.name == "asyncio":
            self.faults.append(f"asyncio logs: {text}")
        self._judge_text(f"{record.name} logs", text)

    def judge(self, error: BaseException) -> None:
        """Judge what has reached the user."""
        self.errors.append(type(error).__name__)
        if not isinstance(error, TransportError):
            self.faults.append(f"not an error of gqlwire: {error!r}")
        self._judge_text(f"{type(error).__name__} says", str(error))

    def _judge_text(self, who: str, text: str) -> None:
        if len(text) > TEXT:
            self.faults.append(f"{who} {len(text)} characters: {text[:200]!r}")
        if "gqlwire's own reader" in text:  # it hides a fault of ours
            self.faults.append(f"{who} {text}")
        if not text.isprintable():
            self.faults.append(f"{who} what is not printable: {text[:200]!r}")


@contextmanager
def watching(attack: Attack) -> Iterator[Watch]:
    """Watch the log, stderr and what Python cannot raise; judge at the end."""
    watch, stderr, hook = Watch(), sys.stderr, sys.unraisablehook
    sys.stderr = said = io.StringIO()
    sys.unraisablehook = lambda told: watch.faults.append(f"not raised: {told.exc_value!r}")
    loggers = [logging.getLogger(name) for name in ("gqlwire", "asyncio")]
    level = loggers[0].level
    loggers[0].setLevel(logging.DEBUG if attack.logs else logging.WARNING)
    for logger in loggers:
        logger.addHandler(watch)
        logger.propagate = False
    try:
        yield watch
    finally:
        sys.stderr, sys.unraisablehook = stderr, hook
        loggers[0].setLevel(level)
        for logger in loggers:
            logger.removeHandler(watch)
            logger.propagate = True
    assert not said.getvalue(), f"on stderr: {said.getvalue()}"
    assert not watch.faults, watch.faults


@contextmanager
def measured(hostile: Hostile) -> Iterator[None]:
    """Fail if more memory is taken than what the server sent explains."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    limit = MEMORY + PER_BYTE * hostile.sent
    limit += DEFLATE * hostile.attack.deflates
    assert peak - before <= limit, f"{peak - before:,} bytes in memory for {hostile.sent:,} sent"


# --- The client ------------------------------------------------------------------------------


def client_for(hostile: Hostile) -> Client:
    attack = hostile.attack
    return gqlwire.connect(
        hostile.url,
        subprotocols=None if attack.protocol is None else [attack.protocol],
        compression="deflate" if attack.deflates else None,
        connect_timeout=CONNECT,
        ack_timeout=ACK,
        close_timeout=CLOSE,
        execute_timeout=HOUR,
        max_message_size=MAX_MESSAGE,
        proxy=False,
        reconnecting=attack.reconnects,
        retry=RetryPolicy(initial=True) if attack.reconnects else None,
    )


class Users:
    """The tasks that use one session; what they raise is judged."""

    def __init__(self, session: AsyncClientSession, watch: Watch) -> None:
        self.watch = watch
        everybody = [
            self._ask(session.execute(QUERY)),
            self._ask(session.execute(QUERY, result_type=Hello)),
            self._take(session.subscribe(TICKS)),
            self._take(session.subscribe(TICKS, result_type=Tick)),
            self._take(gqlwire.merge([session.subscribe(TICKS), session.subscribe(TICKS)])),
        ]
        loop = asyncio.get_running_loop()
        self.tasks: list[asyncio.Task[None]] = [loop.create_task(each) for each in everybody]

    async def _ask(self, answer: Coroutine[Any, Any, object]) -> None:
        try:
            await answer
        except Exception as error:  # noqa: BLE001  # it is judged
            self.watch.judge(error)

    async def _take(self, events: AsyncIterator[object]) -> None:
        """Take all events; one that cannot be read is not the end."""
        for _ in range(STEPS):
            try:
                await anext(events)
            except StopAsyncIteration:
                return
            except Exception as error:  # noqa: BLE001  # it is judged
                self.watch.judge(error)
        raise AssertionError("a subscription has no end")

    async def end(self) -> None:
        """Wait until all have ended, as the connection has; no time passes."""
        done, pending = await asyncio.wait(self.tasks, timeout=LONG / 10)
        assert not pending, pending
        for task in done:
            task.result()


class Ordeal:
    """One client under attack, and what it has to hold to."""

    def __init__(self, hostile: Hostile, watch: Watch) -> None:
        self.hostile = hostile
        self.watch = watch
        self.client = client_for(hostile)

    async def endure(self) -> None:
        """Use the client during the attack, and close it."""
        began = now()
        users = None
        try:
            async with asyncio.timeout(MONTH), self.client as session:
                self._in_time(began, ATTEMPT)
                users = Users(session, self.watch)
                await self._outlast(session)
                left = now()
            self._in_time(left, CLOSE, has_time=True)
        except TransportError as error:
            assert users is None, "leaving raised"
            self.watch.judge(error)
            self._in_time(began, ATTEMPT)
        except TimeoutError:
            assert self.hostile.attack.asks_to_wait, "no connection within a month"
        if users is not None:
            await users.end()

    async def _outlast(self, session: AsyncClientSession) -> None:
        """Stay until the attack is over; a connection that is kept then works again."""
        wait = LONG
        await asyncio.sleep(4 * LONG)
        if not self.hostile.attack.reconnects:
            return
        while self.hostile.left and session.state is not Phase.CLOSED:
            await asyncio.sleep(wait)
            wait *= 1.5
        await self._works_again(session)

    async def _works_again(self, session: AsyncClientSession) -> None:
        """Ask the good server; the question may be lost with the last bad connections."""
        for _ in range(self.hostile.attack.times + 1):
            try:
                answer = await session.execute(QUERY, timeout=None)
            except TransportError as error:
                self.watch.judge(error)
                if session.state is Phase.CLOSED:  # for a reason that is not retried
                    return
            else:
                if answer == {"hello": "there"}:
                    return
        raise AssertionError("the connection does not come back")

    def _in_time(self, since: float, limit: float, *, has_time: bool = False) -> None:
        """Fail if it took longer; a client that keeps its connection may try again."""
        attack = self.hostile.attack
        if attack.reconnects and not has_time:
            if attack.asks_to_wait:
                return
            limit = (limit + PAUSE) * (attack.times + 1)
        assert now() - since <= limit + LONG / 10, f"{now() - since} s, the limit is {limit}"

    async def recover(self) -> None:
        """The same client, on a server that does as it should."""
        self.hostile.left = 0
        negotiation.memory._known.clear()
        async with self.client as session:
            assert {"hello": "there"} == await session.execute(QUERY)


@asynccontextmanager
async def neighbour() -> AsyncIterator[None]:
    """Another client, which must not notice anything."""
    async with Hostile(Attack(times=0)) as server:
        client = gqlwire.connect(server.url, proxy=False, reconnecting=False)
        async with client as session, session.subscribe(TICKS) as events:
            step = asyncio.get_running_loop().create_task(anext(events))
            assert {"hello": "there"} == await session.execute(QUERY)
            yield
            await server.tell_all(7)
            assert {"ticks": 7} == await step
            assert {"hello": "there"} == await session.execute(QUERY)
        assert 1 == server.served


async def _endure(attack: Attack, watch: Watch) -> None:
    async with asynccontextmanager(leaves_nothing)():
        async with neighbour(), Hostile(attack) as hostile:
            ordeal = Ordeal(hostile, watch)
            with measured(hostile):
                await ordeal.endure()
            await hostile.left_alone()
            await ordeal.recover()
            del ordeal
        await asyncio.sleep(LONG)  # picows leaves a timer of 10 ms behind after a bad frame


def endures(attack: Attack) -> list[str]:
    """Attack a client, and fail if it does not hold to what is right.

    Returns the names of the errors that reached the user.
    """
    negotiation.memory._known.clear()
    with watching(attack) as watch, contextlib.closing(HastyLoop()) as loop:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(_endure(attack, watch))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
    return watch.errors
