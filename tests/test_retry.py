"""When to connect again, by the policy alone: no clock, no socket, no chance but what is given."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gqlwire.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectionRefused,
    ConnectionRejected,
    HandshakeRejected,
    InvalidURL,
    KeepAliveTimeout,
    MessageTooBig,
    NameNotResolved,
    Phase,
    ProxyFailed,
    TLSFailed,
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
    TransportProtocolError,
)
from gqlwire.errors.reasons import ABNORMAL, MEANINGS
from gqlwire.retry import CLOSE_CODES, Action, RetryPolicy
from gqlwire.retry.actions import action_for, retry_after
from gqlwire.retry.attempts import Attempts

HOUR = 3600.0
LOST = ConnectionClosed(code=1006, phase=Phase.OPEN)
EXPIRED = ConnectionClosed(code=4401, phase=Phase.OPEN)


def closed(code: int, phase: Phase = Phase.OPEN) -> ConnectionClosed:
    return ConnectionClosed(code=code, phase=phase)


def refused(status: int | None, **headers: str) -> HandshakeRejected:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HandshakeRejected(status=status, headers=named)


def once_acked(policy: RetryPolicy, chance: float = 1.0) -> Attempts:
    """A client that was connected for long, at the time 0."""
    attempts = Attempts(policy, lambda: chance)
    attempts.connecting(-HOUR)
    attempts.acknowledged(-HOUR)
    return attempts


# --- Tables ----------------------------------------------------------------------------------

RETRIED = [1000, 1001, 1005, 1006, 1009, 1011, 1012, 1014, 3008, 4408, 4409, 4499, 4500, 4504]
FINAL = [1002, 1003, 1007, 1010, 4400, 4406]
REFRESHED = [1008, 4401, 4403]
POSTPONED = [1013, 4429]


def test_every_close_code_with_a_meaning_has_an_action() -> None:
    """A code that an error explains is one that the policy has thought of."""
    assert {*MEANINGS, ABNORMAL} == set(CLOSE_CODES)
    assert sorted([*RETRIED, *FINAL, *REFRESHED, *POSTPONED]) == sorted(CLOSE_CODES)


@pytest.mark.parametrize(
    ("codes", "action"),
    [
        (RETRIED, Action.RETRY),
        (FINAL, Action.STOP),
        (REFRESHED, Action.REFRESH),
        (POSTPONED, Action.LATER),
        ([1015, 2999, 3000, 4321, 4999], Action.RETRY),
    ],
    ids=["retried", "final", "refreshed", "postponed", "unknown"],
)
def test_a_close_code_decides(codes: list[int], action: Action) -> None:
    """Whether it is worth another attempt, once operations could run."""
    assert dict.fromkeys(codes, action) == {code: action_for(closed(code)) for code in codes}


@pytest.mark.parametrize("code", [1000, 4400])
def test_hasuras_refusals_ask_for_credentials(code: int) -> None:
    """Before the acknowledgement these two mean that connection_init was refused."""
    failure = closed(code, Phase.INIT)
    failure.reason = "4400: Connection initialization failed"
    assert Action.REFRESH is action_for(failure)


def test_a_server_that_goes_before_it_acknowledges_refuses_nothing() -> None:
    """1000 without a word is what one says that restarts."""
    assert Action.RETRY is action_for(closed(1000, Phase.INIT))


def test_a_server_that_acknowledges_and_hangs_up_is_no_first_failure() -> None:
    """Even if both came at once, so that nobody heard of the acknowledgement."""
    attempts = Attempts(RetryPolicy(), lambda: 0.5)
    attempts.connecting(0)

    assert attempts.failed(closed(1012, Phase.OPEN), 0).retry
    assert not Attempts(RetryPolicy(), lambda: 0.5).failed(closed(1012, Phase.INIT), 0).retry


def test_a_refusal_is_final_where_there_is_nothing_to_ask() -> None:
    """The same credentials would be refused again."""
    attempts = Attempts(RetryPolicy(initial=True), lambda: 0.5, can_refresh=False)
    attempts.connecting(0)

    decision = attempts.failed(closed(4401, Phase.INIT), 0)

    assert (False, "there are no others") == (decision.retry, decision.why[-19:])


@pytest.mark.parametrize(
    ("failure", "action"),
    [
        (refused(401), Action.REFRESH),
        (refused(403), Action.REFRESH),
        (refused(400), Action.STOP),
        (refused(404), Action.STOP),
        (refused(301), Action.STOP),
        (refused(None), Action.STOP),
        (refused(408), Action.RETRY),
        (refused(425), Action.RETRY),
        (refused(429), Action.LATER),
        (refused(500), Action.RETRY),
        (refused(503), Action.RETRY),
        (ConnectionRejected(), Action.REFRESH),
        (ConnectionRefused(), Action.RETRY),
        (NameNotResolved(), Action.RETRY),
        (ProxyFailed(), Action.RETRY),
        (AckTimeout(), Action.RETRY),
        (KeepAliveTimeout(), Action.RETRY),
        (TransportProtocolError(), Action.RETRY),
        (TransportConnectionFailed(code=1011), Action.RETRY),
        (TLSFailed(), Action.STOP),
        (MessageTooBig(), Action.STOP),
        (TransportClosed(), Action.STOP),
        (InvalidURL(), Action.STOP),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'status', '')}",
)
def test_a_failure_decides(failure: TransportError, action: Action) -> None:
    """What can pass by itself is retried; what cannot is not."""
    assert action is action_for(failure)


# --- How long --------------------------------------------------------------------------------


def test_the_wait_is_drawn_below_a_ceiling_that_doubles_up_to_a_cap() -> None:
    """Full jitter: from nothing to the ceiling."""
    longest, none = (once_acked(RetryPolicy(), chance) for chance in (1.0, 0.0))

    assert [1, 2, 4, 8, 16, 30, 30, 30] == [longest.failed(LOST, 0).delay for _ in range(8)]
    assert [0.0] * 8 == [none.failed(LOST, 0).delay for _ in range(8)]


def test_thousands_of_failures_do_not_overflow() -> None:
    """A float holds no 2 ** 5000."""
    assert 30 == RetryPolicy().ceiling(5_000)


@pytest.mark.parametrize(
    ("acked_for", "attempt"), [(None, 8), (0.0, 8), (29.9, 8), (30.0, 1), (HOUR, 1)]
)
def test_only_a_connection_that_lasted_forgives(acked_for: float | None, attempt: int) -> None:
    """A server that acknowledges and hangs up would be asked without a pause otherwise."""
    attempts = once_acked(RetryPolicy(stable_after=30))
    for _ in range(7):
        attempts.failed(LOST, 0)

    if acked_for is not None:
        attempts.acknowledged(100)
    decision = attempts.failed(LOST, 100 + (acked_for or 0))

    assert attempt == decision.attempt


def test_a_busy_server_is_asked_again_later() -> None:
    """After a minute at least, and not by all clients at the same time."""
    assert 60 == once_acked(RetryPolicy(), 0.0).failed(closed(4429), 0).delay
    assert 120 == once_acked(RetryPolicy(), 1.0).failed(closed(1013), 0).delay


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "120"}, 120.0),
        (
            {
                "retry_after": "Fri, 31 Dec 1999 23:59:59 GMT",
                "date": "Fri, 31 Dec 1999 23:59:29 GMT",
            },
            30.0,
        ),
        (
            {
                "retry_after": "Fri, 31 Dec 1999 23:59:00 GMT",
                "date": "Fri, 31 Dec 1999 23:59:29 GMT",
            },
            0.0,
        ),
        ({"retry_after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"retry_after": "soon"}, 0.0),
        ({"retry_after": "-5"}, 0.0),
        ({}, 0.0),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float) -> None:
    """Seconds, or a date; what is neither asks for nothing."""
    assert seconds == retry_after(refused(503, **headers))
    assert 0.0 == retry_after(LOST)


def test_retry_after_is_honoured() -> None:
    """It is the least; a little more keeps those apart who were told the same."""
    told = refused(503, retry_after="120")

    assert 120 == once_acked(RetryPolicy(), 0.0).failed(told, 0).delay
    assert 121 == once_acked(RetryPolicy(), 1.0).failed(told, 0).delay


# --- How often -------------------------------------------------------------------------------


def test_a_failed_first_connection_is_not_retried() -> None:
    """A wrong URL is reported, not tried for ever."""
    decision = Attempts(RetryPolicy(), lambda: 1.0).failed(ConnectionRefused(), 0)

    assert (False, "the first connection failed (initial=False)") == (decision.retry, decision.why)


def test_the_first_connection_can_be_retried() -> None:
    """If asked for; a failure that cannot pass is still final."""
    attempts = Attempts(RetryPolicy(initial=True), lambda: 1.0)

    assert attempts.failed(ConnectionRefused(), 0).retry
    assert not attempts.failed(refused(404), 0).retry


def test_credentials_are_asked_for_immediately_once() -> None:
    """If the new ones are refused, each further attempt waits. After a good time they may expire
    again.
    """
    attempts = once_acked(RetryPolicy())

    first, second = attempts.failed(EXPIRED, 0), attempts.failed(EXPIRED, 1)
    assert (True, True, 0.0) == (first.retry, first.refresh, first.delay)
    assert (True, True, 120.0) == (second.retry, second.refresh, second.delay)

    attempts.acknowledged(130)
    third = attempts.failed(EXPIRED, HOUR)
    assert (True, 0.0) == (third.refresh, third.delay)


def test_only_refusals_in_a_row_are_postponed() -> None:
    """The network may be down for longer than the new credentials are good, or never be stable."""
    attempts = once_acked(RetryPolicy())

    assert attempts.failed(EXPIRED, 0).refresh
    assert not attempts.failed(LOST, 1).refresh
    assert 0 == attempts.failed(EXPIRED, HOUR).delay

    attempts.acknowledged(HOUR + 1)
    assert not attempts.failed(LOST, HOUR + 1).refresh
    assert 0 == attempts.failed(EXPIRED, HOUR + 2).delay
    assert 120 == attempts.failed(EXPIRED, HOUR + 3).delay


def test_attempts_are_limited() -> None:
    """In a row."""
    attempts = once_acked(RetryPolicy(attempts=3))

    assert [True, True, True, False] == [attempts.failed(LOST, 0).retry for _ in range(4)]
    assert "(attempts)" in attempts.failed(LOST, 0).why


def test_the_time_is_limited() -> None:
    """Since the first failure in a row."""
    attempts = once_acked(RetryPolicy(elapsed=60))

    assert [True, True, False] == [attempts.failed(LOST, now).retry for now in (0, 59, 60)]
    assert "all attempts failed for 60 seconds (elapsed)" == attempts.failed(LOST, 60).why


@pytest.mark.parametrize(
    ("said", "retry", "delay"),
    [
        (None, False, 0.0),
        (True, True, 1.0),
        (False, False, 0.0),
        (7, True, 7.0),
        (0.0, True, 0.0),
        (Action.LATER, True, 120.0),
        (Action.REFRESH, True, 0.0),
        (Action.STOP, False, 0.0),
    ],
)
def test_should_retry_has_the_last_word(said: Any, retry: bool, delay: float) -> None:
    """Over codes that the tables call final, too."""
    asked: list[TransportError] = []

    def should_retry(failure: TransportError) -> Any:
        asked.append(failure)
        return said

    attempts = Attempts(RetryPolicy(should_retry=should_retry, initial=True), lambda: 1.0)
    decision = attempts.failed(ConnectionClosed(code=4406, phase=Phase.INIT), 0)

    assert (retry, delay, [4406]) == (decision.retry, decision.delay, [each.code for each in asked])


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_delay": -1},
        {"longest_delay": -1},
        {"later": -1},
        {"stable_after": -1},
        {"elapsed": -1},
        {"growth": 0.5},
        {"attempts": 0},
        {"attempts": -1},
        {"connects_per_hour": 0},
    ],
    ids=str,
)
def test_an_invalid_policy_is_refused(wrong: dict[str, Any]) -> None:
    """When it is made, not when the server is down."""
    with pytest.raises(ValueError, match=r"RetryPolicy|attempts"):
        RetryPolicy(**wrong)


# --- A day, in no time -----------------------------------------------------------------------


def connects(policy: RetryPolicy, failure: TransportError, seed: int, acked: bool) -> list[float]:
    """When a client connects in a day on which every attempt fails so, acknowledged or not."""
    attempts = Attempts(policy, Random(seed).random)
    attempts.connecting(0)
    attempts.acknowledged(0)
    now, times = 0.0, []
    while True:
        decision = attempts.failed(failure, now)
        assert decision.retry
        now += decision.delay
        if now >= 24 * HOUR:
            return times
        times.append(now)
        attempts.connecting(now)
        if acked:
            attempts.acknowledged(now)


@pytest.mark.parametrize("acked", [False, True], ids=["refused", "acknowledged and closed"])
@pytest.mark.parametrize("seed", range(5))
def test_a_day_without_a_server_is_no_storm(seed: int, acked: bool) -> None:
    """Also where the server acknowledges and closes with 1000 each time: never a busy loop."""
    times = connects(RetryPolicy(), closed(1000), seed, acked)

    by_hour = Counter(time // HOUR for time in times)
    assert 24 == len(by_hour)
    assert max(by_hour.values()) < 300
    assert len([time for time in times if time < 10]) < 20


@given(limit=st.integers(1, 200), seed=st.integers(0, 1_000))
def test_no_hour_has_more_connects_than_allowed(limit: int, seed: int) -> None:
    """Whichever sixty minutes one looks at, the first connection included."""
    policy = RetryPolicy(longest_delay=5, connects_per_hour=limit)
    times = [0.0, *connects(policy, LOST, seed, acked=False)]

    for first, last in zip(times, times[limit:], strict=False):
        assert last - first >= HOUR - 1e-6


def test_a_herd_comes_back_spread_out() -> None:
    """A thousand clients that lose their server at once ask it evenly over the first second."""
    chance = Random(1).random
    policy = RetryPolicy()
    first = [once_acked(policy, chance()).failed(LOST, 0).delay for _ in range(1_000)]

    tenths = Counter(int(delay * 10) for delay in first)
    assert set(range(10)) == set(tenths)
    assert max(tenths.values()) < 150
