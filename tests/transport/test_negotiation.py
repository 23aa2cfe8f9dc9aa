"""What to offer, what to offer after a refusal, and what is remembered of it."""

from __future__ import annotations

import pytest

from gqlwire._protocols import DIALECTS, Apollo, Row, default_offer
from gqlwire.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectionRefused,
    ConnectionRejected,
    HandshakeRejected,
    KeepAliveTimeout,
    Phase,
    TransportClosed,
    TransportError,
    TransportProtocolError,
)
from gqlwire.transport.negotiation import Memory, is_wrong_protocol, next_offer

BOTH = NEWER, OLDER = default_offer()
PLACE = "wss://h/graphql"


def closed(code: int, phase: Phase = Phase.INIT) -> ConnectionClosed:
    return ConnectionClosed("closed", phase=phase, code=code)


def rejected(status: int | None) -> HandshakeRejected:
    return HandshakeRejected("rejected", status=status)


# --- After a refusal -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "phase"),
    [
        (1002, Phase.INIT),
        (4406, Phase.INIT),
        (1002, Phase.OPEN),
        (4400, Phase.OPEN),
        (4406, Phase.OPEN),
    ],
)
@pytest.mark.parametrize(("spoken", "other"), [(NEWER, OLDER), (OLDER, NEWER)])
def test_a_server_that_hangs_up_on_one_protocol_is_offered_the_other_alone(
    code: int, phase: Phase, spoken: str, other: str
) -> None:
    """1002 is Apollo's reference server's, 4406 Strawberry's."""
    assert other == next_offer(closed(code, phase), tried={spoken})


@pytest.mark.parametrize("status", [400, 406, 426])
def test_a_server_that_refuses_the_offer_is_offered_one_name_and_then_the_other(
    status: int,
) -> None:
    """Some cannot read two names; some know only one of them."""
    assert NEWER == next_offer(rejected(status), tried=())
    assert OLDER == next_offer(rejected(status), tried={NEWER})
    assert NEWER == next_offer(rejected(status), tried={OLDER})


@pytest.mark.parametrize("tried", [{NEWER}, {OLDER}, set()], ids=str)
@pytest.mark.parametrize(
    "failure",
    [
        closed(1000),
        closed(1006),
        closed(1011),
        closed(4400),  # Hasura's refusal of credentials
        closed(4401),
        closed(4403),
        closed(4429),
        closed(1002, Phase.HANDSHAKE),
        rejected(401),
        rejected(403),
        rejected(404),
        rejected(500),
        rejected(503),
        rejected(None),
        ConnectionRefused("refused", phase=Phase.CONNECT),
        ConnectionRejected("rejected", code=4400),
        AckTimeout("late", phase=Phase.INIT),
        KeepAliveTimeout("dead", phase=Phase.OPEN),
        TransportClosed("closed", phase=Phase.INIT, code=1002),
        TransportProtocolError("garbage"),
    ],
    ids=lambda failure: f"{type(failure).__name__} {getattr(failure, 'code', '')}",
)
def test_failures_unrelated_to_the_protocol_are_not_tried_again(
    tried: set[str], failure: TransportError
) -> None:
    """Wrong credentials, a dead line, a wrong path: another name would not help."""
    assert next_offer(failure, tried) is None


@pytest.mark.parametrize("failure", [closed(1002), closed(4406), rejected(400)], ids=str)
def test_no_protocol_is_offered_alone_twice(failure: TransportError) -> None:
    """After all of them the failure is final."""
    assert next_offer(failure, tried=BOTH) is None


THIRD = "third"


@pytest.fixture
def a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a third protocol, which is offered by default."""
    monkeypatch.setitem(DIALECTS, THIRD, Row("third.example", Apollo))


@pytest.mark.usefixtures("a_third")
@pytest.mark.parametrize("failure", [closed(4406), rejected(400)], ids=str)
def test_of_three_protocols_the_others_are_offered_alone_in_their_order(
    failure: TransportError,
) -> None:
    """Whatever was tried before."""
    assert (*BOTH, THIRD) == Memory().offer(PLACE)
    assert NEWER == next_offer(failure, tried={OLDER})
    assert OLDER == next_offer(failure, tried={NEWER})
    assert THIRD == next_offer(failure, tried={NEWER, OLDER})
    assert next_offer(failure, tried={NEWER, OLDER, THIRD}) is None


def test_without_a_failure_the_protocol_is_not_wrong() -> None:
    """While the connection lives."""
    assert is_wrong_protocol(None) is False


# --- Memory ----------------------------------------------------------------------------------


def test_at_first_everything_is_offered() -> None:
    """The newer first."""
    assert BOTH == Memory().offer(PLACE)


def test_a_protocol_that_worked_is_offered_alone_next_time() -> None:
    """At that place, and only there."""
    memory = Memory()
    memory.keep(PLACE, OLDER)

    assert (OLDER,) == memory.offer(PLACE)
    assert BOTH == memory.offer(PLACE + "/v2")


def test_the_latest_protocol_of_a_server_is_remembered() -> None:
    """The server may have been replaced."""
    memory = Memory()
    memory.keep(PLACE, OLDER)
    memory.keep(PLACE, NEWER)

    assert (NEWER,) == memory.offer(PLACE)


def test_a_forgotten_server_is_offered_everything_again() -> None:
    """Forgetting a server that was never known is harmless."""
    memory = Memory()
    memory.keep(PLACE, OLDER)
    for _ in range(2):
        memory.forget(PLACE)

        assert BOTH == memory.offer(PLACE)


def test_memory_is_bounded_and_keeps_the_latest() -> None:
    """A crawler of many servers shall not fill it."""
    memory = Memory()
    for number in range(1_024):
        memory.keep(f"ws://h/{number}", OLDER)
    memory.keep("ws://h/0", OLDER)
    memory.keep("ws://h/new", NEWER)

    assert (OLDER,) == memory.offer("ws://h/0")
    assert BOTH == memory.offer("ws://h/1")
    assert (NEWER,) == memory.offer("ws://h/new")
    assert (OLDER,) == memory.offer("ws://h/2")
