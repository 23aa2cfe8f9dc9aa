"""The interfaces between a connection and the operations that wait for its results.

This module knows no socket, no protocol and no GraphQL.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Raw

from gqlwire.errors import TransportError

Item = Raw | bytes
"""A queued event: the payload of a result, or the whole message, not decoded yet."""


class Sink(Protocol):
    """What a connection puts the results of an operation into."""

    def put(self, payload: Raw) -> None:
        """Take one result. Called by the socket's reader, so it never waits."""
        ...

    def end(self, failure: TransportError | None) -> None:
        """End well, or by `failure`. Only the first end counts."""
        ...

    def lost(self, failure: TransportError) -> None:
        """The connection ended, for this reason."""
        ...


class Owner(Protocol):
    """The operation that a stream belongs to."""

    def overrun(self) -> None:
        """The stream is full, and ends."""
        ...

    def keeps(self, failure: TransportError) -> bool:
        """Return whether to keep the stream, although its connection is lost."""
        ...
