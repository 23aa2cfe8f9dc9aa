"""A hostile server against a live client on a real socket: hypothesis makes what the server does.

What the client has to hold to is in `ordeal.py`, what a server may do in `made.py`. `make fuzz`
runs the same for as long as you like.
"""

from __future__ import annotations

import pytest
from attacks import NEWER, OLDER, USUAL_HEAD, Attack, Framed, Head, Said, Squeezed, message
from hypothesis import HealthCheck, Phase, example, given, settings
from made import BY_FRAMES, BY_HANDSHAKE, BY_MESSAGES
from ordeal import endures

from conftest import examples

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


def fuzzed(count: int) -> settings:
    """The same examples in each run: `make fuzz` looks for others."""
    return settings(
        max_examples=examples(count),
        derandomize=True,
        deadline=None,
        database=None,
        # Shrinking may take longer than a test may: `make fuzz` does it.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def answer(*headers: str, status: str = "101 Switching Protocols") -> Head:
    usual = USUAL_HEAD.data.partition("\r\n")[2].removesuffix("\r\n")
    return Head("\r\n".join([f"HTTP/1.1 {status}", *headers, usual, ""]))


BOMB = Framed(0xC1, Squeezed("x", times=8_000_000))
DEEP = Said('{"type":"<event>","id":"<2>","payload":{"data":' + "[" * 9000 + "]" * 9000 + "}}")


@fuzzed(500)
@given(BY_HANDSHAKE)
@example(Attack(head=Head(USUAL_HEAD.data, keep=60), acks=False, end="wait"))
@example(Attack(head=answer(f"Content-Length: {10**20}")))
@example(Attack(head=answer("Retry-After: soon", status="503 No"), reconnects=True))
@example(Attack(head=answer(f"Retry-After: {10**400}", status="503 No"), reconnects=True))
@example(Attack(head=Head("HTTP/1.1 102 Processing\r\n\r\n" * 9000), end="wait", cuts=(4000,)))
def test_any_answer_to_the_upgrade(attack: Attack) -> None:
    """Status lines, headers, dates, lengths, encodings; in pieces, changed, or cut off."""
    endures(attack)


@fuzzed(300)
@given(BY_FRAMES)
@example(Attack(after=(BOMB,), deflates=True))
@example(Attack(before=(BOMB,), deflates=True, reconnects=True, protocol=OLDER))
@example(Attack(after=(Framed(0x88, b"\x03\xe8"), Framed(0x88, b"\x03\xe8")), end="wait"))
def test_any_frames(attack: Attack) -> None:
    """Any header, lengths that lie, fragments, close frames, streams that cannot be inflated."""
    endures(attack)


@fuzzed(300)
@given(BY_MESSAGES)
@example(Attack(after=(DEEP,), logs=True, end="deaf"))
@example(Attack(after=(Said('{"type":"' + "x" * 60_000 + '"}'),) * 50, logs=True, protocol=NEWER))
def test_any_messages(attack: Attack) -> None:
    """JSON of any shape, and messages of both protocols: changed, doubled, in any order."""
    endures(attack)


@pytest.mark.parametrize("reconnects", [False, True])
def test_the_text_of_a_long_error_is_cut(reconnects: bool) -> None:
    """In the exception, and in the log of a subscription that is refused after a reconnect."""
    errors = [{"message": "x" * 20_000}]
    endures(Attack(after=(Said(message("error", "<2>", errors)),), times=2, reconnects=reconnects))


def test_a_date_beyond_all_dates_is_ignored() -> None:
    """Whatever year `Retry-After` names."""
    late = answer("Retry-After: Wed, 21 Oct 99999999999999999999 07:28:00 GMT", status="503 No")
    endures(Attack(head=late, reconnects=True))
