"""Finds the subscription that makes the server end the connection.

If the server ends each connection in the same way, it may be down, or one of the subscriptions may
be the cause. Sent again on each new connection, that one would take all others down each time. So
suspects get connections of their own, apart from the rest, and what then happens to both tells them
apart. This module decides who is a suspect, by what was seen at the end of each connection. It is
data: it knows no subscription, no socket and no clock.

Terms: a *suspect* is a subscription that may be the cause. The *main* connection is that of the
session; the others are *apart*.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct, field

from gqlwire.errors import ConnectionClosed, Phase, TransportClosed, TransportConnectionFailed

K = TypeVar("K", bound=Hashable)

SOON = 60.0
"""A connection that lasts longer, in seconds, ended soon only if the ones before lasted as long."""
FRESH = 5.0
"""A subscription that was sent no longer ago, in seconds, was just sent."""
_MOMENT = 5.0
"""Shorter lives, in seconds, are taken for equal."""
_ROW = 3
"""After so many ends in the same way, all are suspects if none stands out."""
_GROUPS = 4
"""Into so many connections the suspects are divided."""
_TRIALS = 8
"""So often they are divided; then it seems to be the server that ends its connections, without a
subscription as the cause. After as many ends again, they are divided once more."""

_ELSEWHERE = frozenset({1001, 1012, 1013, 4429})
"""With these codes the server itself says that the cause is elsewhere: it restarts, or is busy."""
_REFUSALS = frozenset({1002, 1003, 1007, 1009, 1010, 1011})
_OTHER_CAUSES = frozenset({4401, 4403, 4406, 4408, 4429, 4499, 4504})


class Trace(Struct, Generic[K], frozen=True):
    """What was seen of one subscription on a connection that ended.

    `is_first`: whether it has never had an event, on any connection. `is_unheard`: whether nothing
    came for it on this connection. `is_fresh`: whether it was started just before the end.
    `was_last`: whether the last message was for it.
    """

    key: K
    is_first: bool = False
    is_unheard: bool = False
    is_fresh: bool = False
    was_last: bool = False


class End(Struct, Generic[K], frozen=True):
    """What was seen of a connection that ended, for `failure`.

    `traces`: of its subscriptions. `life`: how many seconds it lasted after the newest of them had
    been sent. `lead`: how many it had lasted before that. `has_control`: whether another, older
    connection lives, so that the cause is not the server, or the network. `places`: how many
    connections may be opened apart; 0 if the server allows only one. `has_interrupted`: whether a
    query or a mutation was under way by it, which may be the cause as well.
    """

    failure: Exception
    traces: Sequence[Trace[K]]
    life: float
    lead: float = 0.0
    has_control: bool = False
    places: int = 0
    has_interrupted: bool = False


class Verdict(Struct, Generic[K]):
    """What to do with the subscriptions of a connection that ended.

    `blamed`: the end is the fault of this one. `apart`: the groups that each get a connection of
    their own. `held`: this one is sent again on the main connection, later than the others.
    `count`: how many ends count against it; 0 if it is to be found out without delay. Those that
    are not named go to the next main connection.
    """

    blamed: K | None = None
    apart: list[list[K]] = field(default_factory=list)
    held: K | None = None
    count: int = 1


class Suspicion(Generic[K]):
    """Remembers how the last connections ended, and names suspects.

    `limit`: after how many ends that count against a suspect it is blamed; None means never.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._signature: object = None
        # How long the last connections lived that ended alike.
        self._lives: list[float] = []
        self._trials = 0
        # On how many connections in a row nothing came for it.
        self._unheard: dict[K, int] = {}
        self._last: K | None = None  # whose message was the last one
        # How many ends count against each suspect that was tried alone.
        self._counts: dict[K, int] = {}

    def ended(self, end: End[K]) -> Verdict[K]:
        """Judge the end of the main connection."""
        if _is_elsewhere(end.failure) or not end.traces:
            self._counts.clear()
            return Verdict()
        refused = _refused(end)
        last_before = self._note(end)
        if len(end.traces) == 1:
            key = end.traces[0].key
            is_clear = refused is not None and not end.has_interrupted
            return self._blamed(key, 1) if is_clear else self._ended_alone(end, key)
        suspects = self._standing_out(end, last_before)
        if not end.places:
            return self._ended_without_places(end, refused, suspects)
        self._counts.clear()
        groups = self._suspected(end, suspects)
        if refused is None:
            return Verdict(apart=groups[: end.places])
        # Another one may have ended the connection just now. If it was this one, it does so again.
        groups = [[refused], *([key for key in group if key != refused] for group in groups)]
        return Verdict(apart=[group for group in groups if group][: end.places], count=0)

    def ended_apart(self, end: End[K]) -> Verdict[K]:
        """Judge the end of a connection that suspects had apart."""
        if _is_elsewhere(end.failure) or not end.traces:
            return Verdict()
        first = end.traces[0]
        if not end.has_control or end.life > max(SOON, 2 * max(self._lives, default=0.0)):
            self._counts.pop(first.key, None)
            return Verdict()
        if len(end.traces) == 1:
            is_refused = first.is_first and is_refusal(end.failure)
            return self._blamed(first.key, 1) if is_refused else self._count(first.key)
        groups = self._divided(end.traces, max(2, min(_GROUPS, end.places)))
        return Verdict(apart=groups[: end.places])

    def _ended_alone(self, end: End[K], key: K) -> Verdict[K]:
        """Judge the end of a main connection with one subscription."""
        if end.has_control and len(self._lives) > 1:
            return self._count(key)
        return self._hold(end, key) if len(self._lives) >= _ROW else Verdict()

    def _suspected(self, end: End[K], suspects: list[K]) -> list[list[K]]:
        """Return who gets a connection apart: those that stand out, or all but the least likely."""
        groups = [[key] for key in suspects]
        if not groups and len(self._lives) >= _ROW:
            groups = self._divided(end.traces, min(_GROUPS, end.places + 1))[:-1]
        if not groups:
            return []
        # If an older connection outlives this one, it is not the server.
        self._trials += not end.has_control
        is_over = self._trials > _TRIALS
        if self._trials == 2 * _TRIALS:
            self._trials = 0
        return [] if is_over else groups

    def _ended_without_places(
        self, end: End[K], refused: K | None, suspects: list[K]
    ) -> Verdict[K]:
        """Judge the end of a main connection, if no other one may be opened."""
        if refused is not None and not end.has_interrupted:
            held = self._hold(end, refused)
            return self._blamed(refused, held.count) if held.count > 1 else held
        # One that is silent each time is more suspicious than one whose message was the last twice.
        is_one = len(suspects) == 1 or suspects[1:] == [self._last]
        return self._hold(end, suspects[0]) if is_one else Verdict()

    def _count(self, key: K) -> Verdict[K]:
        """Count an end against a suspect that was alone on its connection."""
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if self._limit is not None and count >= self._limit:
            return self._blamed(key, count)
        return Verdict(apart=[[key]], count=count)

    def _hold(self, end: End[K], key: K) -> Verdict[K]:
        """Count an end against a suspect that is to be, or was, sent later than the others.

        Only if the connection had lasted without it for longer than with it.
        """
        if key in self._counts and end.lead < end.life:
            self._counts.clear()
            return Verdict()
        verdict = self._count(key)
        return verdict if verdict.blamed else Verdict(held=key, count=verdict.count)

    def _blamed(self, key: K, count: int) -> Verdict[K]:
        self.clear()
        return Verdict(blamed=key, count=count)

    def clear(self) -> None:
        """Forget all."""
        self._signature, self._lives, self._trials = None, [], 0
        self._unheard.clear()
        self._counts.clear()
        self._last = None

    def discard(self, key: K) -> None:
        """Forget a subscription that is over."""
        self._unheard.pop(key, None)
        self._counts.pop(key, None)
        if self._last == key:
            self._last = None

    def _note(self, end: End[K]) -> K | None:
        """Note the end of a main connection; return whose message was the last one before it."""
        signature = type(end.failure), getattr(end.failure, "code", None)
        is_alike = signature == self._signature and _are_alike([*self._lives, end.life])
        if not is_alike:
            self.clear()
            self._signature = signature
        self._lives = [*self._lives, end.life][-_ROW:]
        self._unheard = {
            trace.key: self._unheard.get(trace.key, 0) + 1
            for trace in end.traces
            if trace.is_unheard
        }
        before = self._last
        self._last = next((trace.key for trace in end.traces if trace.was_last), None)
        return before

    def _standing_out(self, end: End[K], last_before: K | None) -> list[K]:
        """Return the few that something was seen of, twice, that was not seen of the others."""
        if len(self._lives) < 2:
            return []
        found = [key for key, count in self._unheard.items() if count > 1]
        if len(found) >= len(end.traces) or len(found) > _GROUPS:
            found = []
        if self._last is None or self._last != last_before or self._last in found:
            return found
        # If earlier suspects live on connections of their own, silence may mislead.
        return [*found, self._last] if not found or end.has_control else found

    def _divided(self, traces: Sequence[Trace[K]], most: int) -> list[list[K]]:
        """Divide them into `most` groups at most, the most suspicious first."""
        ranked = sorted(
            traces, key=lambda trace: (-self._unheard.get(trace.key, 0), not trace.was_last)
        )
        most = min(most, len(ranked))
        size, longer = divmod(len(ranked), most)
        groups: list[list[K]] = []
        start = 0
        for number in range(most):
            stop = start + size + (number >= most - longer)
            groups.append([trace.key for trace in ranked[start:stop]])
            start = stop
        return groups


def _refused(end: End[K]) -> K | None:
    """Return the one that the server may have refused by ending the connection, or None."""
    fresh = [trace.key for trace in end.traces if trace.is_first and trace.is_fresh]
    return fresh[0] if len(fresh) == 1 and is_refusal(end.failure) else None


def is_refusal(failure: Exception) -> bool:
    """Whether a server that closes with this code may mean one of the operations.

    RFC 6455, section 7.4; the codes from 4000 on are the application's (section 7.4.2). Those of
    credentials and of limits are about the connection.
    """
    if not isinstance(failure, ConnectionClosed) or failure.phase is not Phase.OPEN:
        return False
    code = failure.code or 0
    return code in _REFUSALS or (4000 <= code < 5000 and code not in _OTHER_CAUSES)


def _is_elsewhere(failure: Exception) -> bool:
    """Whether the cause is known to be no subscription.

    This side ended the connection (`close`, `reconnect`, `terminate`, idle), or the server says
    that it restarts, or is busy.
    """
    is_ours = isinstance(failure, TransportClosed) or type(failure) is TransportConnectionFailed
    return is_ours or getattr(failure, "code", None) in _ELSEWHERE


def _are_alike(lives: Sequence[float]) -> bool:
    return max(lives) <= SOON or max(lives) <= 2 * max(min(lives), _MOMENT)
