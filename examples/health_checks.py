"""What Kubernetes asks a service that lives on a feed: /healthz and /ready, in FastAPI.

uvicorn health_checks:app            serves it
python health_checks.py [URL]        asks it, and prints the answers (needs httpx)

The schema is that of `gqlwire demo --serve`.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Response

import gqlwire
from gqlwire import RetryPolicy

URL = sys.argv[1] if __name__ == "__main__" and sys.argv[1:] else "ws://127.0.0.1:8000/graphql"
BEATS = "subscription Beats { heartbeat(intervalMs: 50) { beat } }"

# `initial`: the service starts although its server is down, and is not ready until it is up.
client = gqlwire.connect(URL, retry=RetryPolicy(initial=True))
third_beat = asyncio.Event()


async def consume() -> None:
    async with client as session:
        async for event in session.subscribe(BEATS):
            if event["heartbeat"]["beat"] == 3:
                third_beat.set()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    feed = app.state.feed = asyncio.create_task(consume())
    yield
    feed.cancel()
    await asyncio.wait([feed])


app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz(response: Response) -> dict[str, bool]:
    """Liveness: a restart helps if the feed has ended, and not if its server is down."""
    alive = not app.state.feed.done()
    response.status_code = 200 if alive else 500
    return {"alive": alive}


@app.get("/ready")
async def ready(response: Response) -> dict[str, list[str]]:
    """Readiness: whether the data is as fresh as it has to be."""
    problems = client.health().problems(max_event_age=30)
    response.status_code = 503 if problems else 200
    return {"problems": problems}


@app.get("/health")
async def health() -> dict[str, Any]:
    """All that is known, for people."""
    return client.health().to_dict()


async def main() -> None:
    import httpx

    answers = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
    async with answers, lifespan(app):

        async def show(*paths: str) -> None:
            for path in paths:
                answer = await answers.get(path)
                print(path, answer.status_code, answer.json())

        await show("/healthz", "/ready")
        await third_beat.wait()
        await show("/healthz", "/ready")
        if client.session is not None:
            client.session.terminate()  # as if the network had failed
        await show("/healthz", "/ready")
        found = (await answers.get("/health")).json()
        print(found["state"], [each["name"] for each in found["connections"][0]["subscriptions"]])


if __name__ == "__main__":
    asyncio.run(main())
