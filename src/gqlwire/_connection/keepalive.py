"""When to ping, and when to give the server up for dead.

Any frame counts as life. All times are seconds of whatever clock the caller reads; this file
knows neither the clock nor the protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace


class Duty(Enum):
    """What the time has come for."""

    PING = "ping"
    PONG_MISSING = "pong missing"
    SILENCE = "silence"


class Limits(Struct, frozen=True):
    """How closely to watch. None switches a thing off.

    `ping_interval`: ping this often, whatever else is going on (a timer that traffic resets never
    fires on a busy feed, and there are servers that count only what the client sends).
    `pong_timeout`: dead if nothing at all came for this long after a ping; by default half of
    `ping_interval`. `silence`: dead if nothing at all came for this long.
    """

    ping_interval: float | None = None
    pong_timeout: float | None = None
    silence: float | None = None

    def __post_init__(self) -> None:
        for name in ("ping_interval", "pong_timeout", "silence"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ValueError(f"keep-alive times are more than 0 seconds, {name} is {seconds}")

    @property
    def patience(self) -> float | None:
        """How long to wait after a ping."""
        if self.pong_timeout is None and self.ping_interval is not None:
            return self.ping_interval / 2
        return self.pong_timeout


class KeepAlive:
    """The watch over one connection.

    Call `start()` once it is acknowledged, `heard()` for every burst of frames, `pinged()` and
    `ponged()` as they happen, and `due()` at `deadline()`.
    """

    latency: float | None
    """Seconds between our last answered ping and its answer."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._watching = False
        self._armed = False
        self._next_ping: float | None = None
        self._last_heard = 0.0
        self._asked_at: float | None = None  # the oldest ping that nothing has followed
        self._pings: list[float] = []  # those that no pong has followed; a deque has 0.7 kB
        self.latency = None

    def start(
        self, now: float, *, from_first_sign: bool = False, silence: float | None = None
    ) -> None:
        """Begin to watch; with `from_first_sign`, silence counts only after `arm()`.

        `silence` is the limit, if it is another than that of the limits.
        """
        if silence is not None:
            self._limits = replace(self._limits, silence=silence)
        self._last_heard = now
        self._watching = True
        self._armed = self._armed or not from_first_sign
        self._schedule_ping(now)

    def arm(self) -> bool:
        """Take silence for death from now on; tell whether that is new."""
        is_new = not self._armed
        self._armed = True
        return is_new

    def heard(self, now: float) -> None:
        """Note that something came, whatever it was."""
        self._last_heard = now
        self._asked_at = None

    def listening(self, now: float) -> None:
        """Note that we did not listen until now, so that the silence was ours."""
        self._last_heard = now

    def pinged(self, now: float) -> None:
        """Note that a ping went out."""
        self._pings.append(now)
        del self._pings[:-_PINGS]
        if self._asked_at is None:
            self._asked_at = now

    def ponged(self, now: float) -> None:
        """Note that a pong came; one that nobody asked for measures nothing."""
        if self._pings:
            self.latency = now - self._pings.pop(0)

    def awaits_pong(self, now: float) -> bool:
        """Whether a pong may still come for a ping that is out."""
        patience = self._limits.patience
        # Some servers never answer; they are not waited for without end.
        limit = _PATIENCE if patience is None else patience
        return bool(self._pings) and now - self._pings[-1] < limit

    def due(self, now: float) -> Duty | None:
        """Tell what the time has come for. After PING, send one and call `pinged()`."""
        if self._dies_of_silence() <= now:
            return Duty.SILENCE
        if self._dies_unanswered() <= now:
            return Duty.PONG_MISSING
        if self._next_ping is not None and self._next_ping <= now:
            self._schedule_ping(now)
            return Duty.PING
        return None

    def deadline(self) -> float | None:
        """When to ask `due()` next; None if there is nothing to watch for."""
        pings = _NEVER if self._next_ping is None else self._next_ping
        nearest = min(self._dies_of_silence(), self._dies_unanswered(), pings)
        return None if nearest == _NEVER else nearest

    def _schedule_ping(self, now: float) -> None:
        if self._limits.ping_interval is None:
            return
        # Counted from the ping before, so that the rhythm holds; after a stall of this process,
        # from now, so that the missed ones are not made up for.
        following = (
            now if self._next_ping is None else self._next_ping
        ) + self._limits.ping_interval
        self._next_ping = following if following > now else now + self._limits.ping_interval

    def _dies_of_silence(self) -> float:
        if self._limits.silence is None or not (self._watching and self._armed):
            return _NEVER
        return self._last_heard + self._limits.silence

    def _dies_unanswered(self) -> float:
        patience = self._limits.patience
        return _NEVER if patience is None or self._asked_at is None else self._asked_at + patience


_NEVER = float("inf")
_PINGS = 64
_PATIENCE = 30.0


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
        self._announced: float | None = None
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

    def start(self, *, from_first_sign: bool, announced: float | None = None) -> None:
        """Begin to watch; with `from_first_sign`, silence counts only after `signed()`.

        `announced` is the limit for silence that the server named. That of the user, if there is
        one, replaces it.
        """
        if self._limits.silence is None and announced is not None and announced > 0:
            self._announced = announced
            self.listens = True
        self._keepalive.start(
            self._loop.time(), from_first_sign=from_first_sign, silence=self._announced
        )
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
            case Duty.SILENCE if self._announced is not None:
                self._on_dead(self._announced, "at all (the limit that it announced)")
            case Duty.SILENCE:
                self._on_dead(self._limits.silence or 0.0, "at all (keep_alive_timeout)")
            case Duty.PONG_MISSING:
                self._on_dead(self._limits.patience or 0.0, "after a ping (pong_timeout)")
            case Duty.PING:
                self._on_ping()
                self._set_alarm()
            case None:
                self._set_alarm()
