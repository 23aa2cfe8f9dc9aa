"""Whether to go on reading a socket that many operations share.

GraphQL over WebSocket has no flow control per operation: to hold back one stream is to hold back
all. So reading stops for a full stream only while nobody else waits for anything, and goes on as
soon as somebody does. This file knows no socket; it is told how to pause one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable


class ReadGate:
    """Pauses and resumes reading.

    It may outlive a socket, as a stream may: `attach` it to each. `waiting`: how many wait for what
    the socket brings. Add 1, and call `check` if reading is `paused`; subtract it afterwards. This
    is no method, as it happens for each event.
    """

    __slots__ = ("_held", "_is_needed", "_pause", "_resume", "paused", "waiting")

    def __init__(self) -> None:
        self.paused: bool = False
        self._pause: Callable[[], None]
        self._resume: Callable[[], None]
        self._is_needed: Callable[[], bool]
        self.waiting: int = 0
        self._held: set[Hashable] | None = None  # the full ones; mostly there never is any

    def attach(
        self,
        pause: Callable[[], None],
        resume: Callable[[], None],
        is_needed: Callable[[], bool],
    ) -> None:
        """Begin with a socket that is read from.

        `pause` and `resume` act on it; `is_needed` tells whether the connection itself waits for
        something (an acknowledgement, a pong, the server's goodbye).
        """
        self.paused = False
        self._pause = pause
        self._resume = resume
        self._is_needed = is_needed

    def hold(self, stream: Hashable) -> None:
        """Stop reading because `stream` is full, unless somebody waits for what comes next."""
        if self._held is None:
            self._held = set()
        self._held.add(stream)
        if not self.paused and not self._is_awaited():
            self.paused = True
            self._pause()

    def release(self, stream: Hashable) -> None:
        """Go on reading if no stream is full any more."""
        if self._held is not None:
            self._held.discard(stream)
        if not self._held:
            self.open()

    def check(self) -> None:
        """Continue reading if somebody waits by now."""
        if self.paused and self._is_awaited():
            self.open()

    def open(self) -> None:
        """Go on reading, whatever is full."""
        if self.paused:
            self.paused = False
            self._resume()

    def _is_awaited(self) -> bool:
        return self.waiting > 0 or self._is_needed()
