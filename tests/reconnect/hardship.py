"""Helpers of the storms: a real server behind a fault proxy, tokens that expire, and the blows.

Everything is in one process but the server, which is killed now and then.
"""

import asyncio
import gc
import os
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

import gqlwire
from gqlwire import AsyncClientSession, Client, RetryPolicy
from gqlwire._reconnect.hooks import Hooks
from gqlwire.errors import TransportError
from gqlwire.retry import Attempt
from servers.faults import Fault, FaultProxy, Strike, schedule
from servers.launch import Server, start_node_apollo, start_node_graphql_ws, start_strawberry

SEED = int(os.environ.get("GQLWIRE_STORM_SEED", "20241"))
"""Says when which fault comes; the same each time, unless the environment says another."""

PATIENCE = 60.0
"""Seconds after which something is taken for hung that comes in less than one."""

NEWER, OLDER = "graphql-transport-ws", "graphql-ws"


@dataclass(frozen=True)
class Place:
    """A kind of server, and the protocol to speak with it."""

    name: str
    start: Callable[..., Server]
    protocol: str
    poisons: tuple[str, ...] = ("4500", "1011", "1000", "reset")
    """By what the server can end a whole connection for one subscription; see the schema."""

    def __str__(self) -> str:
        return f"{self.name}/{self.protocol}"

    @property
    def answers_queries(self) -> bool:
        """Strawberry runs nothing but subscriptions in Apollo's protocol."""
        return (self.name, self.protocol) != ("strawberry", OLDER)


PLACES = (
    Place("strawberry", start_strawberry, NEWER),
    Place("strawberry", start_strawberry, OLDER),
    Place("node", start_node_graphql_ws, NEWER, (*Place.poisons, "undefined")),
    Place("node", start_node_apollo, OLDER),
)

STORMED = [place for place in PLACES if (place.name == "node") == (place.protocol == OLDER)]
"""One server of each make, and both protocols; the long storms have them all."""


def each(places: Iterable[Place]) -> list[Any]:
    """As parameters of a test that has to start a server; those that are not STORMED are long."""
    return [
        pytest.param(place, id=str(place), marks=() if place in STORMED else pytest.mark.long)
        for place in places
    ]


class Blow(StrEnum):
    """What happens in addition to the faults of connections."""

    KILL = "kill -9"
    """The server is killed, and started again."""
    EXPIRE = "expired token"
    """The token is stale at the next connection, or a moment after it was taken."""
    UNAVAILABLE = "503"
    """Reset, and the next two attempts to connect are answered with HTTP 503."""
    REFUSE = "refusal"
    """Reset, and the server refuses the subscriptions that have a name, once or twice."""
    RECONNECT = "reconnect()"
    TERMINATE = "terminate()"


Blows = Fault | Blow
EVERY: tuple[Blows, ...] = (*Fault, *Blow)


class Tokens:
    """For `init_payload`: a token that is kept until the server has refused it."""

    def __init__(self) -> None:
        self.refreshed = 0
        self._end = 0.0
        self.expire(3_600)

    def __call__(self, attempt: Attempt) -> dict[str, Any]:
        if attempt.refresh:
            self.refreshed += 1
            self.expire(3_600)
        return {"token": self._end}

    def expire(self, seconds: float) -> None:
        """Have a token that is good for so long."""
        self._end = time.time() + seconds


POLICY = RetryPolicy(first_delay=0.02, longest_delay=0.2, stable_after=0.2, later=0.2)

IMPATIENT: dict[str, Any] = {
    "retry": POLICY,
    "connect_timeout": 2,
    "ack_timeout": 2,
    "close_timeout": 0.3,
    "ping_interval": 0.3,
    "pong_timeout": 0.6,
    "keep_alive_timeout": 2,
}
"""So that silence is found soon, and a busy machine is not taken for it too often.

It is found before the second is over for which an error that may be a refusal is held back.
"""

CALM: dict[str, Any] = {
    "connect_timeout": PATIENCE,
    "ack_timeout": PATIENCE,
    "ping_interval": None,
    "pong_timeout": None,
    "keep_alive_timeout": None,
}
"""For what has nothing to do with silence: no limit ends a connection while a server is slow."""


@dataclass
class Hardship:
    """A session, and what it has to bear.

    `blows` counts those that hit, `ends` by what connections, and attempts to connect, were ended.
    """

    place: Place
    server: Server
    proxy: FaultProxy
    tokens: Tokens
    client: Client
    session: AsyncClientSession
    ends: Counter[str]
    blows: Counter[Blows] = field(default_factory=Counter)

    async def rage(self, blows: Iterable[Strike[Blows]]) -> None:
        """Strike, each time as soon as there is a connection to hit."""
        async with asyncio.TaskGroup() as asides:
            for blow in blows:
                await asyncio.sleep(blow.pause)
                await self.proxy.linked()
                await self._strike(blow, asides)
                self.blows[blow.fault] += 1

    async def _strike(self, blow: Strike[Blows], asides: asyncio.TaskGroup) -> None:
        match blow.fault:
            case Blow.KILL:
                await asyncio.to_thread(self.server.kill)
                await asyncio.to_thread(self.server.restart)
            case Blow.EXPIRE:
                self.tokens.expire(-1 if blow.everywhere else blow.seconds)
                self.proxy.strike(Fault.RESET)
            case Blow.UNAVAILABLE:
                self.proxy.unavailable = 2
                self.proxy.strike(Fault.RESET)
            case Blow.REFUSE:
                times = 1 + blow.everywhere
                await self.asked(f"mutation {{ refuse(times: {times}) }}")
                self.proxy.strike(Fault.RESET, everywhere=True)
            case Blow.RECONNECT:
                asides.create_task(self.session.reconnect("as it pleases"))
            case Blow.TERMINATE:
                self.session.terminate()
            case Fault.SWALLOW_CLOSE:
                self.proxy.strike(Fault.SWALLOW_CLOSE)
                asides.create_task(self.session.reconnect("which takes a goodbye"))
            case fault:
                self.proxy.strike(fault, everywhere=blow.everywhere, seconds=blow.seconds)

    async def asked(self, query: str) -> dict[str, Any]:
        """The server's account of itself, on a connection of its own."""
        async with observer(self.server) as observing:
            answer: dict[str, Any] = await observing.execute(query)
            return answer

    async def until_server_says(self, query: str, wanted: dict[str, Any]) -> None:
        """Ask until it does."""
        said: dict[str, Any] = {}
        try:
            async with asyncio.timeout(PATIENCE), observer(self.server) as observing:
                while said != wanted:
                    said = await observing.execute(query)
        except TimeoutError:
            raise AssertionError(f"the server says {said}, and should say {wanted}") from None


def blows(seed: int, count: int, kinds: tuple[Blows, ...] = EVERY) -> Iterable[Strike[Blows]]:
    """So many, at moments that only the seed says."""
    return schedule(seed, kinds, count, longest_pause=0.3, longest=0.4)


@asynccontextmanager
async def hardship(
    place: Place, *, ledger: Path | None = None, **options: Any
) -> AsyncIterator[Hardship]:
    """Start all of it; leaving it closes the session, with a goodbye to the server."""
    tokens, ends = Tokens(), Counter[str]()
    hooks = Hooks(disconnected=lambda event: ends.update([_named(event.failure)]))
    options = {**IMPATIENT, **options}
    with place.start(tokens_expire=True, ledger=ledger) as server:
        async with FaultProxy(server.port) as proxy:
            client = gqlwire.connect(
                proxy.url,
                subprotocols=[place.protocol],
                init_payload=tokens,
                proxy=None,
                hooks=hooks,
                **options,
            )
            async with client as session:
                here = Hardship(place, server, proxy, tokens, client, session, ends)
                try:
                    yield here
                except BaseException as error:
                    error.add_note(f"{server!r} has said: {server.stderr[-4000:]}")
                    raise
            await here.until_server_says("{ active sockets }", {"active": 0, "sockets": 1})
            await proxy.until(lambda: proxy.sockets == 0)


def listed(counts: Counter[Blows] | Counter[str]) -> str:
    """Spell counts out."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _named(failure: TransportError) -> str:
    code = getattr(failure, "code", None)
    return type(failure).__name__ + (f" {code}" if code else "")


def observer(server: Server) -> Client:
    """A connection that suffers nothing."""
    protocol = server.protocols[0]
    token = {"token": time.time() + 3_600}
    return gqlwire.connect(
        server.url, subprotocols=[protocol], init_payload=token, reconnecting=False, proxy=None
    )


@dataclass
class Memory:
    """The memory at a quiet moment: bytes that Python has, bytes of the process, our objects."""

    traced: int
    resident: int
    objects: Counter[str]

    @classmethod
    def now(cls) -> "Memory":
        objects = census()
        return cls(tracemalloc.get_traced_memory()[0], resident(), objects)

    def __str__(self) -> str:
        return (
            f"{self.traced / 1024:.0f} KiB of Python's, {self.resident / 2**20:.1f} MiB resident, "
            f"{self.objects.total()} objects"
        )


def census() -> Counter[str]:
    """How many objects there are of ours and of picows, by kind.

    Tasks and timers are not among them: the proxy has some, too. That none is left is seen at the
    end.
    """
    gc.collect()
    kinds = (type(thing) for thing in gc.get_objects())
    return Counter(
        kind.__name__ for kind in kinds if str(kind.__module__).partition(".")[0] in _OURS
    )


_OURS = ("gqlwire", "picows", "aiofastnet")


def assert_gone(before: Counter[str]) -> None:
    """No object of ours is left of a client that was closed."""
    left = census() - before
    kinds = ("Connection", "EventStream", "Feed", "Subscription", "TrackedSubscription")
    assert {} == {kind: left[kind] for kind in kinds if left[kind]}


def resident() -> int:
    """The bytes of this process that are in memory; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # not every system tells
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
