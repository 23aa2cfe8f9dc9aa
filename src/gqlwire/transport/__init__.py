"""`Transport` is what a `Client` needs to reach a server; `websockets` implements it.

This module knows no picows and no protocol.
"""

from __future__ import annotations

from typing import Protocol

from gqlwire._operations.link import Link


class Transport(Protocol):
    """A way to run operations on a server."""

    @property
    def link(self) -> Link:
        """What operations run on; see `Link`."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether operations can run, now or later, without another `connect`."""
        ...

    async def connect(self) -> None:
        """Connect. Raises a TransportError if that is not possible."""
        ...

    async def close(self) -> None:
        """Close the connection. It is safe to call it more than once."""
        ...


__all__ = ["Transport"]
