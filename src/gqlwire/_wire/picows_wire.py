"""Adapts a picows WebSocket to `Wire`.

picows parses, writes and masks frames. This module does the rest of RFC 6455: it joins fragments,
checks UTF-8 and the reserved bits, and answers pings and close frames. A frame of picows is only
valid until our callback returns, because picows reuses its buffer. So its data is copied here.

This module knows no URLs and no GraphQL.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from gqlwire._json import shown
from gqlwire._wire import Handler
from gqlwire._wire.cork import Cork
from gqlwire._wire.deflate import Deflate
from gqlwire._wire.fast_frames import Bursts
from gqlwire._wire.quick_ack import QuickAck
from gqlwire.errors import (
    MessageTooBig,
    TransportConnectionFailed,
    TransportError,
    TransportProtocolError,
)
from gqlwire.errors.reasons import ABNORMAL

_BEGINNING = 200  # bytes of a message that is too big; they show whose it is
_NO_CODE = 1005  # RFC 6455, section 7.1.5
_REASON_LIMIT = 123  # RFC 6455, section 5.5: a control frame carries 125 bytes, two are the code

_TEXT = WSMsgType.TEXT
_DATA = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION)


class _Unacceptable(Exception):
    """Received data violates RFC 6455 or our size limit; `code` is for the close frame."""

    def __init__(self, failure: TransportError, code: int) -> None:
        super().__init__(failure)
        self.failure = failure
        self.code = code


class PicowsWire(WSListener):
    """One WebSocket. Implements `Wire`, and calls a `Handler`."""

    def __init__(
        self,
        handler: Handler,
        *,
        host: str,
        max_message_size: int,
        compression: Deflate | None = None,
    ) -> None:
        super().__init__()
        self._handler = handler
        self._host = host
        self._max_message_size = max_message_size
        self._compression = compression
        self._fragments: bytearray | None = None
        self._is_deflated = False
        self._closing = False
        self._clogged = False
        self._bursts: Bursts | None = None
        self._heard_close: int | None = None
        # Of the message that is too big. picows does not pass it on before it is complete.
        self._beginning = b""
        self._final_task: asyncio.Task[None] | None = None
        self._transport: WSTransport
        self._cork: Cork
        self._quick_ack: QuickAck

    # --- Wire ---------------------------------------------------------------------------------

    def send(self, text: bytes) -> None:
        """Send one text message; several in one event-loop iteration share packets (`Cork`)."""
        cork = self._cork
        cork.sent += 1
        if cork.sent > 1:
            cork.hold()
            if self._transport.underlying_transport.is_closing():
                return  # asyncio logs a warning if we keep writing to a lost connection
        if self._compression is None:
            self._transport.send(_TEXT, text)
        else:
            self._transport.send(_TEXT, self._compression.deflate(text), rsv1=True)
        if self._bursts is not None:
            self._bursts.take = self._take_and_acknowledge

    def ping(self) -> None:
        """Send a ping frame."""
        self._transport.send_ping(b"")

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, or answer the server's; close the socket after both."""
        if self._closing:
            return
        self._closing = True
        if self._heard_close is None:
            self._transport.send_close(WSCloseCode(code), reason.encode()[:_REASON_LIMIT])
        else:
            # The answer repeats the code (section 5.5.1).
            answer = self._heard_close if self._heard_close != _NO_CODE else 1000
            self._transport.send_close(WSCloseCode(answer))
            self._transport.disconnect()

    def abort(self) -> None:
        """Close the socket immediately, without a close frame."""
        self._transport.disconnect(False)

    def pause_reading(self) -> None:
        """Stop reading from the network; frames that picows has already read still arrive."""
        self._transport.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        """Continue reading from the network."""
        if not self._transport.underlying_transport.is_closing():
            self._transport.underlying_transport.resume_reading()

    # --- What picows calls --------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Call `opened` of the handler: the upgrade is done."""
        self._transport = transport
        sock = transport.underlying_transport.get_extra_info("socket")
        self._cork = Cork(sock)
        self._quick_ack = QuickAck(sock, asyncio.get_running_loop().time)
        self._start_fast_path()
        self._handler.opened(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Handle one frame."""
        try:
            if self._closing and frame.msg_type in _DATA:
                return
            if frame.payload_size > self._max_message_size:
                # picows refuses such a frame, but delivers it all the same once it is complete.
                self._note_too_big(frame.get_payload_as_memoryview())
                raise _Unacceptable(self._too_big("in one frame"), 1009)
            is_plain = frame.fin and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
            if is_plain and self._fragments is None and frame.msg_type is _TEXT:
                text = frame.get_payload_as_bytes()
                if not text.isascii():
                    text.decode()
                self._handler.received(text)
            else:
                self._take_other(frame)
            if frame.last_in_buffer:
                self._cork.sent = 0
                self._handler.heard()
                self._acknowledge()
        except Exception as fault:  # noqa: BLE001  # picows would only log it
            self._fail(fault)

    def _start_fast_path(self) -> None:
        """Let `Bursts` read the socket before picows, which waits for a first frame now.

        So picows gets one frame at a time. It would look at the next frame before it passes one on,
        and answer a close frame according to what comes after it.
        """
        if self._compression is not None:
            return
        below = self._transport.underlying_transport
        picows: Any = below.get_protocol()
        self._bursts = Bursts(
            picows,
            take=self._take_burst,
            wait=self._acknowledge,
            # If picows finds an invalid frame, it sends a close frame itself.
            is_open=lambda: self._fragments is None and not self._transport.is_close_frame_sent,
            max_size=self._max_message_size,
            on_too_big=self._note_too_big,
        )
        below.set_protocol(self._bursts)

    def _note_too_big(self, data: bytes | bytearray | memoryview) -> None:
        if self._compression is None:  # what is compressed does not show whose it is
            self._beginning = bytes((self._fragments or data)[:_BEGINNING])

    def _take_burst(self, texts: list[bytes]) -> None:
        try:
            self._cork.sent = 0
            self._handler.received_all(texts)
            self._handler.heard()
        except Exception as fault:  # noqa: BLE001  # picows would only log it
            self._fail(fault)

    def _take_and_acknowledge(self, texts: list[bytes]) -> None:
        """Do what `_take_burst` does after something was sent, until all answers are there.

        It is a function of its own, so that events cost no more while nobody asks.
        """
        self._take_burst(texts)
        if self._handler.gate.asked:
            self._quick_ack.in_front()
            return
        if self._quick_ack.is_behind:
            self._quick_ack.answered()
        if self._bursts is not None:
            self._bursts.take = self._take_burst

    def _acknowledge(self) -> None:
        """Do the same after other frames, and when a part of one has arrived."""
        if self._handler.gate.asked:
            self._quick_ack.in_front()
        elif self._quick_ack.is_behind:
            self._quick_ack.answered()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End the connection, unless it has ended before."""
        sent = transport.close_handshake.sent if transport.close_handshake else None
        if sent is not None and not self._closing:
            # picows itself found an invalid frame; its close frame has the reason.
            code = sent.code.value
            self._handler.failed(self._parser_failure(code, sent.reason), code)
        else:
            self._handler.closed(ABNORMAL, "")
        self._final_task = asyncio.get_running_loop().create_task(self._retrieve(transport))

    def pause_writing(self) -> None:
        """Note that the send buffer is full."""
        self._clogged = True
        self._handler.writable(False)

    def resume_writing(self) -> None:
        """Note that the send buffer has room."""
        self._clogged = False
        self._handler.writable(True)

    # --- Frames that are not a plain text message ---------------------------------------------

    def _take_other(self, frame: WSFrame) -> None:
        if frame.rsv2 or frame.rsv3 or (frame.rsv1 and not self._may_be_compressed(frame)):
            raise self._broken("a frame with reserved bits set (section 5.2)")
        if frame.msg_type in _DATA:
            self._take_data(frame)
        elif frame.msg_type is WSMsgType.PING:
            # The pong has the payload of the ping (section 5.5.3). Not every ping needs a pong. So
            # none is sent while the send buffer is full, or many pings could fill our memory.
            if not self._clogged:
                self._transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.PONG:
            self._handler.ponged()
        elif frame.msg_type is WSMsgType.CLOSE:
            self._take_close(frame)

    def _may_be_compressed(self, frame: WSFrame) -> bool:
        starts = frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY)
        return self._compression is not None and starts

    def _take_data(self, frame: WSFrame) -> None:
        continues = frame.msg_type is WSMsgType.CONTINUATION
        if frame.msg_type is WSMsgType.BINARY:
            excerpt = shown(frame.get_payload_as_bytes(), 60)
            raise _Unacceptable(
                TransportProtocolError(f"{self._host} sent a binary message: {excerpt!r}"), 1003
            )
        if continues != (self._fragments is not None):
            raise self._broken("a fragment out of order (section 5.4)")
        if self._fragments is None:
            self._is_deflated = bool(frame.rsv1)
            self._fragments = bytearray()
        # One buffer, not a list of parts, which endless empty fragments could let grow.
        self._fragments += frame.get_payload_as_bytes()
        if len(self._fragments) > self._max_message_size:
            self._note_too_big(self._fragments)
            raise _Unacceptable(self._too_big("in fragments"), 1009)
        if frame.fin:
            text, self._fragments = bytes(self._fragments), None
            self._handler.received(self._whole(text))

    def _whole(self, text: bytes) -> bytes:
        if self._is_deflated and self._compression is not None:
            try:
                text = self._compression.inflate(text, self._max_message_size)
            except OverflowError:
                raise _Unacceptable(self._too_big("once inflated"), 1009) from None
            except ValueError as cause:
                raise self._broken(f"a message that cannot be inflated ({cause})") from cause
        if not text.isascii():
            text.decode()
        return text

    def _take_close(self, frame: WSFrame) -> None:
        said = self._transport.close_handshake
        if self._closing:
            self._transport.disconnect()
        elif said.sent is not None and not said.recv_then_sent:
            # The answer to a close frame that picows itself sent because of an invalid frame.
            code = said.sent.code.value
            raise _Unacceptable(self._parser_failure(code, said.sent.reason), code)
        else:
            code = frame.get_close_code().value if frame.payload_size else _NO_CODE
            if frame.payload_size and not _may_be_sent(code):
                raise self._broken(f"the close code {code} (section 7.4)")
            self._heard_close = code
            self._handler.closed(code, frame.get_close_reason() or "")

    # --- Failures -----------------------------------------------------------------------------

    def _fail(self, fault: Exception) -> None:
        """End the connection because of `fault`, which was raised while a frame was read."""
        if isinstance(fault, _Unacceptable):
            self._handler.failed(fault.failure, fault.code)
        elif isinstance(fault, UnicodeDecodeError):
            text = f"{self._host} sent text that is not UTF-8: {fault}"
            self._handler.failed(TransportProtocolError(text), 1007)
        else:
            self._handler.failed(self._own_fault(fault), 1011)

    def _own_fault(self, fault: Exception) -> TransportError:
        failure = TransportConnectionFailed(
            f"an error in gqlwire's own reader ended the connection to {self._host}: {fault!r}",
            host=self._host,
            code=1011,
        )
        failure.__cause__ = fault
        return failure

    def _broken(self, what: str) -> _Unacceptable:
        return _Unacceptable(
            TransportProtocolError(f"{self._host} broke RFC 6455: it sent {what}"), 1002
        )

    def _too_big(self, how: str) -> MessageTooBig:
        limit = self._max_message_size
        failure = MessageTooBig(
            f"{self._host} sent a message that is too big, {how}: the limit is {limit} bytes "
            f"(max_message_size of the transport)",
            limit=limit,
            host=self._host,
            phase=None,
        )
        failure.beginning = self._beginning
        return failure

    def _parser_failure(self, code: int, reason: str) -> TransportError:
        if code == WSCloseCode.MESSAGE_TOO_BIG.value:
            return self._too_big("in one frame")
        return TransportProtocolError(f"{self._host} broke RFC 6455: {reason}")

    async def _retrieve(self, transport: WSTransport) -> None:
        # picows stores an exception of its parser in a future. asyncio would log it if nobody
        # awaited that future.
        with contextlib.suppress(Exception):
            await transport.wait_disconnected()
        self._handler.gone()


def _may_be_sent(code: int) -> bool:
    # picows only checks that codes below 3000 have a name, and the excluded ones have names, too.
    return 1000 <= code < 5000 and code not in (1004, 1005, 1006, 1015)
