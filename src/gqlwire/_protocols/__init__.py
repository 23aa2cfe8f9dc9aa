"""The protocols, without I/O: messages in, events and messages out.

`DIALECTS` is the registry. To add a protocol, add a file with a `Dialect`, and a row here; no other
file knows how many protocols there are. Nothing in this package uses asyncio, picows, clocks,
random numbers or logging.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from gqlwire._protocols.apollo import Apollo
from gqlwire._protocols.dialect import Dialect, KeepAliveRule, Setup
from gqlwire._protocols.graphql_transport_ws import GraphQLTransportWS
from gqlwire._protocols.undecided import Undecided


class Row(Struct, frozen=True):
    """A protocol in the registry.

    `subprotocol`: the name to offer in `Sec-WebSocket-Protocol`. Two protocols may share a name:
    some servers use `graphql-ws` for a variant of Apollo's protocol. `make`: returns a new dialect.
    `is_offered`: whether to offer the protocol if the user names none.
    """

    subprotocol: str
    make: Callable[[Setup], Dialect]
    is_offered: bool = True


DIALECTS: dict[str, Row] = {
    "graphql-transport-ws": Row("graphql-transport-ws", GraphQLTransportWS),
    "graphql-ws": Row("graphql-ws", Apollo),
}
"""The protocols by name, in the order in which they are offered.

Most servers that speak several take the first. If a server names none, it probably speaks the last
one, because such servers are old.
"""

_USUAL = Setup()


def default_offer() -> tuple[str, ...]:
    """Return the names of the protocols to offer if the user names none."""
    return tuple(name for name, row in DIALECTS.items() if row.is_offered)


def subprotocols(names: Iterable[str]) -> tuple[str, ...]:
    """Return the `Sec-WebSocket-Protocol` values that offer the protocols with these `names`."""
    return tuple(dict.fromkeys(DIALECTS[name].subprotocol for name in names))


def choose(offered: tuple[str, ...], selected: str | None, setup: Setup = _USUAL) -> Dialect:
    """Return the protocol for a server that answered the offer `offered` with `selected`.

    `offered` are names in the registry. `selected` is the value of `Sec-WebSocket-Protocol` in the
    answer (RFC 6455, section 4.2.2), or None. If `selected` was not offered, the server may speak
    any of the offered protocols. If several are possible, the type of the server's first message
    decides (`Undecided`).
    """
    named = [name for name in offered if DIALECTS[name].subprotocol == selected]
    possible = [row.make(setup) for name, row in DIALECTS.items() if name in (named or offered)]
    return possible[0] if len(possible) == 1 else Undecided(possible)


__all__ = [
    "DIALECTS",
    "Apollo",
    "Dialect",
    "GraphQLTransportWS",
    "KeepAliveRule",
    "Row",
    "Setup",
    "Undecided",
    "choose",
    "default_offer",
    "subprotocols",
]
