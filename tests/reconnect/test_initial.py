"""`initial=` of RetryPolicy: whether, and for how long, the first connection is retried."""

from __future__ import annotations

import asyncio
import math
from random import Random
from typing import Any

import pytest

from gqlwire import RetryPolicy
from gqlwire.errors import (
    ConnectionRefused,
    HandshakeRejected,
    Phase,
    TLSFailed,
    TransportError,
)
from gqlwire.retry import Action
from gqlwire.retry.attempts import Attempts
from spelling import Spelling, both
from virtual_server import (
    HOST,
    QUERY,
    UNREACHABLE,
    Meeting,
    VirtualServer,
    answering,
    hangs_up,
    keeping,
    kept,
    now,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

DOWN = ConnectionRefused("nobody listens", host=HOST, phase=Phase.CONNECT)


def rejected(status: int, **headers: str) -> HandshakeRejected:
    return HandshakeRejected(f"HTTP {status}", status=status, headers=headers, host=HOST)


async def fails(server: VirtualServer, policy: RetryPolicy, **options: Any) -> TransportError:
    """Connect; return what is raised. Nothing is left then."""
    with pytest.raises(TransportError) as caught:
        await keeping(server, policy, **options).lasting.connect()
    return caught.value


@both
@tidily
async def test_a_service_starts_before_its_backend(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Within so many seconds, and by True however long it takes."""
    answering(server)
    for policy in (RetryPolicy(initial=60), RetryPolicy(initial=True)):
        up = now() + 50
        server.otherwise = lambda up=up: Meeting() if now() >= up else Meeting(DOWN)  # type: ignore[misc]
        async with kept(server, policy, spelling=spelling) as it:
            assert {"get": 1} == await it.session.execute(QUERY)
            assert 0 <= now() - up <= 30


@pytest.mark.parametrize("seconds", [0.5, 7, 30.0, 45, 3600])
@pytest.mark.parametrize("seed", range(3))
@tidily
async def test_the_last_attempt_is_at_the_end_of_the_time(
    server: VirtualServer, seconds: float, seed: int
) -> None:
    """Neither long before nor after it; then the failure is raised."""
    server.otherwise = Meeting(DOWN)
    begin = now()
    policy = RetryPolicy(initial=seconds)
    failure = await fails(server, policy, chance=Random(seed).random)

    assert isinstance(failure, ConnectionRefused)
    assert seconds == pytest.approx(now() - begin)
    assert seconds == pytest.approx(server.times[-1] - begin)


@tidily
async def test_the_time_includes_the_first_attempt(server: VirtualServer) -> None:
    """Which may hang until `connect_timeout`, as may the last one."""
    server.otherwise = UNREACHABLE
    begin = now()
    await fails(server, RetryPolicy(initial=30), connect_timeout=10)

    assert 30 <= now() - begin <= 40


@pytest.mark.parametrize(
    "failure",
    [
        rejected(404),
        rejected(400),
        TLSFailed("no", host=HOST),
        rejected(401),  # the credentials are values
        hangs_up(4403),
        hangs_up(4400, "no"),
        hangs_up(1002),
    ],
    ids=str,
)
@pytest.mark.parametrize("initial", [True, 30])
@tidily
async def test_what_does_not_go_away_is_raised_immediately(
    server: VirtualServer, failure: Any, initial: bool | float
) -> None:
    """Before the first acknowledgement: a wrong URL, certificate or credential."""
    begin = now()
    server.otherwise = failure if isinstance(failure, Meeting) else Meeting(failure)
    subprotocols = ["graphql-transport-ws"]  # else a 400 and others have another offer tried
    await fails(server, RetryPolicy(initial=initial), subprotocols=subprotocols)

    assert now() - begin < 1
    assert 1 == len(server.times)


@tidily
async def test_should_retry_decides_before_the_first_acknowledgement_too(
    server: VirtualServer,
) -> None:
    """Such as that a proxy answers 404 as long as it knows no backend."""

    def should_retry(failure: TransportError) -> bool | None:
        return True if failure.status == 404 else None

    server.will(*[Meeting(rejected(404))] * 5)
    policy = RetryPolicy(initial=120, should_retry=should_retry)
    async with kept(server, policy, subprotocols=["graphql-transport-ws"]) as it:
        assert Phase.OPEN is it.session.state
    assert 6 == len(server.times)


@pytest.mark.parametrize(
    ("failure", "policy"),
    [
        (rejected(429), RetryPolicy(initial=30)),
        (rejected(503, **{"retry-after": "31"}), RetryPolicy(initial=30)),
        (DOWN, RetryPolicy(initial=30, connects_per_hour=1)),
        (DOWN, RetryPolicy(initial=30, should_retry=lambda _: Action.LATER)),
    ],
)
def test_a_server_that_wants_to_be_left_alone_is(
    failure: TransportError, policy: RetryPolicy
) -> None:
    """An attempt at the end of the time would be too early for it."""
    attempts = Attempts(policy, lambda: 0.5)
    attempts.connecting(0)
    decision = attempts.failed(failure, 0)

    assert (False, "the next attempt may not be made in time (initial)") == (
        decision.retry,
        decision.why,
    )


def test_the_rule_is_named() -> None:
    attempts = Attempts(RetryPolicy(initial=2.5), lambda: 0.5)
    attempts.connecting(100)

    assert attempts.failed(DOWN, 101).retry
    assert "the first connection failed for 2.5 seconds (initial)" == attempts.failed(DOWN, 103).why


@tidily
async def test_after_the_first_connection_the_time_is_no_limit(server: VirtualServer) -> None:
    async with kept(server, RetryPolicy(initial=5)) as it:
        up = now() + 3600
        server.otherwise = lambda: Meeting() if now() >= up else Meeting(DOWN)
        server.peer.hang_up(1012)
        await it.session.wait_ready()
        assert now() >= up


@tidily
async def test_operations_wait_for_the_first_connection_within_their_limits(
    server: VirtualServer,
) -> None:
    """In a service that connects in a task of its own."""
    server.will(*[Meeting(DOWN)] * 3)
    answering(server)
    it = keeping(server, RetryPolicy(initial=True))
    connecting = asyncio.ensure_future(it.lasting.connect())
    await asyncio.sleep(0.5)

    assert {"get": 1} == await it.session.execute(QUERY, timeout=60)
    await connecting
    await it.lasting.close()


@pytest.mark.parametrize("initial", [math.nan, math.inf, -1, 10**400])
def test_an_impossible_time_is_a_value_error(initial: Any) -> None:
    with pytest.raises(ValueError, match="initial of RetryPolicy must be 0 or more seconds"):
        RetryPolicy(initial=initial)


@pytest.mark.parametrize("initial", ["yes", None, [1]])
def test_what_is_no_time_is_a_type_error(initial: Any) -> None:
    with pytest.raises(TypeError, match="initial of RetryPolicy"):
        RetryPolicy(initial=initial)
