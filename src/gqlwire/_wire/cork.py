"""Messages that are sent in one turn of the loop leave the machine together.

picows writes each frame at once. That is right for the first of a turn, and expensive for a
thousand: the network stack delivers each by itself. So from the second on the kernel waits
(`TCP_CORK`, tcp(7)) until the turn is over. Where there is no such option, each goes by itself.

To notice the end of a turn takes another turn. A program that asks and waits, again and again, must
not pay for it, so the first message since something was read needs no cork. The second one since
may belong to a later turn. It then waits for the end of its own turn, in vain, but no longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

_TCP_CORK: int | None = getattr(socket, "TCP_CORK", None)


class Cork:
    """Holds back what is sent after the first message, until the turn ends.

    `sent` counts the messages since the last read, or since a turn in which some were held back.
    The sender adds to it, and calls `hold` from the second on. The reader sets it to 0: that is
    another turn.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self.sent: int = 0

    def hold(self) -> None:
        """Hold back what is sent from now on, until the turn ends."""
        if self.sent == 2:
            self._set(1)
            self._loop.call_soon(self._turn_over)

    def _turn_over(self) -> None:
        self.sent = 0
        self._set(0)

    def _set(self, on: int) -> None:
        if _TCP_CORK is not None:
            # A socket that was closed has nothing to hold back.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_CORK, on)
