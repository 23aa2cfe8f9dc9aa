"""The schema of the market, and the exchange that keeps the market moving.

One task in the server's loop moves the market. Each subscriber reads the list of trades at its own
speed, without a queue of its own. This module knows no HTTP, no socket, and no client.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeAlias, TypeVar

import strawberry
from graphql import GraphQLError
from strawberry.types import ExecutionContext

from gqlwire.demo import market as model

STEP_SECONDS = 0.04
LEAST_INTERVAL_MS = 5

R = TypeVar("R", bound=Callable[..., Any])

Info: TypeAlias = strawberry.Info[dict[str, Any], None]

for _enum in (model.Side, model.Status):
    strawberry.enum(_enum, description=_enum.__doc__)
for _type in (model.Instrument, model.Trade, model.Order, model.Position):
    strawberry.type(_type, description=_type.__doc__)


@strawberry.type
@dataclass
class Heartbeat:
    """The server is alive; `beat` counts from 1 for each subscriber."""

    beat: int
    at: datetime


class Exchange:
    """The open market. `running` counts the subscriptions that run."""

    def __init__(self, seed: int | None) -> None:
        self.market: model.Market = model.Market(Random(seed), lambda: datetime.now(UTC))  # noqa: S311  # a seed makes a market again; nothing here is secret
        self.running: int = 0
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Move the market, until cancelled."""
        while True:
            await asyncio.sleep(STEP_SECONDS)
            self.market.step()
            self.announce()

    def announce(self) -> None:
        """Wake the subscribers: there may be new trades."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def follow(self, after: int) -> AsyncGenerator[model.Trade, None]:
        """Yield the trades after the trade `after`, or from now on (0), and then each new one."""
        with self.subscriber():
            seq = after or self.market.last_seq
            while True:
                moved = self._moved
                for trade in self.market.trades_after(seq):
                    yield trade
                    seq = trade.seq
                await moved.wait()

    async def intervals(self, milliseconds: int) -> AsyncGenerator[int, None]:
        """Count from 1, immediately and then at each interval."""
        with self.subscriber():
            beat = 1
            while True:
                yield beat
                await asyncio.sleep(max(LEAST_INTERVAL_MS, milliseconds) / 1000)
                beat += 1

    @contextlib.contextmanager
    def subscriber(self) -> Iterator[None]:
        """Count one more running subscription during the context."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1


def _exchange(info: Info) -> Exchange:
    exchange: Exchange = info.context["exchange"]
    return exchange


def described(make: Callable[..., Any]) -> Callable[[R], R]:
    """Return `make` as a decorator that makes the resolver's docstring its description."""

    def decorate(resolver: R) -> R:
        made: R = make(resolver, description=inspect.getdoc(resolver))
        return made

    return decorate


_field = described(strawberry.field)
_mutation = described(strawberry.mutation)
_subscription = described(strawberry.subscription)


@strawberry.type
class Query:
    """The queries."""

    @_field
    def instruments(self, info: Info, symbols: list[str] | None = None) -> list[model.Instrument]:
        """All instruments, or those of these symbols."""
        return _exchange(info).market.chosen(symbols)

    @_field
    def instrument(self, info: Info, symbol: str) -> model.Instrument | None:
        """One instrument; an error if there is none with that symbol."""
        return _exchange(info).market.instrument(symbol)

    @_field
    def orders(self, info: Info, status: model.Status | None = None) -> list[model.Order]:
        """The orders that were placed."""
        orders = _exchange(info).market.orders.values()
        return [order for order in orders if status in (None, order.status)]

    @_field
    def positions(self, info: Info) -> list[model.Position]:
        """The positions that the orders have led to."""
        return list(_exchange(info).market.positions.values())

    @_field
    def last_seq(self, info: Info) -> int:
        """The number of the last trade."""
        return _exchange(info).market.last_seq

    @_field
    def running_subscriptions(self, info: Info) -> int:
        """How many subscriptions run now, on all connections."""
        return _exchange(info).running


@strawberry.type
class Mutation:
    """The mutations."""

    @_mutation
    def place_order(
        self, info: Info, symbol: str, side: model.Side, size: int, limit: float | None = None
    ) -> model.Order:
        """Buy or sell, at any price or at a limit."""
        exchange = _exchange(info)
        order = exchange.market.place_order(symbol, side, size, limit)
        exchange.announce()
        return order

    @_mutation
    def cancel_order(self, info: Info, id: int) -> model.Order:
        """Cancel an order that is open."""
        return _exchange(info).market.cancel_order(id)


@strawberry.type
class Subscription:
    """The subscriptions."""

    @_subscription
    async def trades(
        self, info: Info, symbols: list[str] | None = None, after: int = 0
    ) -> AsyncGenerator[model.Trade, None]:
        """Trades as they happen; over all symbols, `seq` has no gap.

        `after` resumes after the trade with that number, as long as the server keeps it; 0 begins
        with the next trade.
        """
        exchange = _exchange(info)
        wanted = {instrument.symbol for instrument in exchange.market.chosen(symbols)}
        async with contextlib.aclosing(exchange.follow(after)) as trades:
            async for trade in trades:
                if trade.symbol in wanted:
                    yield trade

    @_subscription
    async def prices(
        self, info: Info, symbols: list[str] | None = None, interval_ms: int = 250
    ) -> AsyncGenerator[list[model.Instrument], None]:
        """All instruments, or some, at each interval."""
        exchange = _exchange(info)
        chosen = exchange.market.chosen(symbols)
        async with contextlib.aclosing(exchange.intervals(interval_ms)) as beats:
            async for _ in beats:
                yield chosen

    @_subscription
    async def heartbeat(
        self, info: Info, interval_ms: int = 1000
    ) -> AsyncGenerator[Heartbeat, None]:
        """A sign of life at each interval."""
        async with contextlib.aclosing(_exchange(info).intervals(interval_ms)) as beats:
            async for beat in beats:
                yield Heartbeat(beat, datetime.now(UTC))


class Schema(strawberry.Schema):
    """The schema. It reports errors in requests to the client, and does not log them."""

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Log only unexpected errors."""
        unforeseen = [
            e for e in errors if e.path and not isinstance(e.original_error, model.Refused)
        ]
        super().process_errors(unforeseen, execution_context)


schema: Schema = Schema(query=Query, mutation=Mutation, subscription=Subscription)
