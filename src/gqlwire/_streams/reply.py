"""Where the result of an operation is awaited that has one.

This module knows no socket, no protocol and no GraphQL.
"""

from __future__ import annotations

import asyncio

from msgspec import Raw

from gqlwire._streams.backpressure import ReadGate
from gqlwire.errors import TransportError
from gqlwire.errors.reasons import replica


class Reply:
    """The one result of an operation that has one.

    `is_started`: whether the operation was sent. `is_over`: whether it has ended. `is_lost`:
    whether the connection ended before the result came. `is_expired`: whether its time ended.
    """

    __slots__ = (
        "_arrival",
        "_failure",
        "_gate",
        "_payload",
        "is_expired",
        "is_lost",
        "is_over",
        "is_started",
    )

    def __init__(self, gate: ReadGate) -> None:
        self.is_expired: bool = False
        self.is_started: bool = False
        self.is_lost: bool = False
        self.is_over: bool = False
        self._gate: ReadGate = gate
        self._payload: Raw | None = None
        self._failure: TransportError | None = None
        self._arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, payload: Raw) -> None:
        """Take the result; the first one counts."""
        if self._payload is None and not self.is_over:
            self._payload = payload
            if not self._arrival.done():
                self._arrival.set_result(None)

    def end(self, failure: TransportError | None) -> None:
        """End well, or by `failure`. Only the first end counts."""
        if not self.is_over:
            self.is_over = True
            self._failure = failure
            if not self._arrival.done():
                self._arrival.set_result(None)

    def lost(self, failure: TransportError) -> None:
        """End, as the connection is lost."""
        self.is_lost = not self.is_over and self._payload is None
        self.end(failure)

    def expire(self) -> None:
        """End, as nothing arrived in time."""
        self.is_expired = True
        self.end(None)

    async def get(self) -> Raw | None:
        """Wait for the result; None if the operation ended without one, or expired.

        Raises the failure that ended it.
        """
        self._gate.waiting += 1
        if self._gate.paused:
            self._gate.check()
        try:
            await self._arrival
        finally:
            self._gate.waiting -= 1
        if self._payload is None and self._failure is not None:
            raise replica(self._failure)
        return self._payload
