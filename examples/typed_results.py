"""Get results as your own types, with exact numbers and your own scalar.

python typed_results.py [URL]      (the schema is that of `gqlwire demo --serve`)
"""

import asyncio
import sys
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

import msgspec

import gqlwire
from gqlwire import Scalar
from gqlwire.errors import ResultMismatch

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8000/graphql"


class Side(Enum):
    BUY = "BUY"
    SELL = "SELL"


class Symbol:
    """Your own type, which is a str in JSON."""

    def __init__(self, name: str) -> None:
        if not name.isupper():
            raise ValueError(f"{name!r} is not a symbol")
        self.name = name


class Trade(msgspec.Struct):
    symbol: Symbol
    side: Side
    price: Decimal
    at: datetime


class Trades(msgspec.Struct):
    trades: Trade


@dataclass
class Placed:
    """Types need not be Structs. Only the fields that are named here are read."""

    order: dict[str, str]


class Beat(msgspec.Struct):
    beat: str  # the server has an Int


class Beats(msgspec.Struct):
    heartbeat: Beat


BEATS = "subscription { heartbeat(intervalMs: 5) { beat } }"
TRADES = "subscription Trades($of: [String!]) { trades(symbols: $of) { symbol side price at } }"
ORDER = """
    mutation Order($symbol: String!) {
        order: placeOrder(symbol: $symbol, side: BUY, size: 1) { symbol status }
    }
"""


async def main() -> None:
    scalars = {Symbol: Scalar(decode=Symbol, encode=lambda symbol: symbol.name)}
    async with gqlwire.connect(URL, scalars=scalars) as session:
        # `scalars` writes and reads Symbol. To a type checker, `event` is a `Trades`.
        aura = {"of": [Symbol("AURA")]}
        async for event in session.subscribe(TRADES, variable_values=aura, result_type=Trades):
            trade = event.trades
            print(trade.symbol.name, type(trade.side), type(trade.price), trade.at.tzinfo)
            break

        placed = await session.execute(
            ORDER, variable_values={"symbol": Symbol("BOLT")}, result_type=Placed
        )
        print(placed)

        # Numbers can keep all of their digits without a type, too.
        price = '{ instrument(symbol: "AURA") { price } }'
        plain = await session.execute(price, parse_float=Decimal)
        print(type(plain["instrument"]["price"]))

        # If an event does not fit, the error says where. Only this event is lost.
        beats = session.subscribe(BEATS, result_type=Beats)
        for _ in range(2):
            try:
                await anext(beats)
            except ResultMismatch as misfit:
                print(misfit)
                print(misfit.path, misfit.data)


asyncio.run(main())
