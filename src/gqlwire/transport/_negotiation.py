"""Which subprotocols to offer, and what to offer after a refusal.

Servers are not all honest: some echo the first name on offer whatever they speak, some cannot
read two names. What worked is remembered per URL. This file knows no socket.
"""

from __future__ import annotations

from collections import OrderedDict

from gqlwire.errors import ConnectionClosed, HandshakeRejected, Phase, TransportError
from gqlwire.protocols import SUBPROTOCOLS

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
        return SUBPROTOCOLS if known is None else (known,)

    def keep(self, place: str, subprotocol: str) -> None:
        """Offer only this one next time."""
        self._known[place] = subprotocol
        self._known.move_to_end(place)
        if len(self._known) > _REMEMBERED_AT_MOST:
            self._known.popitem(last=False)

    def forget(self, place: str) -> None:
        """Offer everything again next time."""
        self._known.pop(place, None)


memory = Memory()


def next_offer(
    offered: tuple[str, ...], spoken: str | None, failure: TransportError
) -> tuple[str, ...] | None:
    """Return what to offer after `failure`; None if another offer would not help.

    `spoken` is the protocol that the failed connection spoke; None if it came to none.
    """
    newer, older = SUBPROTOCOLS
    if _is_refused_offer(failure):
        if offered == SUBPROTOCOLS:
            return (newer,)
        return (older,) if offered == (newer,) else (newer,)
    if spoken is not None and is_wrong_protocol(failure):
        return (older,) if spoken == newer else (newer,)
    return None


def _is_refused_offer(failure: TransportError) -> bool:
    return isinstance(failure, HandshakeRejected) and failure.status in _WRONG_OFFER


def is_wrong_protocol(failure: TransportError | None) -> bool:
    """Tell whether the server hung up for want of a common protocol."""
    return (
        isinstance(failure, ConnectionClosed)
        and failure.phase is not None
        and failure.code in _WRONG_PROTOCOL.get(failure.phase, set())
    )
