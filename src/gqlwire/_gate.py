"""Whether to go on reading a socket that many operations share.

GraphQL over WebSocket has no flow control per operation: to hold back one stream is to hold back
all. So reading stops for a full stream only while nobody else waits for anything, and goes on as
soon as somebody does. This file knows no socket; it is told how to pause one.
"""

from __future__ import annotations

from collections.abc import Callable

from gqlwire._streams import EventStream


class ReadGate:
    """Pauses and resumes reading. Implements `_streams.Gate`.

    `pause` and `resume` act on the socket; `is_needed` tells whether the connection itself waits
    for something (an acknowledgement, a pong, the server's goodbye).
    """

    def __init__(
        self,
        pause: Callable[[], None],
        resume: Callable[[], None],
        is_needed: Callable[[], bool],
    ) -> None:
        self.paused = False
        self._pause = pause
        self._resume = resume
        self._is_needed = is_needed
        self._waiting = 0
        self._held: set[EventStream] = set()

    def hold(self, stream: EventStream) -> None:
        """Stop reading because `stream` is full, unless somebody waits for what comes next."""
        self._held.add(stream)
        if not self.paused and not self._is_awaited():
            self.paused = True
            self._pause()

    def release(self, stream: EventStream) -> None:
        """Go on reading if no stream is full any more."""
        self._held.discard(stream)
        if not self._held:
            self.open()

    def awaited(self, change: int) -> None:
        """Count who waits for what the socket brings; reading goes on for them."""
        self._waiting += change
        self.check()

    def check(self) -> None:
        """Go on reading if somebody waits by now."""
        if self.paused and self._is_awaited():
            self.open()

    def open(self) -> None:
        """Go on reading, whatever is full."""
        if self.paused:
            self.paused = False
            self._resume()

    def _is_awaited(self) -> bool:
        return self._waiting > 0 or self._is_needed()
