"""One 403, 404, 4401 or `connection_error` after the first acknowledgement ended a client for good,
and every client of a fleet at the same second.

Such failures are retried, later and at random times, until the policy ends it; new credentials are
asked for each time. Before the first acknowledgement they are final, as before.
"""

from __future__ import annotations

import logging
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import settle
from gqlwire import RetryPolicy
from gqlwire.errors import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeRejected,
    InvalidURL,
    Phase,
    TLSFailed,
    TransportClosed,
    TransportError,
)
from gqlwire.retry import Action, Attempt
from gqlwire.retry.attempts import Attempts
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    TICKS,
    Meeting,
    VirtualServer,
    complains,
    hangs_up,
    keeping,
    kept,
    started,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
REFUSALS: dict[str, Meeting] = {
    **{f"HTTP {status}": Meeting(HandshakeRejected(status=status)) for status in (401, 403, 404)},
    **{f"code {code}": hangs_up(code) for code in (1008, 4401, 4403)},
    "connection_error": complains({"message": "the database is down"}),
}
ONES = pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)


def failure_of(kind: str, number: int, phase: Phase) -> TransportError:
    match kind:
        case "status":
            return HandshakeRejected(status=number)
        case "code":
            return ConnectionClosed(code=number, phase=phase)
        case "error":
            return ConnectionRejected()
        case "tls":
            return TLSFailed(phase=Phase.HANDSHAKE)
        case _:
            return InvalidURL()


def once_acked(policy: RetryPolicy, *, can_refresh: bool, chance: float = 0.5) -> Attempts:
    attempts = Attempts(policy, lambda: chance, can_refresh=can_refresh)
    attempts.acknowledged(0)
    return attempts


# --- The row's own -------------------------------------------------------------------------------


@ONES
@BOTH
@tidily
async def test_a3_one_refusal_with_static_credentials(
    server: VirtualServer, spelling: Spelling, refusal: Meeting, caplog: pytest.LogCaptureFixture
) -> None:
    """The subscription continues when the server is well again, a minute or two later."""
    async with kept(server, spelling=spelling, chance=0.5) as it:
        events = it.session.subscribe(TICKS)
        await started(events, server.peer)
        server.will(refusal)
        server.peer.hang_up()
        await it.session.wait_ready()
        await settle()
        server.peer.tell(1)

        assert {"n": 1} == await anext(events)
        assert [0.5, 90] == server.waits
        await events.aclose()
    assert 1 == len([record for record in caplog.records if record.levelno == logging.WARNING])


@ONES
@BOTH
@tidily
async def test_a3_many_refusals_with_a_function(
    server: VirtualServer, spelling: Spelling, refusal: Meeting
) -> None:
    """New credentials are asked for each time, the first time without a wait."""
    asked: list[bool] = []

    def headers(attempt: Attempt) -> dict[str, str]:
        asked.append(attempt.refresh)
        return {}

    async with kept(server, spelling=spelling, chance=0.0, headers=headers) as it:
        server.will(*[refusal] * 5)
        server.peer.hang_up()
        await it.session.wait_ready()

        is_404 = refusal is REFUSALS["HTTP 404"]
        assert [0, 60 if is_404 else 0, 60, 60, 60, 60] == server.waits
        assert [False, False] + [not is_404] * 5 == asked


@ONES
@BOTH
@tidily
async def test_a3_before_the_first_acknowledgement_as_before(
    server: VirtualServer, spelling: Spelling, refusal: Meeting
) -> None:
    """A wrong credential is reported immediately."""
    for policy in (RetryPolicy(), RetryPolicy(initial=True)):
        server.times.clear()
        server.will(refusal)
        with pytest.raises(TransportError):
            await keeping(server, policy, spelling=spelling).lasting.connect()

        assert 1 == len(server.times)


@tidily
async def test_a3_a_live_connection_that_is_closed_with_4401(server: VirtualServer) -> None:
    """As when a token expires: the next attempt follows immediately, if there is a function."""
    for headers, wait in ((lambda _: {}, 0), ({"token": "the same"}, 60)):
        server.times.clear()
        async with kept(server, chance=0.0, headers=headers) as it:
            server.peer.hang_up(4401)
            await it.session.wait_ready()

            assert [wait] == server.waits


# --- Its kind ------------------------------------------------------------------------------------

ANY = st.one_of(
    st.tuples(st.just("status"), st.sampled_from([*range(300, 429), *range(430, 600)])),
    st.tuples(st.just("code"), st.integers(1000, 4999).filter(lambda code: code != 1009)),
    st.tuples(st.sampled_from(["error", "tls", "url"]), st.just(0)),
)


@given(
    kinds=st.lists(ANY, min_size=1, max_size=30),
    phase=st.sampled_from([Phase.INIT, Phase.OPEN]),
    can_refresh=st.booleans(),
)
def test_a3_kind_nothing_that_a_server_says_is_final(
    kinds: list[tuple[str, int]], phase: Phase, can_refresh: bool
) -> None:
    """Once it has acknowledged; and no second refusal is answered immediately."""
    attempts = once_acked(RetryPolicy(), can_refresh=can_refresh)
    immediate = 0
    for kind, number in kinds:
        decision = attempts.failed(failure_of(kind, number, phase), 0)
        assert decision.retry
        immediate = immediate + 1 if decision.delay == 0 else 0
        assert immediate < 2


@pytest.mark.parametrize("can_refresh", [False, True])
@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *(("status", status) for status in (301, 400, 401, 404, 410, 451)),
        ("code", 4403),
        ("code", 1008),
        ("error", 0),
        ("tls", 0),
    ],
)
def test_a3_kind_the_policy_ends_it(kind: str, number: int, can_refresh: bool) -> None:
    """By `attempts`, `elapsed` or `should_retry`, and by nothing else."""
    failure = failure_of(kind, number, Phase.INIT)
    by_attempts = once_acked(RetryPolicy(attempts=7), can_refresh=can_refresh)
    assert [True] * 7 + [False] == [by_attempts.failed(failure, 0).retry for _ in range(8)]

    by_time = once_acked(RetryPolicy(elapsed=600), can_refresh=can_refresh)
    assert [True, True, False] == [by_time.failed(failure, now).retry for now in (0, 599, 600)]

    for word in (False, Action.STOP):
        policy = RetryPolicy(should_retry=lambda _, word=word: word)
        assert not once_acked(policy, can_refresh=can_refresh).failed(failure, 0).retry


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1010, 4400, 4406])
def test_a3_kind_other_codes_are_retried_with_growing_waits(code: int) -> None:
    """The user is warned from the second one in a row on."""
    attempts = once_acked(RetryPolicy(), can_refresh=True, chance=1.0)
    failure = ConnectionClosed(code=code, phase=Phase.OPEN)
    decisions = [attempts.failed(failure, 0) for _ in range(4)]

    assert [1, 2, 4, 8] == [decision.delay for decision in decisions]
    assert [False, True, True, True] == [decision.is_warning for decision in decisions]


def test_a3_kind_a_fleet_comes_back_at_different_times() -> None:
    """A thousand clients that are refused in the same second."""
    chance = Random(1).random
    times = [
        once_acked(RetryPolicy(), can_refresh=False, chance=chance())
        .failed(HandshakeRejected(status=404), 0)
        .delay
        for _ in range(1_000)
    ]

    assert 60 <= min(times) < 61 < 119 < max(times) <= 120


def test_a3_kind_what_the_client_ends_itself_stays_final() -> None:
    """`close()` is not retried."""
    assert not once_acked(RetryPolicy(), can_refresh=True).failed(TransportClosed(), 0).retry


@pytest.mark.parametrize("answer", [Action.REFRESH, Action.LATER, 7, True])
def test_a3_kind_should_retry_still_decides(answer: Any) -> None:
    policy = RetryPolicy(should_retry=lambda _: answer)
    attempts = once_acked(policy, can_refresh=True, chance=1.0)
    decision = attempts.failed(HandshakeRejected(status=404), 0)

    assert {Action.REFRESH: 0, Action.LATER: 120, 7: 7, True: 1}[answer] == decision.delay
