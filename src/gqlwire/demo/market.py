"""A small market: prices walk at random, trades follow them, orders rest until they match.

The random numbers and the clock are arguments: the same seed and the same orders make the same
market. This module knows no asyncio and no GraphQL.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from random import Random

LISTED = (
    ("AURA", "Aurora Robotics", 184.20),
    ("BOLT", "Bolt & Nut", 12.45),
    ("CIRR", "Cirrus Airships", 61.80),
    ("DUNE", "Dune Solar", 37.15),
    ("EGIR", "Ægir Tidal Power", 92.60),
)
VOLATILITY = 0.0012
"""Standard deviation of one move of a price, relative to it."""
PULL = 0.002
"""The part of its distance to the opening price by which each move pulls a price back to it."""

MOST = 10_000
"""The biggest order."""


class Refused(ValueError):
    """The market refuses a request; the text says why."""


class Side(Enum):
    """Who takes the offer of the other."""

    BUY = "BUY"
    SELL = "SELL"


class Status(Enum):
    """How far an order has come."""

    OPEN = "OPEN"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"


@dataclass
class Instrument:
    """Something that is traded. `change` is in percent of the opening price."""

    symbol: str
    name: str
    opening: float
    price: float
    change: float = 0.0
    volume: int = 0


@dataclass
class Trade:
    """One trade. `seq` counts all trades of the market from 1 on, without a gap."""

    seq: int
    symbol: str
    side: Side
    price: float
    size: int
    at: datetime


@dataclass
class Order:
    """An order of ours. `limit` is None for one at any price, `price` what it was filled at."""

    id: int
    symbol: str
    side: Side
    size: int
    limit: float | None
    status: Status = Status.OPEN
    price: float | None = None

    def matches(self, price: float) -> bool:
        """Return whether the order can be filled at `price`."""
        if self.limit is None:
            return True
        return price <= self.limit if self.side is Side.BUY else price >= self.limit


@dataclass
class Position:
    """What we hold; less than nothing after selling short. `cost` is what it came to."""

    symbol: str
    size: int = 0
    cost: float = 0.0


class Market:
    """The whole market. `history`: how many of the last trades it keeps, to be resumed from."""

    def __init__(
        self, random: Random, clock: Callable[[], datetime], *, history: int = 10_000
    ) -> None:
        self.instruments: dict[str, Instrument] = {
            symbol: Instrument(symbol, name, price, price) for symbol, name, price in LISTED
        }
        self.orders: dict[int, Order] = {}
        self.positions: dict[str, Position] = {}
        self.last_seq: int = 0
        self._open: list[Order] = []
        self._random = random
        self._clock = clock
        self._trades: deque[Trade] = deque(maxlen=history)

    def step(self) -> None:
        """Let one to three trades happen, each moving its price, and match the open orders."""
        for _ in range(self._random.randint(1, 3)):
            instrument = self._random.choice(list(self.instruments.values()))
            before = instrument.price
            drift = PULL * math.log(instrument.opening / before)
            moved = before * math.exp(self._random.gauss(drift, VOLATILITY))
            instrument.price = max(0.01, round(moved, 2))
            side = Side.BUY if moved >= before else Side.SELL
            self._trade(instrument, side, 10 * self._random.randint(1, 40))
            self._match(instrument)

    def instrument(self, symbol: str) -> Instrument:
        """Return an instrument. Raises Refused if there is none with that symbol."""
        if symbol not in self.instruments:
            raise Refused(f"there is no instrument {symbol}")
        return self.instruments[symbol]

    def chosen(self, symbols: Collection[str] | None) -> list[Instrument]:
        """Return these instruments, or all. Raises Refused if one does not exist."""
        return [self.instrument(symbol) for symbol in symbols or self.instruments]

    def trades_after(self, seq: int) -> list[Trade]:
        """Return all trades after the trade `seq`.

        Raises Refused if some of them are not kept any more, or `seq` has not happened yet.
        """
        wanted = self.last_seq - seq
        if wanted < 0:
            raise Refused(f"trade {seq} has not happened yet, the last one is {self.last_seq}")
        if wanted > len(self._trades):
            oldest = self.last_seq - len(self._trades) + 1
            raise Refused(f"trade {seq + 1} is not kept any more, the oldest one is {oldest}")
        return [self._trades[-back] for back in range(wanted, 0, -1)]

    def place_order(self, symbol: str, side: Side, size: int, limit: float | None) -> Order:
        """Buy or sell: now, or once the price is as good as `limit`.

        Raises Refused for an unknown instrument, or an impossible size or limit.
        """
        instrument = self.instrument(symbol)
        if not 0 < size <= MOST:
            raise Refused(f"a size must be between 1 and {MOST}, not {size}")
        if limit is not None and not limit > 0:
            raise Refused(f"a limit must be above 0, not {limit:g}")
        order = Order(len(self.orders) + 1, symbol, side, size, limit)
        self.orders[order.id] = order
        if order.matches(instrument.price):
            self._fill(order, instrument)
        else:
            self._open.append(order)
        return order

    def cancel_order(self, id: int) -> Order:
        """Cancel an order. Raises Refused if there is no such order, or it is not open any more."""
        order = self.orders.get(id)
        if order is None:
            raise Refused(f"there is no order {id}")
        if order.status is not Status.OPEN:
            raise Refused(f"order {id} is {order.status.value}")
        order.status = Status.CANCELLED
        self._open.remove(order)
        return order

    def _match(self, instrument: Instrument) -> None:
        for order in list(self._open):
            if order.symbol == instrument.symbol and order.matches(instrument.price):
                self._open.remove(order)
                self._fill(order, instrument)

    def _fill(self, order: Order, instrument: Instrument) -> None:
        order.status, order.price = Status.FILLED, instrument.price
        position = self.positions.setdefault(order.symbol, Position(order.symbol))
        signed = order.size if order.side is Side.BUY else -order.size
        position.size += signed
        position.cost = round(position.cost + signed * instrument.price, 2)
        self._trade(instrument, order.side, order.size)

    def _trade(self, instrument: Instrument, side: Side, size: int) -> None:
        self.last_seq += 1
        instrument.volume += size
        instrument.change = round(100 * (instrument.price / instrument.opening - 1), 2)
        trade = Trade(self.last_seq, instrument.symbol, side, instrument.price, size, self._clock())
        self._trades.append(trade)
