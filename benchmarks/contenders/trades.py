"""The type of the blaster's events."""

from __future__ import annotations

import msgspec


class Trade(msgspec.Struct):
    symbol: str
    price: float
    amount: float
    seq: int
    side: str


class Data(msgspec.Struct):
    trades: list[Trade]
