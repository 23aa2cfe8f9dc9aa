"""Which subprotocols to offer, and what to offer after a refusal.

Not every server negotiates correctly: some echo the first name on offer, whatever they speak; some
cannot read two names. So gqlwire tries again with another offer, and remembers per URL what worked.
Subprotocols have their names from the registry. This module knows no socket.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping

from gqlwire._connection.connection import Connection
from gqlwire._protocols import default_offer, subprotocols
from gqlwire._wire import OpenWebSocket, Way
from gqlwire._wire.dial import open_websocket
from gqlwire.errors import (
    ConnectionClosed,
    HandshakeRejected,
    Phase,
    TransportConnectionFailed,
    TransportError,
)

# 1002: subscriptions-transport-ws; 4406: Strawberry, graphql-ws. 4400 means "invalid message":
# after the acknowledgement, perhaps one of another protocol; before it, Hasura refuses credentials
# with it.
_WRONG_PROTOCOL = {Phase.INIT: {1002, 4406}, Phase.OPEN: {1002, 4400, 4406}}
# HTTP statuses of servers that cannot read, or do not accept, the names on offer.
_WRONG_OFFER = {400, 406, 426}

_REMEMBERED_AT_MOST = 1024


class Memory:
    """The subprotocol that worked after the default offer had failed, per URL without its query."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()

    def offer(self, place: str) -> tuple[str, ...]:
        """Return what to offer first."""
        known = self._known.get(place)
        return default_offer() if known is None else (known,)

    def keep(self, place: str, subprotocol: str) -> None:
        """Offer only this subprotocol next time."""
        self._known[place] = subprotocol
        self._known.move_to_end(place)
        if len(self._known) > _REMEMBERED_AT_MOST:
            self._known.popitem(last=False)

    def forget(self, place: str) -> None:
        """Make the default offer again next time."""
        self._known.pop(place, None)


memory: Memory = Memory()


def next_offer(failure: TransportError | None, tried: Collection[str]) -> str | None:
    """Return the subprotocol to offer alone after `failure`, or None if that would not help.

    `tried`: the subprotocols that have failed, offered alone or spoken.
    """
    if not (_is_refused_offer(failure) or is_wrong_protocol(failure)):
        return None
    return next((name for name in default_offer() if name not in tried), None)


def _is_refused_offer(failure: TransportError | None) -> bool:
    return isinstance(failure, HandshakeRejected) and failure.status in _WRONG_OFFER


def is_wrong_protocol(failure: TransportError | None) -> bool:
    """Return whether the server closed because it speaks another protocol."""
    return (
        isinstance(failure, ConnectionClosed)
        and failure.phase is not None
        and failure.code in _WRONG_PROTOCOL.get(failure.phase, set())
    )


_logger = logging.getLogger("gqlwire")


MakeConnection = Callable[[tuple[str, ...], str | None], Connection]


class Connector:
    """Connects, retrying with other subprotocol offers, until the server acknowledges.

    `make_connection` gets what was offered and what the server chose of it (None if nothing).
    `forced`: what to offer, without another offer after a refusal. `ack_timeout` is in seconds.
    """

    def __init__(
        self,
        way: Way,
        make_connection: MakeConnection,
        *,
        forced: tuple[str, ...] | None,
        ack_timeout: float | None,
        open_websocket: OpenWebSocket = open_websocket,
    ) -> None:
        self._way = way
        self._open_websocket = open_websocket
        self._place = way.address.place
        self._make_connection = make_connection
        self._forced = forced
        self._ack_timeout = ack_timeout
        self._tried: set[str] = set()
        self.response_headers: Mapping[str, str] = {}

    async def open(self) -> Connection:
        """Return an acknowledged connection.

        Raises the failure of the last attempt. Cancelling leaves no connection behind.
        """
        offered = self._forced or memory.offer(self._place)
        while True:
            try:
                connection = await self._attempt(offered)
            except TransportConnectionFailed as failure:
                if len(offered) == 1:
                    self._tried.add(offered[0])
                following = None if self._forced else next_offer(failure, self._tried)
                if following is None:
                    raise
                _logger.info("%s; offering %s alone", failure, following)
                offered = (following,)
            else:
                if offered != default_offer() and not self._forced:
                    memory.keep(self._place, connection.subprotocol)
                return connection

    async def _attempt(self, offered: tuple[str, ...]) -> Connection:
        def make(selected: str | None, headers: Mapping[str, str]) -> Connection:
            self.response_headers = headers
            return self._make_connection(offered, selected)

        connection = await self._open_websocket(self._way, subprotocols(offered), make)
        try:
            await connection.acknowledged(self._ack_timeout)
        except BaseException:  # cancellation as well: nobody else knows this connection
            self._tried.add(connection.subprotocol)
            await connection.discard()
            raise
        return connection
