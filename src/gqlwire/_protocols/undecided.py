"""Stands for several protocols until the server shows which of them it speaks.

A server may name none in its answer to the upgrade. The protocols that are possible then open with
the same `connection_init`, so the conversation can begin, and the type of the server's first
message decides: `ping` and `pong` exist only in graphql-transport-ws, `ka` only in Apollo's. An
acknowledgement decides nothing, so the last of the registry is taken. That is the oldest, and most
servers that name none are old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gqlwire._json import UNREADABLE
from gqlwire._protocols import events
from gqlwire._protocols.dialect import Dialect, KeepAliveRule
from gqlwire.errors import Phase


class _Type(msgspec.Struct):
    type: Any = None


_decode_type = msgspec.json.Decoder(_Type).decode


class Undecided:
    """Passes everything on to one of `possible`. Implements `Dialect`.

    Until the server has spoken, that is the last of them.
    """

    __slots__ = ("_is_decided", "_likely", "_possible", "outbox")

    own_types: frozenset[str] = frozenset()

    def __init__(self, possible: Sequence[Dialect]) -> None:
        self.outbox: list[bytes] = []
        for dialect in possible:
            dialect.outbox = self.outbox
        self._possible = possible
        self._likely = possible[-1]
        self._is_decided = False

    @property
    def name(self) -> str:
        """The name of the protocol that is taken to be spoken."""
        return self._likely.name

    @property
    def phase(self) -> Phase:
        """INIT until the acknowledgement, then OPEN, CLOSED once refused or closed."""
        return self._likely.phase

    @property
    def keep_alive(self) -> KeepAliveRule:
        """The rule for the server's silence."""
        return self._likely.keep_alive

    def connection_init(self) -> None:
        """Open the conversation: the words are the same in all of them."""
        self._likely.connection_init()

    def redacted(self, message: bytes) -> bytes:
        """Return a message of ours as a log may show it, without secrets."""
        return self._likely.redacted(message)

    def read(self, text: bytes) -> events.Event:
        """Decode one message, without a change of state."""
        return self._likely.read(text)

    def receive(self, text: bytes) -> events.Event | None:
        """Decide by the first message, and take it."""
        if not self._is_decided:
            self._is_decided = True
            word = _first_word(text)
            speakers = (dialect for dialect in self._possible if word in dialect.own_types)
            self._likely = next(speakers, self._likely)
        return self._likely.receive(text)

    def subscribe(self, id: str, payload: bytes) -> None:
        """Start the operation `id`."""
        self._likely.subscribe(id, payload)

    def complete(self, id: str) -> None:
        """Stop the operation `id`."""
        self._likely.complete(id)

    def forget(self, id: str) -> None:
        """Ignore what still comes for the operation `id`."""
        self._likely.forget(id)

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Ask for a sign of life."""
        self._likely.ping(payload)

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Give a sign of life."""
        self._likely.pong(payload)

    def close(self) -> None:
        """End the conversation; without a word if the server has not spoken."""
        if self._is_decided:
            self._likely.close()
            return
        for dialect in self._possible:
            dialect.close()
        self.outbox.clear()


def _first_word(text: bytes) -> str:
    try:
        word = _decode_type(text).type
    except UNREADABLE:
        return ""
    return word if isinstance(word, str) else ""
