"""Decides when to ping the server, and when the server is dead.

Every frame that arrives shows that the server is alive. This module has no clock of its own, and
knows no protocol.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from gqlwire._connection.deadlines import Alarm, Clock
from gqlwire._numbers import check_seconds
from gqlwire._streams.backpressure import ReadGate

_NEVER = float("inf")
_PINGS = 64
_PONG_SECONDS = 30.0
"""How long to expect a pong without a `pong_timeout`, in seconds. Some servers never answer."""


class Limits(Struct, frozen=True):
    """The keep-alive options, in seconds. None turns a check off.

    `ping_interval`: ping this often, even on a busy connection. A timer that traffic resets would
    never fire on a busy feed, and some servers count only what the client sends. `pong_timeout`:
    the server is dead if it sends nothing for this time after a ping; by default half of
    `ping_interval`. `silence`: the server is dead if it sends nothing for this time.
    """

    ping_interval: float | None = None
    pong_timeout: float | None = None
    silence: float | None = None

    def __post_init__(self) -> None:
        for name in ("ping_interval", "pong_timeout", "silence"):
            seconds = getattr(self, name)
            option = "keep_alive_timeout" if name == "silence" else name
            check_seconds(option, seconds, zero=False)

    @property
    def after_ping(self) -> float | None:
        """`pong_timeout`, or its default."""
        if self.pong_timeout is None and self.ping_interval is not None:
            return self.ping_interval / 2
        return self.pong_timeout


class KeepAlive:
    """Pings the server of one connection, and notices when it is dead.

    `on_ping` is called when a ping is due, and calls `pinged` if it sends one. `on_dead` is called
    with the limit that the server exceeded, in seconds, and a description of that limit. While
    `gate` has paused reading, we cause the silence, so it does not count.

    - `latency`: the round-trip time of the last answered ping, in seconds; None before the first.
    - `last_heard`: when the last frame arrived.
    - `unanswered_since`: when the oldest ping was sent that no frame has followed; None if there is
      no such ping.

    The connection sets the last two itself for each burst of frames, by `clock`, because a method
    call for each burst would cost too much. The alarm is not changed then; when it rings, `look`
    checks the new times.
    """

    __slots__ = (
        "_alarm",
        "_counts_silence",
        "_gate",
        "_is_announced",
        "_is_started",
        "_limits",
        "_next_ping",
        "_on_dead",
        "_on_ping",
        "_pings",
        "clock",
        "last_heard",
        "latency",
        "unanswered_since",
    )

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        gate: ReadGate,
        *,
        on_ping: Callable[[], None],
        on_dead: Callable[[float, str], None],
    ) -> None:
        self._limits = limits
        self.clock: Clock = clock
        self._gate = gate
        self._on_ping = on_ping
        self._on_dead = on_dead
        self._alarm = Alarm(clock, self)
        self._is_started = False
        self._is_announced = False
        self._counts_silence = False
        self.last_heard: float = 0.0
        self._next_ping = _NEVER
        self._pings: tuple[float, ...] = ()  # those without a pong, the oldest first
        self.unanswered_since: float | None = None
        self.latency: float | None = None

    def start(self, *, from_first_sign: bool = False, announced: float | None = None) -> None:
        """Start the checks; call this at the acknowledgement.

        With `from_first_sign`, silence counts only after the first `kept_alive`, which may have
        been called before. `announced` is the limit for silence that the server announced. It
        applies if the user has set none.
        """
        if self._limits.silence is None and announced is not None and announced > 0:
            self._limits = replace(self._limits, silence=announced)
            self._is_announced = True
        self._is_started = True
        self._counts_silence = self._counts_silence or not from_first_sign
        self.last_heard = now = self.clock.time()
        if self._limits.ping_interval is not None:
            self._next_ping = now + self._limits.ping_interval
        self._set_alarm()

    def stop(self) -> None:
        """Stop all checks and pings."""
        self._alarm.stop()

    def resumed(self) -> None:
        """Note that we read the socket again; the silence before was not the server's."""
        self.last_heard = self.clock.time()

    def kept_alive(self) -> None:
        """Note a keep-alive message of the server. Its silence counts from now on."""
        if not self._counts_silence:
            self._counts_silence = True
            self._set_alarm()

    def pinged(self) -> None:
        """Note that a ping was sent."""
        now = self.clock.time()
        self._pings = (*self._pings, now)[-_PINGS:]
        if self.unanswered_since is None:
            self.unanswered_since = now
        self._set_alarm()

    def ponged(self) -> None:
        """Note that a pong arrived, and measure the latency if a ping was sent."""
        if self._pings:
            self.latency = self.clock.time() - self._pings[0]
            self._pings = self._pings[1:]

    @property
    def awaits_pong(self) -> bool:
        """Whether a pong may still arrive for a ping that was sent."""
        if not self._pings:
            return False
        limit = self._limits.after_ping
        seconds = _PONG_SECONDS if limit is None else limit
        return self.clock.time() - self._pings[-1] < seconds

    def look(self) -> float | None:
        """Do what is due, and return when to look again; the alarm calls this."""
        now = self.clock.time()
        if self._gate.paused:
            self.last_heard = now
        if self._dead_of_silence <= now:
            option = "the limit that it announced" if self._is_announced else "keep_alive_timeout"
            self._on_dead(self._limits.silence or 0.0, f"({option})")
            return None
        if self._dead_after_ping <= now:
            self._on_dead(self._limits.after_ping or 0.0, "after a ping (pong_timeout)")
            return None
        if self._next_ping <= now:
            self._schedule_ping(now)
            self._on_ping()
        return self._deadline()

    def _set_alarm(self) -> None:
        deadline = self._deadline()
        if deadline is not None:
            self._alarm.ring_by(deadline)

    def _deadline(self) -> float | None:
        nearest = min(self._dead_of_silence, self._dead_after_ping, self._next_ping)
        return None if nearest == _NEVER else nearest

    @property
    def _dead_of_silence(self) -> float:
        if self._limits.silence is None or not (self._is_started and self._counts_silence):
            return _NEVER
        return self.last_heard + self._limits.silence

    @property
    def _dead_after_ping(self) -> float:
        limit, since = self._limits.after_ping, self.unanswered_since
        return _NEVER if limit is None or since is None else since + limit

    def _schedule_ping(self, now: float) -> None:
        # Counted from the last due time, so that the pings do not drift. If the process was
        # suspended for longer, counted from now, so that it does not send all missed pings.
        interval = self._limits.ping_interval or _NEVER
        following = self._next_ping + interval
        self._next_ping = following if following > now else now + interval
