"""NaN from `should_retry`, or `RetryPolicy(first_delay=nan)`, reached the timers of the loop, and
timers of the whole program fired late; `attempts=1.5` was accepted.

A number that cannot be is a ValueError (TypeError for what is no number) where it is given; what
`should_retry` returns is ignored then, with a WARNING.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import gqlwire
from gqlwire import Buffer, Client, RetryPolicy
from gqlwire.errors import ConnectionClosed, Phase
from gqlwire.retry.attempts import Attempts
from gqlwire.transport.websockets import WebsocketsTransport
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    QUERY,
    TICKS,
    VirtualServer,
    answering,
    kept,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

URL = "ws://server.example/graphql"
LOST = ConnectionClosed(code=1012, phase=Phase.OPEN)
NAN, INFINITY = math.nan, math.inf

DELAYS = ["first_delay", "longest_delay", "stable_after", "later", "longest_retry_after", "spread"]
COUNTS = ["attempts", "connects_per_hour", "resubscribe_attempts", "suspect_attempts"]
NO_TIME = [NAN, -1, -0.001, -INFINITY, True, "5", [1], b"1"]
NO_DELAY = [*NO_TIME, INFINITY, 10**400]
NO_SECONDS = [NAN, INFINITY, -INFINITY, -1, 10**400, "5", b"", []]
NO_COUNT = [0, -1, 1.5, 2.0, NAN, INFINITY, True, False, "5", [1]]
BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])

refused = (ValueError, TypeError)


# --- The row's own -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DELAYS)
@pytest.mark.parametrize("value", [*NO_DELAY, None], ids=lambda value: str(value)[:9])
def test_a8_delays_of_a_policy(name: str, value: Any) -> None:
    """The message names the field."""
    with pytest.raises(refused, match=f"{name} of RetryPolicy must be 0 or more seconds"):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", NO_COUNT, ids=str)
def test_a8_counts_of_a_policy(name: str, value: Any) -> None:
    """1.5 is a ValueError as 0 is."""
    with pytest.raises(refused, match=f"{name} of RetryPolicy must be at least 1"):
        RetryPolicy(**{name: value})


def test_a8_what_is_a_number_is_a_value_error() -> None:
    """And what is none is a TypeError."""
    for wrong in ({"first_delay": NAN}, {"attempts": 1.5}, {"elapsed": NAN}, {"growth": NAN}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} of RetryPolicy"):
            RetryPolicy(**wrong)
    for wrong in ({"first_delay": "1"}, {"attempts": "2"}, {"growth": None}):
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} of RetryPolicy"):
            RetryPolicy(**wrong)


async def a_coroutine() -> float:
    return 1.0


@pytest.mark.parametrize(
    "said",
    [NAN, INFINITY, -INFINITY, -1, 10**400, "5", b"", [], object()],
    ids=lambda x: repr(x)[:9],
)
def test_a8_what_should_retry_returns(said: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The tables decide then."""
    attempts = Attempts(RetryPolicy(should_retry=lambda _: said), lambda: 1.0)
    attempts.acknowledged(0)
    decision = attempts.failed(LOST, 0)

    assert (True, 1.0) == (decision.retry, decision.delay)
    [record] = caplog.records
    assert logging.WARNING == record.levelno
    assert record.getMessage().startswith("should_retry returned ")
    assert record.getMessage().endswith("gqlwire ignores that")


@BOTH
@tidily
async def test_a8_no_timer_is_set_to_nan(server: VirtualServer, spelling: Spelling) -> None:
    """A session goes on with the waits of its policy."""
    policy = RetryPolicy(should_retry=lambda _: NAN)
    async with kept(server, policy, spelling=spelling) as it:
        for _ in range(2):
            server.peer.hang_up(1012)
            await it.session.wait_ready()

        assert [1, 2] == server.waits


# --- Its kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("connect_timeout", "ack_timeout", "close_timeout", "ping_interval", "pong_timeout"),
        *("keep_alive_timeout", "execute_timeout", "idle_close_after"),
    ],
)
@pytest.mark.parametrize("value", NO_TIME, ids=str)
def test_a8_kind_times_of_connect(name: str, value: Any) -> None:
    """All of them, where they are given."""
    with pytest.raises(refused, match=f"{name} must be "):
        gqlwire.connect(URL, **{name: value})


@pytest.mark.parametrize("value", NO_TIME, ids=str)
def test_a8_kind_times_of_a_client(value: Any) -> None:
    """Also if they are set later."""
    with pytest.raises(refused, match="execute_timeout must be 0 or more seconds"):
        Client(execute_timeout=value)
    client = Client()
    with pytest.raises(refused, match="execute_timeout must be 0 or more seconds"):
        client.execute_timeout = value
    assert 10 == client.execute_timeout


@pytest.mark.parametrize("value", NO_COUNT, ids=str)
@tidily
async def test_a8_kind_counts(server: VirtualServer, value: Any) -> None:
    """Of bytes, of events in a buffer and in a batch."""
    with pytest.raises(refused, match="max_message_size must be at least 1 byte"):
        WebsocketsTransport(URL, max_message_size=value)
    with pytest.raises(refused, match="must be at least 1 event"):
        Buffer(events=value)
    with pytest.raises(refused, match="must be at least 1 byte"):
        Buffer(size=value)
    async with kept(server) as it:
        with pytest.raises(refused, match="max_size must be at least 1"):
            it.session.subscribe(TICKS).batches(value)
        with pytest.raises(refused, match="must be at least 1 event"):
            it.session.subscribe(TICKS, buffer=value)


@pytest.mark.parametrize("value", NO_TIME, ids=str)
@BOTH
@tidily
async def test_a8_kind_times_of_operations(
    server: VirtualServer, spelling: Spelling, value: Any
) -> None:
    """Nothing is sent then."""
    answering(server)
    async with kept(server, spelling=spelling) as it:
        with pytest.raises(refused, match="timeout must be 0 or more seconds"):
            await it.session.execute(QUERY, timeout=value)
        with pytest.raises(refused, match="timeout must be 0 or more seconds"):
            await it.session.transport.execute(gqlwire.gql(QUERY), timeout=value)
        for name in ("first_event_timeout", "idle_timeout"):
            with pytest.raises(refused, match=f"{name} must be 0 or more seconds"):
                it.session.subscribe(TICKS, **{name: value})
        assert [] == server.peer.started


@pytest.mark.parametrize("value", [0.5, 3, INFINITY, None])
@tidily
async def test_a8_kind_what_can_be_is_accepted(server: VirtualServer, value: Any) -> None:
    """Infinity is how some say never."""
    answering(server)
    limits = dict.fromkeys(
        ("connect_timeout", "ack_timeout", "close_timeout", "idle_timeout"), value
    )
    limits.pop("idle_timeout")
    async with kept(server, **limits) as it:
        assert {"get": 1} == await it.session.execute(QUERY, timeout=value)


@given(
    first=st.floats(0, 1e300),
    growth=st.one_of(st.floats(1, 1e300), st.integers(1, 10**18)),
    longest=st.floats(0, 1e300),
    attempt=st.integers(1, 10_000),
)
@example(first=1.0, growth=10.0, longest=60.0, attempt=1_000)
@example(first=0.0, growth=1e300, longest=60.0, attempt=9)
def test_a8_kind_no_wait_of_a_policy_is_nan_or_raises(
    first: float, growth: float, longest: float, attempt: int
) -> None:
    """Powers of large factors overflow."""
    policy = RetryPolicy(first_delay=first, growth=growth, longest_delay=longest)

    assert 0 <= policy.ceiling(attempt) <= longest
