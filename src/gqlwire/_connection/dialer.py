"""What makes connections: the seam between one connection and whatever follows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from gqlwire._connection.connection import Connection
from gqlwire._streams.backpressure import ReadGate
from gqlwire.retry import Attempt


@runtime_checkable
class Dialer(Protocol):
    """Makes connections to one server, one at a time. `WebsocketsTransport` is one."""

    @property
    def host(self) -> str:
        """Host and port of the server, for messages."""
        ...

    @property
    def can_refresh(self) -> bool:
        """Whether an attempt with `refresh=True` may use other credentials than the last one."""
        ...

    async def dial(
        self, attempt: Attempt, gate: ReadGate, on_drop: Callable[[Connection], None]
    ) -> Connection:
        """Return an acknowledged connection.

        `attempt` is given to the functions that return credentials. The connection's streams pause
        reading by `gate`, which outlives it. `on_drop` is called once, when the connection ends.

        Raises a TransportError that says why there is none. Cancelling leaves nothing behind.
        """
        ...

    async def close(self) -> None:
        """Close the connection, or stop making one.

        Raises CloseTimeout if the server did not answer the close frame.
        """
        ...
