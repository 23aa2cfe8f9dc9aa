"""Sends the messages of one event-loop iteration in few packets.

picows writes each frame immediately. That is best for a single message, but for a thousand it is
expensive, because the network stack delivers each in its own packet. So the first message goes out
immediately, and from the second on the kernel collects them (`TCP_CORK`, tcp(7)) until the
iteration ends. On systems without this option, each message goes out immediately.

To notice the end of an iteration takes a callback. A program that sends one message and waits for
the answer, again and again, should not pay for that. So messages are counted since the last read,
and the first one needs no callback. If the second one is sent in a later iteration, it is delayed
without need, but only until the end of that iteration.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

_TCP_CORK: int | None = getattr(socket, "TCP_CORK", None)


class Cork:
    """Delays all messages but the first until the event-loop iteration ends.

    `sent` counts messages since the last read, or since the last iteration with delayed messages.
    The sender adds 1 for each message, and calls `hold` if `sent` is above 1. The reader sets
    `sent` to 0, because a read starts another iteration.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self.sent: int = 0

    def hold(self) -> None:
        """Delay the next messages until the iteration ends; only the first call does anything."""
        if self.sent == 2:
            self._set(1)
            self._loop.call_soon(self._release)

    def _release(self) -> None:
        self.sent = 0
        self._set(0)

    def _set(self, on: int) -> None:
        if _TCP_CORK is not None:
            # It raises if the socket is closed already, and then nothing is delayed.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_CORK, on)
