"""The time in which a subscription gets no results. This module knows no connection."""

from __future__ import annotations

from msgspec import Struct

from gqlwire._operations.options import Reconnected
from gqlwire.errors import TransportError


class Gap(Struct):
    """The time without results, from the loss of a connection to the first result after it.

    `failure`: why the connection was lost. `since`: when. `attempts`: how many attempts to connect
    it has taken so far. `refusals`: how often the server has refused to continue so far.
    """

    failure: TransportError
    since: float
    attempts: int = 0
    refusals: int = 0

    def end(self, now: float) -> Reconnected:
        """Return what to report at its end."""
        return Reconnected(now - self.since, self.attempts, self.failure, self.refusals)
