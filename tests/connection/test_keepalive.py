"""When to ping, and when the server is dead, on a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import Watched
from gqlwire._connection.keepalive import Limits


def started(limits: Limits, *, from_first_sign: bool = False, sends: bool = True) -> Watched:
    """Start at 100."""
    watched = Watched(limits, sends=sends)
    watched.it.start(from_first_sign=from_first_sign)
    return watched


AT_ALL = "(keep_alive_timeout)"
AFTER_PING = "after a ping (pong_timeout)"


# --- Limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "after_ping"),
    [
        (Limits(), None),
        (Limits(silence=9.0), None),
        (Limits(ping_interval=10.0), 5.0),
        (Limits(ping_interval=10.0, pong_timeout=3.0), 3.0),
        (Limits(ping_interval=10.0, pong_timeout=30.0), 30.0),
        (Limits(pong_timeout=3.0), 3.0),
    ],
)
def test_by_default_a_pong_may_take_half_the_ping_interval(
    limits: Limits, after_ping: float | None
) -> None:
    """As gql has it."""
    assert after_ping == limits.after_ping


@pytest.mark.parametrize("seconds", [0, 0.0, -1, float("nan")])
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("ping_interval", "ping_interval"),
        ("pong_timeout", "pong_timeout"),
        ("silence", "keep_alive_timeout"),
    ],
)
def test_a_limit_that_is_not_a_positive_time_is_an_error(
    name: str, option: str, seconds: float
) -> None:
    """It would ping without a pause, or find every server dead immediately."""
    with pytest.raises(ValueError, match=f"{option} must be more than 0 seconds, not {seconds}"):
        Limits(**{name: seconds})


def test_an_infinite_limit_is_no_limit() -> None:
    """Infinity is how some say never."""
    for_ever = float("inf")
    watched = started(Limits(for_ever, for_ever, for_ever))
    watched.at(101.0).pinged()

    assert [] == watched.clock.alarms


# --- Nothing to watch for --------------------------------------------------------------------


def test_without_limits_there_is_no_alarm() -> None:
    """Nothing is ever due, and frames do not matter."""
    watched = started(Limits())
    watched.at(101.0).pinged()

    assert [] == watched.clock.alarms


def test_silence_before_the_start_does_not_count() -> None:
    """The time before the acknowledgement has a limit of its own."""
    watched = Watched(Limits(ping_interval=1.0, silence=1.0))
    watched.it.kept_alive()

    assert [] == watched.clock.alarms


def test_after_the_stop_nothing_is_due() -> None:
    """The connection has ended."""
    watched = started(Limits(ping_interval=1.0, silence=5.0))
    watched.it.stop()

    assert [] == watched.clock.alarms


# --- Silence ---------------------------------------------------------------------------------


def test_silence_is_death_after_its_limit() -> None:
    """Not a moment before."""
    watched = started(Limits(silence=30.0))
    watched.clock.go_to(129.9)
    assert [] == watched.deaths

    watched.clock.go_to(1_000.0)
    assert [(130.0, 30.0, AT_ALL)] == watched.deaths


def test_anything_heard_counts_as_life() -> None:
    """The limit counts from the last of it."""
    watched = started(Limits(silence=30.0))
    watched.heard_at(129.0)
    watched.clock.go_to(1_000.0)

    assert [(159.0, 30.0, AT_ALL)] == watched.deaths


def test_silence_counts_only_from_the_first_sign_where_the_protocol_says_so() -> None:
    """Until then a server may be as silent as it likes."""
    watched = started(Limits(silence=30.0), from_first_sign=True)
    assert [] == watched.clock.alarms

    watched.heard_at(1_000.0)
    watched.it.kept_alive()
    watched.clock.go_to(2_000.0)

    assert [(1_030.0, 30.0, AT_ALL)] == watched.deaths


def test_a_first_sign_before_the_start_counts() -> None:
    """Hasura gives it before the acknowledgement."""
    watched = Watched(Limits(silence=30.0))
    watched.it.kept_alive()
    watched.at(110.0).start(from_first_sign=True)
    watched.clock.go_to(1_000.0)

    assert [(140.0, 30.0, AT_ALL)] == watched.deaths


def test_only_the_first_sign_sets_the_alarm() -> None:
    """Further keep-alive messages are signs of life like any other frame."""
    watched = started(Limits(silence=30.0), from_first_sign=True)
    for now in (101.0, 102.0, 103.0):
        watched.at(now).kept_alive()

    assert 1 == watched.clock.calls


# --- Pings -----------------------------------------------------------------------------------


def test_a_ping_is_due_in_a_fixed_rhythm() -> None:
    """The first an interval after the start."""
    watched = started(Limits(ping_interval=10.0), sends=False)
    watched.clock.go_to(139.9)

    assert [110.0, 120.0, 130.0] == watched.pings


def test_a_busy_feed_does_not_put_off_a_ping() -> None:
    """Some servers count only what the client sends (close 3008)."""
    watched = started(Limits(ping_interval=10.0))
    for second in range(100, 110):
        watched.heard_at(second + 0.5)
    watched.clock.go_to(110.0)

    assert [110.0] == watched.pings


def test_a_late_alarm_does_not_shift_the_rhythm() -> None:
    """Each ping is counted from when the one before was due."""
    watched = started(Limits(ping_interval=10.0), sends=False)
    watched.clock.stall_to(113.0)
    watched.clock.go_to(120.0)

    assert [113.0, 120.0] == watched.pings


def test_pings_missed_in_a_stall_of_our_own_are_not_sent_later() -> None:
    """One ping is enough to find out whether the server is alive."""
    watched = started(Limits(ping_interval=10.0), sends=False)
    watched.clock.stall_to(175.0)
    watched.clock.go_to(185.0)

    assert [175.0, 185.0] == watched.pings


# --- Pongs -----------------------------------------------------------------------------------


def test_a_ping_that_nothing_follows_is_death() -> None:
    """After the pong timeout, which here is half the interval."""
    watched = started(Limits(ping_interval=10.0))
    watched.clock.go_to(114.9)
    assert ([110.0], []) == (watched.pings, watched.deaths)

    watched.clock.go_to(1_000.0)
    assert [(115.0, 5.0, AFTER_PING)] == watched.deaths


def test_anything_heard_after_a_ping_will_do() -> None:
    """A server that sends data is alive, whatever became of its pong."""
    watched = started(Limits(ping_interval=10.0))
    watched.heard_at(111.0)
    watched.clock.go_to(119.0)

    assert [] == watched.deaths


def test_a_pong_is_awaited_until_it_comes() -> None:
    """Other messages are not what the ping asked for."""
    watched = started(Limits(ping_interval=10.0), sends=False)
    assert watched.at(105.0).awaits_pong is False

    watched.at(106.0).pinged()
    watched.heard_at(107.0)
    assert watched.at(107.0).awaits_pong is True

    watched.at(108.0).ponged()
    assert watched.at(108.0).awaits_pong is False


def test_a_pong_that_never_comes_is_not_awaited_for_ever() -> None:
    """There are servers that answer no ping; they do not make `block` void."""
    limited, unlimited = started(Limits(pong_timeout=5.0)), started(Limits())
    for watched in (limited, unlimited):
        watched.at(110.0).pinged()
        watched.heard_at(111.0)

    assert [True, False] == [limited.at(now).awaits_pong for now in (114.9, 115.0)]
    assert [True, False] == [unlimited.at(now).awaits_pong for now in (139.9, 140.0)]


def test_resuming_to_read_restarts_the_limit_for_silence() -> None:
    """While we do not read, we cannot hear. The time for a pong continues."""
    watched = started(Limits(pong_timeout=50.0, silence=30.0))
    watched.at(101.0).pinged()
    watched.at(125.0).resumed()
    watched.clock.go_to(150.9)
    assert [] == watched.deaths

    watched.clock.go_to(1_000.0)
    assert [(151.0, 50.0, AFTER_PING)] == watched.deaths


def test_silence_does_not_count_while_reading_is_paused() -> None:
    """It counts from the time when reading resumes."""
    watched = started(Limits(silence=30.0))
    watched.gate.paused = True
    watched.clock.go_to(1_000.0)
    assert [] == watched.deaths

    watched.gate.paused = False
    watched.it.resumed()
    watched.clock.go_to(2_000.0)
    assert [(1_030.0, 30.0, AT_ALL)] == watched.deaths


def test_pinging_again_does_not_put_off_death() -> None:
    """The oldest ping counts; or a user who pings every second would never learn."""
    watched = started(Limits(pong_timeout=5.0))
    for second in range(100, 105):
        watched.at(second).pinged()
    watched.clock.go_to(1_000.0)

    assert [(105.0, 5.0, AFTER_PING)] == watched.deaths


def test_a_ping_of_the_user_has_a_pong_timeout_without_an_interval() -> None:
    """With a `pong_timeout` and no `ping_interval`."""
    watched = started(Limits(pong_timeout=5.0))
    assert [] == watched.clock.alarms

    watched.at(200.0).pinged()
    watched.clock.go_to(1_000.0)

    assert [(205.0, 5.0, AFTER_PING)] == watched.deaths


def test_silence_counts_beside_pings() -> None:
    """Whichever limit is reached first."""
    watched = started(Limits(ping_interval=10.0, pong_timeout=10.0, silence=15.0))
    watched.clock.go_to(1_000.0)

    assert ([110.0], [(115.0, 15.0, AT_ALL)]) == (watched.pings, watched.deaths)


# --- Latency ---------------------------------------------------------------------------------


def test_latency_is_the_time_from_a_ping_to_its_pong() -> None:
    """None before the first."""
    watched = started(Limits(ping_interval=10.0))
    watched.clock.go_to(110.0)
    assert watched.it.latency is None

    watched.heard_at(110.1)
    watched.at(110.25).ponged()

    assert 0.25 == watched.it.latency


def test_latency_is_measured_without_limits_too() -> None:
    """A user may ping by hand."""
    watched = started(Limits())
    watched.at(110.0).pinged()
    watched.at(110.5).ponged()

    assert 0.5 == watched.it.latency


def test_an_unsolicited_pong_measures_nothing() -> None:
    """gqlgen sends such pongs as its keep-alive."""
    watched = started(Limits())
    watched.at(105.0).ponged()
    assert watched.it.latency is None

    watched.at(110.0).pinged()
    watched.at(110.5).ponged()
    watched.at(117.0).ponged()

    assert 0.5 == watched.it.latency


def test_a_pong_answers_the_oldest_ping() -> None:
    """Pongs come in order; under load, more than one ping may be out."""
    watched = started(Limits(pong_timeout=60.0))
    watched.at(101.0).pinged()
    watched.at(102.0).pinged()
    watched.at(104.0).ponged()
    assert 3.0 == watched.it.latency

    watched.at(104.5).ponged()
    assert 2.5 == watched.it.latency


def test_pings_that_are_never_answered_do_not_fill_our_memory() -> None:
    """The newest are kept."""
    watched = started(Limits())
    for second in range(1_000):
        watched.at(200.0 + second).pinged()
    watched.at(1_200.0).ponged()

    assert 64.0 == watched.it.latency


# --- Any course of events --------------------------------------------------------------------

limits = st.builds(
    Limits,
    st.none() | st.floats(0.5, 60.0),
    st.none() | st.floats(0.5, 60.0),
    st.none() | st.floats(0.5, 60.0),
)
courses = st.lists(
    st.tuples(
        st.floats(0.0, 20.0),
        st.sampled_from(["heard", "resumed", "pinged", "ponged", "kept_alive"]),
    )
)


class Expected:
    """When a server is dead, by what has happened to it."""

    def __init__(self, limits: Limits, now: float, *, from_first_sign: bool) -> None:
        self._limits = limits
        self._counts_silence = not from_first_sign
        self._last_heard = now
        self._pinged: float | None = None

    def happen(self, what: str, now: float) -> None:
        if what in ("heard", "resumed"):
            self._last_heard = now
        if what == "heard":
            self._pinged = None
        if what == "pinged" and self._pinged is None:
            self._pinged = now
        if what == "kept_alive":
            self._counts_silence = True

    @property
    def death(self) -> float:
        silence, after_ping = self._limits.silence, self._limits.after_ping
        deaths = [float("inf")]
        if silence is not None and self._counts_silence:
            deaths.append(self._last_heard + silence)
        if after_ping is not None and self._pinged is not None:
            deaths.append(self._pinged + after_ping)
        return min(deaths)


@settings(deadline=None)
@given(limits, courses, st.booleans())
def test_a_server_is_dead_when_a_limit_is_over_and_not_before(
    limits: Limits, course: list[tuple[float, str]], from_first_sign: bool
) -> None:
    """An alarm that is rarely set misses nothing, and its further rings do no harm."""
    watched = started(limits, from_first_sign=from_first_sign)
    expected = Expected(limits, 100.0, from_first_sign=from_first_sign)
    now, known = 100.0, 0

    for pause, what in [*course, (200.0, "heard")]:
        now += pause
        watched.clock.go_to(now)
        for ping in watched.pings[known:]:
            expected.happen("pinged", ping)
        known = len(watched.pings)
        if watched.deaths:
            assert [expected.death] == [time for time, _, _ in watched.deaths]
            return
        assert now < expected.death
        # As `Connection` tells it: each message comes in a frame.
        for happening in ("kept_alive", "heard") if what == "kept_alive" else (what,):
            if happening == "heard":
                watched.heard_at(now)
            else:
                getattr(watched.it, happening)()
            expected.happen(happening, now)


@settings(deadline=None)
@given(limits, courses)
def test_pings_are_never_closer_than_their_interval_allows(
    limits: Limits, course: list[tuple[float, str]]
) -> None:
    """However busy the loop is: at most one ping per interval that has passed."""
    watched, now = started(Limits(ping_interval=limits.ping_interval), sends=False), 100.0

    for pause, _ in course:
        now += pause
        before = len(watched.pings)
        watched.clock.stall_to(now)
        assert len(watched.pings) <= before + 1

    interval = limits.ping_interval
    assert len(watched.pings) <= (0 if interval is None else (now - 100.0) / interval + 1e-6)
