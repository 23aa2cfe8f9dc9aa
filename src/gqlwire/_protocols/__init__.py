"""The two protocols, without I/O: messages in, events and messages out.

Nothing here knows asyncio, picows, clocks, chance or logging.
"""

from __future__ import annotations

from collections.abc import Callable

from gqlwire._protocols.apollo import Apollo
from gqlwire._protocols.events import Dialect
from gqlwire._protocols.graphql_transport_ws import GraphQLTransportWS
from gqlwire._protocols.undecided import Undecided

SUBPROTOCOLS = (GraphQLTransportWS.subprotocol, Apollo.subprotocol)
"""In the order in which they are offered: servers that speak both mostly take the first, and the
second is deprecated by its own authors."""


def choose(offered: tuple[str, ...], selected: str | None, *, answer_pings: bool = True) -> Dialect:
    """Return the protocol for a server that answered an offer of `offered` with `selected`.

    `selected` is the value of `Sec-WebSocket-Protocol` (RFC 6455, section 4.2.2), None if absent.
    A name that was not offered is no answer. With one name on offer, no answer means that one.
    """
    makers: dict[str, Callable[[], Dialect]] = {
        GraphQLTransportWS.subprotocol: lambda: GraphQLTransportWS(answer_pings=answer_pings),
        Apollo.subprotocol: Apollo,
    }
    name = selected if selected in offered else None
    if name is None and len(offered) == 1:
        name = offered[0]
    if name is None:
        return Undecided(answer_pings=answer_pings)
    return makers[name]()


__all__ = ["SUBPROTOCOLS", "Apollo", "Dialect", "GraphQLTransportWS", "Undecided", "choose"]
