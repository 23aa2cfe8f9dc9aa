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


class NotOffered(Exception):
    """The server chose the subprotocol `name`, which is not one that the client can speak now."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def choose(
    offered: tuple[str, ...],
    selected: str | None,
    setup: Setup = _USUAL,
    *,
    is_forced: bool = False,
) -> Dialect:
    """Return the protocol for a server that answered the offer `offered` with `selected`.

    `offered` are names in the registry. `selected` is the value of `Sec-WebSocket-Protocol` in the
    answer (RFC 6455, section 4.2.2), or None. Servers that write it in another case, or repeat the
    whole offer, mean the first name that was offered. A server that names none may speak any of
    the offered protocols. If several are possible, the type of its first message decides
    (`Undecided`).

    Raises NotOffered if the server chose another name than those on offer; unless `is_forced`, the
    name of any protocol in the registry is accepted.
    """
    named = _names(selected)
    possible = [name for name in DIALECTS if name in offered]
    if not named:
        return _one_or_undecided(possible, possible[-1], setup)
    chosen = _first_of(named, possible) or ("" if is_forced else _first_of(named, DIALECTS))
    if not chosen:
        raise NotOffered(named[0])
    possible = [name for name in possible if _wire_name(name) in named] or [chosen]
    # Of protocols that share a subprotocol, the last in the registry is the likely one.
    likely = [name for name in possible if _wire_name(name) == _wire_name(chosen)][-1]
    return _one_or_undecided(possible, likely, setup)


def _one_or_undecided(possible: list[str], likely: str, setup: Setup) -> Dialect:
    dialects = {name: DIALECTS[name].make(setup) for name in possible}
    if len(dialects) == 1:
        return dialects[likely]
    return Undecided([*dialects.values()], dialects[likely])


def _first_of(named: list[str], known: Iterable[str]) -> str:
    """Return the first protocol among `known` that the server named, or ""."""
    return next((name for word in named for name in known if _wire_name(name) == word), "")


def _wire_name(name: str) -> str:
    return DIALECTS[name].subprotocol.lower()


def _names(selected: str | None) -> list[str]:
    """Return the names in `Sec-WebSocket-Protocol`, in lower case."""
    words = (word.strip().lower() for word in (selected or "").split(","))
    return [word for word in words if word]


__all__ = [
    "DIALECTS",
    "Apollo",
    "Dialect",
    "GraphQLTransportWS",
    "KeepAliveRule",
    "NotOffered",
    "Row",
    "Setup",
    "Undecided",
    "choose",
    "default_offer",
    "subprotocols",
]
