"""Where the one result of a query or a mutation is awaited.

This module knows no socket, no protocol and no GraphQL.
"""

from __future__ import annotations

import asyncio
from enum import Enum

from msgspec import Raw

from gqlwire._streams.backpressure import ReadGate
from gqlwire.errors import TransportError
from gqlwire.errors.reasons import replica


class State(Enum):
    """How far an operation with one result has come.

    `LOST`: the connection ended before the result arrived. `EXPIRED`: the time limit did.
    """

    UNSENT = "unsent"
    SENT = "sent"
    ENDED = "ended"
    LOST = "lost"
    EXPIRED = "expired"


_OPEN = (State.UNSENT, State.SENT)


class Reply:
    """The one result of a query or a mutation. Implements `Sink`.

    `state`: how far the operation has come. It may have its result before it has ended. `request`:
    the request as JSON.
    """

    __slots__ = ("_arrival", "_failure", "_gate", "_payload", "request", "state")

    def __init__(self, gate: ReadGate, request: bytes = b"") -> None:
        self.state: State = State.UNSENT
        self.request: bytes = request
        self._gate: ReadGate = gate
        self._payload: Raw | None = None
        self._failure: TransportError | None = None
        self._arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def unanswered(self) -> int:
        """The size of the request in bytes; 0 once there is a result."""
        return len(self.request) if self._payload is None else 0

    def put(self, payload: Raw) -> None:
        """Store the result; further results are ignored."""
        if self._payload is None and self.state in _OPEN:
            self._payload = payload
            if not self._arrival.done():
                self._arrival.set_result(None)

    def end(self, failure: TransportError | None, state: State = State.ENDED) -> None:
        """End normally, or with `failure`; further calls do nothing."""
        if self.state in _OPEN:
            self.state = state
            self._failure = failure
            if not self._arrival.done():
                self._arrival.set_result(None)

    def lost(self, failure: TransportError) -> None:
        """End because the connection is lost."""
        self.end(failure, State.LOST if self._payload is None else State.ENDED)

    def expire(self) -> None:
        """End because the result did not arrive in time."""
        self.end(None, State.EXPIRED)

    async def get(self) -> Raw | None:
        """Wait for the result; None if the operation ended without one, or expired.

        Raises the failure that ended it.
        """
        self._gate.waiting += 1
        self._gate.asked += 1
        if self._gate.paused:
            self._gate.check()
        try:
            await self._arrival
        finally:
            self._gate.waiting -= 1
            self._gate.asked -= 1
        if self._payload is None and self._failure is not None:
            raise replica(self._failure)
        return self._payload
