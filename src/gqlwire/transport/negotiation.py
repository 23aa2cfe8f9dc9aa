"""Which protocols to offer, and what to offer after a refusal.

Servers are not all honest: some echo the first name on offer whatever they speak, some cannot
read two names. What worked is remembered per URL. Protocols go by their names in the registry. This
file knows no socket.
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

# 1002: subscriptions-transport-ws; 4406: Strawberry, graphql-ws. 4400 means "what you say is
# invalid", which after the acknowledgement may mean another protocol's words; before it, it is
# how Hasura refuses credentials.
_WRONG_PROTOCOL = {Phase.INIT: {1002, 4406}, Phase.OPEN: {1002, 4400, 4406}}
# What a server may answer that cannot read, or does not like, the names on offer.
_WRONG_OFFER = {400, 406, 426}

_REMEMBERED_AT_MOST = 1024


class Memory:
    """The subprotocol that worked when the first offer did not, by place (URL without query)."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str] = OrderedDict()

    def offer(self, place: str) -> tuple[str, ...]:
        """Return what to offer first."""
        known = self._known.get(place)
        return default_offer() if known is None else (known,)

    def keep(self, place: str, subprotocol: str) -> None:
        """Offer only this one next time."""
        self._known[place] = subprotocol
        self._known.move_to_end(place)
        if len(self._known) > _REMEMBERED_AT_MOST:
            self._known.popitem(last=False)

    def forget(self, place: str) -> None:
        """Offer everything again next time."""
        self._known.pop(place, None)


memory: Memory = Memory()


def next_offer(failure: TransportError | None, tried: Collection[str]) -> str | None:
    """Return the protocol to offer alone after `failure`, or None if that would not help.

    `tried` are the protocols that were offered alone, or spoken, in vain.
    """
    if not (_is_refused_offer(failure) or is_wrong_protocol(failure)):
        return None
    return next((name for name in default_offer() if name not in tried), None)


def _is_refused_offer(failure: TransportError | None) -> bool:
    return isinstance(failure, HandshakeRejected) and failure.status in _WRONG_OFFER


def is_wrong_protocol(failure: TransportError | None) -> bool:
    """Tell whether the server hung up because it speaks another protocol."""
    return (
        isinstance(failure, ConnectionClosed)
        and failure.phase is not None
        and failure.code in _WRONG_PROTOCOL.get(failure.phase, set())
    )


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
        """Return a connection that is acknowledged.

        Raises the failure of the last attempt. Cancelling leaves nothing behind.
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
        except BaseException:  # a cancellation, too: nobody else knows this connection
            self._tried.add(connection.subprotocol)
            await connection.discard()
            raise
        return connection
