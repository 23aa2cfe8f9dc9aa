"""The hooks of a client, and what they are called with: plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from gqlwire._operations.options import Reconnected
from gqlwire.errors import TransportError
from gqlwire.retry import Attempt


class Connected(Struct, frozen=True):
    """A connection was acknowledged. `ack_payload`: what the server said with it.

    `was_retry`: whether there was a connection, or an attempt, before.
    """

    ack_payload: Any
    was_retry: bool


class Disconnected(Struct, frozen=True):
    """A connection, or an attempt to connect, came to its end.

    `will_retry`: whether another attempt follows, after `delay` seconds; `why`: if none does, the
    rule that says so.
    """

    failure: TransportError
    will_retry: bool
    delay: float
    why: str = ""


class Hooks(Struct):
    """Functions that are called when something happens to the connection.

    Each may be a coroutine function, too, which runs by itself. One that raises is logged, and
    harms nothing.

    `connecting`: before each attempt. `connected`: after each acknowledgement. `disconnected`:
    after the end of each. `reconnected`: after `connected`, if a connection was lost before.
    """

    connecting: Callable[[Attempt], object] | None = None
    connected: Callable[[Connected], object] | None = None
    disconnected: Callable[[Disconnected], object] | None = None
    reconnected: Callable[[Reconnected], object] | None = None
