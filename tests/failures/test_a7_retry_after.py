"""`Retry-After: 1000000000000` made a session wait for 31,700 years. It waits for an hour at most
by default, and the log says at WARNING what the server had asked for.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gqlwire import RetryPolicy
from gqlwire.errors import HandshakeRejected, Phase
from gqlwire.retry.actions import retry_after
from gqlwire.retry.attempts import Attempts
from spelling import Spelling, both
from virtual_server import HOST, Meeting, VirtualServer, kept, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)

HOUR = 3600.0
NOW = "Wed, 21 Oct 2026 07:28:00 GMT"
ROW = "1000000000000"
NINES = "9" * 400
FAR = ["9" * 20_000, "0" * 300 + ROW, "3601", "Fri, 31 Dec 9999 23:59:59 GMT"]
"""What asks for more than an hour, by a number or by a date."""
UNREADABLE = [
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "Wed, 99999999999 Oct 2026 07:28:00 GMT",
    "Wed, 21 Oct 2026 99999999999999999999:28:00 GMT",
    "Wed, 21 Oct 2026 07:28:00 +99999999999999999999",
    "Wed, 21 Oct -1 07:28:00 GMT",
    "Wed, 21 Oct 2026",
    ", , ,",
    "21 " * 50_000,
    "1e400",
    "inf",
    "nan",
    "-1000000000000",
    "\N{SUPERSCRIPT TWO}" * 5,
    "\N{ARABIC-INDIC DIGIT NINE}" * 400,
    "\ud800",
    "",
]


def busy(said: str, date: str = NOW, status: int = 503) -> HandshakeRejected:
    headers = {"retry-after": said, "date": date}
    return HandshakeRejected(
        "busy", status=status, headers=headers, host=HOST, phase=Phase.HANDSHAKE
    )


def delay_after(said: str, policy: RetryPolicy | None = None, date: str = NOW) -> float:
    attempts = Attempts(policy or RetryPolicy(), lambda: 0.0)
    attempts.acknowledged(0)
    return attempts.failed(busy(said, date), HOUR).delay


@both
@pytest.mark.parametrize("said", [ROW, NINES], ids=["row", "nines"])
@tidily
async def test_a7_the_session_is_back_after_an_hour(
    server: VirtualServer, spelling: Spelling, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With one WARNING, which names the option."""
    caplog.set_level(logging.INFO, "gqlwire")
    async with kept(server, spelling=spelling) as it:
        server.will(Meeting(busy(said)))
        server.peer.hang_up(1012)
        states = it.session.states()
        async for change in states:
            if change.state == "open":
                break

        assert 0 <= server.waits[-1] - HOUR <= RetryPolicy().first_delay
    [line] = [each for each in caplog.records if each.levelno == logging.WARNING]
    asked = "inf" if said == NINES else "1e+12"
    assert line.getMessage() == (
        f"busy; the server asks to wait for {asked} s (Retry-After); "
        "the next attempt is in 3601.0 s (longest_retry_after)"
    )


@pytest.mark.parametrize("status", [429, 503, 403, 404])
def test_a7_kind_whatever_the_status_is(status: int) -> None:
    attempts = Attempts(RetryPolicy(), lambda: 0.0)
    attempts.acknowledged(0)
    attempts.failed(busy(ROW, status=status), HOUR)
    decision = attempts.failed(busy(ROW, status=status), HOUR)

    assert (HOUR, 1e12) == (decision.delay, decision.asked_for)


@pytest.mark.parametrize("said", FAR, ids=lambda said: said[:12])
def test_a7_kind_what_asks_for_more_than_an_hour_gets_an_hour(said: str) -> None:
    assert HOUR == delay_after(said)


@pytest.mark.parametrize("said", UNREADABLE, ids=lambda said: ascii(said[:12]))
def test_a7_kind_what_cannot_be_read_asks_for_nothing(said: str) -> None:
    """As `Retry-After`, and as the `Date` that it is compared with."""
    assert 0.0 == retry_after(busy(said)) == delay_after(said)
    assert 0.0 == retry_after(busy(NOW, date=said))


@pytest.mark.parametrize(
    ("longest", "said", "delay"),
    [(0, "5", 0), (60, "59", 59), (60, "61", 60), (2 * HOUR, ROW, 7200)],
)
def test_a7_kind_the_policy_decides(longest: float, said: str, delay: float) -> None:
    assert delay == delay_after(said, RetryPolicy(longest_retry_after=longest))


def test_a7_kind_a_refusal_to_wait_less_than_later_is_no_warning() -> None:
    """What the server asks for is kept to where it is allowed."""
    attempts = Attempts(RetryPolicy(), lambda: 0.0)
    attempts.acknowledged(0)
    decision = attempts.failed(busy("3600", status=429), HOUR)

    assert (HOUR, 0.0, False) == (decision.delay, decision.asked_for, decision.is_warning)


@given(said=st.text(max_size=60) | st.integers().map(str), date=st.text(max_size=60))
def test_a7_kind_no_text_raises_or_waits_longer(said: str, date: str) -> None:
    for header, other in ((said, date), (said, NOW), (NOW, said)):
        assert 0.0 <= delay_after(header, date=other) <= HOUR


@given(
    until=st.datetimes(timezones=st.just(UTC)).filter(lambda it: it.year >= 1000),
    since=st.datetimes(timezones=st.just(UTC)).filter(lambda it: it.year >= 1000),
)
def test_a7_kind_any_date(until: datetime, since: datetime) -> None:
    """The difference of both, an hour at most."""
    said, date = (format_datetime(each, usegmt=True) for each in (until, since))
    difference = until.replace(microsecond=0) - since.replace(microsecond=0)

    assert min(HOUR, max(0.0, difference.total_seconds())) == delay_after(said, date=date)
