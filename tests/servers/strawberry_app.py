"""A real GraphQL server of both protocols: Strawberry on uvicorn, serving `schema.graphql`.

Knows nothing of gqlwire. A program of its own, which `launch.py` starts: one line of JSON on stdout
when it is ready, other output on stderr, ends when stdin does.
"""

import argparse
import asyncio
import json
import logging
import os
import socket
import ssl
import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import strawberry
import uvicorn
from starlette.websockets import WebSocket, WebSocketState
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_ws.handlers import BaseGraphQLWSHandler
from strawberry.types import Info

PROTOCOLS = ("graphql-transport-ws", "graphql-ws")


@dataclass
class State:
    """The state that the whole process shares."""

    counter: int = 0
    active: int = 0
    stopped: int = 0
    topics: defaultdict[str, set[asyncio.Queue[str]]] = field(
        default_factory=lambda: defaultdict(set)
    )
    connections: Collection[Any] = ()
    recorded: Counter[str] = field(default_factory=Counter)
    refusals: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ledger: Path | None = None

    def keep_in(self, ledger: Path) -> None:
        """Continue counting where the last writer of this file ended."""
        self.ledger = ledger
        if ledger.exists():
            self.recorded.update(ledger.read_text().splitlines())

    def record(self, key: str) -> int:
        if self.ledger is not None:
            # In the hands of the system before it is answered: not even SIGKILL loses it.
            with self.ledger.open("a") as file:
                file.write(f"{key}\n")
        self.recorded[key] += 1
        return self.recorded[key]

    def refuse(self, times: int) -> int:
        self.refusals = times
        self.refused.clear()
        return times

    def check(self, name: str | None) -> None:
        """Refuse the feed of this name, if it is to be."""
        if name is not None and self.refused[name] < self.refusals:
            self.refused[name] += 1
            raise ValueError("not ready")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a subscription, and whether it came to its end."""
        finished = False
        self.active += 1
        try:
            yield
            finished = True
        finally:
            self.active -= 1
            self.stopped += not finished


state = State()


@strawberry.type
class Tick:
    seq: int
    pad: str


@strawberry.type
class Flaky:
    seq: int

    @strawberry.field
    def value(self) -> str | None:
        if self.seq % 2:
            raise ValueError(f"flaky {self.seq}")
        return f"v{self.seq}"


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str | None = "world") -> str:
        return f"Hello, {'world' if name is None else name}!"

    @strawberry.field
    def echo_int(self, value: int) -> int:
        return value

    @strawberry.field
    def echo_string(self, value: str) -> str:
        return value

    @strawberry.field
    async def slow(self, ms: int) -> str:
        await asyncio.sleep(ms / 1000)
        return "done"

    @strawberry.field
    def fail(self, message: str) -> str | None:
        raise ValueError(message)

    @strawberry.field
    def nothing(self) -> str | None:
        return None

    @strawberry.field
    def large(self, bytes: int) -> str:
        return "x" * bytes

    @strawberry.field
    def header(self, info: Info, name: str) -> str | None:
        value: str | None = info.context["request"].headers.get(name)
        return value

    @strawberry.field
    def init_payload(self, info: Info) -> str | None:
        payload = info.context["init_payload"]
        if payload is None:
            return None
        return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))

    @strawberry.field
    def active(self) -> int:
        return state.active

    @strawberry.field
    def stopped(self) -> int:
        return state.stopped

    @strawberry.field
    def sockets(self) -> int:
        return len(state.connections)

    @strawberry.field
    def counter(self) -> int:
        return state.counter

    @strawberry.field
    def recorded(self, keys: list[str]) -> list[int]:
        return [state.recorded[key] for key in keys]


@strawberry.type
class Mutation:
    @strawberry.mutation
    def increment(self, by: int | None = 1) -> int:
        state.counter += 1 if by is None else by
        return state.counter

    @strawberry.mutation
    def publish(self, topic: str, message: str) -> int:
        subscribers = state.topics[topic]
        for inbox in subscribers:
            inbox.put_nowait(message)
        return len(subscribers)

    @strawberry.mutation
    def record(self, key: str) -> int:
        return state.record(key)

    @strawberry.mutation
    def refuse(self, times: int) -> int:
        return state.refuse(times)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def countdown(
        self, start: Annotated[int, strawberry.argument(name="from")]
    ) -> AsyncGenerator[int, None]:
        for number in range(start, -1, -1):
            yield number

    @strawberry.subscription
    async def ticks(
        self, count: int, interval_ms: int | None = 0, size: int | None = 0
    ) -> AsyncGenerator[Tick, None]:
        pad, seq = "x" * (size or 0), 0
        with state.running():
            while count < 0 or seq < count:
                await asyncio.sleep((interval_ms or 0) / 1000 if seq else 0)
                yield Tick(seq=seq, pad=pad)
                seq += 1

    @strawberry.subscription
    async def feed(
        self,
        since: float,
        interval_ms: int,
        after: int | None = None,
        until: int | None = None,
        name: str | None = None,
    ) -> AsyncGenerator[Tick, None]:
        state.check(name)
        interval = interval_ms / 1000
        seq = int((time.time() - since) / interval) if after is None else after
        with state.running():
            while until is None or seq < until:
                seq += 1
                await asyncio.sleep(max(0.0, since + seq * interval - time.time()))
                yield Tick(seq=seq, pad="")

    @strawberry.subscription
    async def messages(self, topic: str) -> AsyncGenerator[str, None]:
        inbox: asyncio.Queue[str] = asyncio.Queue()
        state.topics[topic].add(inbox)
        try:
            while True:
                yield await inbox.get()
        finally:
            state.topics[topic].discard(inbox)

    @strawberry.subscription
    async def flaky(self, count: int) -> AsyncGenerator[Flaky, None]:
        for seq in range(count):
            yield Flaky(seq=seq)

    @strawberry.subscription
    async def explode(self) -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("exploded")

    @strawberry.subscription
    async def poison(self, info: Info, count: int, end: str) -> AsyncGenerator[int, None]:
        for number in range(count):
            await asyncio.sleep(0.002)
            yield number
        if end == "raise":
            raise ValueError("poison")
        if end == "reset":
            reset(info.context["request"])
        else:
            await info.context["request"].close(int(end), "poison")
        await asyncio.Event().wait()


schema = strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription)


class TransportWSHandler(BaseGraphQLTransportWSHandler[Any, Any]):
    async def handle_connection_init(self, message: Any) -> None:
        # Strawberry itself hands out {} for an absent payload; the tests must distinguish the two.
        self.context["init_payload"] = message.get("payload")
        await super().handle_connection_init(message)


class LegacyHandler(BaseGraphQLWSHandler[Any, Any]):
    async def handle_connection_init(self, message: Any) -> None:
        self.context["init_payload"] = message.get("payload")
        await super().handle_connection_init(message)


class App(GraphQL[Any, Any]):
    graphql_transport_ws_handler_class = TransportWSHandler
    graphql_ws_handler_class = LegacyHandler

    def __init__(self, token: str | None, *, tokens_expire: bool, **options: Any) -> None:
        super().__init__(schema, **options)
        self.token = token
        self.tokens_expire = tokens_expire

    async def on_ws_connect(self, context: Any) -> Any:
        payload, headers = context["init_payload"] or {}, context["request"].headers
        if self.tokens_expire:
            left = seconds_left(payload.get("token"))
            if left <= 0:
                raise ConnectionRejectionError({"message": "Forbidden"})
            asyncio.get_running_loop().call_later(left, expire, context["request"])
        if self.token is not None and (
            payload.get("token") != self.token
            and headers.get("Authorization") != f"Bearer {self.token}"
        ):
            raise ConnectionRejectionError({"message": "Forbidden"})
        return await super().on_ws_connect(context)


def seconds_left(token: Any) -> float:
    """For how long a token (the time of its end) is valid; 0 if it is invalid or expired."""
    try:
        return float(token) - time.time()
    except (TypeError, ValueError):
        return 0.0


def expire(websocket: WebSocket) -> None:
    if websocket.application_state is WebSocketState.CONNECTED:
        closing.add(task := asyncio.create_task(websocket.close(4401, "Token expired")))
        task.add_done_callback(closing.discard)


closing: set[asyncio.Task[None]] = set()


def reset(websocket: WebSocket) -> None:
    """End the TCP connection with RST."""
    peer = (websocket.client or ("", 0))[1]
    for connection in [*state.connections]:
        if connection.transport.get_extra_info("peername")[1] == peer:
            tcp = connection.transport.get_extra_info("socket")
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.transport.abort()


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        port = (sockets or [])[0].getsockname()[1]
        print(json.dumps({"port": port}), flush=True)

    def stop_with_stdin(self) -> None:
        """Whoever started this process holds its stdin: no orphan outlives a killed test run."""
        # Not sys.stdin.read(): a thread that holds its lock makes the interpreter's end fail.
        while os.read(0, 4096):
            pass
        self.should_exit = True


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--protocols", default=",".join(PROTOCOLS), help="comma separated")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--client-ca", help="PEM; a client certificate is then required")
    parser.add_argument("--keep-alive-ms", type=int, help="ka of the legacy protocol")
    parser.add_argument("--token", help="in the init payload, or as Authorization: Bearer")
    parser.add_argument("--tokens-expire", action="store_true", help="see seconds_left")
    parser.add_argument("--ledger", type=Path, help="keeps what is recorded, over restarts")
    parser.add_argument("--init-timeout-ms", type=int, default=60_000)
    parser.add_argument("--ws", default="auto", help="uvicorn's WebSocket implementation")
    parser.add_argument("--deflate", action="store_true", help="permessage-deflate")
    parser.add_argument(
        "--max-subscriptions", type=int, default=100, help="operations on one connection"
    )
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    logging.basicConfig(level=logging.WARNING)
    if options.ledger is not None:
        state.keep_in(options.ledger)
    app = App(
        options.token,
        tokens_expire=options.tokens_expire,
        subscription_protocols=tuple(options.protocols.split(",")),
        keep_alive=options.keep_alive_ms is not None,
        keep_alive_interval=(options.keep_alive_ms or 0) / 1000,
        connection_init_wait_timeout=timedelta(milliseconds=options.init_timeout_ms),
        max_subscriptions_per_connection=options.max_subscriptions,
    )
    config = uvicorn.Config(
        app,
        ws=options.ws,
        ws_per_message_deflate=options.deflate,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
        ssl_certfile=options.cert,
        ssl_keyfile=options.key,
        ssl_ca_certs=options.client_ca,
        ssl_cert_reqs=ssl.CERT_REQUIRED if options.client_ca else ssl.CERT_NONE,
    )
    # Bound here and not by uvicorn: only then is the port that the system chose known.
    listener = socket.create_server(("127.0.0.1", options.port))
    server = Server(config)
    state.connections = server.server_state.connections
    threading.Thread(target=server.stop_with_stdin, daemon=True).start()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
