"""Where the results of each operation go: from a burst of messages to the sinks that wait.

The short way of a result is here, and nowhere else. A server writes every result alike, up to its
payload. So once one was read, the beginning of the others shows whose they are. They are passed on
as they are, and their consumer decodes them once, in one pass (`subscription`, which takes the long
way for a message that is not what its beginning promised). All other messages go the long way here:
through the protocol. `tests/connection/test_routes.py` shows both ways equal on
arbitrary messages.

It knows no socket and no protocol's spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat

from msgspec import Raw

from gqlwire._protocols import Dialect, events
from gqlwire._streams.sink import Sink
from gqlwire._streams.stream import EventStream
from gqlwire.errors import TransportError, TransportProtocolError

_BRACE = ord("}")
# A server that puts its payload elsewhere than last would be looked at in vain for ever.
_LESSONS = 16


class Routes:
    """The live operations of one connection, by id.

    `on_event` gets what is neither a result nor the normal end of an operation. `on_reply` is
    called with what was received when the protocol has an answer to it in its outbox.
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
        # Those that can be reached the short way, by what stands before their payloads.
        self._streams: dict[bytes, EventStream] = {}
        self._spelling: tuple[bytes, bytes] | None = None
        self._lessons = _LESSONS
        self._last: tuple[EventStream | None, bytes] = (None, b"")

    def add(self, id: str, sink: Sink) -> None:
        """Send the results of `id` into `sink` from now on."""
        self._sinks[id] = sink
        if isinstance(sink, EventStream) and self._spelling is not None:
            self._streams[self._prefix(id)] = sink

    def remove(self, id: str) -> Sink | None:
        """Send the results of `id` nowhere from now on. Return its sink."""
        sink = self._sinks.pop(id, None)
        if self._streams and isinstance(sink, EventStream):
            self._streams.pop(self._prefix(id), None)
            if sink is self._last[0]:
                self._last = (None, b"")
        return sink

    def fail(self, id: str, failure: TransportError) -> None:
        """End the sink of `id` with `failure`."""
        sink = self.remove(id)
        if sink is not None:
            sink.end(failure)

    def end(self, reason: TransportError) -> None:
        """End every sink for `reason`."""
        sinks, self._sinks = self._sinks, {}
        self._streams.clear()
        self._last = (None, b"")
        for sink in sinks.values():
            sink.lost(reason)

    def read(self, payload: bytes, id: str) -> Raw | None:
        """Look into a result of `id` that went the short way, and cannot be read.

        Return its payload if it is one that only a lenient reader takes. What it turns out to be
        instead is taken as if it came now. Raises TransportProtocolError if its message is no
        JSON.
        """
        text = b"%s%s}" % (self._prefix(id), payload)
        message = self.dialect.read(text)
        if isinstance(message, events.Result) and message.id == id:
            return message.payload
        self.take_slowly([text])
        return None

    def take_slowly(self, texts: Iterable[bytes]) -> None:
        """Take messages the long way. Raises TransportProtocolError for one that is no JSON."""
        outbox = self.dialect.outbox
        for text in texts:
            event = self.dialect.receive(text)
            if outbox:
                self._on_reply(event)
            if isinstance(event, events.Result):
                self._sinks[event.id].put(event.payload)
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
        """Return what a plain result of `id` begins with, as far as its payload."""
        head, tail = self._spelling or (b"", b"")
        return b"%s%s%s" % (head, id.encode(), tail)

    def _spelling_of(self, text: bytes, result: events.Result) -> tuple[bytes, bytes] | None:
        """Return what stands before the id of a result, and between it and the payload."""
        start = len(text) - 1 - len(result.payload)
        head, _, tail = text[:start].partition(b'"%s"' % result.id.encode())
        # What stands there may only look like the id and the payload: so say it with others.
        try:
            probe = self.dialect.read(b'%s"probe"%s"payload"}' % (head, tail))
        except TransportProtocolError:
            return None
        is_right = isinstance(probe, events.Result) and (
            (probe.id, bytes(probe.payload)) == ("probe", b'"payload"')
        )
        return (head + b'"', b'"' + tail) if is_right else None

    def take(self, texts: list[bytes]) -> None:
        """Take messages that came together. Raises TransportProtocolError for one that is no JSON.

        Those of one operation that follow each other reach it all at once.
        """
        if not self._streams:
            self.take_slowly(texts)
        elif not self._take_alike(texts):
            self._take_mixed(texts)

    def _take_alike(self, texts: list[bytes]) -> bool:
        """Take messages that all go where the last one went, as in a heavy feed of one operation.

        This is what `_take_mixed` does, in half the time.
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
        # Most ids are as long as the one before, so most beginnings are.
        start = len(self._last[1])
        last: EventStream | None = None
        others: list[bytes] = []  # what came for `last` after the first, which it has had
        streams = self._streams
        for text in texts:
            stream = streams.get(text[:start])
            if stream is None or text[-1] != _BRACE:
                stream, prefix = self._last = self._route(text)
                start = len(prefix)
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
            # Unless that has ended it, so that it is forgotten.
            if streams.get(text[:start]) is last:
                self._last = (last, text[:start])

    def _route(self, text: bytes) -> tuple[EventStream | None, bytes]:
        """Return whose result begins like `text`, and the beginning; None if that is not plain."""
        head, tail = self._spelling or (b"", b"")
        if text.startswith(head) and text.endswith(b"}"):
            stop = text.find(tail, len(head))
            prefix = text[: stop + len(tail)]
            stream = self._streams.get(prefix)
            if stream is not None and stop > 0:
                return stream, prefix
        return None, b""
