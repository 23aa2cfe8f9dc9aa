"""graphql-ws closes with 4500 if `onConnect` raises. That was retried with the same token for ever,
as an internal error of the server. Before the acknowledgement it is a refusal, as 4400 is.
"""

from __future__ import annotations

from typing import Any

import pytest

import gqlwire
from conftest import NEWER, OLDER
from doubles import settle
from gqlwire.errors import ConnectionClosed, Phase
from gqlwire.retry import Action, Attempt, RetryPolicy
from gqlwire.retry.actions import action_for
from servers.launch import start_framework
from spelling import NEWER as NEW
from spelling import OLDER as OLD
from spelling import Spelling
from support import failure
from virtual_server import VirtualServer, hangs_up, keeping, soon, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)

FOUND = [4500, 4000, 4001, 4002, 4321, 4899, 4999, 3000, 3003]
"""Codes without another meaning: nobody but the server's own check has a reason for them."""


class Tokens:
    """A function for credentials, and what it was asked."""

    def __init__(self) -> None:
        self.refreshed: list[bool] = []

    def __call__(self, attempt: Attempt) -> dict[str, str]:
        self.refreshed.append(attempt.refresh)
        return {"token": "right" if attempt.refresh else "stale"}


@pytest.mark.parametrize(
    "kind", ["apollo-server-4", "apollo-server-5", pytest.param("nestjs", marks=pytest.mark.long)]
)
async def test_i5_on_connect_raises(kind: str) -> None:
    """The real servers: a token function is asked for another one, and the sentence blames the
    check, not the server's inside."""
    tokens = Tokens()
    with start_framework(kind, token="right") as server:
        told = await failure(
            ConnectionClosed, gqlwire.connect(server.url, init_payload={}).connect_async()
        )
        client = gqlwire.connect(server.url, init_payload=tokens, retry=RetryPolicy(initial=True))
        async with client as session:
            assert {"hello": "Hello, world!"} == await session.execute("{ hello }")

    assert [False, True] == tokens.refreshed
    assert (4500, "Wrong token", Phase.INIT) == (told.code, told.reason, told.phase)
    assert "4500 Wrong token (the server failed to check connection_init)" in str(told)
    assert "internal" not in str(told)


@pytest.mark.parametrize("code", FOUND)
@pytest.mark.parametrize("spelling", [NEW, OLD], ids=[NEWER, OLDER])
def test_i5_kind_a_token_is_asked_again(code: int, spelling: Spelling) -> None:
    """At the first connection and at a later one, in both protocols."""

    @tidily
    async def run() -> None:
        server, tokens = virtual_server(), Tokens()
        server.will(hangs_up(code, "no"))
        it = keeping(server, RetryPolicy(initial=True), init_payload=tokens, spelling=spelling)
        await it.lasting.connect()
        server.will(hangs_up(code, "no"))
        server.peer.hang_up(1012)
        await soon(it.lasting.ready())
        await settle()
        await it.lasting.close()
        assert [False, True, False, True] == tokens.refreshed

    run()


@pytest.mark.parametrize("code", FOUND)
@tidily
async def test_i5_kind_static_credentials_are_refused_at_once(
    server: VirtualServer, code: int
) -> None:
    """At the first connection the same ones are not tried again, even if the policy is patient."""
    server.otherwise = hangs_up(code, "no")
    it = keeping(server, RetryPolicy(initial=True))
    with pytest.raises(ConnectionClosed) as told:
        await it.lasting.connect()

    assert (code, 1) == (told.value.code, len(server.times))


def closed(code: int, phase: Phase, reason: str = "") -> ConnectionClosed:
    return ConnectionClosed(code=code, phase=phase, reason=reason)


@pytest.mark.parametrize("code", FOUND)
def test_i5_kind_after_the_acknowledgement_nothing_changes(code: int) -> None:
    """A resolver fails in the same way there."""
    assert Action.RETRY is action_for(closed(code, Phase.OPEN))


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (1011, Action.RETRY),
        (1012, Action.RETRY),
        (1013, Action.LATER),
        (4406, Action.STOP),
        (4429, Action.LATER),
        (4499, Action.RETRY),
        (4504, Action.RETRY),
        (3999, Action.RETRY),
    ],
)
def test_i5_kind_codes_with_another_meaning_keep_it(code: int, action: Action) -> None:
    """A restart is no refusal, and a limit is none."""
    assert action is action_for(closed(code, Phase.INIT))


@pytest.mark.parametrize("code", FOUND)
def test_i5_kind_a_policy_of_ones_own_overrules_it(code: int) -> None:
    """As for any other failure."""
    said: list[Any] = []
    policy = RetryPolicy(should_retry=lambda told: said.append(told) or True)

    assert (Action.RETRY, None) == policy.judge(closed(code, Phase.INIT))
    assert 1 == len(said)
