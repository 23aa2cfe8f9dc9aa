"""However long an outage lasts, the memory of it does not grow.

A failure has a traceback, whose frames have the attempt, which has the failure before it. So each
failure kept all earlier ones of its row, with their sockets.
"""

from __future__ import annotations

import gc
import traceback

import pytest

from doubles import pass_time
from gqlwire import RetryPolicy
from gqlwire._reconnect.dialing import Dialing
from gqlwire.errors import (
    ConnectionRefused,
    CredentialsFailed,
    HandshakeRejected,
    Phase,
)
from gqlwire.retry import Attempt
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    HOST,
    MUTE,
    UNREACHABLE,
    Meeting,
    VirtualServer,
    hangs_up,
    kept,
    tidily,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

DOWN = Meeting(ConnectionRefused("nobody listens", host=HOST, phase=Phase.CONNECT))
BUSY = Meeting(HandshakeRejected("busy", status=503, headers={}, host=HOST))
OUTAGES = {
    "refused": DOWN,
    "503": BUSY,
    "mute": MUTE,
    "unreachable": UNREACHABLE,
    "1012": hangs_up(1012),
    "4500": hangs_up(4500),
    "4403": hangs_up(4403),
    "ended soon": Meeting(lasts=0.1),
}
BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "apollo"])


def alive(kind: type) -> int:
    gc.collect()
    return sum(type(thing) is kind for thing in gc.get_objects())


@BOTH
@pytest.mark.parametrize("meeting", OUTAGES.values(), ids=OUTAGES)
@tidily
async def test_an_outage_keeps_the_last_attempts(
    server: VirtualServer, spelling: Spelling, meeting: Meeting
) -> None:
    """Whatever the attempts meet."""
    before = alive(Attempt)
    async with kept(server, RetryPolicy(later=10), spelling=spelling) as it:
        server.otherwise = meeting
        server.peer.hang_up(1012)
        await pass_time(2_000)

        assert it.lasting.counters.retries > 30
        assert alive(Dialing) <= 2
        assert alive(Attempt) <= before + 4


@tidily
async def test_an_outage_of_credentials_keeps_the_last_attempts(server: VirtualServer) -> None:
    """Each failure has an exception of the user's as its cause, and that has frames, too."""
    outage: list[Exception] = []

    def headers(attempt: Attempt) -> dict[str, str]:
        for fault in outage:
            raise fault from KeyError(attempt.number)
        return {}

    before = alive(Attempt)
    async with kept(server, headers=headers) as it:
        outage.append(OSError("no token"))
        server.peer.hang_up(1012)
        await pass_time(2_000)

        assert it.lasting.counters.retries > 30
        assert alive(Attempt) <= before + 4


@tidily
async def test_the_last_failure_has_its_traceback(server: VirtualServer) -> None:
    """It is what is raised at the end."""
    calls: list[int] = []

    def headers(attempt: Attempt) -> dict[str, str]:
        calls.append(attempt.number)
        if len(calls) > 1:
            raise OSError("no token")
        return {}

    async with kept(server, RetryPolicy(attempts=3), headers=headers) as it:
        server.peer.hang_up(1012)
        await pass_time(1)
        with pytest.raises(CredentialsFailed) as caught:
            await it.lasting.ready()

    cause = caught.value.__cause__
    assert cause is not None
    assert "headers" in {frame.name for frame in traceback.extract_tb(cause.__traceback__)}
