"""A server for tests of slow consumers, on virtual time: it sends numbers after a cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from virtual_server import Peer, VirtualServer, now

FROM = "subscription From($after: Int) { n(after: $after) }"
_MOMENT = 0.001


def after(last: Any, given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "after": last["n"]}


@dataclass
class Tape:
    """Sends each feed the numbers after its cursor, up to `last`, and then completes it.

    `burst` of them are sent together, each `every` seconds. What is sent waits while the client
    does not read, `kernel` messages at most: then the server sends no more. `page`: the cursor is
    only as fine as that; what is on the same page comes again. `stragglers`: how many bursts are
    sent after the client has stopped the feed. After each number in `losses` it hangs up, once;
    those in `faulty` have errors, those in `odd` take the slow path. `refusals`: how many feeds
    with a cursor it refuses next.

    `cursors` are those of all feeds, and `delays` the seconds that pings took to be answered.
    """

    server: VirtualServer
    last: int = 100
    burst: int = 5
    every: float = 0.01
    kernel: int = 200
    page: int = 1
    stragglers: int = 0
    losses: tuple[int, ...] = ()
    faulty: tuple[int, ...] = ()
    odd: tuple[int, ...] = ()
    refusals: int = 0
    cursors: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    sent: int = 0
    _backlogs: dict[Peer, list[Any]] = field(default_factory=dict)
    _lost: set[int] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.server.on_start = self._start

    def _start(self, peer: Peer, id: str, request: dict[str, Any]) -> None:
        if not request["query"].startswith("subscription From"):
            return
        cursor = (request.get("variables") or {}).get("after") or 0
        self.cursors.append(cursor)
        if cursor and self.refusals:
            self.refusals -= 1
            asyncio.get_running_loop().call_soon(peer.refuse, "not yet", id)
            return
        self.run(self._feed(peer, id, cursor // self.page * self.page))

    def run(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _feed(self, peer: Peer, id: str, number: int) -> None:
        left = self.stragglers
        while peer.is_open and (id in peer.live or left):
            left -= id not in peer.live
            if number >= self.last:
                self._complete(peer, id)
                return
            if len(self._backlogs.get(peer, ())) < self.kernel:
                numbers = [*range(number + 1, min(number + self.burst, self.last) + 1)]
                number = self._send(peer, id, numbers)
                await asyncio.sleep(self.every)
            else:
                self.say(peer)
                await asyncio.sleep(self.every or _MOMENT)

    def _complete(self, peer: Peer, id: str) -> None:
        if peer.live.pop(id, None) is not None:
            self.say(peer, {"type": "complete", "id": id})
            if self._backlogs[peer]:
                self.run(self._flush(peer))

    async def _flush(self, peer: Peer) -> None:
        while peer.is_open and self._backlogs[peer]:
            await asyncio.sleep(_MOMENT)
            self.say(peer)

    def _send(self, peer: Peer, id: str, numbers: list[int]) -> int:
        for number in numbers:
            if number in self.losses and number not in self._lost:
                self._lost.add(number)
                self.say(peer, *(self._event(peer, id, each) for each in numbers if each < number))
                peer.hang_up(1012)
                return number
        self.sent += len(numbers)
        self.say(peer, *(self._event(peer, id, each) for each in numbers))
        return numbers[-1]

    def _event(self, peer: Peer, id: str, number: int) -> Any:
        if number in self.odd:
            kind = peer.spelling.result.encode()
            return b'{"type":"%s","id":"%s","payload":{"data":{"n":%d}},"more":[1]}' % (
                kind,
                id.encode(),
                number,
            )
        payload: dict[str, Any] = {"data": {"n": number}}
        if number in self.faulty:
            payload = {"data": None, "errors": [{"message": f"faulty {number}"}]}
        return peer.result(payload, id)

    def say(self, peer: Peer, *messages: Any) -> None:
        """Say something when the client reads, after what waits already."""
        backlog = self._backlogs.setdefault(peer, [])
        backlog += messages
        if backlog and is_read(peer):
            said, backlog[:] = [*backlog], []
            peer.say(*said)

    async def ping(self, peer: Peer, every: float, until: Callable[[], bool]) -> None:
        """Ping as a server does, and note how long each pong takes, for as long as it comes."""
        while not until():
            await asyncio.sleep(every)
            begin, pongs = now(), peer.said.count({"type": "pong"})
            self.say(peer, {"type": "ping"})
            while peer.said.count({"type": "pong"}) == pongs and not until():
                await asyncio.sleep(0.01)
                self.say(peer)
            self.delays.append(now() - begin)


def is_read(peer: Peer) -> bool:
    """Whether the client reads from the socket."""
    return [each for each in peer.asked if each in ("pause", "resume")][-1:] != ["pause"]
