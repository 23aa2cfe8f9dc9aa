"""The result of a query or a mutation, and the task that waits for it.

This module knows no sockets, protocols or GraphQL.
"""

from __future__ import annotations

import asyncio

from msgspec import Raw

from gqlwire._streams.backpressure import ReadGate
from gqlwire.errors import TransportError
from gqlwire.errors.reasons import replica


class Reply:
    """The one result of a query or a mutation. Implements `Sink`.

    `is_started`: whether the operation was sent. `is_over`: whether it has ended. `is_lost`:
    whether the connection ended before the result arrived. `is_expired`: whether the time limit
    ended before that.
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
        """Store the result; further results are ignored."""
        if self._payload is None and not self.is_over:
            self._payload = payload
            if not self._arrival.done():
                self._arrival.set_result(None)

    def end(self, failure: TransportError | None) -> None:
        """End normally, or with `failure`; further calls do nothing."""
        if not self.is_over:
            self.is_over = True
            self._failure = failure
            if not self._arrival.done():
                self._arrival.set_result(None)

    def lost(self, failure: TransportError) -> None:
        """End because the connection is lost."""
        self.is_lost = not self.is_over and self._payload is None
        self.end(failure)

    def expire(self) -> None:
        """End because the result did not arrive in time."""
        self.is_expired = True
        self.end(None)

    async def get(self) -> Raw | None:
        """Wait for the result, and return it; None if the operation ended without one, or expired.

        Raises the failure that ended the operation.
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
