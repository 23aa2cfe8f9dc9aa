"""What a server can say, in the terms that all protocols share.

Each protocol file gives these their spelling on the wire. A payload is kept as it arrived
(`msgspec.Raw`, empty where the message had none). The consumer of a result decodes it, so that
nobody pays for what nobody reads.
"""

from __future__ import annotations

from msgspec import Raw, Struct

from gqlwire._json import NOTHING

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
    """The server completed the operation `id`."""

    id: str


class Stray(Struct):
    """A message that means nothing here: of an unknown `type`, or at the wrong time.

    The servers in the field send such things; they harm nobody, so they are counted, not punished.
    """

    type: str


Event = Acknowledged | Complaint | Pinged | Ponged | KeptAlive | Result | Failed | Completed | Stray
