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
        self._spoken: str | None = None
        self.response_headers: Mapping[str, str] = {}

    async def open(self) -> Connection:
        """Return a connection that is acknowledged.

        Raises what the last attempt failed of. Cancelling leaves nothing behind.
        """
        offered = self._forced or memory.offer(self._place)
        tried = set()
        while True:
            tried.add(offered)
            try:
                connection = await self._attempt(offered)
            except TransportConnectionFailed as failure:
                following = None if self._forced else next_offer(offered, self._spoken, failure)
                if following is None or following in tried:
                    raise
                _logger.info("%s; offering %s alone", failure, following[0])
                offered = following
            else:
                if offered != SUBPROTOCOLS and not self._forced:
                    memory.keep(self._place, connection.subprotocol)
                return connection

    async def _attempt(self, offered: tuple[str, ...]) -> Connection:
        def make(selected: str | None, headers: Mapping[str, str]) -> Connection:
            self.response_headers = headers
            return self._make_connection(offered, selected)

        self._spoken = None
        connection = await Dial(self._way, offered, make).open()
        try:
            await connection.acknowledged(self._ack_timeout)
        except BaseException:
            self._spoken = connection.subprotocol
            await connection.discard()
            raise
        return connection
