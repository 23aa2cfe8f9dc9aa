"""The interfaces between a connection and the operations that wait for its results.

This module knows no sockets, protocols or GraphQL.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Raw

from gqlwire.errors import TransportError

Item = Raw | bytes
"""The payload of an event, not decoded. `bytes` come from the fast path, unchecked."""


class Sink(Protocol):
    """The object into which a connection puts the results of one operation."""

    @property
    def unanswered(self) -> int:
        """The size of the request in bytes, if it may be what the server now closes for; else 0.

        A request that was answered, or that another connection has had, is not.
        """
        ...

    def put(self, payload: Raw) -> None:
        """Store one result. The socket's reader calls this, so it must not wait."""
        ...

    def end(self, failure: TransportError | None) -> None:
        """End normally, or with `failure`; further calls do nothing."""
        ...

    def lost(self, failure: TransportError) -> None:
        """Note that the connection ended with `failure`."""
        ...


class Owner(Protocol):
    """The operation that a stream belongs to."""

    @property
    def request(self) -> bytes:
        """The request as JSON."""
        ...

    def overrun(self) -> None:
        """Note that the stream is full, and ends."""
        ...

    def full(self) -> None:
        """Note that the stream is full, and that reading stops if nobody else needs it."""
        ...

    def takes_more(self) -> bool:
        """Return whether the full stream is to buffer more, or to drop it: then it comes again."""
        ...

    def roomy(self) -> None:
        """Note that the stream, which was full, has room again."""
        ...

    def keeps(self, failure: TransportError) -> bool:
        """Return whether to keep the stream although its connection is lost."""
        ...


class Timing(Protocol):
    """What measures how long the consumer of a stream waits."""

    def wait_begins(self) -> None:
        """Note that the consumer starts to wait."""
        ...

    def wait_is_cancelled(self) -> None:
        """Note that the consumer was cancelled while it waited, and got nothing."""
        ...
