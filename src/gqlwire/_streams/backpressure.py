"""Decides whether to read from the sockets that many operations share.

GraphQL over WebSocket has no flow control for single operations: to stop reading for one full
stream stops all operations. So reading stops only while no other operation waits for data, and
continues as soon as one does. This module knows no socket; `attach` gets the functions that pause
and resume reading.

A session usually has one socket. If it has several, their operations are consumed by one program,
so they are paused together: a full stream may be moved from one socket to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

_Socket = tuple[Hashable, Callable[[], None], Callable[[], None], Callable[[], bool]]


class ReadGate:
    """Pauses and resumes reading.

    A gate may outlive a socket, as a stream may; `attach` each new socket.

    `waiting`: how many tasks wait for data. A task adds 1 before it waits, calls `check` if reading
    is `paused`, and subtracts 1 afterwards. A method for this would cost too much, because it
    happens for each event.
    `asked`: how many of these wait for the result of a query or a mutation.
    `loop`: the event loop in which alone a task can wait for its streams; None means any.
    `burst`: a list with the time of the newest burst of frames, by the loop's clock. While a burst
    is handled, that is the time of the one before. A stream keeps the list of its last event, so
    that a time stamp costs the event one assignment.
    """

    __slots__ = ("_held", "_sockets", "asked", "burst", "loop", "paused", "waiting")

    def __init__(self) -> None:
        self.paused: bool = False
        self.burst: list[float] = [0.0]
        self.loop: asyncio.AbstractEventLoop | None = None
        # A list, as there is seldom more than one.
        self._sockets: list[_Socket] = []
        self.waiting: int = 0
        self.asked: int = 0
        self._held: set[Hashable] | None = None  # the full streams; created when needed

    def attach(
        self,
        socket: Hashable,
        pause: Callable[[], None],
        resume: Callable[[], None],
        is_needed: Callable[[], bool],
    ) -> None:
        """Control a new socket, which is being read.

        `pause` and `resume` stop and continue reading. `is_needed` returns whether the connection
        itself waits for data (an acknowledgement, a pong, the server's close frame).
        """
        self.open()  # it waits for its acknowledgement
        self._sockets.append((socket, pause, resume, is_needed))

    def detach(self, socket: Hashable) -> None:
        """Continue reading from a socket whose connection has ended, and control it no longer."""
        self.open()
        self._sockets = [each for each in self._sockets if each[0] is not socket]

    def hold(self, stream: Hashable) -> None:
        """Note that `stream` is full, and stop reading unless a task waits for data."""
        if self._held is None:
            self._held = set()
        self._held.add(stream)
        if not self.paused and not self._is_awaited():
            self.paused = True
            for _, pause, _, _ in self._sockets:
                pause()

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
            for _, _, resume, _ in self._sockets:
                resume()

    def _is_awaited(self) -> bool:
        return self.waiting > 0 or any(is_needed() for _, _, _, is_needed in self._sockets)
