"""How the two protocols spell their common messages, for the tests that run over both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gqlwire._protocols import (
    Apollo,
    GraphQLTransportWS,
    Setup,
    Undecided,
    apollo,
    choose,
    default_offer,
    graphql_transport_ws,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from gqlwire._protocols import Dialect

REQUEST = b'{"query":"subscription { n }"}'


@dataclass(frozen=True)
class Spelling:
    """One protocol: its machine, its module, and its words for start, stop and a result."""

    make: Callable[..., Dialect]
    module: ModuleType
    start: str
    stop: str
    result: str


NEWER = Spelling(GraphQLTransportWS, graphql_transport_ws, "subscribe", "complete", "next")
OLDER = Spelling(Apollo, apollo, "start", "stop", "data")

both = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["graphql-transport-ws", "apollo"])


def guessing(**setup: Any) -> Undecided:
    """Return the dialect for a server that named neither protocol."""
    dialect = choose(default_offer(), None, Setup(**setup))
    assert isinstance(dialect, Undecided)
    return dialect


def says(type: str, **rest: Any) -> bytes:
    """Write a message as a server would."""
    return json.dumps({"type": type, **rest}).encode()


def sent(dialect: Dialect) -> list[Any]:
    """Take the outgoing messages of a conversation, and read them as a server would."""
    messages = [json.loads(message) for message in dialect.outbox]
    dialect.outbox.clear()
    return messages


def opened(dialect: Dialect, *ids: str) -> Dialect:
    """Bring a conversation to its open phase, with the operations `ids` running."""
    dialect.connection_init()
    dialect.receive(says("connection_ack"))
    for id in ids:
        dialect.subscribe(id, REQUEST)
    dialect.outbox.clear()
    return dialect
