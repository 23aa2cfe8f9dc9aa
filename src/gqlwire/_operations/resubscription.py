"""What takes the results of an operation that was sent again, until the first one has arrived.

This module knows no protocol and no socket, and does not decide when to resubscribe.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from msgspec import Raw

from gqlwire._connection.connection import Connection
from gqlwire._payloads.result import decode_result
from gqlwire._streams.stream import EventStream
from gqlwire.errors import TransportError, TransportProtocolError, TransportQueryError

_REFUSAL_SECONDS = 1.0
"""For so long a result with errors and no data is held back after a resubscription."""


class Resubscribed(Protocol):
    """The operation that was sent again."""

    def resubscribe(self, connection: Connection, tries: int) -> None:
        """Continue on `connection`. Raises what the user's functions raise."""
        ...

    def fail(self, failure: Exception) -> None:
        """End with `failure`."""
        ...

    def refused(self, failure: TransportError) -> bool:
        """Note that the server refused the operation; return whether it is tried again later."""
        ...

    def continued(self) -> None:
        """Note that the server sends results again, or the end."""
        ...

    def released(self, connection: Connection) -> None:
        """Route the results of `connection` straight into the stream from now on."""
        ...


def resubscribe(feed: Resubscribed, connection: Connection, tries: int) -> None:
    """Continue `feed` on `connection`, or end it with what the user's functions raise."""
    try:
        feed.resubscribe(connection, tries)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as fault:  # noqa: BLE001  # the user's functions may raise anything
        # Even a CancelledError is not of a task of ours: nothing was awaited.
        feed.fail(fault if isinstance(fault, Exception) else _caused_by(fault))


def _caused_by(fault: BaseException) -> RuntimeError:
    error = RuntimeError(f"a function of yours raised {fault!r} as a subscription was resubscribed")
    error.__cause__ = fault
    return error


class Resubscription:
    """The sink of an operation that was resubscribed, until its first result.

    Servers that cannot continue yet answer with a result that has errors and no data and complete
    immediately (Tibber does), or with `error`. That is a refusal, which is tried again, and not an
    event.
    """

    def __init__(self, feed: Resubscribed, stream: EventStream, connection: Connection) -> None:
        self._feed = feed
        self._stream = stream
        self._connection = connection
        self._held: list[Raw] = []
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def unanswered(self) -> int:
        """0: another connection has had this request."""
        return 0

    def put(self, payload: Raw) -> None:
        """Take a result; hold it back if it may be the first half of a refusal."""
        if is_refusal(payload):
            self._held.append(payload)
            if self._alarm is None:
                loop = asyncio.get_running_loop()
                self._alarm = loop.call_later(_REFUSAL_SECONDS, self._pass)
        else:
            self._pass()
            self._stream.put(payload)

    def end(self, failure: TransportError | None) -> None:
        """End the stream, unless this is a refusal that is tried again."""
        refusal = failure
        if failure is None and self._held:
            result = decode_result(self._held[-1])
            refusal = TransportQueryError.of(result.errors or [], data=result.data)
        if refusal is None or not self._feed.refused(refusal):
            if failure is None:
                self._feed.continued()
            self._release()
            self._stream.end(failure)
        elif self._alarm is not None:
            self._alarm.cancel()

    def lost(self, failure: TransportError) -> None:
        """Report to the stream that the connection is lost.

        What was held back is part of the gap: it may have been a refusal, whose end was lost.
        """
        if self._alarm is not None:
            self._alarm.cancel()
        self._held.clear()
        self._stream.lost(failure)

    def _pass(self) -> None:
        """Pass what was held back, and all later results, to the stream."""
        self._feed.released(self._connection)
        self._feed.continued()
        self._release()

    def _release(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._held:
            self._feed.continued()
        for payload in self._held:
            self._stream.put(payload)
        self._held.clear()


def is_refusal(payload: Raw) -> bool:
    """Whether a result has errors and nothing else."""
    if b'"errors"' not in bytes(payload):
        return False
    try:
        result = decode_result(payload)
    except TransportProtocolError:
        return False  # the consumer gets the error
    return bool(result.errors) and not result.data
