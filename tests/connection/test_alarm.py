"""One timer for many waits, on a clock that the test moves."""

from __future__ import annotations

from doubles import ManualClock
from gqlwire._connection.deadlines import Alarm


class Looking:
    """Notes when its alarm rings, and has it ring again as the test says."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.alarm = Alarm(self.clock, self)
        self.times: list[float] = []
        self.again: list[float | None] = []

    def look(self) -> float | None:
        self.times.append(self.clock.now)
        return self.again.pop(0) if self.again else None


def test_an_alarm_rings_once_at_its_deadline() -> None:
    """Not before it, and not again."""
    it = Looking()
    it.alarm.ring_by(110.0)
    it.clock.go_to(109.9)
    assert [] == it.times

    it.clock.go_to(1_000.0)
    assert [110.0] == it.times


def test_a_later_deadline_sets_no_timer() -> None:
    """The alarm looks before that, and sees what is left."""
    it = Looking()
    for deadline in (110.0, 110.0, 111.0, 200.0):
        it.alarm.ring_by(deadline)

    assert (1, [110.0]) == (it.clock.calls, it.clock.alarms)


def test_an_earlier_deadline_takes_the_place_of_a_later_one() -> None:
    """There is never more than one timer."""
    it = Looking()
    it.alarm.ring_by(110.0)
    it.alarm.ring_by(105.0)

    assert [105.0] == it.clock.alarms


def test_an_alarm_rings_again_when_its_owner_says() -> None:
    """Until the owner says never."""
    it = Looking()
    it.again = [120.0, 130.0, None]
    it.alarm.ring_by(110.0)
    it.clock.go_to(1_000.0)

    assert ([110.0, 120.0, 130.0], []) == (it.times, it.clock.alarms)


def test_a_deadline_that_comes_up_while_it_looks_counts() -> None:
    """If it is earlier than what the look returns."""

    class Deciding(Looking):
        def look(self) -> float | None:
            self.alarm.ring_by(self.clock.now + 5.0)
            super().look()
            return self.clock.now + 10.0

    it = Deciding()
    it.alarm.ring_by(110.0)
    it.clock.go_to(121.0)

    assert ([110.0, 115.0, 120.0], [125.0]) == (it.times, it.clock.alarms)


def test_a_stopped_alarm_does_not_ring() -> None:
    """Stopping twice is harmless, and it can be set again."""
    it = Looking()
    it.alarm.ring_by(110.0)
    it.alarm.stop()
    it.alarm.stop()
    it.clock.go_to(200.0)
    assert [] == it.times

    it.alarm.ring_by(210.0)
    it.clock.go_to(300.0)
    assert [210.0] == it.times
