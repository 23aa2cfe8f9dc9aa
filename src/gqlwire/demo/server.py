"""Serves the market's schema, by uvicorn in a thread of its own.

It serves both WebSocket protocols, HTTP, and a page for browsers at the same address. This module
knows nothing about the market.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Route, WebSocketRoute
from strawberry.asgi import GraphQL

from gqlwire.demo.schema import Exchange, schema

START_SECONDS = 15.0
STOP_SECONDS = 2


class App(GraphQL[dict[str, Any], None]):
    """GraphQL over HTTP and WebSocket, for one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(schema)
        self.exchange: Exchange = exchange

    async def get_context(self, request: Any, response: Any) -> dict[str, Any]:
        """Return the `info.context` of the resolvers."""
        return {"request": request, "response": response, "exchange": self.exchange}


def make_app(exchange: Exchange) -> Starlette:
    """Return the application, with GraphQL at `/graphql`. The market moves while it runs."""

    @contextlib.asynccontextmanager
    async def market_hours(_: Starlette) -> AsyncIterator[None]:
        moving = asyncio.create_task(exchange.run())
        yield
        moving.cancel()

    async def home(_: Any) -> RedirectResponse:
        return RedirectResponse("/graphql")

    graphql = App(exchange)
    routes = [Route("/", home), Route("/graphql", graphql), WebSocketRoute("/graphql", graphql)]
    return Starlette(routes=routes, lifespan=market_hours)


class Server(uvicorn.Server):
    """A server of which another thread can wait until it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready: threading.Event = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then set `is_ready`."""
        await super().startup(sockets)
        self.is_ready.set()


def _listener(host: str, port: int) -> socket.socket:
    """Return a listening socket, as `socket.create_server` does, but with IPPROTO_TCP.

    asyncio sets TCP_NODELAY only on sockets of this protocol. Without it, an answer that follows
    another message waits until the client has acknowledged that one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen()
    except BaseException:  # an interrupt as well must not leave the socket open
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def serving(host: str, port: int, seed: int | None) -> Iterator[str]:
    """Serve in a thread during the context, which yields the URL.

    `port` 0 means any free port. Raises OSError if the server cannot listen there.
    """
    with _listener(host, port) as listener:
        config = uvicorn.Config(
            make_app(Exchange(seed)),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="demo", daemon=True)
        thread.start()
        try:
            if not server.is_ready.wait(START_SECONDS):
                raise OSError(f"the server did not start within {START_SECONDS:g} seconds")
            name = f"[{host}]" if ":" in host else host
            yield f"ws://{name}:{listener.getsockname()[1]}/graphql"
        finally:
            server.should_exit = True
            thread.join()
