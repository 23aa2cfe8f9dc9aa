"""The hooks of a client, and the events that they get: plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from gqlwire._operations.options import Reconnected
from gqlwire.errors import TransportError
from gqlwire.retry import Attempt


class Connected(Struct, frozen=True):
    """A connection was acknowledged.

    `ack_payload`: the payload of `connection_ack`, None if there was none. `was_retry`: whether an
    earlier connection, or attempt to connect, preceded it. `connection`: which one it is of those
    that the session has, counted from 1; see `max_subscriptions_per_connection`. `host`: host and
    port of the server.
    """

    ack_payload: Any
    was_retry: bool
    connection: int = 1
    host: str = ""


class Disconnected(Struct, frozen=True):
    """A connection, or an attempt to connect, ended.

    `failure`: why. `will_retry`: whether another attempt follows, after `delay` seconds. `why`: the
    rule that decided so, if no attempt follows. `connection`: as in `Connected`.
    """

    failure: TransportError
    will_retry: bool
    delay: float
    why: str = ""
    connection: int = 1


class Hooks(Struct):
    """Functions that are called when something happens to the connection.

    Each may be a coroutine function; it then runs as a task of its own. What a hook raises is
    logged, and has no other effect.

    `connecting`: called before each attempt to connect, with its `Attempt`. `connected`: after each
    acknowledgement. `disconnected`: after the end of each connection or attempt. `reconnected`:
    after `connected`, if a connection was lost before.
    """

    connecting: Callable[[Attempt], object] | None = None
    connected: Callable[[Connected], object] | None = None
    disconnected: Callable[[Disconnected], object] | None = None
    reconnected: Callable[[Reconnected], object] | None = None
