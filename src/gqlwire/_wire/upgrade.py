"""What picows and aiofastnet get wrong while a WebSocket opens, and the ways round it.

picows 2.3 refuses a 101 whose `Connection` header has more than one element, takes an interim
answer (100, 103) for the final one, refuses heads of more than 16 KiB, 128 headers or folded lines,
waits for an empty line whatever the server speaks, and raises OverflowError for a `Content-Length`
of 2**63. So `Upgrade` reads the answer in its place, and gives it a plain one.

aiofastnet 1.2 reports a server that hangs up during the TLS handshake to the exception handler of
the loop, with a class in place of an exception, which `logging` cannot print. `QuietLoop` keeps
this report back; the same failure is raised where the connection is awaited.

`tests/failures/test_c1_upgrade_answers.py` and `tests/failures/test_c2_tls_hang_ups.py` have a test
for each of these faults. It fails once the library no longer has it, and says what to delete here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from picows.picows import WSProtocol  # type: ignore[attr-defined]

from gqlwire._wire.answer import Answer, AnswerReader, HeadTooLong, NotHTTP

_SWITCHING = 101
# A socket's first read brings the whole answer of most servers.
_READ_SIZE = 4 * 1024
# How long to wait for the rest of a line that is no HTTP. It tells what the server speaks.
_GRACE = 0.1
# So many digits of a `Content-Length` are enough: for a 101, only 0 is right.
_LONGEST_LENGTH = 18


class Upgrade(asyncio.BufferedProtocol):
    """Stands between the socket and picows until the server has answered the upgrade.

    `on_sent` is called when the request has been passed to the socket.
    `answer`: the answer, once its head is complete. `fault`: why it cannot be read, or None.
    `accident`: what else was raised while it was read or answered. The loop would only log it, and
    nothing would follow until a time limit.
    """

    def __init__(self, picows: WSProtocol, on_sent: Callable[[], object]) -> None:
        self._picows = picows
        self._on_sent = on_sent
        self._reader = AnswerReader()
        self._memory = memoryview(bytearray(_READ_SIZE))
        self._transport: asyncio.Transport
        self._grace: asyncio.TimerHandle | None = None
        self.answer: Answer | None = None
        self.fault: NotHTTP | HeadTooLong | None = None
        self.accident: Exception | None = None

    @property
    def alpn(self) -> str:
        """The protocol that the server chose in the TLS handshake (RFC 7301), or nothing."""
        tls = self._transport.get_extra_info("ssl_object")
        return (tls and tls.selected_alpn_protocol()) or ""

    @property
    def is_answered(self) -> bool:
        """Whether anything has arrived."""
        return self._reader.is_begun

    def connection_made(self, transport: Any) -> None:
        """Let picows ask for the upgrade."""
        self._transport = transport
        try:
            self._picows.connection_made(transport)
            self._on_sent()
        except Exception as accident:  # noqa: BLE001  # as below
            # The one that waits for the connection closes it. aiofastnet begins to read after
            # this call, also from a socket that was closed meanwhile, and the loop would keep its
            # number.
            self.accident = accident

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read."""
        del sizehint
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        """Handle the `nbytes` bytes that were read."""
        self.take(bytes(self._memory[:nbytes]))

    def take(self, data: bytes) -> None:
        """Read on in the server's answer; pass it to picows if the server accepts."""
        try:
            self._take(data)
        except Exception as accident:  # noqa: BLE001  # whatever a server makes a library raise
            self.accident = accident
            self._transport.abort()

    def _take(self, data: bytes) -> None:
        if isinstance(self.fault, NotHTTP):
            self._refuse(NotHTTP(self.fault.beginning + data))
        if self.answer is not None or self.fault is not None:
            return
        try:
            self.answer = self._reader.take(data)
        except (NotHTTP, HeadTooLong) as fault:
            self._refuse(fault)
            return
        if self.answer is None:
            return
        if self.answer.status != _SWITCHING or self.answer.fault is not None:
            self._transport.abort()
            return
        self._transport.set_protocol(self._picows)
        self._pass_on(plain(self.answer))
        # With the last byte of the head, another protocol began to read in the place of picows.
        self._pass_on(self.answer.rest)

    def _refuse(self, fault: NotHTTP | HeadTooLong) -> None:
        """Close the connection; if a line of text has begun, when it ends, or after `_GRACE`."""
        self.fault = fault
        if isinstance(fault, NotHTTP) and fault.is_torn:
            if self._grace is None:
                loop = asyncio.get_running_loop()
                self._grace = loop.call_later(_GRACE, self._transport.abort)
        else:
            self._transport.abort()

    def _pass_on(self, data: bytes) -> None:
        while data and not self._transport.is_closing():
            protocol: Any = self._transport.get_protocol()
            room = memoryview(protocol.get_buffer(-1))
            part = data[: len(room)]
            room[: len(part)] = part
            data = data[len(part) :]
            protocol.buffer_updated(len(part))

    # --- Passed on to picows ------------------------------------------------------------------

    def eof_received(self) -> None:
        """Pass the end of the stream on to picows; the transport then closes itself."""
        self._picows.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the loss of the connection on to picows, which ends the wait for the answer."""
        if self._grace is not None:
            self._grace.cancel()
        self._picows.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell picows that the send buffer is full."""
        self._picows.pause_writing()

    def resume_writing(self) -> None:
        """Tell picows that the send buffer has room."""
        self._picows.resume_writing()


def plain(answer: Answer) -> bytes:
    """Return the head of a 101 with no more than picows checks, in the form that it accepts."""
    lines = [f"{answer.line.split(' ', 1)[0]} 101 Switching Protocols"]
    for name in ("Connection", "Upgrade"):
        elements = answer.tokens(name)
        wanted = "websocket" if name == "Upgrade" else "upgrade"
        # `Connection` may list more (RFC 9110, section 7.6.1); nothing but a WebSocket was asked
        # for (RFC 6455, section 4.1).
        is_fine = wanted in elements if name == "Connection" else set(elements) == {wanted}
        lines.append(f"{name}: {wanted if is_fine else ', '.join(elements)}")
    for name in ("Sec-WebSocket-Accept", "Content-Length", "Transfer-Encoding"):
        values = dict.fromkeys(answer.headers.getall(name, []))
        longest = _LONGEST_LENGTH if name == "Content-Length" else None
        lines += [f"{name}: {', '.join(values)[:longest]}"] if values else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class QuietLoop:
    """The event loop as aiofastnet sees it: without the report of a handshake that failed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type[asyncio.AbstractEventLoop]:  # type: ignore[override]
        # aiofastnet asks whether it is a ProactorEventLoop.
        return type(self._loop)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report to the loop what has an exception, and not a class."""
        if not isinstance(context.get("exception"), type):
            self._loop.call_exception_handler(context)
