"""What a connection asks of those who wait for results, and they of it.

This module knows no socket, no protocol and no GraphQL.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from msgspec import Raw

from gqlwire.errors import TransportError

Item = Raw | bytes
"""A queued event: the payload of a result, or the whole message, not looked into yet."""


class Sink(Protocol):
    """What a connection puts the results of an operation into."""

    def put(self, payload: Raw) -> None:
        """Take one result. Called by the socket's reader, so it never waits."""
        ...

    def end(self, failure: TransportError | None) -> None:
        """Be over: in good order, or by `failure`. Only the first end counts."""
        ...

    def lost(self, failure: TransportError) -> None:
        """The connection is over, for this reason."""
        ...


class Gate(Protocol):
    """What a stream may ask of the connection that feeds it."""

    def hold(self, stream: Hashable) -> None:
        """Stop reading, if that harms nobody: `stream` is full."""
        ...

    def release(self, stream: Hashable) -> None:
        """`stream` has room again."""
        ...

    def awaited(self, change: int) -> None:
        """Somebody begins (+1) or ceases (-1) to wait for what the socket brings."""
        ...


class Owner(Protocol):
    """Who has a stream."""

    def overrun(self) -> None:
        """It is full, and ends."""
        ...

    def keeps(self, failure: TransportError) -> bool:
        """Its connection is lost, for this reason: say whether it is to go on all the same."""
        ...
