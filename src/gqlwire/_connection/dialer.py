"""The interface for making connections.

The modules that keep a client connected use it, so tests can give them connections without sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from gqlwire._connection.connection import Connection
from gqlwire._streams.backpressure import ReadGate
from gqlwire.errors import Phase
from gqlwire.retry import Attempt


@runtime_checkable
class Dialer(Protocol):
    """Makes connections to a server, one at a time. `WebsocketsTransport` is one."""

    @property
    def host(self) -> str:
        """Host and port of the server, for messages."""
        ...

    @property
    def phase(self) -> Phase:
        """How far the connection has come that is being made; CONNECT until that is known."""
        ...

    @property
    def urls(self) -> int:
        """How many URLs there are to connect to."""
        ...

    @property
    def can_refresh(self) -> bool:
        """Whether an attempt with `refresh=True` may use other credentials than the last one."""
        ...

    @property
    def close_timeout(self) -> float | None:
        """How many seconds `close()` may take, its hooks included; None means no limit."""
        ...

    async def dial(
        self, attempt: Attempt, gate: ReadGate, on_drop: Callable[[Connection], None]
    ) -> Connection:
        """Return an acknowledged connection.

        `attempt` is passed to the functions that return credentials. Its `url_index` is that of the
        URL to use; None means the one that was used last. Streams pause reading through
        `gate`, which outlives the connection. `on_drop` is called once, when the connection ends.

        Raises a TransportError if the connection cannot be made. Cancelling closes the socket.
        """
        ...

    def another(self) -> Dialer:
        """Return a dialer with the same options, for one more connection at the same time.

        It begins with the URL that this one uses.
        """
        ...

    async def close(self) -> None:
        """Close the connection, or stop making one.

        Raises CloseTimeout if the server did not answer the close frame.
        """
        ...
