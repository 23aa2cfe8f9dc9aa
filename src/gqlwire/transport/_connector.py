"""From a way to a server to an acknowledged connection, trying the offers that make sense.

It knows no message; what to offer next is said by `_negotiation`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from gqlwire._connection import Connection
from gqlwire.errors import TransportConnectionFailed
from gqlwire.protocols import SUBPROTOCOLS
from gqlwire.transport._dial import Dial, Way
from gqlwire.transport._negotiation import memory, next_offer

_logger = logging.getLogger("gqlwire")

MakeConnection = Callable[[tuple[str, ...], str | None], Connection]


class Connector:
    """Makes one connection.

    `make_connection` gets what was offered and what the server chose of it (None if nothing).
    `forced` is what to offer, and nothing else after a refusal. `ack_timeout` is in seconds.
    """

    def __init__(
        self,
        way: Way,
        make_connection: MakeConnection,
        *,
        forced: tuple[str, ...] | None,
        ack_timeout: float | None,
    ) -> None:
        self._way = way
        self._place = way.address.place
        self._make_connection = make_connection
        self._forced = forced
        self._ack_timeout = ack_timeout
        self._spoken: list[str] = []
        self._refused: list[tuple[str, ...]] = []
        self.response_headers: Mapping[str, str] = {}

    async def open(self) -> Connection:
        """Return a connection that is acknowledged.

        Raises what the last attempt failed of. Cancelling leaves nothing behind.
        """
        offered = self._forced or memory.offer(self._place)
        while True:
            try:
                connection = await self._attempt(offered)
            except TransportConnectionFailed as failure:
                self._refused.append(offered)
                following = None if self._forced else self._next_offer(failure)
                if following is None:
                    raise
                _logger.info("%s; offering %s alone", failure, following[0])
                offered = following
            else:
                if offered != SUBPROTOCOLS and not self._forced:
                    memory.keep(self._place, connection.subprotocol)
                return connection

    def _next_offer(self, failure: TransportConnectionFailed) -> tuple[str, ...] | None:
        offered = self._refused[-1]
        following = next_offer(offered, self._spoken[-1] if self._spoken else None, failure)
        is_known = following in self._refused or (following and following[0] in self._spoken)
        return None if is_known else following

    async def _attempt(self, offered: tuple[str, ...]) -> Connection:
        def make(selected: str | None, headers: Mapping[str, str]) -> Connection:
            self.response_headers = headers
            return self._make_connection(offered, selected)

        connection = await Dial(self._way, offered, make).open()
        try:
            await connection.acknowledged(self._ack_timeout)
        except BaseException:  # a cancellation, too: nobody else knows this connection
            self._spoken.append(connection.subprotocol)
            await connection.discard()
            raise
        return connection
