"""The events that a server's messages mean, in terms that all protocols share.

The module of each protocol subclasses these with the message types of that protocol. A payload is
kept undecoded (`msgspec.Raw`, empty if the message has none). The consumer of a result decodes it,
so that a result that nobody reads costs nothing.
"""

from __future__ import annotations

from msgspec import Raw, Struct

from gqlwire._json import NOTHING

# None of these can be part of a reference cycle, so the garbage collector need not track them
# (`gc=False`). A busy connection creates up to a million per second.


class Acknowledged(Struct, gc=False):
    """The server accepted `connection_init`; operations may start."""

    payload: Raw = NOTHING


class Complaint(Struct, gc=False):
    """`connection_error`, or an `error` without an operation id.

    Before the acknowledgement it means that the server refuses `connection_init`. Later it only
    reports a problem (Apollo's PROTOCOL.md, GQL_CONNECTION_ERROR).
    """

    payload: Raw = NOTHING


class Pinged(Struct, gc=False):
    """The server sent a ping."""

    payload: Raw = NOTHING


class Ponged(Struct, gc=False):
    """The server sent a pong, as an answer to a ping or unasked."""

    payload: Raw = NOTHING


class KeptAlive(Struct, gc=False):
    """The server sent a keep-alive message, which needs no answer (`ka` in Apollo's protocol)."""


class Result(Struct, gc=False):
    """One result of the operation `id`: an execution result in JSON."""

    id: str
    payload: Raw = NOTHING


class Failed(Struct, gc=False):
    """The server ended the operation `id` with errors."""

    id: str
    payload: Raw = NOTHING


class Completed(Struct, gc=False):
    """The server completed the operation `id`."""

    id: str


class Stray(Struct):
    """A message that is not expected: its `type` is unknown, or not allowed in this phase.

    Real servers send such messages, and they do no harm. So they are counted and ignored.
    """

    type: str


Event = Acknowledged | Complaint | Pinged | Ponged | KeptAlive | Result | Failed | Completed | Stray
