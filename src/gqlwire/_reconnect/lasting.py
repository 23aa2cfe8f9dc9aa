"""Operations that outlive the connection they run on.

A `LastingFeed` keeps its stream when its connection is lost, and is taken to the next one by its
`Link`; `ask` repeats an operation only where that can do no harm. This module knows no protocol, no
socket and no waiting between attempts: when there is a connection again is the affair of the link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
from msgspec import Raw

from gqlwire._connection.connection import Connection
from gqlwire._json import UNREADABLE
from gqlwire._operations.ask import ask as ask_on
from gqlwire._operations.feed import Feed, Reconnected, Seam, Terms
from gqlwire._payloads.request import OperationKind
from gqlwire._payloads.result import decode_result
from gqlwire._streams.reply import Reply
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import EventStream
from gqlwire.errors import (
    OperationTimeout,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
)
from gqlwire.errors.reasons import interrupted, late, unconnected

T = TypeVar("T")

_decode_any = msgspec.json.Decoder(Raw).decode

_AT_ONCE = 1.0
"""Seconds for which a refusal is held back, as it may be the first half of one: see _Probation."""


class Link(Protocol):
    """What brings operations to a connection, whenever there is one."""

    @property
    def host(self) -> str:
        """Host and port of the server."""
        ...

    @property
    def live(self) -> Connection | None:
        """The connection that is acknowledged, if there is one now."""
        ...

    @property
    def failure(self) -> TransportError | None:
        """Why there is no connection, or was none the last time."""
        ...

    async def ready(self) -> Connection:
        """Return a connection that is acknowledged, waiting for it.

        Raises the failure that is final.
        """
        ...

    def join(self, feed: LastingFeed) -> None:
        """Call `feed.resubscribe` on every further connection, `feed.fail` if there is none."""
        ...

    def leave(self, feed: LastingFeed) -> None:
        """Leave `feed` alone."""
        ...

    def refused(self, feed: LastingFeed, failure: TransportError) -> bool:
        """Say whether `feed` may try again, and call its `resubscribe` then, after a while."""
        ...

    def proven(self, feed: LastingFeed) -> None:
        """Forget the refusals of `feed`: it brings results."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether there will be no other connection."""
        ...

    def asking(self, change: int) -> None:
        """Note that an operation with one result begins (+1) or is over (-1)."""
        ...

    def call(self, hook: Callable[[T], object] | None, event: T) -> None:
        """Call what a user gave us to call."""
        ...


class LastingFeed(Feed):
    """The raw results of one operation, whichever connections they come by."""

    __slots__ = ("_failure", "_link", "_lost_at", "_probation", "_sealed", "_seam")

    def __init__(self, link: Link, payload: bytes, terms: Terms, seam: Seam) -> None:
        super().__init__(_none, payload, terms)
        self._link = link
        self._seam = seam
        self._failure: TransportError | None = None
        self._lost_at = 0.0
        self._sealed: tuple[Item, Raw | None] | None = None
        self._probation: _Probation | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it waits for another connection."""
        return self._running is None and self.stream is not None and not self.stream.over

    def payload(self, item: Item) -> Raw | None:
        """Return the payload of an event that could not be read; None if it is none of ours.

        A message that is no JSON ends its connection, and is none.
        """
        if self._sealed is not None and item is self._sealed[0]:
            return self._sealed[1]
        if self._running is None:
            return item if isinstance(item, Raw) else Raw(item)
        try:
            return super().payload(item)
        except TransportProtocolError:
            self.is_over = False
            return None

    async def _roomy(self) -> Connection:
        connection = self._link.live
        if connection is not None and not connection.is_clogged:
            return connection
        limit = self._terms.first_event_timeout
        scope = asyncio.timeout(limit)
        try:
            async with scope:
                return await roomy(self._link)
        except TimeoutError:
            if not scope.expired():
                raise
            failure = self._link.failure
            raise unconnected(
                self._link.host, "subscription", limit, "first_event_timeout", failure
            ) from None

    def _begin(self, connection: Connection, stream: EventStream, payload: bytes) -> None:
        super()._begin(connection, stream, payload)
        self._link.join(self)

    def keeps(self, failure: TransportError) -> bool:
        """Keep the stream for another connection."""
        stream = self.stream
        if stream is None or not self._seam.survives:
            return False
        self._seal(stream)
        self._running = None
        self._failure = failure
        self._lost_at = asyncio.get_running_loop().time()
        return True

    def _seal(self, stream: EventStream) -> None:
        """Read what only the connection can read."""
        # What is handed to the consumer already, but not read, came by it, too.
        untaken = stream.untaken
        self._sealed = None
        if untaken is not None:
            self._sealed = untaken, None
            try:
                self._sealed = untaken, self._payload_of(untaken)
            except TransportProtocolError:
                stream.clear()  # nothing of what came after it would be there, had it been read
        stream.seal(self._payload_of)

    def _payload_of(self, item: Item) -> Raw | None:
        if isinstance(item, Raw):
            return item
        try:
            return Raw(_decode_any(item))  # it is a value by itself, so it was a plain one
        except UNREADABLE:
            running = self._running
            return running.routes.read(item, self.id) if running and self.id else None

    def resubscribe(self, connection: Connection, attempts: int) -> None:
        """Go on, on another connection, which came about at the so many-th attempt.

        Raises what `Seam.renew` raises.
        """
        stream, renew = self.stream, self._seam.renew
        if stream is None or self.is_over or stream.over:
            return
        payload = self._payload if renew is None else renew()
        self._probation = _Probation(self, stream, connection)
        self.id: str | None = connection.start(payload, self._probation)
        self._running = connection
        if self._failure is not None:
            self._tell(stream, self._failure, attempts)
            self._failure = None

    def _tell(self, stream: EventStream, failure: TransportError, attempts: int) -> None:
        gap = asyncio.get_running_loop().time() - self._lost_at
        event = Reconnected(gap, attempts, failure)
        if self._seam.is_marked:
            stream.mark(event)
        self._link.call(self._seam.on_reconnect, event)

    def refused(self, failure: TransportError) -> bool:
        """Try again after a refusal, if that may be; say whether it is."""
        self._running = None
        return self._link.refused(self, failure)

    def proven(self) -> None:
        """Note that the server gives results."""
        self._link.proven(self)

    def released(self, connection: Connection) -> None:
        """Take what comes by `connection` the short way from now on."""
        if self.id is not None and self.stream is not None and self._running is connection:
            connection.routes.add(self.id, self.stream)

    def fail(self, failure: Exception) -> None:
        """End: there will be no other connection, or none that helps."""
        if self.stream is not None:
            self.stream.end(failure)

    def end(self, stream: EventStream) -> Exception:
        """Return what to raise at the end: once the failure, if there was one."""
        self._link.leave(self)
        return super().end(stream)

    def stop(self) -> None:
        """Give it up: the server is told, once, and what is buffered is dropped."""
        self._link.leave(self)
        super().stop()


class _Probation:
    """Takes what comes first on another connection, until it is a result.

    Servers that cannot go on yet say so with a result that has errors and no data, and complete at
    once (Tibber does), or with `error`. That is a failure to resubscribe, and no event.
    """

    def __init__(self, feed: LastingFeed, stream: EventStream, connection: Connection) -> None:
        self._feed = feed
        self._stream = stream
        self._connection = connection
        self._held: list[Raw] = []
        self._alarm: asyncio.TimerHandle | None = None

    def put(self, payload: Raw) -> None:
        if is_refusal(payload):
            self._held.append(payload)
            if self._alarm is None:
                loop = asyncio.get_running_loop()
                self._alarm = loop.call_later(_AT_ONCE, self._pass)
        else:
            self._pass()
            self._feed.proven()
            self._stream.put(payload)

    def end(self, failure: TransportError | None) -> None:
        refusal = failure
        if failure is None and self._held:
            result = decode_result(self._held[-1])
            refusal = TransportQueryError.of(result.errors or [], data=result.data)
        if refusal is None or not self._feed.refused(refusal):
            self._release()
            self._stream.end(failure)
        elif self._alarm is not None:
            self._alarm.cancel()

    def lost(self, failure: TransportError) -> None:
        self._release()
        self._stream.lost(failure)

    def _pass(self) -> None:
        """Let the stream have what came, and what comes."""
        self._feed.released(self._connection)
        self._release()

    def _release(self) -> None:
        """Let the stream have what came."""
        if self._alarm is not None:
            self._alarm.cancel()
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
        return False  # its consumer will see
    return bool(result.errors) and not result.data


async def roomy(link: Link) -> Connection:
    """Return a connection of `link` that takes data."""
    while True:
        connection = await link.ready()
        try:
            await connection.ready_to_send()
        except TransportError:
            continue  # it is over; the link knows
        return connection


async def ask(
    link: Link, payload: bytes, kind: OperationKind, timeout: float | None, *, is_repeatable: bool
) -> Raw:
    """Run an operation and return its first result, on whichever connection there is.

    What was not sent yet waits for the next connection. What was sent is repeated only if it
    `is_repeatable`.

    Raises OperationInterrupted if the connection is lost meanwhile, and what `_operations.ask`
    raises; OperationTimeout after `timeout` seconds, in which waiting is included.
    """
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    left = timeout
    link.asking(+1)
    try:
        while True:
            connection = link.live
            if connection is None:
                connection = await _within(deadline, timeout, link, kind)
                left = None if deadline is None else max(0.0, deadline - loop.time())
            reply = Reply(connection.gate)
            try:
                return await ask_on(connection, payload, kind, left, reply)
            except OperationTimeout:
                raise late(link.host, kind, timeout) from None
            except TransportError as failure:
                if reply.is_lost:
                    if link.is_over:
                        raise
                    if not is_repeatable:
                        raise interrupted(link.host, kind, failure) from failure
                elif reply.is_started or connection.reason is None:
                    raise
    finally:
        link.asking(-1)


async def _within(
    deadline: float | None, timeout: float | None, link: Link, kind: OperationKind
) -> Connection:
    scope = asyncio.timeout_at(deadline)
    try:
        async with scope:
            return await link.ready()
    except TimeoutError:
        if not scope.expired():
            raise
        raise unconnected(link.host, kind, timeout, "execute_timeout", link.failure) from None


def _none() -> Connection:
    raise AssertionError("a lasting feed asks its link")
