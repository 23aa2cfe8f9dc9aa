"""What a closed connection is told as: code, reason, meaning, and how far it had come."""

from __future__ import annotations

import pytest

from gqlwire.errors import ConnectionClosed, Phase
from gqlwire.errors.reasons import ABNORMAL, MEANINGS, connection_closed

HOST = "api.example.com:443"


def closed(code: int, phase: Phase = Phase.OPEN, **rest: str) -> ConnectionClosed:
    return connection_closed(host=HOST, phase=phase, code=code, **rest)


BEFORE_THE_ACK = "before it acknowledged connection_init"
CUT = '{"server_error_msg":"4400: no"}'


@pytest.mark.parametrize(
    ("phase", "code", "reason", "text"),
    [
        (Phase.OPEN, 1001, "", "{} closed the connection: 1001 (the server is going away)"),
        (
            Phase.OPEN,
            4429,
            "Too many open connections",
            f"{{}} closed the connection: 4429 Too many open connections ({MEANINGS[4429]})",
        ),
        (
            Phase.INIT,
            4403,
            "Invalid token",
            f"{{}} closed the connection {BEFORE_THE_ACK}: 4403 Invalid token ({MEANINGS[4403]})",
        ),
        # Hasura's way to refuse an init (hasura/graphql-engine #7696).
        (
            Phase.INIT,
            1000,
            CUT,
            f"{{}} closed the connection {BEFORE_THE_ACK}: 1000 {{}} (normal closure)",
        ),
        (Phase.OPEN, 4999, "", "{} closed the connection: 4999"),
        (Phase.OPEN, 4999, "own rule", "{} closed the connection: 4999 own rule"),
        (Phase.OPEN, 1006, "", "the connection to {} was lost: no close frame arrived (1006)"),
        (
            Phase.INIT,
            1006,
            "",
            f"the connection to {{}} was lost {BEFORE_THE_ACK}: no close frame arrived (1006)",
        ),
        (
            Phase.HANDSHAKE,
            1006,
            "",
            "the connection to {} was lost during the handshake: no close frame arrived (1006)",
        ),
    ],
)
def test_one_sentence_says_who_closed_and_why(
    phase: Phase, code: int, reason: str, text: str
) -> None:
    """With the server's reason if it gave one, and the meaning of the code if it is known."""
    failure = closed(code, phase, reason=reason)

    assert text.format(HOST, reason) == str(failure)
    assert (HOST, phase, code, reason) == (
        failure.host,
        failure.phase,
        failure.code,
        failure.reason,
    )


@pytest.mark.parametrize("code", [1011, ABNORMAL])
def test_an_earlier_complaint_of_the_server_is_in_the_message(code: int) -> None:
    """Hasura complains first and closes later, with fewer words."""
    told = str(closed(code, hint='before that, it sent connection_error: "JWT expired"'))

    assert told.endswith('; before that, it sent connection_error: "JWT expired"')


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 3008, 4400, 4401, 4403, 4408, 4429])
def test_each_code_of_the_field_reads_differently(code: int) -> None:
    """gql's sentences are all the same, and users matched on causes instead."""
    others = {str(closed(other)) for other in {*MEANINGS, ABNORMAL} - {code}}

    assert str(closed(code)) not in others


def test_every_meaning_is_a_few_words_and_no_sentence() -> None:
    """They stand in parentheses."""
    for meaning in MEANINGS.values():
        assert meaning == meaning.strip(" .")
        assert meaning.isprintable()
        assert 80 > len(meaning)
