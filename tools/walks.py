"""Count the files and functions that live operations walk through.

    python tools/walks.py [--before REVISION] [--gql PYTHON] [--list WALK]

There are four walks, over a real socket. The server is in this file, and runs in the same loop.

- `connect`: enter `async with` on the client that `gqlwire.connect(url)` has returned before.
- `execute`: run one query, from the call of `session.execute` to its return.
- `event`: one turn of `async for`: it asks for the next event and waits, the bytes come off the
  socket, and it has the value.
- `drop`: the TCP connection ends, without a close frame, while two subscriptions wait for an event.
  The walk is over when each of them has had an event on the next connection.

How they are counted:

- Only the files of the package count, and only on the thread of the loop.
- A function counts once, however often it is entered. Only named functions count: no lambdas, no
  comprehensions or generator expressions, no bodies of classes or modules.
- A file counts if one of its functions is entered.
- A move is an entry into another file than that of the entry before it. An entry is a call, and
  also a coroutine or generator that continues after it was suspended. A return is no entry.

All walks run once before they are counted, so nothing counts that happens only the first time in
a process: loading modules, checking a document. `execute` and `event` are not the first of their
connection either. The seed of `random` is fixed, and with it how long the client waits before it
connects again. So the same code gives the same figures in each run.

`--gql` shows gql's walks beside, all but the drop: gql does not resubscribe by itself. It takes a
Python that has gql; `make bench` sets one up, `benchmarks/.peers/gql/bin/python`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import inspect
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple, Self, TypeVar

from revisions import ROOT, source_of
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

T = TypeVar("T")

WALKS = ("connect", "execute", "event", "drop")
MEASURES = ("files", "functions", "moves")
AIMS = {
    ("connect", "files"): 20,
    ("execute", "files"): 14,
    ("execute", "functions"): 36,
    ("event", "files"): 6,
    ("event", "functions"): 14,
    ("drop", "files"): 22,
    ("drop", "moves"): 100,
}
QUERY = "query { number }"
SUBSCRIPTION = "subscription { number }"
PATIENCE = 30
"""Seconds after which a walk is given up."""
SEED = 281
"""The first `random.random()` after it is 0.02: the client connects again soon after a drop."""


class Entry(NamedTuple):
    """A function that was entered. `line` distinguishes functions of one name."""

    file: str
    function: str
    line: int


Walk = list[Entry]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--before", metavar="REVISION", help="show this revision as well")
    parser.add_argument("--gql", metavar="PYTHON", help="show gql as well, from this Python")
    parser.add_argument("--list", choices=WALKS, help="print the functions of a walk instead")
    parser.add_argument("--walk", choices=LIBRARIES, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.walk:
        print(json.dumps(asyncio.run(walk_all(LIBRARIES[chosen.walk]()))))
    elif chosen.list:
        print(listed(walked("gqlwire", ROOT / "src")[chosen.list]), end="")
    else:
        print(table(columns(chosen.before, chosen.gql)), end="")


def columns(before: str | None, gql: str | None) -> dict[str, dict[str, Walk]]:
    found = {}
    if before:
        with source_of(before, ROOT) as source:
            found[f"before ({before})"] = walked("gqlwire", source)
    found["now"] = walked("gqlwire", ROOT / "src")
    if gql:
        found["gql"] = walked("gql", ROOT / "src", gql)
    return found


def walked(library: str, source: Path, python: str = sys.executable) -> dict[str, Walk]:
    """Walk in a process of its own, which takes gqlwire from `source`."""
    here = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    run = subprocess.run(
        [python, __file__, "--walk", library],
        # The same order of everything that is hashed: `isinstance` with a protocol looks at a set.
        env=here | {"PYTHONPATH": str(source), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        sys.exit(f"walks: {library} did not get through\n{run.stderr}")
    walks = json.loads(run.stdout).items()
    return {name: [Entry(*entry) for entry in walk] for name, walk in walks}


# --- What is shown ----------------------------------------------------------------------------


def counted(walk: Walk) -> dict[str, int]:
    files = [entry.file for entry in walk]
    moves = sum(one != another for one, another in itertools.pairwise(files))
    return {"files": len(set(files)), "functions": len(set(walk)), "moves": moves}


def table(walks: dict[str, dict[str, Walk]]) -> str:
    """Return the counts in Markdown, a column for each set of walks and one for the aims."""
    lines = [
        "| walk | counted | " + " | ".join(walks) + " | aim |",
        "|---|---|" + "---:|" * (len(walks) + 1),
    ]
    counts = [{name: counted(walk) for name, walk in each.items()} for each in walks.values()]
    for name, measure in itertools.product(WALKS, MEASURES):
        numbers = [str(each[name][measure]) if name in each else "-" for each in counts]
        aim = AIMS.get((name, measure), "")
        lines.append(f"| {name} | {measure} | " + " | ".join(numbers) + f" | {aim} |")
    return "\n".join(lines) + "\n"


def listed(walk: Walk) -> str:
    """Return the functions in the order of their first entries, below the names of their files."""
    lines = []
    for file, entries in itertools.groupby(dict.fromkeys(walk), key=lambda entry: entry.file):
        lines += [file, *(f"    {entry.function}" for entry in entries)]
    return "\n".join(lines) + "\n"


# --- The tracer -------------------------------------------------------------------------------


class Tracer:
    """Notes the entries into named functions of a package, on this thread, while it is entered."""

    def __init__(self, package: Path) -> None:
        self._folder = f"{package}{os.sep}"
        self._codes: list[CodeType] = []

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._folder) and is_named(code):
            self._codes.append(code)

    @property
    def walk(self) -> Walk:
        """All entries, in their order."""
        return [
            Entry(
                Path(code.co_filename).relative_to(self._folder).as_posix(),
                code.co_qualname,
                code.co_firstlineno,
            )
            for code in self._codes
        ]


def is_named(code: CodeType) -> bool:
    """Whether it is a named function, and not a lambda or the like, or the body of a class."""
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")


# --- The walks --------------------------------------------------------------------------------


class Library(NamedTuple):
    """A library that walks. `document` makes a request of a text; `resubscribes`: after a drop."""

    package: Path
    connect: Callable[[str], Any]
    document: Callable[[str], Any] = str
    resubscribes: bool = True


def of_gqlwire() -> Library:
    gqlwire = importlib.import_module("gqlwire")
    return Library(folder_of(gqlwire), gqlwire.connect)


def of_gql() -> Library:
    gql = importlib.import_module("gql")
    transport = importlib.import_module("gql.transport.websockets").WebsocketsTransport
    return Library(
        folder_of(gql),
        lambda url: gql.Client(transport=transport(url=url)),
        document=gql.gql,
        resubscribes=False,
    )


def folder_of(package: Any) -> Path:
    return Path(package.__file__).parent


LIBRARIES = {"gqlwire": of_gqlwire, "gql": of_gql}


async def walk_all(library: Library) -> dict[str, Walk]:
    """Walk twice, and return the second walks."""
    gc.disable()  # a finalizer could run during any walk
    async with asyncio.timeout(PATIENCE), Server() as server:
        await Walker(library, server).walk()
        return await Walker(library, server).walk()


class Walker:
    """Takes a library on all walks, over one connection until that is dropped."""

    def __init__(self, library: Library, server: Server) -> None:
        self._library = library
        self._server = server
        self._walks: dict[str, Walk] = {}

    async def walk(self) -> dict[str, Walk]:
        client = self._library.connect(self._server.url)
        async with contextlib.AsyncExitStack() as stack:
            session = await self._traced("connect", lambda: stack.enter_async_context(client))
            await self._execute(session)
            first = await self._subscribe(session, 1)
            await self._next_event(first)
            if self._library.resubscribes:
                second = await self._subscribe(session, 2)
                await self._drop(first, second)
        return self._walks

    async def _traced(self, name: str, begin: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(0)  # callbacks put off until the next turn of the loop do not count
        tracer = Tracer(self._library.package)
        with tracer:
            outcome = await begin()
        self._walks[name] = tracer.walk
        return outcome

    async def _execute(self, session: Any) -> None:
        document = self._library.document(QUERY)
        await session.execute(document)
        await self._traced("execute", lambda: session.execute(document))

    async def _subscribe(self, session: Any, count: int) -> Any:
        """Return a subscription that has had an event; it is this connection's so many-th."""
        subscription = session.subscribe(self._library.document(SUBSCRIPTION))
        event = asyncio.ensure_future(anext(subscription))
        await self._server.subscribed(count)
        await self._server.send_event(count - 1)
        await event
        return subscription

    async def _next_event(self, subscription: Any) -> None:
        # The task that asks comes first; the server sends when that waits.
        await self._traced(
            "event", lambda: asyncio.gather(anext(subscription), self._server.send_event(0))
        )

    async def _drop(self, *subscriptions: Any) -> None:
        waiting = [asyncio.ensure_future(anext(each)) for each in subscriptions]
        random.seed(SEED)
        await self._traced("drop", lambda: self._until_events(waiting))

    async def _until_events(self, waiting: list[asyncio.Future[Any]]) -> None:
        self._server.drop()
        await self._server.subscribed(len(waiting))
        for number in range(len(waiting)):
            await self._server.send_event(number)
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for event in done:
                waiting.remove(event)
                event.result()


# --- The server -------------------------------------------------------------------------------


class Server:
    """Speaks graphql-transport-ws to one client at a time, and sends events on request."""

    url: str

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._news = asyncio.Condition()
        self._ids: list[str] = []
        self._socket: ServerConnection

    async def __aenter__(self) -> Self:
        server = await self._stack.enter_async_context(
            serve(
                self._serve,
                "127.0.0.1",
                0,
                subprotocols=[Subprotocol("graphql-transport-ws")],
                compression=None,
                ping_interval=None,
            )
        )
        self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/graphql"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def subscribed(self, count: int) -> None:
        """Wait until the connection has so many subscriptions."""
        async with self._news:
            await self._news.wait_for(lambda: len(self._ids) == count)

    async def send_event(self, number: int) -> None:
        """Send one to the subscription with this number, counted from 0."""
        await self._send("next", id=self._ids[number], payload={"data": {"number": 1}})

    def drop(self) -> None:
        """End the TCP connection, without a close frame."""
        self._ids = []
        self._socket.transport.abort()

    async def _serve(self, socket: ServerConnection) -> None:
        self._socket, self._ids = socket, []
        with contextlib.suppress(ConnectionClosed):
            async for text in socket:
                await self._answer(json.loads(text))

    async def _answer(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "connection_init"}:
                await self._send("connection_ack")
            case {"type": "subscribe", "id": id, "payload": {"query": query}}:
                if query.startswith("subscription"):
                    await self._note(id)
                    return
                await self._send("next", id=id, payload={"data": {"number": 1}})
                await self._send("complete", id=id)

    async def _note(self, id: str) -> None:
        async with self._news:
            self._ids.append(id)
            self._news.notify_all()

    async def _send(self, type: str, **fields: object) -> None:
        await self._socket.send(json.dumps({"id": fields.pop("id", None), "type": type, **fields}))


if __name__ == "__main__":
    main()
