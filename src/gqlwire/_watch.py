"""The clock of a connection: it rings when a ping is due, or when the server must be dead.

When that is, `protocols.keepalive` decides; this file only reads the clock and sets the alarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gqlwire.protocols.keepalive import Duty, KeepAlive, Limits


class Watch:
    """Watches over one connection.

    `on_ping` is called when a ping is due; `on_dead` when the server has been silent for too
    long, with the limit in seconds and the words for it; `is_deaf` tells whether we are not
    listening ourselves just now.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        on_ping: Callable[[], None],
        on_dead: Callable[[float, str], None],
        is_deaf: Callable[[], bool],
    ) -> None:
        self._limits = limits
        self._keepalive = KeepAlive(limits)
        # Whether it matters when something came.
        self.listens: bool = limits.silence is not None or limits.patience is not None
        self._on_ping = on_ping
        self._on_dead = on_dead
        self._is_deaf = is_deaf
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def latency(self) -> float | None:
        """Seconds that the last answered ping took; None before the first."""
        return self._keepalive.latency

    @property
    def awaits_pong(self) -> bool:
        """Whether a pong may still come for a ping that is out."""
        return self._keepalive.awaits_pong(self._loop.time())

    def start(self, *, from_first_sign: bool) -> None:
        """Begin to watch; with `from_first_sign`, silence counts only after `signed()`."""
        self._keepalive.start(self._loop.time(), from_first_sign=from_first_sign)
        self._set_alarm()

    def stop(self) -> None:
        """Cease to watch."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def heard(self) -> None:
        """Note that something came. It does not reset the alarm, which looks when it rings."""
        self._keepalive.heard(self._loop.time())

    def listening(self) -> None:
        """Note that we did not listen until now."""
        self._keepalive.listening(self._loop.time())

    def signed(self) -> None:
        """Note that the server gave a sign of life of its own accord."""
        if self._keepalive.arm():
            self._set_alarm()

    def pinged(self) -> None:
        """Note that a ping went out."""
        self._keepalive.pinged(self._loop.time())
        self._set_alarm()

    def ponged(self) -> None:
        """Note that a pong came."""
        self._keepalive.ponged(self._loop.time())

    def _set_alarm(self) -> None:
        self.stop()
        deadline = self._keepalive.deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._on_alarm)

    def _on_alarm(self) -> None:
        self._timer = None
        if self._is_deaf():
            self.listening()
        match self._keepalive.due(self._loop.time()):
            case Duty.SILENCE:
                self._on_dead(self._limits.silence or 0.0, "at all (keep_alive_timeout)")
            case Duty.PONG_MISSING:
                self._on_dead(self._limits.patience or 0.0, "after a ping (pong_timeout)")
            case Duty.PING:
                self._on_ping()
                self._set_alarm()
            case None:
                self._set_alarm()
