"""Acknowledges received data immediately, while an answer is awaited from a server that waits, too.

A server with Nagle's algorithm on (RFC 9293, section 3.7.4) sends a small piece of data only when
the client has acknowledged the one before. The client's kernel waits up to 40 ms with that, in case
it has something to send along. So an answer that follows another message comes late: that to a
query after the `complete` of the last one, for example. Where the system has TCP_QUICKACK (tcp(7)),
the option sends a pending acknowledgement. The kernel goes back to waiting by itself, so the option
is set again after each read.

An acknowledgement of its own takes some microseconds, which would be wasted on most servers. So
this begins when three answers within a few have come late, each after another message. One may come
late because a machine is busy.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

TCP_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)

_LATE = 0.01
"""Seconds between a message and the answer after it; kernels wait 20 ms at least."""

# Each late one counts 1, and what was counted fades: three of six are enough, one of ten is not.
_KEPT, _ENOUGH = 0.9, 2.0


class QuickAck:
    """Decides when to acknowledge, for one socket. `clock` returns the time in seconds.

    `is_on`: whether answers have come late, so that the client acknowledges immediately.
    `is_behind`: whether something has arrived in front of the answer that is awaited, or was.
    """

    __slots__ = ("_clock", "_late", "_since", "_socket", "is_behind", "is_on")

    def __init__(self, sock: socket.socket, clock: Callable[[], float]) -> None:
        self._socket = sock
        self._clock = clock
        self._since = 0.0
        self._late = 0.0
        self.is_behind: bool = False
        self.is_on: bool = False

    def in_front(self) -> None:
        """Note that data arrived, and that an answer is still awaited."""
        if self.is_on:
            self._acknowledge()
        else:
            if self.is_behind:
                self.answered()
            self.is_behind, self._since = True, self._clock()

    def answered(self) -> None:
        """Note that the answer arrived, or another message, which something was in front of."""
        self._late *= _KEPT
        if self._clock() - self._since > _LATE:
            self._late += 1
            self.is_on = self.is_on or self._late > _ENOUGH
        self.is_behind = False

    def _acknowledge(self) -> None:
        if TCP_QUICKACK is not None:
            try:  # noqa: SIM105  # contextlib.suppress takes longer than the call
                self._socket.setsockopt(socket.IPPROTO_TCP, TCP_QUICKACK, 1)
            except OSError:
                pass  # the socket is closed already
