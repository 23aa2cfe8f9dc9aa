"""Messages that are sent in one turn of the loop leave the machine together.

picows writes each frame at once, which is right for the first of a turn, and dear for a thousand:
the network stack delivers each by itself. So from the second on the kernel is told to wait
(`TCP_CORK`, tcp(7)) until the turn is over. Where there is no such option, each goes by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

_TCP_CORK: int | None = getattr(socket, "TCP_CORK", None)


class Cork:
    """Holds back what is sent after the first message of a turn, until the turn ends."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._sent = 0

    def sending(self) -> int:
        """Note that a message is about to be sent; return how many it makes in this turn."""
        self._sent += 1
        if self._sent == 1:
            self._loop.call_soon(self._turn_over)
        elif self._sent == 2:
            self._set(1)
        return self._sent

    def _turn_over(self) -> None:
        sent, self._sent = self._sent, 0
        if sent > 1:
            self._set(0)

    def _set(self, on: int) -> None:
        if _TCP_CORK is not None:
            # A socket that is closed meanwhile has nothing to hold back.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_CORK, on)
