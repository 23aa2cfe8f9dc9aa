"""`should_retry=lambda failure: failure.code != 4403` ended a session with an AttributeError at the
first failure without a close code.

Every error has `code`, `reason`, `status`, `phase` and `host`.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from gqlwire import RetryPolicy, errors
from gqlwire.errors import ConnectionClosed, ConnectionRefused, KeepAliveTimeout, Phase
from gqlwire.retry.attempts import Attempts
from spelling import NEWER, OLDER, Spelling
from virtual_server import HOST, VirtualServer, kept, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)

EVERY = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, errors.TransportError)
]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_a9_every_error_has_them(kind: type[Any]) -> None:
    """None, or "" for a text, where there is nothing to say."""
    error = kind("text")

    assert error.code is None or isinstance(error.code, int)
    assert error.status is None
    assert "" == error.reason == error.host
    assert error.phase is None or isinstance(error.phase, Phase)
    assert "text" == str(error)


@pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
@pytest.mark.parametrize("said", [b"no json", b"[1", b'{"type":1}'])
@tidily
async def test_a9_a_session_survives_what_has_no_code(
    server: VirtualServer, spelling: Spelling, said: bytes
) -> None:
    """A message that cannot be read has none."""
    policy = RetryPolicy(should_retry=lambda failure: failure.code != 4403)
    async with kept(server, policy, spelling=spelling) as it:
        server.peer.say(said)
        await it.session.wait_ready()
        server.peer.hang_up(1012)
        await it.session.wait_ready()
        server.peer.hang_up(4403)
        with pytest.raises(ConnectionClosed):
            await it.session.wait_ready()


@pytest.mark.parametrize(
    "rule",
    [
        lambda failure: failure.code != 4403,
        lambda failure: failure.status != 404,
        lambda failure: "maintenance" not in failure.reason,
        lambda failure: failure.phase is not Phase.INIT,
        lambda failure: failure.host != "other.example",
        lambda failure: (failure.status or 0) < 500 and (failure.code or 0) < 4500,
    ],
)
@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_a9_kind_rules_that_people_write(kind: type[Any], rule: Any) -> None:
    """Whatever ends a connection, or refuses a subscription."""
    attempts = Attempts(RetryPolicy(should_retry=rule, initial=True), lambda: 1.0)

    failure = kind("text")
    assert rule(failure) is attempts.failed(failure, 0).retry


def test_a9_kind_what_is_known_is_there() -> None:
    """The attributes of an error win."""
    closed = ConnectionClosed(code=1012, reason="restart", host=HOST, phase=Phase.OPEN)
    assert (1012, "restart", HOST) == (closed.code, closed.reason, closed.host)
    assert Phase.CONNECT is ConnectionRefused(phase=Phase.CONNECT).phase
    assert HOST == KeepAliveTimeout(host=HOST).host
