"""The raw results of one operation, on whichever connections it runs.

A `Feed` runs over a `Link`. When its connection is lost, the feed keeps its stream, and the link
resubscribes it on the next connection. When a feed ends, for any reason, it tells the server once.

This module knows no protocol and no socket, and does not decide when to resubscribe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Raw

from gqlwire import _loop
from gqlwire._connection.connection import Connection
from gqlwire._json import UNREADABLE
from gqlwire._log import logger
from gqlwire._operations.event_timeout import EventTimeout
from gqlwire._operations.gap import Gap
from gqlwire._operations.link import Link, roomy
from gqlwire._operations.options import USUAL_TERMS, Terms
from gqlwire._operations.pause import Pause
from gqlwire._operations.resubscription import Resubscription
from gqlwire._streams.buffer import Overflow
from gqlwire._streams.sink import Item
from gqlwire._streams.stream import EventStream
from gqlwire.errors import TransportError
from gqlwire.errors.reasons import eventless, is_cap

T = TypeVar("T")

_decode_any = msgspec.json.Decoder(Raw).decode


_AGAIN = object()
"""The mark in a stream where the operation was resubscribed on the same connection."""


class Feed:
    """The raw results of one operation, which `start` starts.

    `payload`: the request as JSON. `renew`: returns the request for each further connection; None
    means the same request. `is_position`: see `Pause`; None if it is never paused. `id`: the
    operation's id on the current connection. `sent_at`: when it was sent on that, by the loop's
    clock. `is_over`: whether the operation was stopped, or has raised its end. `duplicates`: how
    many events were not delivered because they had come before.
    """

    __slots__ = (
        "_begin",
        "_event_timeout",
        "_gap",
        "_link",
        "_pause",
        "_payload",
        "_renew",
        "_running",
        "_sealed",
        "_terms",
        "duplicates",
        "id",
        "is_over",
        "sent_at",
        "stream",
    )

    def __init__(
        self,
        link: Link,
        payload: bytes,
        terms: Terms = USUAL_TERMS,
        renew: Callable[[], bytes] | None = None,
        is_position: Callable[[Item], bool] | None = None,
    ) -> None:
        self.id: str | None = None
        self.stream: EventStream | None = None
        self.is_over: bool = False
        self.sent_at: float = 0.0
        self.duplicates: int = 0
        self._link = link
        self._payload = payload
        self._terms = terms
        self._renew = renew
        self._gap: Gap | None = None
        # An event that the consumer had been handed and had not read when the connection was lost,
        # with its payload; the payload is None if the message turned out to be no event.
        self._sealed: tuple[Item, Raw | None] | None = None
        self._event_timeout: EventTimeout | None = None
        self._running: Connection | None = None
        self._begin: float | None = None  # when the first attempt to start it began
        self._pause: Pause | None = None
        if is_position is not None and terms.survive and terms.overflow is Overflow.BLOCK:
            self._pause = Pause(self, is_position)

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return self._link.host

    @property
    def _loop(self) -> asyncio.AbstractEventLoop | None:
        return None if self.stream is None else self.stream.gate.loop

    # --- Starting -----------------------------------------------------------------------------

    def begin_with(self, payload: bytes) -> None:
        """Start the operation with this request instead."""
        self._payload = payload

    async def start(self) -> EventStream:
        """Start the operation, and return the stream in which its results arrive.

        Raises StopAsyncIteration if the feed was stopped before, RuntimeError if another task
        starts it, or the reason why the operation cannot start. If it is cancelled, nothing has
        started, and the next call continues.
        """
        if self.is_over:
            raise StopAsyncIteration
        loop = asyncio.get_running_loop()
        whole = self._link
        if loop is not whole.loop:
            _loop.check(whole.loop)
        link = self._link = whole if whole.choose is None else whole.choose()
        link.starting += 1
        begin = self._begin = loop.time() if self._begin is None else self._begin
        try:
            connection = await self._roomy(begin)
            if self.is_over:
                raise StopAsyncIteration
            if self.stream is not None:
                raise RuntimeError("another task is already starting this subscription")
            stream = EventStream(connection.gate, self._terms.buffer, self._terms.overflow)
            connection.gate.loop = loop
            self.id = connection.start(self._payload, stream)
        except BaseException as failure:  # cancellation as well: the next call chooses again
            self._link = whole
            if isinstance(failure, TransportError):
                failure.maybe_executed = False
                self.is_over = True
            raise
        finally:
            link.starting -= 1
        self._link, self._running = link, connection
        self.sent_at = loop.time()
        stream.owner = self
        link.join(self)
        self._watch(stream, begin)
        self.stream = stream
        return stream

    async def _roomy(self, begin: float) -> Connection:
        connection = self._link.live
        if connection is not None and not connection.is_clogged:
            return connection
        limit = self._terms.first_event_timeout
        deadline = None if limit is None else begin + limit
        return await roomy(self._link, "subscription", deadline, limit, "first_event_timeout")

    def _watch(self, stream: EventStream, begin: float) -> None:
        first, idle = self._terms.first_event_timeout, self._terms.idle_timeout
        if first is not None or idle is not None:
            self._event_timeout = EventTimeout(first, idle, begin, self._expire)
            self._event_timeout.start(stream)

    def _expire(self, limit: float, option: str) -> None:
        host = "" if self._running is None else self._running.host
        if self.stream is not None:
            self._stop_running()
            self.stream.end(eventless(host or "the server", limit, option))

    # --- Reading ------------------------------------------------------------------------------

    def payload(self, item: Item) -> Raw | None:
        """Return the payload of an event that the fast path could not decode.

        Returns None if the message was no event of this operation. The payload of an event that is
        not JSON cannot be read: then the step that takes it raises.
        """
        if self._sealed is not None and item is self._sealed[0]:
            return self._sealed[1]
        if isinstance(item, Raw):
            return item
        running = self._running
        if running is None or self.id is None:
            return Raw(item) if self.is_lost else None
        return running.routes.read(item, self.id)

    @property
    def request(self) -> bytes:
        """The request as JSON, as it was first sent."""
        return self._payload

    # --- From one connection to the next --------------------------------------------------------

    @property
    def begun_at(self) -> float:
        """When its first step began, by the loop's clock."""
        return self._begin or self.sent_at

    @property
    def gap_since(self) -> float | None:
        """When its connection was lost, by the loop's clock; None unless it is in a gap."""
        return None if self._gap is None else self._gap.since

    @property
    def is_lost(self) -> bool:
        """Whether it does not run now, and waits for a connection, or for its consumer."""
        return self._running is None and self.stream is not None and not self.stream.over

    @property
    def is_waiting(self) -> bool:
        """Whether it waits to be resubscribed."""
        return self.is_lost and (self._pause is None or not self._pause.is_stopped)

    @property
    def is_in_gap(self) -> bool:
        """Whether a connection was lost since its last result."""
        return self._gap is not None

    def keeps(self, failure: TransportError) -> bool:
        """Return whether the stream continues after its connection ended by `failure`."""
        stream = self.stream
        if stream is None or self._link.is_final or not self._terms.survive:
            return False
        is_unheard = self._gap is not None or not stream.events
        if self._gap is None:  # else it has lasted since an earlier connection
            self._gap = Gap(failure, asyncio.get_running_loop().time())
        self._seal(stream)
        self._running = None
        self._link.lost(self, is_unheard=is_unheard)
        return True

    def _seal(self, stream: EventStream) -> None:
        """Read what only this connection can read, what the consumer holds unread included."""
        untaken = stream.untaken
        if untaken is None:
            self._sealed = None
        elif self._sealed is None or self._sealed[0] is not untaken:
            self._sealed = untaken, self._payload_of(untaken)
        stream.seal(self._payload_of)

    def _payload_of(self, item: Item) -> Raw | None:
        if isinstance(item, Raw):
            return item
        try:
            return Raw(_decode_any(item))  # the item is valid JSON, so it was a plain payload
        except UNREADABLE:
            running = self._running
            return running.routes.read(item, self.id) if running and self.id else None

    def resubscribe(self, connection: Connection, tries: int) -> None:
        """Continue on `connection`; `tries` is how many attempts that connection took.

        `tries` is 0 if the server has refused the operation on this connection before. Raises what
        `renew` raises.
        """
        stream, renew = self.stream, self._renew
        if stream is None or self.is_over or stream.over:
            return
        payload = self._payload if renew is None else renew()
        if connection.reason is not None or self.is_over or stream.over:
            return  # `renew` calls a function of the user, which may have ended either
        self.id = connection.start(payload, Resubscription(self, stream, connection))
        self._running = connection
        if self._pause is not None:
            self._pause.unwatch()
        if self._gap is not None:
            self.sent_at = asyncio.get_running_loop().time()
            self._gap.attempts += tries
        elif self._terms.key is not None:
            stream.mark(_AGAIN)

    def refused(self, failure: TransportError) -> bool:
        """Note that the server refused the operation; return whether it is tried again later."""
        running, self._running = self._running, None
        self._note_cap(failure)
        if self._gap is not None:
            self._gap.refusals += 1
        elif self._pause is not None and running is not None and self.id is not None:
            self._pause.watch(running, self.id)
        return self._link.refused(self, failure)

    def continued(self) -> None:
        """Note that the gap is over: the server sends results again, or the end. Report it."""
        gap, self._gap = self._gap, None
        self._link.forget_refusals(self)
        if gap is None or self.stream is None:
            return
        event = gap.end(asyncio.get_running_loop().time())
        self._link.gap_over(self, event.gap_seconds, continues=True)
        if self._terms.tell_reconnects or self._terms.key is not None:
            self.stream.mark(event)
        if self._terms.on_reconnect is not None:
            self._link.call(self._terms.on_reconnect, event)

    def released(self, connection: Connection) -> None:
        """Route the results of `connection` straight into the stream from now on."""
        if self.id is not None and self.stream is not None and self._running is connection:
            connection.routes.add(self.id, self.stream)

    # --- While its consumer is slow -----------------------------------------------------------

    @property
    def pauses(self) -> int:
        """How often it was stopped because its buffer was full."""
        return 0 if self._pause is None else self._pause.count

    def full(self) -> None:
        """Note that the stream is full."""
        if self._pause is not None:
            self._pause.full()

    def takes_more(self) -> bool:
        """Return whether the full stream is to buffer more."""
        return self._pause is None or self._pause.takes_more()

    def roomy(self) -> None:
        """Note that the stream has room again."""
        if self._pause is not None:
            self._pause.roomy()

    def halt(self) -> bool:
        """Tell the server to stop, and keep what is buffered; return whether it ran."""
        stream, running = self.stream, self._running
        if stream is None or running is None or self.id is None or self._pause is None:
            return False
        self._seal(stream)
        self._running = None
        running.stop(self.id)
        self._pause.watch(running, self.id)
        return True

    def proceed(self) -> None:
        """Resubscribe, now or on the next connection."""
        self._link.proceed(self)

    def lost_in_pause(self, failure: TransportError) -> None:
        """Note that the connection was lost while the operation did not run on it."""
        if self._link.is_final:
            self.fail(failure)
        elif self._gap is None:
            self._gap = Gap(failure, asyncio.get_running_loop().time())

    # --- The end ------------------------------------------------------------------------------

    def overrun(self) -> None:
        """Tell the server to stop: the stream is full."""
        if self._running is not None and self.id is not None:
            self._running.stop(self.id)

    def fail(self, failure: Exception) -> None:
        """End with `failure`: no other connection follows, or none that helps."""
        gap, self._gap = self._gap, None
        if gap is not None:
            seconds = asyncio.get_running_loop().time() - gap.since
            self._link.gap_over(self, seconds, continues=False)
        if self.stream is not None:
            self.stream.end(failure)

    def end(self, stream: EventStream) -> Exception:
        """Return what to raise at the end: the failure, once, if there was one.

        Raises RuntimeError in another event loop, as the end may be that of its own.
        """
        if not self.is_over:
            _loop.check(self._loop)
        ending = StopAsyncIteration() if self.is_over else stream.ending()
        if isinstance(ending, TransportError):
            ending.maybe_executed = True
            self._note_cap(ending)
        self._running = None
        self._finish()
        return ending

    def _note_cap(self, failure: TransportError) -> None:
        """Name the option that helps, once, if the server limits the operations of a connection."""
        if not self._link.was_capped and is_cap(failure):
            self._link.was_capped = True
            logger.warning(
                "%s limits the subscriptions of one connection: %s; "
                "max_subscriptions_per_connection opens further connections",
                self.host,
                failure,
            )

    def stop(self) -> None:
        """End the operation: tell the server, once, and drop what is buffered.

        Raises RuntimeError in another event loop, unless the operation is over.
        """
        if not self.is_over:
            _loop.check(self._loop)
        self._finish()
        if self.stream is not None:
            self.stream.end(None)
            self.stream.clear()
        self._stop_running()

    def _finish(self) -> None:
        """Mark the feed as over, and leave the link. Every end of an operation calls this."""
        self.is_over = True
        self._link.leave(self)
        if self._pause is not None:
            self._pause.end()
        if self._event_timeout is not None:
            self._event_timeout.stop()
        if self.stream is not None:
            self.stream.owner = None

    def _stop_running(self) -> None:
        running, self._running = self._running, None
        if running is not None and self.id is not None:
            running.stop(self.id)

    def stop_from_anywhere(self) -> None:
        """Do what `stop` does, from a finalizer: in any thread, at any moment."""
        if not self.is_over and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.stop)
