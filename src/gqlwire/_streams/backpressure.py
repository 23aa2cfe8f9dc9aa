"""Decides whether to read from a socket that many operations share.

GraphQL over WebSocket has no flow control for single operations: to stop reading for one full
stream stops all operations. So reading stops only while no other operation waits for data, and
continues as soon as one does. This module knows no socket; `attach` gets the functions that pause
and resume reading.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable


class ReadGate:
    """Pauses and resumes reading.

    A gate may outlive a socket, as a stream may; `attach` it to each new socket.

    `waiting`: how many tasks wait for data. A task adds 1 before it waits, calls `check` if reading
    is `paused`, and subtracts 1 afterwards. A method for this would cost too much, because it
    happens for each event.
    """

    __slots__ = ("_held", "_is_needed", "_pause", "_resume", "paused", "waiting")

    def __init__(self) -> None:
        self.paused: bool = False
        self._pause: Callable[[], None]
        self._resume: Callable[[], None]
        self._is_needed: Callable[[], bool]
        self.waiting: int = 0
        self._held: set[Hashable] | None = None  # the full streams; created when needed

    def attach(
        self,
        pause: Callable[[], None],
        resume: Callable[[], None],
        is_needed: Callable[[], bool],
    ) -> None:
        """Control a new socket, which is being read.

        `pause` and `resume` stop and continue reading. `is_needed` returns whether the connection
        itself waits for data (an acknowledgement, a pong, the server's close frame).
        """
        self.paused = False
        self._pause = pause
        self._resume = resume
        self._is_needed = is_needed

    def hold(self, stream: Hashable) -> None:
        """Note that `stream` is full, and stop reading unless a task waits for data."""
        if self._held is None:
            self._held = set()
        self._held.add(stream)
        if not self.paused and not self._is_awaited():
            self.paused = True
            self._pause()

    def release(self, stream: Hashable) -> None:
        """Note that `stream` has room, and continue reading if no other stream is full."""
        if self._held is not None:
            self._held.discard(stream)
        if not self._held:
            self.open()

    def check(self) -> None:
        """Continue reading if a task waits for data."""
        if self.paused and self._is_awaited():
            self.open()

    def open(self) -> None:
        """Continue reading, even if streams are full."""
        if self.paused:
            self.paused = False
            self._resume()

    def _is_awaited(self) -> bool:
        return self.waiting > 0 or self._is_needed()
