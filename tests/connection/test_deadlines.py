"""The time limits of many operations, on a clock that the test moves."""

from __future__ import annotations

import pytest

from doubles import ManualClock
from gqlwire._connection.deadlines import Deadlines


class Waiting:
    """Stands in for a `Reply`: notes when it expires."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.expired: list[float] = []

    def expire(self) -> None:
        self.expired.append(self.clock.now)


class Operations:
    """Operations that begin at some time and have some limit."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.deadlines = Deadlines(self.clock)

    def begin(self, at: float, limit: float) -> Waiting:
        self.clock.go_to(at)
        reply = Waiting(self.clock)
        self.deadlines.add(reply, limit)
        return reply


def test_each_expires_at_its_own_deadline() -> None:
    """Whatever the others have; those with one limit in the order in which they began."""
    it = Operations()
    replies = [it.begin(100.0, 10.0), it.begin(101.0, 3.0), it.begin(102.0, 10.0)]
    replies += [it.begin(103.0, 3.0), it.begin(104.0, 0.5)]
    it.clock.go_to(1_000.0)

    assert [[110.0], [104.0], [112.0], [106.0], [104.5]] == [reply.expired for reply in replies]
    assert [] == it.clock.alarms


def test_an_operation_that_is_removed_does_not_expire() -> None:
    """Removing it a second time is harmless, also when no other is left."""
    it = Operations()
    first, second = it.begin(100.0, 10.0), it.begin(101.0, 10.0)
    for _ in range(2):
        it.deadlines.remove(first, 10.0)
    it.clock.go_to(1_000.0)
    it.deadlines.remove(second, 10.0)

    assert ([], [111.0]) == (first.expired, second.expired)


def test_one_timer_serves_operations_that_follow_each_other() -> None:
    """To set one for each would cost more than the operation."""
    it = Operations()
    for number in range(1_000):
        reply = it.begin(100.0 + number / 1_000, 10.0)
        it.deadlines.remove(reply, 10.0)
    assert 1 == it.clock.calls

    it.clock.go_to(1_000.0)
    assert (1, []) == (it.clock.calls, it.clock.alarms)


@pytest.mark.parametrize("limits", [(10.0, 1.0), (1.0, 10.0)])
def test_the_nearest_of_several_limits_sets_the_timer(limits: tuple[float, float]) -> None:
    """There is one timer for all."""
    it = Operations()
    for limit in limits:
        it.begin(100.0, limit)

    assert [101.0] == it.clock.alarms


def test_after_a_stall_all_that_is_due_expires_together() -> None:
    """And nothing else."""
    it = Operations()
    due = [it.begin(100.0, 10.0), it.begin(100.0, 5.0), it.begin(101.0, 10.0)]
    other = it.begin(102.0, 60.0)
    it.clock.stall_to(150.0)

    assert ([[150.0]] * 3, []) == ([reply.expired for reply in due], other.expired)
    assert [162.0] == it.clock.alarms


def test_once_stopped_nothing_expires() -> None:
    """No timer is left."""
    it = Operations()
    replies = [it.begin(100.0, 10.0), it.begin(100.0, 20.0)]
    it.deadlines.stop()
    it.clock.go_to(1_000.0)

    assert ([[], []], []) == ([reply.expired for reply in replies], it.clock.alarms)


@pytest.mark.parametrize("limit", [0, 0.0, -0.5])
def test_an_operation_without_time_expires_when_it_begins(limit: float) -> None:
    """Not in the next turn of the loop, in which its answer might have come."""
    it = Operations()
    reply = it.begin(100.0, limit)

    assert [100.0] == reply.expired
    assert [] == it.clock.alarms
    it.deadlines.remove(reply, limit)
