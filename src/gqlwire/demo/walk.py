"""A guided walk through the market, which shows what the client does and what the server answers.

It uses only public names of gqlwire. It checks what it shows, and fails if a check fails.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from platform import python_version
from types import TracebackType
from typing import Any, Self

import gqlwire
from gqlwire import AsyncClientSession
from gqlwire.demo.page import Page
from gqlwire.errors import TransportQueryError
from gqlwire.transport.websockets import WebsocketsTransport

LIVE_SECONDS = 3.0
LEGACY_SECONDS = 1.5
STOP_SECONDS = 3.0
LIVE_AGAIN = 20
OUR_SIZE = 7
"""The market trades in tens, so a trade of this size is of our order."""

INSTRUMENTS = "{ instruments { symbol name price change } }"
ORDER = f"""mutation {{
  placeOrder(symbol: "AURA", side: BUY, size: {OUR_SIZE}) {{ id status price }}
}}"""
TRADES = "subscription { trades { seq symbol side size price } }"
PRICES = 'subscription { prices(symbols: ["AURA", "BOLT"]) { symbol price change } }'
HEARTBEAT = "subscription { heartbeat(intervalMs: 500) { beat } }"
RESUMED = "subscription ($after: Int!) { trades(after: $after) { seq } }"
WRONG = '{ instrument(symbol: "NOPE") { price } }'
RUNNING = "{ runningSubscriptions }"


class WalkFailed(Exception):
    """A check failed; the text says which one."""


def hold(is_so: object, otherwise: str) -> None:
    """Raise WalkFailed with the text `otherwise` unless `is_so` is true."""
    if not is_so:
        raise WalkFailed(otherwise)


class Live:
    """Subscriptions that run at the same time on one session. `events` counts events by name."""

    def __init__(self, session: AsyncClientSession) -> None:
        self.events: Counter[str] = Counter()
        self.seconds: float = 0.0
        self._session = session
        self._tasks: list[asyncio.Task[None]] = []
        self._began = time.perf_counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # If the walk fails, the first failure is the one to report.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def watch(self, name: str, document: str, tell: Callable[[Any], None]) -> None:
        """Subscribe, and call `tell` with the data of each event."""
        self._tasks.append(asyncio.create_task(self._watch(name, document, tell)))

    async def _watch(self, name: str, document: str, tell: Callable[[Any], None]) -> None:
        async for data in self._session.subscribe(document):
            self.events[name] += 1
            tell(data[name])

    async def run_for(self, seconds: float) -> None:
        """Let the subscriptions run. Raises WalkFailed, or its failure, if one of them ends."""
        done, _ = await asyncio.wait(
            self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()
            raise WalkFailed("a subscription ended unexpectedly")

    async def stop(self) -> None:
        """Stop all subscriptions; the client tells the server."""
        self.seconds = time.perf_counter() - self._began
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        silent = len(self._tasks) - len(self.events)
        hold(not silent, f"{silent} subscriptions had no event")


async def walk(url: str, *, color: bool) -> None:
    """Walk through the market at `url`, printing. Raises WalkFailed, or the client's errors."""
    page = Page(color=color)
    began = time.perf_counter()
    page.title("gqlwire demo", f"Python {python_version()}")
    page.show(f"A market, served by Strawberry on uvicorn at {url}")
    page.step("Connect")
    page.ask("async with gqlwire.connect(url) as session:")
    async with gqlwire.connect(url, proxy=None) as session:
        await greet(page, session, time.perf_counter() - began)
        await ask(page, session)
        live, last = await watch(page, session)
        await fail(page, session)
        legacy = await watch_legacy(page, url, session)
        await resume(page, session, last)
        await survive(page, session)
    page.step("Summary")
    page.table(
        ("", "streams", "events", "seconds", "events/s"),
        row("graphql-transport-ws", live),
        row("graphql-ws", legacy),
    )
    page.show("", f"All checks passed, in {time.perf_counter() - began:.1f} s.", style="good")
    page.show("Your turn: gqlwire demo --serve")


def row(name: str, live: Live) -> tuple[str, ...]:
    """Return the totals of `live` as a row of a table."""
    total, took = live.events.total(), live.seconds
    return (name, str(len(live.events)), str(total), f"{took:.1f}", f"{total / took:.0f}")


async def greet(page: Page, session: AsyncClientSession, took: float) -> None:
    """Show the protocol and the time of a ping; `took` is the seconds that connecting took."""
    transport = session.transport
    if not isinstance(transport, WebsocketsTransport):
        raise WalkFailed(f"the transport is a {type(transport).__name__}")
    page.show(f"acknowledged after {1000 * took:.1f} ms: it speaks {transport.subprotocol}")
    transport.pong_received.clear()
    await transport.send_ping()
    await asyncio.wait_for(transport.pong_received.wait(), STOP_SECONDS)
    hold(transport.latency is not None, "there is no latency after a pong")
    page.show(f"a ping takes {1000 * (transport.latency or 0):.2f} ms")


async def ask(page: Page, session: AsyncClientSession) -> None:
    """Run a query."""
    page.step("A query")
    page.ask(INSTRUMENTS)
    data = await session.execute(INSTRUMENTS)
    hold(data["instruments"], "the market has no instruments")
    for it in data["instruments"]:
        page.show(f"{it['symbol']}  {it['name']:<18}{it['price']:>8.2f}{it['change']:>+8.2f} %")


async def watch(page: Page, session: AsyncClientSession) -> tuple[Live, int]:
    """Run three subscriptions and a mutation together, and stop; return the last trade's number."""
    page.step("Three subscriptions and a mutation at the same time, on the same socket")
    page.ask(TRADES, PRICES, HEARTBEAT)
    trades = Trades(page)
    async with Live(session) as live:
        live.watch("trades", TRADES, trades.tell)
        live.watch("prices", PRICES, lambda them: tell_prices(page, them, live.events["prices"]))
        live.watch("heartbeat", HEARTBEAT, lambda it: page.show(f"heartbeat  {it['beat']}"))
        await live.run_for(LIVE_SECONDS / 2)
        await order(page, session)
        await live.run_for(LIVE_SECONDS / 2)
        await stop(page, live, session)
    hold(trades.ours, "our order did not appear among the trades")
    page.show(f"trades #{trades.seqs[0]} to #{trades.seqs[-1]} arrived without a gap")
    return live, trades.seqs[-1]


async def order(page: Page, session: AsyncClientSession) -> None:
    """Run a mutation."""
    page.ask(ORDER)
    it = (await session.execute(ORDER))["placeOrder"]
    hold(it["status"] == "FILLED", f"the order is {it['status']}")
    page.show(f"order {it['id']} is {it['status']} at {it['price']}")


class Trades:
    """Shows every twelfth trade and ours, and checks that none is missing."""

    def __init__(self, page: Page) -> None:
        self.seqs: list[int] = []
        self.ours: bool = False
        self._page = page

    def tell(self, it: dict[str, Any]) -> None:
        """Check one trade, and show some."""
        hold(not self.seqs or it["seq"] == self.seqs[-1] + 1, f"no trade before {it['seq']}")
        self.seqs.append(it["seq"])
        is_ours = it["size"] == OUR_SIZE
        self.ours |= is_ours
        if is_ours or len(self.seqs) % 12 == 1:
            line = f"trades     #{it['seq']:<5}{it['symbol']} {it['side']:<5}{it['size']:>4}"
            mark = "  <- our order" if is_ours else ""
            self._page.show(f"{line} at {it['price']:.2f}{mark}", style="good" if is_ours else "")


def tell_prices(page: Page, quotes: Sequence[dict[str, Any]], number: int) -> None:
    """Show every fourth list of prices."""
    if number % 4 == 1:
        texts = (f"{it['symbol']} {it['price']:.2f} {it['change']:+.2f} %" for it in quotes)
        page.show("prices     " + "   ".join(texts))


async def stop(page: Page, live: Live, session: AsyncClientSession) -> None:
    """Stop all subscriptions, and ask the server, over `session`, whether they have ended."""
    ran = (await session.execute(RUNNING))["runningSubscriptions"]
    hold(ran == len(live.events), f"the server runs {ran} subscriptions")
    await live.stop()
    page.ask(RUNNING)
    deadline = time.perf_counter() + STOP_SECONDS
    while running := (await session.execute(RUNNING))["runningSubscriptions"]:
        hold(time.perf_counter() < deadline, f"the server still runs {running} subscriptions")
    page.show(f"the server ran {ran} subscriptions; after we stopped, it runs none")


async def resume(page: Page, session: AsyncClientSession, last: int) -> None:
    """Resume the trades after the last one that arrived."""
    page.step("Resume where we stopped: the server sends what we missed")
    page.ask(RESUMED)
    page.show(f"after = {last}", style="query")
    missed = (await session.execute("{ lastSeq }"))["lastSeq"] - last
    hold(missed > 0, "there is nothing to resume")
    request = gqlwire.GraphQLRequest(RESUMED, variable_values={"after": last})
    seqs = []
    async for data in session.subscribe(request):
        seqs.append(data["trades"]["seq"])
        if len(seqs) == missed + LIVE_AGAIN:
            break
    hold(seqs == list(range(last + 1, last + 1 + len(seqs))), "a trade is missing")
    page.show(f"#{seqs[0]} to #{seqs[missed - 1]} from its history, then live to #{seqs[-1]}")


def after_last(last: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """Return the variables to resume with after the trade `last`."""
    return {**variables, "after": last["trades"]["seq"]}


async def survive(page: Page, session: AsyncClientSession) -> None:
    """Lose the connection during a feed."""
    page.step("The connection drops, and the feed continues")
    page.ask("session.subscribe(trades, resume=after_last, tell_reconnects=True)")
    after = (await session.execute("{ lastSeq }"))["lastSeq"]
    seqs: list[int] = []
    trades = session.subscribe(
        RESUMED, variable_values={"after": after}, resume=after_last, tell_reconnects=True
    )
    async with trades:
        async for event in trades:
            if isinstance(event, gqlwire.Reconnected):
                page.show(f"connected again, after {event.gap_seconds:.1f} s", style="good")
                continue
            seqs.append(event["trades"]["seq"])
            if len(seqs) == LIVE_AGAIN:
                page.show(f"dropped after #{seqs[-1]}", style="bad")
                session.terminate()
            if len(seqs) == 2 * LIVE_AGAIN:
                break
    expected = list(range(seqs[0], seqs[0] + len(seqs)))
    hold(seqs == expected, "at the drop, a trade is missing or arrived twice")
    page.show(f"#{seqs[0]} to #{seqs[-1]}: none is missing, and none arrived twice")


async def fail(page: Page, session: AsyncClientSession) -> None:
    """Run a query that fails, and continue."""
    page.step("An error raises; the connection stays open")
    page.ask(WRONG)
    try:
        await session.execute(WRONG)
    except TransportQueryError as error:
        page.show(f"TransportQueryError: {error}", style="bad")
        page.show(f".data = {error.data}")
    else:
        raise WalkFailed("the wrong query did not fail")


async def watch_legacy(page: Page, url: str, session: AsyncClientSession) -> Live:
    """Do the same in Apollo's protocol; `session` asks the server about it."""
    page.step("The same in Apollo's protocol")
    page.ask('gqlwire.connect(url, subprotocols=["graphql-ws"])')
    began = time.perf_counter()
    async with gqlwire.connect(url, proxy=None, subprotocols=["graphql-ws"]) as legacy:
        await greet(page, legacy, time.perf_counter() - began)
        trades = Trades(page)
        async with Live(legacy) as live:
            live.watch("trades", TRADES, trades.tell)
            live.watch("heartbeat", HEARTBEAT, lambda it: page.show(f"heartbeat  {it['beat']}"))
            await live.run_for(LEGACY_SECONDS)
            await stop(page, live, session)
    return live
