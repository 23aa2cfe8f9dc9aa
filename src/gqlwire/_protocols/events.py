"""What a server can tell us, whatever the protocol calls it.

Each protocol file gives these their spelling on the wire. A payload is kept as it arrived
(`msgspec.Raw`, empty where the message had none) and is decoded by whoever needs it: a result by
its consumer, so that nobody pays for what nobody reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Raw, Struct

from gqlwire._json import NOTHING
from gqlwire.errors import Phase

# None of these can be part of a reference cycle, so the garbage collector need not look at them
# (`gc=False`): it has a million a second to look at otherwise.


class Acknowledged(Struct, gc=False):
    """The server accepted `connection_init`; operations may start."""

    payload: Raw = NOTHING


class Complaint(Struct, gc=False):
    """`connection_error`, or an `error` that names no operation.

    Before the acknowledgement it is a refusal; later it only reports (Apollo's PROTOCOL.md,
    GQL_CONNECTION_ERROR).
    """

    payload: Raw = NOTHING


class Pinged(Struct, gc=False):
    """The server asked for a sign of life."""

    payload: Raw = NOTHING


class Ponged(Struct, gc=False):
    """The server gave a sign of life, asked for or not."""

    payload: Raw = NOTHING


class KeptAlive(Struct, gc=False):
    """Apollo's one-way sign of life."""


class Result(Struct, gc=False):
    """One result of the operation `id`: an execution result in JSON."""

    id: str
    payload: Raw = NOTHING


class Failed(Struct, gc=False):
    """The server ended the operation `id` with errors."""

    id: str
    payload: Raw = NOTHING


class Completed(Struct, gc=False):
    """The server ended the operation `id` in good order."""

    id: str


class Stray(Struct):
    """A message that means nothing here: of an unknown `type`, or at the wrong time.

    The servers in the field send such things; they harm nobody, so they are counted, not punished.
    """

    type: str


Event = Acknowledged | Complaint | Pinged | Ponged | KeptAlive | Result | Failed | Completed | Stray


class Dialect(Protocol):
    """What the two protocols have in common: messages in, events and messages out, no I/O.

    Every method that returns bytes returns a message for the caller to send, or None where this
    protocol has none to send.
    """

    @property
    def subprotocol(self) -> str:
        """The name in `Sec-WebSocket-Protocol`."""
        ...

    @property
    def watches_from_first_sign(self) -> bool:
        """Whether the server's silence counts only once it has given a sign of life."""
        ...

    @property
    def phase(self) -> Phase:
        """INIT until the acknowledgement, then OPEN, CLOSED once refused or closed."""
        ...

    def connection_init(self, payload: Mapping[str, Any] | None) -> bytes:
        """Open the conversation. `payload` goes out as it is; None omits the key."""
        ...

    def read(self, text: bytes) -> Event:
        """Read one message, whatever the conversation makes of it.

        Raises TransportProtocolError if `text` is no JSON object.
        """
        ...

    def receive(self, text: bytes) -> Event | None:
        """Take one message; return what it means, None if it is of an operation that is over.

        Send `reply()` next. Raises TransportProtocolError if `text` is no JSON object.
        """
        ...

    def reply(self) -> bytes | None:
        """Return the answer to what was just received, once."""
        ...

    def subscribe(self, id: str, payload: bytes) -> bytes:
        """Start the operation `id`. `payload` is the request, encoded as JSON."""
        ...

    def complete(self, id: str) -> bytes | None:
        """Give up the operation `id`. None if it is over already: it is never stopped twice."""
        ...

    def forget(self, id: str) -> None:
        """Expect no more of the operation `id`, which the server ends by itself."""
        ...

    def ping(self, payload: Mapping[str, Any] | None = None) -> bytes | None:
        """Ask for a sign of life."""
        ...

    def pong(self, payload: Mapping[str, Any] | None = None) -> bytes | None:
        """Give a sign of life."""
        ...

    def close(self) -> bytes | None:
        """End the conversation: nothing that arrives from now on means anything."""
        ...
