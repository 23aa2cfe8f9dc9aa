"""Routes each received message to the sink of its operation.

Results have a fast path, because to decode the envelope of each message takes half as long as to
decode its payload. A server writes all results of an operation alike, up to the payload. So after
the first result, the first bytes of a message show which operation it belongs to. Such messages are
passed on undecoded, and `Subscription` decodes each of them once, in one pass. If a message then
turns out not to be a result, `Subscription` returns it to the slow path.

All other messages take the slow path, through the protocol. The tests in
`tests/connection/test_routes_properties.py` show that both paths give the same events for any
messages.

This module does no I/O, and does not know how a protocol writes its messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import repeat

from msgspec import Raw

from gqlwire._protocols import Dialect, events
from gqlwire._streams.reply import Reply
from gqlwire._streams.sink import Sink
from gqlwire._streams.stream import EventStream
from gqlwire.errors import TransportError, TransportProtocolError

_ID = re.compile(rb'"id" {0,9}: {0,9}"?([0-9]{1,20})\b')
_BRACE = ord("}")
# How many results to try to learn the spelling from. If a server does not write the payload last,
# every try fails.
_LESSONS = 16


class Routes:
    """The sinks of the live operations of one connection, by id.

    `on_event` is called with each event that is neither a result nor the normal end of an
    operation. `on_reply` is called with an event when the protocol's answer to it is in the outbox.

    `latest`: after the end, the stream that the last results went to, if it is known.
    `has_interrupted`: after the end, whether a query or a mutation was not answered.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        on_event: Callable[[events.Event], None],
        on_reply: Callable[[events.Event | None], None],
    ) -> None:
        self.dialect: Dialect = dialect
        self._on_event = on_event
        self._on_reply = on_reply
        self._sinks: dict[str, Sink] = {}
        # The streams that the fast path can reach, by the bytes before the payload of a result.
        self._streams: dict[bytes, EventStream] = {}
        self._spelling: tuple[bytes, bytes] | None = None
        self._lessons = _LESSONS
        self._last: tuple[EventStream | None, bytes] = (None, b"")
        self.latest: EventStream | None = None
        self.has_interrupted: bool = False

    @property
    def has_results(self) -> bool:
        """Whether a result of any operation has arrived."""
        # The first result always takes the slow path, which tries to learn from it.
        return self._spelling is not None or self._lessons < _LESSONS

    def add(self, id: str, sink: Sink) -> None:
        """Put the results of `id` into `sink` from now on."""
        self._sinks[id] = sink
        if isinstance(sink, EventStream) and self._spelling is not None:
            self._streams[self._prefix(id)] = sink

    def remove(self, id: str) -> Sink | None:
        """Ignore the results of `id` from now on. Return its sink, or None."""
        sink = self._sinks.pop(id, None)
        if sink is self.latest:
            self.latest = None
        if self._streams and isinstance(sink, EventStream):
            self._streams.pop(self._prefix(id), None)
            if sink is self._last[0]:
                self._last = (None, b"")
        return sink

    @property
    def streams(self) -> list[EventStream]:
        """The streams of the live subscriptions."""
        return [sink for sink in self._sinks.values() if isinstance(sink, EventStream)]

    @property
    def has_any(self) -> bool:
        """Whether an operation is live."""
        return bool(self._sinks)

    def largest(self) -> tuple[str, int] | None:
        """Return the operation with the largest request that is not answered, and its bytes."""
        # Of equal ones the last, which the server has had for the shortest time.
        sizes = ((sink.unanswered, id) for id, sink in reversed(self._sinks.items()))
        size, id = max(sizes, key=lambda pair: pair[0], default=(0, ""))
        return (id, size) if size else None

    def recipient(self, beginning: bytes) -> str | None:
        """Return the live operation of the message with this beginning, if it is known."""
        found = _ID.search(beginning.partition(b'"payload"')[0])
        id = found[1].decode() if found else ""
        return id if id in self._sinks else None

    def awaiting(self) -> list[str]:
        """Return the queries and mutations that are not answered."""
        return [id for id, sink in self._sinks.items() if isinstance(sink, Reply)]

    def fail(self, id: str, failure: TransportError) -> None:
        """End the sink of `id` with `failure`."""
        sink = self.remove(id)
        if sink is not None:
            sink.end(failure)

    def end(self, reason: TransportError) -> None:
        """Tell every sink that the connection is lost, for `reason`."""
        sinks, self._sinks = self._sinks, {}
        self._streams.clear()
        self.latest = self._last[0] or self.latest
        self.has_interrupted = any(isinstance(sink, Reply) for sink in sinks.values())
        self._last = (None, b"")
        for sink in sinks.values():
            sink.lost(reason)

    def read(self, payload: bytes, id: str) -> Raw | None:
        """Read a message again that took the fast path to `id`, and cannot be decoded strictly.

        Return the payload if the message is a result, or begins as one and is no JSON: then the
        payload cannot be read either. Otherwise handle the message as if it arrived now, and return
        None.
        """
        text = b"%s%s}" % (self._prefix(id), payload)
        try:
            message = self.dialect.read(text)
        except TransportProtocolError:
            return Raw(payload)
        if isinstance(message, events.Result) and message.id == id:
            return message.payload
        self.take_slowly([text])
        return None

    def take_slowly(self, texts: Iterable[bytes]) -> None:
        """Pass messages through the protocol. Raises TransportProtocolError for invalid JSON."""
        outbox = self.dialect.outbox
        for text in texts:
            event = self.dialect.receive(text)
            if outbox:
                self._on_reply(event)
            if isinstance(event, events.Result):
                self._sinks[event.id].put(event.payload)
                sink = self._sinks.get(event.id)  # another one, after the first result of a feed
                self.latest = sink if isinstance(sink, EventStream) else None
                if self._spelling is None and self._lessons:
                    self._lessons -= 1
                    self._learn(self._spelling_of(text, event))
            elif isinstance(event, events.Completed):
                sink = self.remove(event.id)
                if sink is not None:
                    sink.end(None)
            elif event is not None:
                self._on_event(event)

    def _learn(self, spelling: tuple[bytes, bytes] | None) -> None:
        self._spelling = spelling
        if spelling is not None:
            for id, sink in self._sinks.items():
                if isinstance(sink, EventStream):
                    self._streams[self._prefix(id)] = sink

    def _prefix(self, id: str) -> bytes:
        """Return the bytes with which a result of `id` begins, up to the payload."""
        head, tail = self._spelling or (b"", b"")
        return b"%s%s%s" % (head, id.encode(), tail)

    def _spelling_of(self, text: bytes, result: events.Result) -> tuple[bytes, bytes] | None:
        """Return the bytes before the id of a result, and those between the id and the payload.

        Return None if they cannot be used to recognise other results.
        """
        start = len(text) - 1 - len(result.payload)
        head, _, tail = text[:start].partition(b'"%s"' % result.id.encode())
        # These bytes may only look like the id and the payload, for example in a nested object. So
        # put another id and payload in their places, and check that the protocol reads those.
        try:
            probe = self.dialect.read(b'%s"probe"%s"payload"}' % (head, tail))
        except TransportProtocolError:
            return None
        is_right = isinstance(probe, events.Result) and (
            (probe.id, bytes(probe.payload)) == ("probe", b'"payload"')
        )
        return (head + b'"', b'"' + tail) if is_right else None

    def take(self, texts: list[bytes]) -> None:
        """Handle messages that arrived together. Raises TransportProtocolError for invalid JSON.

        Consecutive results of one operation reach its stream in one call.
        """
        if not self._streams:
            self.take_slowly(texts)
        elif not self._take_alike(texts):
            self._take_mixed(texts)

    def _take_alike(self, texts: list[bytes]) -> bool:
        """Handle messages if all go to the same stream as the last one; return whether they do.

        It does the same as `_take_mixed` in half the time, for a heavy feed of one operation.
        """
        stream, prefix = self._last
        if stream is None or not all(map(bytes.startswith, texts, repeat(prefix))):
            return False
        start = len(prefix)
        payloads = [text[start:-1] for text in texts if text[-1] == _BRACE]
        if len(payloads) != len(texts):
            return False
        stream.put_all(payloads)
        return True

    def _take_mixed(self, texts: list[bytes]) -> None:
        # Most ids have the same length, so most prefixes have.
        start = len(self._last[1])
        last: EventStream | None = None
        others: list[bytes] = []  # results for `last` after the first, which it already has
        streams = self._streams
        for text in texts:
            stream = streams.get(text[:start])
            if stream is None or text[-1] != _BRACE:
                stream, prefix = self._route(text)
                start = len(prefix)
                if stream is not None:
                    self._last = stream, prefix
            if stream is last is not None:
                others.append(text[start:-1])
                continue
            if others and last is not None:
                last.put_all(others)
                others = []
            last = stream
            if stream is None:
                self.take_slowly((text,))
            else:
                stream.put(text[start:-1])
        if last is not None:
            last.put_all(others)
            # Not if `put_all` has ended the stream, which removes it.
            if streams.get(text[:start]) is last:
                self._last = (last, text[:start])

    def _route(self, text: bytes) -> tuple[EventStream | None, bytes]:
        """Return the stream whose results begin like `text`, and their prefix.

        Return None and b"" if `text` has to take the slow path.
        """
        head, tail = self._spelling or (b"", b"")
        if text.startswith(head) and text.endswith(b"}"):
            stop = text.find(tail, len(head))
            prefix = text[: stop + len(tail)]
            stream = self._streams.get(prefix)
            if stream is not None and stop > 0:
                return stream, prefix
        return None, b""
