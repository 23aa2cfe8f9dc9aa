"""One live connection: from an open WebSocket to its end.

It feeds what the socket brings to a protocol, sends what the protocol answers, runs the timers,
and routes results to the sinks that wait for them. It ends once, in `_end`, for one reason, and
everything that waits on it gets that reason at once.

It knows no picows, URL, TLS or header, and no retry.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw

from gqlwire._connection.deadlines import Deadlines
from gqlwire._connection.keepalive import KeepAlive, Limits
from gqlwire._connection.routes import Routes
from gqlwire._connection.telemetry import Signals, Telemetry, wire_logger
from gqlwire._json import errors_of, shown
from gqlwire._protocols import Dialect, Undecided, events
from gqlwire._streams.backpressure import ReadGate
from gqlwire._streams.sink import Sink
from gqlwire._wire import Wire
from gqlwire.errors import (
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

# A server that still sees an old connection of ours must never meet an id of it again, so ids
# come from one counter for the whole process.
_ids = itertools.count(1)


class Connection:
    """One connection over a `Wire`.

    The wire's side calls `opened`, `received`, `heard`, `ponged`, `writable`, `closed`, `failed`
    and `gone`; `transport` the rest. `reason` is why it ended, None while it lives. `is_clogged`:
    whether the socket takes no more data just now. `close_timeout` limits the close handshake,
    whichever side begins it; in seconds, as all times here.
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
        # What the sinks of this connection ask to pause and resume reading.
        self.gate: ReadGate = gate or ReadGate()
        self._keepalive = KeepAlive(limits, loop, self.gate, on_ping=self.ping, on_dead=self._die)
        self._wire: Wire
        self._on_end = on_end
        self._close_timeout = close_timeout
        # While the close handshake may still take time.
        self._hang_up_timer: asyncio.TimerHandle | None = None
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
        """The name of the protocol that is spoken."""
        return self.routes.dialect.name

    @property
    def payloads(self) -> Mapping[str, Any]:
        """The last payloads of `connection_ack`, `ping`, `pong` and `connection_error`."""
        return self.telemetry.signals.payloads

    @property
    def is_orphaned(self) -> bool:
        """Whether its event loop was closed under it, so that it cannot even end."""
        return self._gone.get_loop().is_closed()

    @property
    def was_guessed(self) -> bool:
        """Whether the server left us to guess its protocol."""
        return isinstance(self.routes.dialect, Undecided)

    @property
    def latency(self) -> float | None:
        """Seconds that the last answered ping took; None before the first."""
        return self._keepalive.latency

    # --- What the wire calls ------------------------------------------------------------------

    def opened(self, wire: Wire) -> None:
        """Begin: the WebSocket is open. The server's patience for `connection_init` is short."""
        self._wire = wire
        self.gate.attach(wire.pause_reading, self._resume_reading, self._is_needed)
        self.phase = Phase.INIT
        self.routes.dialect.connection_init()
        self._flush()

    def received(self, text: bytes) -> None:
        """Take one message."""
        self.received_all([text])

    def received_all(self, texts: list[bytes]) -> None:
        """Take messages that came together."""
        try:
            telemetry = self.telemetry
            telemetry.received_bytes += sum(map(len, texts))
            if telemetry.logs_messages:
                telemetry.log_received(texts)
            self.routes.take(texts)
        except TransportProtocolError as unreadable:
            self._end(unreadable, code=1002)

    def heard(self) -> None:
        """Note that a burst of frames came, of whatever kind."""
        keepalive = self._keepalive
        if keepalive.has_limits:
            keepalive.last_heard = self._gone.get_loop().time()
            keepalive.unanswered_since = None
        # To look for each message is too expensive.
        self.telemetry.logs_messages = wire_logger.isEnabledFor(logging.DEBUG)

    def ponged(self) -> None:
        """Note that a pong frame came."""
        self._keepalive.ponged()
        self.telemetry.signals.pong_received.set()

    def writable(self, yes: bool) -> None:
        """Note that the socket takes (or does not take) more data without buffering it."""
        if yes is not self.is_clogged:
            return
        self.is_clogged = not yes
        if yes:
            self._writable.set_result(None)
        else:
            self._writable = self._gone.get_loop().create_future()

    def closed(self, code: int, reason: str) -> None:
        """End: the server closed, or the socket broke (1006)."""
        complaint = self.telemetry.complaint
        self._end(
            connection_closed(
                host=self.host,
                phase=self.phase,
                code=code,
                reason=reason,
                hint=complaint and f"before that, it sent connection_error: {complaint}",
            )
        )

    def failed(self, failure: TransportError, code: int) -> None:
        """End: what came cannot be used, or our own reader is at fault."""
        if isinstance(failure, TransportConnectionFailed) and failure.phase is None:
            failure.phase = self.phase
        self._end(failure, code=code)

    def gone(self) -> None:
        """Note that the socket is no more."""
        if self._hang_up_timer is not None:
            self._hang_up_timer.cancel()
        self.phase = Phase.CLOSED
        if not self._gone.done():
            self._gone.set_result(None)

    # --- What the transport calls -------------------------------------------------------------

    async def acknowledged(self, timeout: float | None) -> None:
        """Wait for `connection_ack`, for `timeout` seconds at most.

        Raises the reason if the connection ends instead. Cancelling leaves the connection as it
        is.
        """
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._acked)
        except TimeoutError:
            self._end(reasons.not_acknowledged(self.host, timeout or 0.0))
        self._raise_if_over()

    async def ready_to_send(self) -> None:
        """Wait until the socket takes data; raises the reason if the connection is over."""
        while self.is_clogged:
            # The server may be waiting for us to read before it reads on.
            self.gate.waiting += 1
            if self.gate.paused:
                self.gate.check()
            try:
                await asyncio.shield(self._writable)
            finally:
                self.gate.waiting -= 1
        self._raise_if_over()

    def start(self, payload: bytes, sink: Sink) -> str:
        """Start an operation whose results go into `sink`; return its id.

        `payload` is the request as JSON. Raises the reason if the connection is over.
        """
        if self.reason is not None:
            raise replica(self.reason)
        id = str(next(_ids))
        self.routes.add(id, sink)
        self.routes.dialect.subscribe(id, payload)
        self._flush()
        return id

    def drop(self, reason: TransportError, *, dead: bool) -> None:
        """End the connection for a reason of ours; a `dead` server is not waited for."""
        self._end(reason, goodbye=not dead, dead=dead)

    def stop(self, id: str) -> None:
        """Stop the operation `id` and tell the server; harmless if it is over."""
        self.routes.remove(id)
        self.routes.dialect.complete(id)
        self._flush()

    def forget(self, id: str) -> None:
        """Let go of an operation that has had its one result; the server ends it by itself."""
        self.routes.remove(id)
        self.routes.dialect.forget(id)

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a ping: the protocol's, or a ping frame where it has none."""
        self._raise_if_over()
        self.routes.dialect.ping(payload)
        if not self.routes.dialect.outbox:
            self._wire.ping()
        self._flush()
        self._keepalive.pinged()
        self.gate.check()

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a pong, where the protocol has one."""
        self._raise_if_over()
        self.routes.dialect.pong(payload)
        self._flush()

    async def close(self) -> None:
        """Say goodbye and wait for the socket's end; safe at any time, more than once.

        Raises CloseTimeout, to the one call that began it, if the server did not play along; the
        socket is gone all the same. Cancelling drops the socket.
        """
        begins = self.reason is None
        self._end(reasons.closed_by_user(self.host, self.phase), goodbye=True)
        try:
            await self.wait_gone()
        except asyncio.CancelledError:
            self._wire.abort()
            raise
        was_dropped = self._close_timeout is not None and self._hang_up_timer is None
        if was_dropped and begins:
            raise reasons.not_answered(self.host, self._close_timeout or 0.0)

    async def discard(self) -> None:
        """End a connection that came to nothing, without ceremony."""
        self._end(reasons.given_up(self.host, self.phase), dead=True)
        self._wire.abort()
        await self.wait_gone()

    async def wait_gone(self) -> None:
        """Wait until the socket is no more."""
        await asyncio.shield(self._gone)

    # --- Events -------------------------------------------------------------------------------

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.Failed(id, payload):
                errors = errors_of(payload)
                self.routes.fail(id, TransportQueryError.of(errors, query_id=id))
            case events.Pinged(payload):
                self.telemetry.signals.keep("ping", payload)
                self.telemetry.signals.ping_received.set()
            case events.Ponged(payload):
                self._keepalive.ponged()
                self.telemetry.signals.keep("pong", payload)
                self.telemetry.signals.pong_received.set()
            case events.KeptAlive():
                self._keepalive.kept_alive()
            case events.Acknowledged(payload):
                self._begin(payload)
            case events.Complaint(payload):
                self._hear_complaint(payload)
            case events.Stray(type):
                self.telemetry.count_stray(type)

    def _begin(self, payload: Raw) -> None:
        self.phase = Phase.OPEN
        self.telemetry.signals.keep("connection_ack", payload)
        rule = self.routes.dialect.keep_alive
        self._keepalive.start(from_first_sign=rule.from_first_sign, announced=rule.limit)
        self._acked.set_result(None)

    def _hear_complaint(self, payload: Raw) -> None:
        said = self.telemetry.signals.keep("connection_error", payload)
        complaint = shown(bytes(payload)) or "(it gave no reason)"
        if self.phase is Phase.INIT:
            self._end(reasons.refused(self.host, complaint, said))
        else:
            self.telemetry.complaint = complaint
            _logger.warning("%s sent connection_error: %s", self.host, complaint)

    # --- The end ------------------------------------------------------------------------------

    def _end(
        self,
        reason: TransportError,
        *,
        code: int = 1000,
        goodbye: bool = False,
        dead: bool = False,
    ) -> None:
        """End the connection, once, for `reason`; everything that waits gets it.

        `code` is for our close frame. With `goodbye` the protocol's own farewell goes first; a
        `dead` server is not waited for.
        """
        if self.reason is not None:
            return
        self.routes.dialect.close()
        if goodbye:
            self._flush()
        self.reason = reason
        self.phase = Phase.CLOSING
        self._hang_up(code, dead=dead)
        self.routes.end(reason)
        if not self._acked.done():
            self._acked.set_result(None)
        self.writable(True)
        self._on_end(self)

    def _die(self, limit: float, when: str) -> None:
        self._end(reasons.silent(self.host, self.phase, limit, when), dead=True)

    def _hang_up(self, code: int, *, dead: bool) -> None:
        self._keepalive.stop()
        self.deadlines.stop()
        self.gate.open()
        self._wire.close(code, "")
        if dead:
            self._wire.abort()
        elif self._close_timeout is not None:
            loop = self._gone.get_loop()
            self._hang_up_timer = loop.call_later(self._close_timeout, self._drop)

    def _drop(self) -> None:
        self._hang_up_timer = None
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
        """Send the protocol's answer to a message of the server's."""
        if self.is_clogged and isinstance(event, events.Pinged):
            # A flood of pings must not fill our memory with pongs.
            self.routes.dialect.outbox.clear()
        self._flush()

    def _flush(self) -> None:
        """Send what is in the outbox of the protocol, unless the connection is over."""
        outbox = self.routes.dialect.outbox
        while outbox and self.reason is None:
            text = outbox.pop(0)
            if self.telemetry.logs_messages:
                self.telemetry.log_sent(self.routes.dialect.redacted(text))
            self.telemetry.sent_bytes += len(text)
            self._wire.send(text)
