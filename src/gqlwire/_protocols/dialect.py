"""The interface between a connection and the protocol that it speaks.

A dialect turns the server's messages into events, and calls into messages of ours. It puts these
into its outbox, as many as the protocol needs, and the connection sends them after each call. It
does no I/O: it knows no socket, no clock and no task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from gqlwire._protocols.events import Event
from gqlwire.errors import Phase


class Setup(Struct, frozen=True):
    """What a dialect is made with.

    `init_payload`: the payload of `connection_init`; None leaves it out. A dialect that
    authorizes each operation finds the credentials here. `answer_pings=False` leaves the answers
    to the server's pings to the caller (`pong()`).
    """

    init_payload: Mapping[str, Any] | None = None
    answer_pings: bool = True


class KeepAliveRule(Struct, frozen=True):
    """When the silence of a server means that it is dead.

    `from_first_sign`: silence counts only after the first keep-alive message of the server, and not
    from the acknowledgement on. `limit`: the seconds of silence that the server announced as too
    long; None if it announced none. A `keep_alive_timeout` of the user replaces it.
    """

    from_first_sign: bool = False
    limit: float | None = None


class Dialect(Protocol):
    """The client's side of one conversation.

    `outbox` holds the messages to send. It is the same list all the time, and the caller empties
    it. A call for which the protocol has no message puts nothing into it.
    """

    outbox: list[bytes]

    @property
    def name(self) -> str:
        """The name in the registry, which is also the one that users know."""
        ...

    @property
    def own_types(self) -> frozenset[str]:
        """The types of message by which a server shows that it speaks this protocol."""
        ...

    @property
    def keep_alive(self) -> KeepAliveRule:
        """The rule for the server's silence. The caller reads it at the acknowledgement."""
        ...

    @property
    def phase(self) -> Phase:
        """INIT until the acknowledgement, then OPEN, CLOSED once refused or closed."""
        ...

    def connection_init(self) -> None:
        """Open the conversation."""
        ...

    def redacted(self, message: bytes) -> bytes:
        """Return a message of ours as a log may show it, without secrets."""
        ...

    def read(self, text: bytes) -> Event:
        """Decode one message, without a change of state.

        Raises TransportProtocolError if `text` is not a JSON object.
        """
        ...

    def receive(self, text: bytes) -> Event | None:
        """Take one message. Return what it means, or None if its operation is over.

        The answer to it, if there is one, is in the outbox. Raises TransportProtocolError if `text`
        is not a JSON object.
        """
        ...

    def subscribe(self, id: str, payload: bytes) -> None:
        """Start the operation `id`, which is made of ASCII letters and digits.

        `payload` is the request, encoded as JSON.
        """
        ...

    def complete(self, id: str) -> None:
        """Stop the operation `id`, unless it is over: it is never stopped twice."""
        ...

    def forget(self, id: str) -> None:
        """Ignore what still comes for the operation `id`, which the server ends by itself."""
        ...

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Ask for a sign of life. Without a message for it, the caller sends a ping frame."""
        ...

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Give a sign of life."""
        ...

    def close(self) -> None:
        """End the conversation: what arrives from now on is ignored.

        The caller may leave the farewell in the outbox unsent.
        """
        ...
