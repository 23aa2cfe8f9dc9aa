"""When to ping and when to give up, on a clock that the test reads out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gqlwire._connection.keepalive import Duty, KeepAlive, Limits


def watching(limits: Limits, *, from_first_sign: bool = False) -> KeepAlive:
    """Begin to watch at 100."""
    keepalive = KeepAlive(limits)
    keepalive.start(100.0, from_first_sign=from_first_sign)
    return keepalive


# --- Limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "patience"),
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
    limits: Limits, patience: float | None
) -> None:
    """As gql has it."""
    assert patience == limits.patience


@pytest.mark.parametrize("seconds", [0, 0.0, -1, float("nan")])
@pytest.mark.parametrize("name", ["ping_interval", "pong_timeout", "silence"])
def test_a_limit_that_is_no_time_is_an_error(name: str, seconds: float) -> None:
    """It would ping without a pause, or find everybody dead at once."""
    with pytest.raises(ValueError, match=f"{name} is {seconds}"):
        Limits(**{name: seconds})


def test_a_limit_that_never_comes_is_none() -> None:
    """Infinity is how some say never."""
    for_ever = float("inf")
    keepalive = watching(Limits(for_ever, for_ever, for_ever))
    keepalive.pinged(101.0)

    assert keepalive.deadline() is None


# --- Nothing to watch for --------------------------------------------------------------------


def test_without_limits_there_is_no_deadline() -> None:
    """Nothing is due, ever."""
    keepalive = watching(Limits())
    keepalive.pinged(101.0)

    assert keepalive.deadline() is None
    assert keepalive.due(1e9) is None


def test_before_the_start_silence_is_no_death() -> None:
    """The time before the acknowledgement has a limit of its own."""
    keepalive = KeepAlive(Limits(ping_interval=1.0, silence=1.0))
    keepalive.arm()

    assert keepalive.deadline() is None
    assert keepalive.due(1e9) is None


# --- Silence ---------------------------------------------------------------------------------


def test_silence_is_death_after_its_limit() -> None:
    """Not a moment before."""
    keepalive = watching(Limits(silence=30.0))

    assert 130.0 == keepalive.deadline()
    assert keepalive.due(129.9) is None
    assert Duty.SILENCE is keepalive.due(130.0)


def test_anything_heard_counts_as_life() -> None:
    """The limit counts from the last of it."""
    keepalive = watching(Limits(silence=30.0))
    keepalive.heard(129.0)

    assert keepalive.due(130.0) is None
    assert 159.0 == keepalive.deadline()


def test_silence_counts_only_from_the_first_sign_where_the_protocol_says_so() -> None:
    """Until then a server may be as silent as it likes."""
    keepalive = watching(Limits(silence=30.0), from_first_sign=True)
    assert keepalive.deadline() is None

    keepalive.heard(1000.0)
    keepalive.arm()

    assert 1030.0 == keepalive.deadline()
    assert Duty.SILENCE is keepalive.due(1030.0)


def test_a_first_sign_before_the_start_counts() -> None:
    """Hasura gives it before the acknowledgement."""
    keepalive = KeepAlive(Limits(silence=30.0))
    keepalive.arm()
    keepalive.start(100.0, from_first_sign=True)

    assert 130.0 == keepalive.deadline()


# --- Pings -----------------------------------------------------------------------------------


def test_a_ping_is_due_in_a_fixed_rhythm() -> None:
    """The first an interval after the start."""
    keepalive = watching(Limits(ping_interval=10.0))

    for now in (110.0, 120.0, 130.0):
        assert now == keepalive.deadline()
        assert keepalive.due(now - 0.1) is None
        assert Duty.PING is keepalive.due(now)
        assert keepalive.due(now) is None


def test_a_busy_feed_does_not_put_off_a_ping() -> None:
    """There are servers that count only what the client sends (close 3008)."""
    keepalive = watching(Limits(ping_interval=10.0))
    for second in range(100, 110):
        keepalive.heard(second + 0.5)

    assert Duty.PING is keepalive.due(110.0)


def test_a_late_alarm_does_not_shift_the_rhythm() -> None:
    """Each ping is counted from when the one before was due."""
    keepalive = watching(Limits(ping_interval=10.0))

    assert Duty.PING is keepalive.due(113.0)
    assert 120.0 == keepalive.deadline()


def test_after_a_stall_of_ours_missed_pings_are_not_made_up_for() -> None:
    """One is enough to find out how things stand."""
    keepalive = watching(Limits(ping_interval=10.0))

    assert Duty.PING is keepalive.due(175.0)
    assert keepalive.due(175.0) is None
    assert 185.0 == keepalive.deadline()


# --- Pongs -----------------------------------------------------------------------------------


def test_a_ping_that_nothing_follows_is_death() -> None:
    """After the patience, which here is half the interval."""
    keepalive = watching(Limits(ping_interval=10.0))
    keepalive.pinged(110.0)

    assert 110.0 == keepalive.deadline()
    assert Duty.PING is keepalive.due(110.0)
    assert 115.0 == keepalive.deadline()
    assert keepalive.due(114.9) is None
    assert Duty.PONG_MISSING is keepalive.due(115.0)


def test_anything_heard_after_a_ping_will_do() -> None:
    """A server that sends data is alive, whatever became of its pong."""
    keepalive = watching(Limits(ping_interval=10.0))
    keepalive.pinged(110.0)
    keepalive.heard(111.0)

    assert keepalive.due(115.0) is not Duty.PONG_MISSING


def test_a_pong_is_awaited_until_it_comes() -> None:
    """Other messages are not what the ping asked for."""
    keepalive = watching(Limits(ping_interval=10.0))
    assert keepalive.awaits_pong(105.0) is False

    keepalive.pinged(110.0)
    keepalive.heard(111.0)
    assert keepalive.awaits_pong(111.0) is True

    keepalive.ponged(112.0)
    assert keepalive.awaits_pong(112.0) is False


def test_a_pong_that_never_comes_is_not_awaited_for_ever() -> None:
    """There are servers that answer no ping; they do not make `block` void."""
    limited, unlimited = watching(Limits(ping_interval=10.0)), watching(Limits())
    for keepalive in (limited, unlimited):
        keepalive.pinged(110.0)

    assert [True, False] == [limited.awaits_pong(now) for now in (114.9, 115.0)]
    assert [True, False] == [unlimited.awaits_pong(now) for now in (139.9, 140.0)]


def test_silence_of_our_own_is_no_death() -> None:
    """Who does not listen cannot hear; a ping that is out goes on counting."""
    keepalive = watching(Limits(pong_timeout=50.0, silence=30.0))
    keepalive.pinged(101.0)
    keepalive.listening(125.0)

    assert keepalive.due(150.9) is None
    assert Duty.PONG_MISSING is keepalive.due(151.0)
    assert Duty.SILENCE is keepalive.due(155.0)


def test_arming_is_news_once() -> None:
    """Whoever sets the alarm need not set it with every sign."""
    keepalive = KeepAlive(Limits(silence=30.0))

    assert [True, False, False] == [keepalive.arm() for _ in range(3)]


def test_pinging_again_does_not_put_off_death() -> None:
    """The oldest ping counts; or a user who pings every second would never learn."""
    keepalive = watching(Limits(pong_timeout=5.0))
    for second in range(100, 105):
        keepalive.pinged(second)

    assert Duty.PONG_MISSING is keepalive.due(105.0)


def test_a_ping_of_the_users_is_watched_without_a_rhythm() -> None:
    """With a `pong_timeout` and no `ping_interval`."""
    keepalive = watching(Limits(pong_timeout=5.0))
    assert keepalive.deadline() is None

    keepalive.pinged(200.0)

    assert 205.0 == keepalive.deadline()


def test_silence_counts_beside_pings() -> None:
    """Whichever limit is reached first."""
    keepalive = watching(Limits(ping_interval=10.0, pong_timeout=10.0, silence=15.0))
    assert Duty.PING is keepalive.due(110.0)
    keepalive.pinged(110.0)

    assert 115.0 == keepalive.deadline()
    assert Duty.SILENCE is keepalive.due(115.0)


# --- Latency ---------------------------------------------------------------------------------


def test_latency_is_the_time_from_a_ping_to_its_pong() -> None:
    """None before the first."""
    keepalive = watching(Limits(ping_interval=10.0))
    assert keepalive.latency is None

    keepalive.pinged(110.0)
    keepalive.heard(110.1)
    keepalive.ponged(110.25)

    assert 0.25 == keepalive.latency


def test_latency_is_measured_without_limits_too() -> None:
    """A user may ping by hand."""
    keepalive = watching(Limits())
    keepalive.pinged(110.0)
    keepalive.ponged(110.5)

    assert 0.5 == keepalive.latency


def test_a_pong_that_nobody_asked_for_measures_nothing() -> None:
    """gqlgen's keep-alive consists of such."""
    keepalive = watching(Limits())
    keepalive.ponged(105.0)
    assert keepalive.latency is None

    keepalive.pinged(110.0)
    keepalive.ponged(110.5)
    keepalive.ponged(117.0)

    assert 0.5 == keepalive.latency


def test_a_pong_answers_the_oldest_ping() -> None:
    """Pongs come in order; under load, more than one ping may be out."""
    keepalive = watching(Limits(ping_interval=1.0, pong_timeout=60.0))
    keepalive.pinged(101.0)
    keepalive.pinged(102.0)
    keepalive.ponged(104.0)
    assert 3.0 == keepalive.latency

    keepalive.ponged(104.5)
    assert 2.5 == keepalive.latency


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
        st.sampled_from(
            ["heard", "listening", "pinged", "ponged", "arm", "start", "start from sign", "due"]
        ),
    )
)


def happen(keepalive: KeepAlive, what: str, now: float) -> None:
    match what:
        case "start":
            keepalive.start(now)
        case "start from sign":
            keepalive.start(now, from_first_sign=True)
        case "arm":
            keepalive.arm()
        case _:
            getattr(keepalive, what)(now)


@settings(deadline=None)
@given(limits, courses)
def test_something_is_due_at_the_deadline_and_nothing_before(
    limits: Limits, course: list[tuple[float, str]]
) -> None:
    """So whoever sets an alarm by `deadline()` neither misses a duty nor wakes for none."""
    keepalive, now = KeepAlive(limits), 100.0

    for pause, what in course:
        now += pause
        happen(keepalive, what, now)
        deadline = keepalive.deadline()
        if deadline is None:
            assert keepalive.due(1e9) is None
        else:
            assert keepalive.due(deadline - 1e-6) is None

    final = keepalive.deadline()
    assert final is None or keepalive.due(final) is not None


@settings(deadline=None)
@given(limits, courses)
def test_pings_are_never_closer_than_their_interval_allows(
    limits: Limits, course: list[tuple[float, str]]
) -> None:
    """However irregularly somebody looks: at most one ping per interval that has passed."""
    keepalive, now = watching(Limits(ping_interval=limits.ping_interval)), 100.0
    pings = 0

    for pause, _ in course:
        now += pause
        pings += keepalive.due(now) is Duty.PING
        assert keepalive.due(now) is None

    interval = limits.ping_interval
    assert pings <= (0 if interval is None else (now - 100.0) / interval + 1e-6)
