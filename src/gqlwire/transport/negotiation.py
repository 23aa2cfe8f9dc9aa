"""Which subprotocols to offer, and what to offer after a refusal.

Not every server negotiates correctly: some echo the first name on offer, whatever they speak; some
cannot read two names. So gqlwire tries again with another offer, and remembers per URL what worked.
Subprotocols have their names from the registry. This module knows no socket.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gqlwire._connection.connection import Connection
from gqlwire._protocols import NotOffered, default_offer, subprotocols
from gqlwire._wire import OpenWebSocket, Way
from gqlwire._wire.dial import open_websocket
from gqlwire.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectTimeout,
    HandshakeRejected,
    Phase,
    TransportConnectionFailed,
    TransportError,
    reasons,
)
from gqlwire.transport.race import AnsweredLate, first_answer

# 1002: subscriptions-transport-ws; 4406: Strawberry, graphql-ws. After the acknowledgement, 4400
# means "invalid message": perhaps one of another protocol.
_WRONG_PROTOCOL = {Phase.INIT: {1002, 4406}, Phase.OPEN: {1002, 4400, 4406}}
# HTTP statuses of servers that cannot read, or do not accept, the names on offer.
_WRONG_OFFER = {400, 406, 426}
# Before the acknowledgement, spring-graphql closes with 4400 on a protocol that it names and does
# not speak; Hasura refuses credentials with it.
_DOUBTFUL = 4400
# Codes that say nothing else. A server that named no protocol and closes with one of them may not
# have understood the offer.
_VAGUE = {1000, 1002, 1003, 1005, 1006, 1007, 1011, 4400, 4406, 4408}

_REMEMBERED_AT_MOST = 1024


class Known(Struct, frozen=True):
    """What worked at a URL. `alone`: whether it was offered alone, after the default offer."""

    subprotocol: str
    alone: bool


class Memory:
    """What worked, per URL without its query, until the process ends."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()

    def offer(self, place: str) -> tuple[str, ...]:
        """Return what to offer first."""
        known = self._known.get(place)
        return (known.subprotocol,) if known is not None and known.alone else default_offer()

    def is_known(self, place: str) -> bool:
        """Return whether something has worked there."""
        return place in self._known

    def keep(self, place: str, subprotocol: str, *, alone: bool = True) -> None:
        """Note what worked; if `alone`, offer only this subprotocol next time."""
        self._known[place] = Known(subprotocol, alone)
        self._known.move_to_end(place)
        if len(self._known) > _REMEMBERED_AT_MOST:
            self._known.popitem(last=False)

    def doubt(self, place: str) -> None:
        """Note that the server is silent: it may not understand any more what worked alone."""
        known = self._known.get(place)
        if known is not None and known.alone:
            del self._known[place]

    def forget(self, place: str) -> None:
        """Make the default offer again next time."""
        self._known.pop(place, None)


memory: Memory = Memory()


def next_offer(
    failure: TransportError | None, tried: Collection[str], spoken: str = ""
) -> str | None:
    """Return the subprotocol to offer alone after `failure`, or None if that would not help.

    `tried`: the subprotocols that have failed, offered alone. `spoken`: the one that the server
    has just failed to speak; the others come first.
    """
    return _alone(tried, spoken) if is_wrong_offer(failure) else None


def _alone(tried: Collection[str], spoken: str) -> str | None:
    left = [name for name in default_offer() if name not in tried]
    return next((name for name in left if name != spoken), left[0] if left else None)


def is_wrong_offer(failure: TransportError | None) -> bool:
    """Return whether the server refused the names on offer, or closed as it speaks another."""
    if isinstance(failure, HandshakeRejected):
        return failure.status in _WRONG_OFFER
    return is_wrong_protocol(failure)


def is_wrong_protocol(failure: TransportError | None) -> bool:
    """Return whether the server closed because it speaks another protocol."""
    return (
        isinstance(failure, ConnectionClosed)
        and failure.phase is not None
        and failure.code in _WRONG_PROTOCOL.get(failure.phase, set())
    )


def is_doubtful(failure: TransportConnectionFailed) -> bool:
    """Return whether the server refused `connection_init`, or the protocol: one cannot tell."""
    return _closed_init(failure) and failure.code == _DOUBTFUL


def is_vague(failure: TransportConnectionFailed) -> bool:
    """Return whether a server that named no protocol may have failed for that reason."""
    if isinstance(failure, AckTimeout):
        return True
    if _closed_init(failure):
        return failure.code in _VAGUE and not (failure.code == 1000 and failure.reason)
    is_lost = type(failure) in (ConnectionClosed, TransportConnectionFailed)
    return is_lost and failure.phase is Phase.HANDSHAKE


def says_little(failure: TransportConnectionFailed) -> bool:
    """Return whether an earlier failure may say more about the cause."""
    is_silence = isinstance(failure, ConnectTimeout)
    return is_silence or is_wrong_offer(failure) or is_doubtful(failure) or is_vague(failure)


def _closed_init(failure: TransportConnectionFailed) -> bool:
    return isinstance(failure, ConnectionClosed) and failure.phase is Phase.INIT


_logger = logging.getLogger("gqlwire")

# How long a server may be silent before it is offered one name alone as well, in seconds and as a
# part of `connect_timeout`.
_SILENCE, _SILENT_PART = 2.0, 0.2
# After a silence of `ack_timeout`, another offer gets this part of it.
_PART_OF_ACK_TIMEOUT = 1 / 3


MakeConnection = Callable[[tuple[str, ...], str | None], Connection]


class Connector:
    """Connects, retrying with other subprotocol offers, until the server acknowledges.

    `make_connection` gets what was offered and what the server chose of it (None if nothing), and
    may raise NotOffered. `forced`: what to offer, without another offer after a refusal.
    `ack_timeout` is in seconds.
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
        # The offer that the server answered, what it chose, and what was spoken.
        self._answered: tuple[str, ...] | None = None
        self._chosen: str | None = None
        self._spoken = ""
        # The failure to raise if no other offer is understood, and whether the last one is made.
        self._first: TransportConnectionFailed | None = None
        self._is_last = False
        self.response_headers: Mapping[str, str] = {}

    async def open(self) -> Connection:
        """Return an acknowledged connection.

        Raises the failure that says most. Cancelling leaves no connection behind.
        """
        offered = self._forced or memory.offer(self._place)
        while True:
            try:
                connection = await self._attempt(offered)
            except TransportConnectionFailed as failure:
                following = self._following(failure, self._answered or offered)
                if isinstance(failure, ConnectTimeout):
                    memory.doubt(self._place)
                if following is None:
                    says_less = self._first is not None and says_little(failure)
                    telling = self._first if self._first and says_less else failure
                    raise telling from telling.__cause__
                _logger.info("%s; offering %s alone", failure, following)
                offered = (following,)
            else:
                if not self._forced:
                    alone = self._answered != default_offer()
                    memory.keep(self._place, connection.subprotocol, alone=alone)
                return connection

    def _following(
        self, failure: TransportConnectionFailed, offered: tuple[str, ...]
    ) -> str | None:
        """Return what to offer alone after `failure`, or None if that would not help."""
        if len(offered) == 1:
            self._tried.add(offered[0])
        if self._forced or self._is_last:
            return None
        if not is_wrong_offer(failure):
            if memory.is_known(self._place):
                return None
            if not self._chosen and is_vague(failure):
                self._shorten(failure)
            elif is_doubtful(failure):
                self._is_last = True
            else:
                return None
            self._first = self._first or failure
        return _alone(self._tried, self._spoken)

    def _shorten(self, failure: TransportConnectionFailed) -> None:
        if isinstance(failure, AckTimeout) and self._first is None:
            self._ack_timeout = _PART_OF_ACK_TIMEOUT * (self._ack_timeout or 0.0)

    async def _attempt(self, offered: tuple[str, ...]) -> Connection:
        self._answered, self._chosen, self._spoken = None, None, ""
        connection = await self._opened(offered)
        try:
            await connection.acknowledged(self._ack_timeout)
        except BaseException:  # cancellation as well: nobody else knows this connection
            self._spoken = connection.subprotocol
            await connection.discard()
            raise
        return connection

    async def _opened(self, offered: tuple[str, ...]) -> Connection:
        """Return a connection as soon as the server answers this offer, or one name of it alone.

        Some servers never answer an offer of two names (PostGraphile 4). All of this takes
        `connect_timeout` at most.
        """
        others = self._others(offered)
        if not others:
            return await self._dial(self._way, offered)
        sent = asyncio.Event()
        way = replace(self._way, on_sent=sent.set)
        limit = self._way.connect_timeout

        def dial(offer: tuple[str, ...]) -> Coroutine[Any, Any, Connection]:
            if offer is not offered:
                host = way.address.host
                _logger.info("%s does not answer; offering %s alone as well", host, offer[0])
            return self._dial(way, offer)

        return await first_answer(
            dial,
            offered,
            others,
            sent=sent,
            silence=_SILENCE if limit is None else min(_SILENCE, _SILENT_PART * limit),
        )

    def _others(self, offered: tuple[str, ...]) -> list[tuple[str, ...]]:
        if self._forced or self._is_last or memory.is_known(self._place):
            return []
        left = [(name,) for name in default_offer() if name not in self._tried]
        return [offer for offer in left if offer != offered]

    async def _dial(self, way: Way, offered: tuple[str, ...]) -> Connection:
        def make(selected: str | None, headers: Mapping[str, str]) -> Connection:
            if self._answered is not None:
                raise AnsweredLate
            try:
                connection = self._make_connection(offered, selected)
            except NotOffered as answer:
                host = way.address.host
                raise reasons.not_offered(
                    host, answer.name, subprotocols(offered), headers, is_forced=bool(self._forced)
                ) from None
            self._answered = offered
            # A server that repeats the offer has not chosen.
            self._chosen = None if connection.was_guessed else selected
            self.response_headers = headers
            return connection

        try:
            return await self._open_websocket(way, subprotocols(offered), make)
        except BaseException:  # cancellation as well: another attempt may be answered
            if self._answered is offered:
                self._answered = None
            raise
