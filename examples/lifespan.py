"""A web service that starts while its GraphQL server is down, and answers meanwhile.

python lifespan.py [URL]      (the schema is that of `gqlwire demo --serve`)

The service is a Starlette application. `FastAPI(lifespan=lifespan)` takes the same function.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import gqlwire
from gqlwire import RetryPolicy

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"
TRADES = "subscription { trades { seq symbol price } }"


async def follow(app: Starlette) -> None:
    """Keep the last trade. The first connection is tried for ever, as all others are."""
    async with gqlwire.connect(URL, retry=RetryPolicy(initial=True)) as session:
        async for event in session.subscribe(TRADES):
            app.state.trade = event["trades"]
            app.state.has_trade.set()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Follow the trades while the service runs."""
    app.state.trade, app.state.has_trade = None, asyncio.Event()
    following = asyncio.create_task(follow(app))
    # If it ends, nothing follows the trades any more: a final failure. Tell it, do not hide it.
    following.add_done_callback(lambda task: task.cancelled() or print("ended:", task.exception()))
    yield
    following.cancel()
    await asyncio.wait([following])


async def last(request: Request) -> JSONResponse:
    """Answer with the last trade, or with 503 as long as there is none."""
    trade = request.app.state.trade
    return JSONResponse(trade, status_code=200 if trade else 503)


app = Starlette(routes=[Route("/last", last)], lifespan=lifespan)


async def main() -> None:
    """Do what a web server does: enter the lifespan, take requests, leave it."""
    async with app.router.lifespan_context(app):
        request = Request({"type": "http", "app": app})
        print("started:", (await last(request)).status_code)
        await app.state.has_trade.wait()
        print("after the first trade:", (await last(request)).status_code)


if __name__ == "__main__":
    asyncio.run(main())
