"""One live connection, from an open WebSocket to its end.

A `Connection` passes the messages of the socket to a protocol, sends the protocol's answers, runs
the timers, and routes results to the sinks of the operations. It ends once, in `_end`, for one
reason. Every pending operation then fails immediately with that reason.

This module does not use picows, URLs, TLS or headers, and it never reconnects.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec import Raw

from gqlwire._clock import Moment
from gqlwire._connection.deadlines import Deadlines
from gqlwire._connection.keepalive import KeepAlive, Limits
from gqlwire._connection.routes import Routes
from gqlwire._connection.telemetry import Signals, Telemetry
from gqlwire._json import errors_of, shown
from gqlwire._log import wire_logger
from gqlwire._protocols import Dialect, Undecided, events
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.sink import Sink
from gqlwire._wire import Wire
from gqlwire.errors import (
    MessageTooBig,
    Phase,
    TransportConnectionFailed,
    TransportError,
    TransportProtocolError,
    TransportQueryError,
    reasons,
)
from gqlwire.errors.reasons import connection_closed, replica

_logger = logging.getLogger("gqlwire")

_UNLIMITED = Limits()
_TOO_BIG = 1009  # RFC 6455, section 7.4.1

# Ids come from one counter for the whole process, because no id may be used again on a later
# connection: the server may not have noticed yet that the old connection is gone.
_ids = itertools.count(1)


class Connection:
    """One connection over a `Wire`.

    The wire calls `opened`, `received`, `heard`, `ponged`, `writable`, `closed`, `failed` and
    `gone`. The packages above call the other methods.

    `reason`: why the connection ended, None while it lives. `is_clogged`: whether the send buffer
    of the socket is full. `close_timeout` limits the close handshake, whichever side starts it. All
    times are in seconds.
    """

    reason: TransportError | None

    def __init__(
        self,
        dialect: Dialect,
        *,
        host: str,
        limits: Limits = _UNLIMITED,
        close_timeout: float | None = 10.0,
        signals: Signals | None = None,
        gate: ReadGate | None = None,
        on_end: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.phase: Phase = Phase.HANDSHAKE
        self.reason = None
        self.telemetry: Telemetry = Telemetry(host, signals or Signals())
        self.routes: Routes = Routes(dialect, on_event=self._handle, on_reply=self._reply)
        self.deadlines: Deadlines = Deadlines(loop)
        # Through the gate, the sinks of this connection pause and resume reading.
        self.gate: ReadGate = gate or ReadGate()
        self._keepalive = KeepAlive(
            limits, loop, self.gate, on_ping=self.ping, on_dead=self._on_dead
        )
        self._wire: Wire
        self._on_end = on_end
        self._close_timeout = close_timeout
        # Set during the close handshake; None again once `close_timeout` is over.
        self._close_timer: asyncio.TimerHandle | None = None
        self._acked: asyncio.Future[None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self.is_clogged: bool = False
        self._writable: asyncio.Future[None]

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return self.telemetry.host

    @property
    def subprotocol(self) -> str:
        """The name of the protocol in use."""
        return self.routes.dialect.name

    @property
    def payloads(self) -> Mapping[str, Any]:
        """The last payloads of `connection_ack`, `ping`, `pong` and `connection_error`."""
        return self.telemetry.signals.payloads

    @property
    def is_orphaned(self) -> bool:
        """Whether its event loop is closed, so that the connection cannot even end."""
        return self._gone.get_loop().is_closed()

    @property
    def was_guessed(self) -> bool:
        """Whether the server did not name its protocol, so that gqlwire had to guess it."""
        return isinstance(self.routes.dialect, Undecided)

    @property
    def latency(self) -> float | None:
        """The round-trip time of the last answered ping, in seconds; None before the first."""
        return self._keepalive.latency

    # --- What the wire calls ------------------------------------------------------------------

    def opened(self, wire: Wire) -> None:
        """Send `connection_init`, as the WebSocket is open now.

        Servers close a connection that does not send `connection_init` within a few seconds.
        """
        self._wire = wire
        self.gate.attach(self, wire.pause_reading, self._resume_reading, self._is_needed)
        self._enter(Phase.INIT)
        self.routes.dialect.connection_init()
        self._flush()

    def received(self, text: bytes) -> None:
        """Handle one message."""
        self.received_all([text])

    def received_all(self, texts: list[bytes]) -> None:
        """Handle messages that arrived together."""
        try:
            telemetry = self.telemetry
            telemetry.received_bytes += sum(map(len, texts))
            if telemetry.logs_messages:
                telemetry.log_received(texts)
            if self.phase is Phase.INIT:
                self._open_with(texts)
            else:
                self.routes.take(texts)
        except TransportProtocolError as unreadable:
            self._end(reasons.without_frames(unreadable), code=1002)

    def _open_with(self, texts: list[bytes]) -> None:
        """Handle messages before the acknowledgement: a stray may explain why none comes."""
        for text in texts:
            self.telemetry.opening = text
            self.routes.take_slowly((text,))
        self.telemetry.opening = b""

    def heard(self) -> None:
        """Note that a burst of frames of any kind arrived."""
        keepalive, telemetry, gate = self._keepalive, self.telemetry, self.gate
        now = telemetry.heard_at = keepalive.last_heard = keepalive.clock.time()
        keepalive.unanswered_since = None
        # The streams that had events in this burst have the same list.
        gate.burst[0] = now
        gate.burst = [now]
        # Once for each burst, because asking the logger for every message is too expensive.
        telemetry.logs_messages = wire_logger.isEnabledFor(logging.DEBUG)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.telemetry.since = Moment.now()

    def ponged(self) -> None:
        """Note that a pong frame arrived."""
        self._keepalive.ponged()
        self.telemetry.signals.pong_received.set()

    def writable(self, yes: bool) -> None:
        """Note whether the send buffer of the socket has room."""
        if yes is not self.is_clogged:
            return
        self.is_clogged = not yes
        if yes:
            self._writable.set_result(None)
        else:
            self._writable = self._gone.get_loop().create_future()

    def closed(self, code: int, reason: str) -> None:
        """End the connection: the server closed it, or the socket was lost (1006)."""
        end = partial(connection_closed, host=self.host, phase=self.phase, code=code, reason=reason)
        if code == _TOO_BIG and self.phase is Phase.OPEN:
            self._fail_largest(end)
        self._end(end(hint=self.telemetry.hint))

    def _fail_largest(self, end: Callable[..., TransportError]) -> None:
        """Let the operation fail that was probably too big: it must not be sent again."""
        found = self.routes.largest()
        if found is not None:
            id, size = found
            self.routes.fail(id, end(hint=reasons.request_size(size)))

    def failed(self, failure: TransportError, code: int) -> None:
        """End the connection: received data is invalid, or our own reader raised."""
        if isinstance(failure, TransportConnectionFailed) and failure.phase is None:
            failure.phase = self.phase
        if isinstance(failure, MessageTooBig) and self.phase is Phase.OPEN:
            self._fail_recipient(failure)
        self._end(failure, code=code)

    def _fail_recipient(self, failure: MessageTooBig) -> None:
        """Let the operation fail whose result is too big: the same would come again."""
        known = self.routes.recipient(failure.beginning)
        failure.unsolicited = not self.routes.has_any
        for id in self.routes.awaiting() if known is None else [known]:
            self.routes.fail(id, replica(failure))

    def gone(self) -> None:
        """Note that the socket is closed."""
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._enter(Phase.CLOSED)
        if not self._gone.done():
            self._gone.set_result(None)

    # --- What the transport calls -------------------------------------------------------------

    async def acknowledged(self, timeout: float | None) -> None:
        """Wait at most `timeout` seconds for `connection_ack`.

        Raises AckTimeout, or the reason if the connection ends before. Cancelling does not affect
        the connection.
        """
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._acked)
        except TimeoutError:
            hint = self.telemetry.hint
            self._end(reasons.not_acknowledged(self.host, timeout or 0.0, hint))
        self._raise_if_over()

    async def ready_to_send(self) -> None:
        """Wait until the send buffer has room; raise the reason if the connection ended."""
        while self.is_clogged:
            # The server may not read until we read, so we must not pause reading.
            self.gate.waiting += 1
            if self.gate.paused:
                self.gate.check()
            try:
                await asyncio.shield(self._writable)
            finally:
                self.gate.waiting -= 1
        self._raise_if_over()

    def start(self, payload: bytes, sink: Sink) -> str:
        """Start an operation whose results go into `sink`, and return its id.

        `payload` is the request as JSON. Raises the reason if the connection has ended.
        """
        if self.reason is not None:
            raise replica(self.reason)
        id = str(next(_ids))
        self.routes.add(id, sink)
        self.routes.dialect.subscribe(id, payload)
        self._flush()
        return id

    def drop(self, reason: TransportError, *, dead: bool) -> None:
        """End the connection for `reason`. If the server is `dead`, drop the socket immediately."""
        self._end(reason, flush=not dead, dead=dead)

    def stop(self, id: str) -> None:
        """Stop the operation `id` and tell the server; does nothing if the operation has ended."""
        self.routes.remove(id)
        self.routes.dialect.complete(id)
        self._flush()

    def forget(self, id: str) -> None:
        """Remove an operation that has got its one result; the server completes it unasked."""
        self.routes.remove(id)
        self.routes.dialect.forget(id)

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send the protocol's ping message, or a ping frame if the protocol has none."""
        self._raise_if_over()
        self.routes.dialect.ping(payload)
        if not self.routes.dialect.outbox:
            self._wire.ping()
        self._flush()
        self._keepalive.pinged()
        self.gate.check()

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send the protocol's pong message, if it has one."""
        self._raise_if_over()
        self.routes.dialect.pong(payload)
        self._flush()

    async def close(self) -> None:
        """Close the connection and wait until the socket is closed. May be called repeatedly.

        If the server does not answer the close frame in time, the socket is dropped, and the call
        that started closing raises CloseTimeout. Cancelling drops the socket immediately.
        """
        begins = self.reason is None
        self._end(reasons.closed_by_user(self.host, self.phase), flush=True)
        try:
            await self.wait_gone()
        except asyncio.CancelledError:
            self._wire.abort()
            raise
        was_dropped = self._close_timeout is not None and self._close_timer is None
        if was_dropped and begins:
            raise reasons.not_answered(self.host, self._close_timeout or 0.0)

    async def discard(self) -> None:
        """Drop the socket of a connection that will not be used, and wait until it is closed."""
        self._end(reasons.given_up(self.host, self.phase), dead=True)
        self._wire.abort()
        await self.wait_gone()

    async def wait_gone(self) -> None:
        """Wait until the socket is closed."""
        await asyncio.shield(self._gone)

    # --- Events -------------------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.Failed(id, payload):
                errors = errors_of(payload)
                self.routes.fail(id, TransportQueryError.of(errors, query_id=id))
            case events.Pinged(payload):
                self.telemetry.signals.payloads.keep("ping", payload)
                self.telemetry.signals.ping_received.set()
            case events.Ponged(payload):
                self._keepalive.ponged()
                self.telemetry.signals.payloads.keep("pong", payload)
                self.telemetry.signals.pong_received.set()
            case events.KeptAlive():
                self._keepalive.kept_alive()
            case events.Acknowledged(payload):
                self._on_ack(payload)
            case events.Complaint(payload):
                self._on_connection_error(payload)
            case events.Stray(type):
                self.telemetry.count_stray(type)
                if self.phase is Phase.INIT:
                    self.telemetry.keep_opening()

    def _on_ack(self, payload: Raw) -> None:
        self._enter(Phase.OPEN)
        self.telemetry.complaint = ""  # it accepted us for all that
        self.telemetry.signals.payloads.keep("connection_ack", payload)
        rule = self.routes.dialect.keep_alive
        self._keepalive.start(from_first_sign=rule.from_first_sign, announced=rule.limit)
        self._acked.set_result(None)

    def _on_connection_error(self, payload: Raw) -> None:
        self.telemetry.signals.payloads.keep("connection_error", payload)
        complaint = shown(bytes(payload)) or "(it gave no reason)"
        if self.phase is Phase.INIT:
            said = self.payloads["connection_error"]
            self._end(reasons.refused(self.host, complaint, said))
        else:
            self.telemetry.complaint = f"connection_error: {complaint}"
            _logger.warning("%s sent connection_error: %s", self.host, complaint)

    # --- The end ------------------------------------------------------------------------------

    def _end(
        self,
        reason: TransportError,
        *,
        code: int = 1000,
        flush: bool = False,
        dead: bool = False,
    ) -> None:
        """End the connection for `reason`, once. All pending operations fail with that reason.

        `code` is the code of our close frame. `flush`: whether to send the protocol's own closing
        message before it. `dead`: do not wait for the server's close frame.
        """
        if self.reason is not None:
            return
        self.routes.dialect.close()
        if flush:
            self._flush()
        self.reason = reason
        self._enter(Phase.CLOSING)
        self._close_socket(code, dead=dead)
        self.routes.end(reason)
        if not self._acked.done():
            self._acked.set_result(None)
        self.writable(True)
        self._on_end(self)

    def _on_dead(self, limit: float, when: str) -> None:
        self._end(reasons.silent(self.host, self.phase, limit, when), dead=True)

    def _close_socket(self, code: int, *, dead: bool) -> None:
        self._keepalive.stop()
        self.deadlines.stop()
        self.gate.detach(self)
        self._wire.close(code, "")
        if dead:
            self._wire.abort()
        elif self._close_timeout is not None:
            loop = self._gone.get_loop()
            self._close_timer = loop.call_later(self._close_timeout, self._drop)

    def _drop(self) -> None:
        self._close_timer = None
        self._wire.abort()

    def _raise_if_over(self) -> None:
        if self.reason is not None:
            raise replica(self.reason)

    def _is_needed(self) -> bool:
        return self._keepalive.awaits_pong or self.phase is not Phase.OPEN

    def _resume_reading(self) -> None:
        self._keepalive.resumed()
        self._wire.resume_reading()

    # --- Sending ------------------------------------------------------------------------------

    def _reply(self, event: events.Event | None) -> None:
        """Send the protocol's answer to a message of the server."""
        if self.is_clogged and isinstance(event, events.Pinged):
            # Otherwise a server that pings without reading could fill our memory with pongs.
            self.routes.dialect.outbox.clear()
        self._flush()

    def _flush(self) -> None:
        """Send the messages in the protocol's outbox, unless the connection has ended."""
        outbox = self.routes.dialect.outbox
        while outbox and self.reason is None:
            text = outbox.pop(0)
            if self.telemetry.logs_messages:
                self.telemetry.log_sent(self.routes.dialect.redacted(text))
            self.telemetry.sent_bytes += len(text)
            self._wire.send(text)
