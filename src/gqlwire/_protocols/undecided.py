"""Stands for several protocols until the server shows which of them it speaks.

A server may name no protocol in its answer to the upgrade, or repeat the whole offer. All possible
protocols take the `connection_init` of the oldest, so the client can send that. Then the type of
the server's first message decides: only graphql-transport-ws has `ping` and `pong`, only Apollo's
protocol has `ka`. All have the acknowledgement. If that is the first message, the server speaks the
first protocol that it named; if it named none, the last one in the registry. That is the oldest
one, and most servers that name no protocol are old.
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
    """Delegates to one of the `possible` dialects. Implements `Dialect`.

    Until the first message of the server, it delegates to `likely`, one of them.
    """

    __slots__ = ("_is_decided", "_likely", "_possible", "outbox")

    own_types: frozenset[str] = frozenset()

    def __init__(self, possible: Sequence[Dialect], likely: Dialect) -> None:
        self.outbox: list[bytes] = []
        for dialect in possible:
            dialect.outbox = self.outbox
        self._possible = possible
        self._likely = likely
        self._is_decided = False

    @property
    def name(self) -> str:
        """The name of the protocol that the server probably speaks."""
        return self._likely.name

    @property
    def phase(self) -> Phase:
        """INIT until the acknowledgement, then OPEN, CLOSED once refused or closed."""
        return self._likely.phase

    @property
    def keep_alive(self) -> KeepAliveRule:
        """When the server's silence means that it is dead."""
        return self._likely.keep_alive

    def connection_init(self) -> None:
        """Send `connection_init` as the oldest of them has it, which all of them accept."""
        self._possible[-1].connection_init()

    def redacted(self, message: bytes) -> bytes:
        """Return a sent message without secrets, for a log."""
        return self._likely.redacted(message)

    def read(self, text: bytes) -> events.Event:
        """Decode one message without changing the state."""
        return self._likely.read(text)

    def receive(self, text: bytes) -> events.Event | None:
        """Handle one message; the first one decides which protocol it is."""
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
        """Ignore later messages for the operation `id`."""
        self._likely.forget(id)

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a ping."""
        self._likely.ping(payload)

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a pong."""
        self._likely.pong(payload)

    def close(self) -> None:
        """End the conversation, without a closing message if the protocol is not decided yet."""
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
