"""The interface between a connection and the protocol that it speaks.

A dialect turns the server's messages into events, and method calls into messages to send. It puts
these into its outbox, as many as the protocol needs; the connection sends them after each call. A
dialect does no I/O: it uses no socket, clock or task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from gqlwire._protocols.events import Event
from gqlwire.errors import Phase


class Setup(Struct, frozen=True):
    """The settings of a dialect.

    `init_payload`: the payload of `connection_init`, or None if the user gave none. A dialect that
    sends credentials with each operation finds them here. `answer_pings`: whether the dialect
    answers the server's pings. If not, the caller does, with `pong()`.
    """

    init_payload: Mapping[str, Any] | None = None
    answer_pings: bool = True


class KeepAliveRule(Struct, frozen=True):
    """When the silence of a server means that it is dead.

    `from_first_sign`: silence counts only after the first keep-alive message of the server, instead
    of from the acknowledgement on. `limit`: the longest silence that the server announced, in
    seconds, or None. The user's `keep_alive_timeout` replaces it.
    """

    from_first_sign: bool = False
    limit: float | None = None


class Dialect(Protocol):
    """The client's side of one conversation.

    `outbox` holds the messages to send. It is always the same list, and the caller empties it. If
    the protocol has no message for a call, the call puts nothing into the outbox.
    """

    outbox: list[bytes]

    @property
    def name(self) -> str:
        """The name in the registry, which users see as well."""
        ...

    @property
    def own_types(self) -> frozenset[str]:
        """The message types that only this protocol has; they show which one a server speaks."""
        ...

    @property
    def keep_alive(self) -> KeepAliveRule:
        """When the server's silence means that it is dead; read at the acknowledgement."""
        ...

    @property
    def phase(self) -> Phase:
        """INIT until the acknowledgement, then OPEN, CLOSED once refused or closed."""
        ...

    def connection_init(self) -> None:
        """Send `connection_init`."""
        ...

    def redacted(self, message: bytes) -> bytes:
        """Return a sent message without secrets, for a log."""
        ...

    def read(self, text: bytes) -> Event:
        """Decode one message without changing the state.

        Raises TransportProtocolError if `text` is not a JSON object.
        """
        ...

    def receive(self, text: bytes) -> Event | None:
        """Handle one message. Return its event, or None if its operation has ended.

        If the protocol answers the message, the answer is in the outbox. Raises
        TransportProtocolError if `text` is not a JSON object.
        """
        ...

    def subscribe(self, id: str, payload: bytes) -> None:
        """Start the operation `id`.

        `id` consists of ASCII letters and digits. `payload` is the request, encoded as JSON.
        """
        ...

    def complete(self, id: str) -> None:
        """Stop the operation `id`; does nothing if the operation has ended or was stopped."""
        ...

    def forget(self, id: str) -> None:
        """Ignore later messages for the operation `id`, which the server completes unasked."""
        ...

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a ping. If the protocol has no such message, the caller sends a ping frame."""
        ...

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a pong."""
        ...

    def close(self) -> None:
        """End the conversation: ignore all messages from now on.

        The protocol's closing message is in the outbox, if it has one. The caller may discard it.
        """
        ...
