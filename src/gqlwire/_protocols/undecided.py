"""Before we know which protocol the server speaks: it named none in its answer.

Both protocols open with the same `connection_init`, so the conversation can begin, and the
server's first words tell: `ping` and `pong` exist only in graphql-transport-ws, `ka` only in
Apollo's. An acknowledgement tells nothing; then it is the older protocol, as servers that name
none are mostly that old.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gqlwire._json import UNREADABLE
from gqlwire._protocols import events
from gqlwire._protocols.apollo import Apollo
from gqlwire._protocols.graphql_transport_ws import GraphQLTransportWS
from gqlwire.errors import Phase


class _Type(msgspec.Struct):
    type: Any = None


_decode_type = msgspec.json.Decoder(_Type).decode


class Undecided:
    """Speaks for both until the server has spoken, then for one. Implements `events.Dialect`."""

    def __init__(self, *, answer_pings: bool = True) -> None:
        self._newer = GraphQLTransportWS(answer_pings=answer_pings)
        self._older = Apollo()
        self._chosen: events.Dialect | None = None

    @property
    def _either(self) -> events.Dialect:
        return self._chosen or self._older

    @property
    def subprotocol(self) -> str:
        """The name of the protocol that was chosen; of Apollo's until then."""
        return self._either.subprotocol

    @property
    def phase(self) -> Phase:
        """The phase of the protocol that was chosen; INIT until then."""
        return self._either.phase

    @property
    def watches_from_first_sign(self) -> bool:
        """As the protocol that was chosen has it."""
        return self._either.watches_from_first_sign

    def connection_init(self, payload: Mapping[str, Any] | None) -> bytes:
        """Open the conversation: the words are the same in both."""
        return self._newer.connection_init(payload)

    def read(self, text: bytes) -> events.Event:
        """Read one message of the protocol that was chosen."""
        return self._either.read(text)

    def receive(self, text: bytes) -> events.Event | None:
        """Choose by the first message; then leave it all to the one that was chosen."""
        if self._chosen is None:
            self._chosen = self._newer if _first_word(text) in ("ping", "pong") else self._older
        return self._chosen.receive(text)

    def reply(self) -> bytes | None:
        """Return the answer to what was just received, once."""
        return self._either.reply()

    def subscribe(self, id: str, payload: bytes) -> bytes:
        """Start the operation `id`."""
        return self._either.subscribe(id, payload)

    def complete(self, id: str) -> bytes | None:
        """Give up the operation `id`."""
        return self._either.complete(id)

    def forget(self, id: str) -> None:
        """Expect no more of the operation `id`."""
        self._either.forget(id)

    def ping(self, payload: Mapping[str, Any] | None = None) -> bytes | None:
        """Ask for a sign of life."""
        return self._either.ping(payload)

    def pong(self, payload: Mapping[str, Any] | None = None) -> bytes | None:
        """Give a sign of life."""
        return self._either.pong(payload)

    def close(self) -> bytes | None:
        """End the conversation; in silence if it has not begun."""
        if self._chosen is not None:
            return self._chosen.close()
        self._newer.close()
        self._older.close()
        return None


def _first_word(text: bytes) -> Any:
    try:
        return _decode_type(text).type
    except UNREADABLE:
        return None
