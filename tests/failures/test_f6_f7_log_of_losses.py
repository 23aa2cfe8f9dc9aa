"""A session without operations gave up for good in silence: its last log line promised another
attempt. 49 drops, and an outage beyond the 60th minute, left no WARNING.

Giving up is one ERROR with the failure and the rule. A drop is one line: INFO, or WARNING at the
third in 10 minutes; an outage has a WARNING after 1, 5 and 15 minutes, and each hour.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from doubles import pass_time, settle
from gqlwire import RetryPolicy
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import ConnectionRefused, Phase, TransportError
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    HOST,
    Kept,
    Meeting,
    VirtualServer,
    begun,
    hangs_up,
    keeping,
    kept,
    now,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

REFUSED = ConnectionRefused("nobody listens", host=HOST, phase=Phase.CONNECT)
BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
MINUTE, HOUR = 60.0, 3_600.0


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "gqlwire")
    return caplog


def lines(log: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno == level]


def promises(text: str) -> bool:
    return "next attempt" in text


async def hung_up(server: VirtualServer, it: Kept, times: int, every: float) -> None:
    for _ in range(times):
        server.peer.hang_up(1012)
        await it.lasting.ready()
        await pass_time(every)


# --- F6 ------------------------------------------------------------------------------------------


def raises(failure: TransportError) -> Any:
    raise ZeroDivisionError("a rule's")


GIVING_UP: dict[str, tuple[RetryPolicy, str]] = {
    "attempts": (RetryPolicy(attempts=3), "3 attempts failed in a row (attempts)"),
    "elapsed": (RetryPolicy(elapsed=60), "all attempts failed for 61 seconds (elapsed)"),
    "should_retry": (
        RetryPolicy(should_retry=lambda failure: failure.code is not None),
        "another attempt would fail again",
    ),
}


@pytest.mark.parametrize(("policy", "why"), GIVING_UP.values(), ids=GIVING_UP)
@BOTH
@tidily
async def test_f6_giving_up_in_an_idle_session(
    server: VirtualServer,
    spelling: Spelling,
    policy: RetryPolicy,
    why: str,
    log: pytest.LogCaptureFixture,
) -> None:
    """One ERROR, the last line, with the failure and the rule."""
    it = keeping(server, policy, spelling=spelling)
    await it.lasting.connect()
    server.otherwise = Meeting(REFUSED)
    server.peer.hang_up(1012)
    await pass_time(1_000)

    assert [f"gqlwire does not connect to {HOST} again: nobody listens; {why}"] == lines(
        log, logging.ERROR
    )
    assert logging.ERROR == log.records[-1].levelno
    await it.lasting.close()


@tidily
async def test_f6_kind_a_rule_that_raises(
    server: VirtualServer, log: pytest.LogCaptureFixture
) -> None:
    """It ends the session, and the line says with what."""
    it = keeping(server, RetryPolicy(should_retry=raises))
    await it.lasting.connect()
    server.peer.hang_up(1012)
    await settle()

    [line] = lines(log, logging.ERROR)
    assert line == (
        f'gqlwire does not connect to {HOST} again: ZeroDivisionError("a rule\'s") was raised'
    )
    await it.lasting.close()


@pytest.mark.parametrize("when", ["open", "waiting", "connecting"])
@tidily
async def test_f6_kind_closing_is_the_last_line(
    server: VirtualServer, log: pytest.LogCaptureFixture, when: str
) -> None:
    """Of level INFO; it promises nothing."""
    async with kept(server):
        if when != "open":
            server.otherwise = Meeting(REFUSED) if when == "waiting" else Meeting(opens=False)
            server.peer.hang_up(1012)
            await pass_time(5.5)

    assert lines(log, logging.INFO)[-1].endswith("was closed by close()")
    assert [] == lines(log, logging.ERROR)
    assert not promises(log.records[-1].getMessage())


@tidily
async def test_f6_kind_a_first_attempt_is_raised_and_not_logged(
    server: VirtualServer, log: pytest.LogCaptureFixture
) -> None:
    """Whoever connects has the failure. If there were more attempts, their end is logged."""
    server.otherwise = Meeting(REFUSED)
    with pytest.raises(ConnectionRefused):
        await keeping(server).lasting.connect()
    assert [] == log.records

    with pytest.raises(ConnectionRefused):
        await keeping(server, RetryPolicy(initial=True, attempts=2)).lasting.connect()
    assert 2 == len([line for line in lines(log, logging.INFO) if promises(line)])
    assert log.records[-1].getMessage().endswith("2 attempts failed in a row (attempts)")


@tidily
async def test_f6_kind_an_idle_connection(
    server: VirtualServer, log: pytest.LogCaptureFixture
) -> None:
    """One line, which promises nothing either."""
    async with kept(server, reconnect=ReconnectOptions(idle_close_after=5)):
        await pass_time(6)
        assert log.records[-1].getMessage().endswith("nothing ran for 5 s (idle_close_after)")


# --- F7 ------------------------------------------------------------------------------------------


@BOTH
@tidily
async def test_f7_flapping(
    server: VirtualServer, spelling: Spelling, log: pytest.LogCaptureFixture
) -> None:
    """49 drops in 41 minutes: a WARNING at the third, and then one in ten minutes."""
    async with kept(server, spelling=spelling) as it:
        log.clear()
        await hung_up(server, it, 2, 49)
        assert [] == lines(log, logging.WARNING)
        await hung_up(server, it, 1, 49)
        [warning] = lines(log, logging.WARNING)
        await hung_up(server, it, 46, 49)

        assert warning.startswith("3 connections were lost within 10 minutes: ")
        assert promises(warning)
        warnings = lines(log, logging.WARNING)
        assert ["3", "12", "12", "12"] == [line.split()[0] for line in warnings]
        assert 49 == len(log.records)


@BOTH
@tidily
async def test_f7_a_long_outage(
    server: VirtualServer, spelling: Spelling, log: pytest.LogCaptureFixture
) -> None:
    """After 1, 5 and 15 minutes, and then each hour; INFO again when it is over."""
    async with kept(server, RetryPolicy(longest_delay=30), spelling=spelling) as it:
        server.otherwise = Meeting(REFUSED)
        server.peer.hang_up(1012)
        await pass_time(5 * HOUR + MINUTE)
        server.otherwise = Meeting()
        await it.session.wait_ready()

        warnings = lines(log, logging.WARNING)
        minutes = [1, 5, 15, 60, 120, 180, 240, 300]
        assert [f"no connection for {each} min" for each in minutes] == [
            line.partition(":")[0] for line in warnings
        ]
        assert all(map(promises, warnings))
        assert f"connected to {HOST} after 18" in lines(log, logging.INFO)[-1]


@BOTH
@tidily
async def test_f7_one_line_for_a_drop(
    server: VirtualServer, spelling: Spelling, log: pytest.LogCaptureFixture
) -> None:
    """Two that are half an hour apart: with the failure and the wait."""
    async with kept(server, spelling=spelling) as it:
        log.clear()
        await hung_up(server, it, 2, HOUR / 2)

        line = f"{HOST} closed the connection: 1012 (the server is restarting); "
        assert [f"{line}the next attempt is in 1.0 s"] * 2 == lines(log, logging.INFO)
        assert 2 == len(log.records)


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1013, 4401, 4400, 4500])
@pytest.mark.parametrize("failures", [0, 1, 4])
@tidily
async def test_f7_kind_a_line_for_each_failure(
    server: VirtualServer, log: pytest.LogCaptureFixture, code: int, failures: int
) -> None:
    """One drop and the attempts that fail after it: as many lines, whatever their level."""
    async with kept(server) as it:
        log.clear()
        server.will(*[hangs_up(1012)] * failures)
        server.peer.hang_up(code)
        await it.session.wait_ready()

        told = [record.getMessage() for record in log.records if promises(record.getMessage())]
        assert 1 + failures == len(told)
        others = [record for record in log.records if not promises(record.getMessage())]
        assert all("connected to" in record.getMessage() for record in others)


@tidily
async def test_f7_kind_reconnect_is_one_line_and_no_flapping(
    server: VirtualServer, log: pytest.LogCaptureFixture
) -> None:
    """The user did it."""
    async with kept(server) as it:
        log.clear()
        for number in range(5):
            await pass_time(10)
            await it.session.reconnect(f"token {number}")

        assert [] == lines(log, logging.WARNING)
        assert 5 == len(log.records)
        assert all("closed by reconnect(): token" in line for line in lines(log, logging.INFO))


@pytest.mark.parametrize(("drops", "every"), [(2, 10), (30, 301), (10, 600)])
@tidily
async def test_f7_kind_what_is_not_flapping(
    server: VirtualServer, log: pytest.LogCaptureFixture, drops: int, every: float
) -> None:
    """Fewer than three in ten minutes."""
    async with kept(server) as it:
        await hung_up(server, it, drops, every)

    assert [] == lines(log, logging.WARNING)


@tidily
async def test_f7_kind_an_outage_while_it_flaps(
    server: VirtualServer, log: pytest.LogCaptureFixture
) -> None:
    """Both kinds of WARNING, one line each."""
    async with kept(server) as it:
        await hung_up(server, it, 5, 2)
        begin = now()
        server.otherwise = Meeting(REFUSED)
        server.peer.hang_up(1012)
        await pass_time(6 * MINUTE)
        calling = await begun(it.session.wait_ready())
        server.otherwise = Meeting()
        await calling

        assert now() > begin
        assert ["3", "no", "no"] == [line.split()[0] for line in lines(log, logging.WARNING)]
