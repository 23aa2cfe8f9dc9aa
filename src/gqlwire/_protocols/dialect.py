"""The interface between a connection and the protocol that it speaks.

A dialect turns messages into events and calls into messages. It does no I/O: it knows no socket,
no clock and no task.
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


class Dialect(Protocol):
    """The client's side of one conversation.

    Every method that returns bytes returns a message for the caller to send, or None where this
    protocol has none to send.
    """

    @property
    def name(self) -> str:
        """The name in the registry, which is also the one that users know."""
        ...

    @property
    def own_types(self) -> frozenset[str]:
        """The types of message by which a server shows that it speaks this protocol."""
        ...

    @property
    def watches_from_first_sign(self) -> bool:
        """Whether the server's silence counts only once it has given a sign of life."""
        ...

    @property
    def phase(self) -> Phase:
        """INIT until the acknowledgement, then OPEN, CLOSED once refused or closed."""
        ...

    def connection_init(self) -> bytes:
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

        Send `reply()` next. Raises TransportProtocolError if `text` is not a JSON object.
        """
        ...

    def reply(self) -> bytes | None:
        """Return the answer to what was just received, once."""
        ...

    def subscribe(self, id: str, payload: bytes) -> bytes:
        """Start the operation `id`. `payload` is the request, encoded as JSON."""
        ...

    def complete(self, id: str) -> bytes | None:
        """Stop the operation `id`. Returns None if it is over: it is never stopped twice."""
        ...

    def forget(self, id: str) -> None:
        """Ignore what still comes for the operation `id`, which the server ends by itself."""
        ...

    def ping(self, payload: Mapping[str, Any] | None = None) -> bytes | None:
        """Ask for a sign of life."""
        ...

    def pong(self, payload: Mapping[str, Any] | None = None) -> bytes | None:
        """Give a sign of life."""
        ...

    def close(self) -> bytes | None:
        """End the conversation: what arrives from now on is ignored."""
        ...
