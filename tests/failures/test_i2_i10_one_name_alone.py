"""A server that cannot cope with an offer of two names was given up after one or two attempts, or
after a timeout. Each protocol is offered alone before that, within the user's time limits.
"""

from __future__ import annotations

import asyncio

import pytest
from negotiating import BOTH, OTHER, answer, offer_of, offers, spoken_with
from websockets.http11 import Request

import gqlwire
from conftest import NEWER, OLDER
from gqlwire.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectionRejected,
    ConnectTimeout,
    HandshakeRejected,
    Phase,
    TransportError,
)
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Peer, RawPeer, Refusal, fake, raw_fake
from servers.launch import start_framework
from support import BOUND, failure, leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

ORDER = {NEWER: [BOTH, NEWER], OLDER: [BOTH, NEWER, OLDER]}


async def serve(peer: Peer, protocol: str) -> None:
    await peer.ack()
    await answer(peer, protocol)


# --- It names no protocol, and closes ------------------------------------------------------------


async def test_i2_a_server_that_names_none_and_speaks_one_that_is_offered_alone() -> None:
    """It closes with 4406 for an offer of two; what worked is offered first next time."""

    async def script(peer: Peer) -> None:
        if offer_of(peer) == OLDER:
            return await serve(peer, OLDER)
        return await peer.close(4406, "Subprotocol not acceptable")

    async with fake(script, select=None) as server:
        assert OLDER == await spoken_with(server.url)
        assert OLDER == await spoken_with(server.url)

    assert [BOTH, NEWER, OLDER, OLDER] == offers(server)


ENDS = [1000, 1002, 1003, 1006, 1007, 1011, 4400, 4406, 4408, "silence"]


async def end(peer: Peer, how: int | str) -> None:
    """What a server does that does not understand the offer."""
    await peer.expect("connection_init")
    if how == 1006:
        peer.abort()
    elif isinstance(how, int):
        await peer.close(how)


@pytest.mark.parametrize("only", [NEWER, OLDER])
@pytest.mark.parametrize("how", ENDS)
async def test_i2_kind_whatever_becomes_of_an_offer_of_two(only: str, how: int | str) -> None:
    """If the server named no protocol, each is offered alone."""

    async def script(peer: Peer) -> None:
        await (serve(peer, only) if offer_of(peer) == only else end(peer, how))

    async with fake(script, select=lambda names: only if names == [only] else None) as server:
        assert only == await spoken_with(server.url, ack_timeout=0.2)

    assert ORDER[only] == offers(server)


@pytest.mark.parametrize("how", ENDS)
async def test_i2_kind_a_server_that_repeats_the_offer_has_not_chosen(how: int | str) -> None:
    """It does not understand the offer, either."""

    async def script(peer: Peer) -> None:
        await (serve(peer, OLDER) if offer_of(peer) == OLDER else end(peer, how))

    async with fake(script, select=lambda names: ", ".join(names)) as server:
        assert OLDER == await spoken_with(server.url, ack_timeout=0.2)

    assert BOTH == offers(server)[0]
    assert OLDER == offers(server)[-1]


@pytest.mark.parametrize("only", [NEWER, OLDER])
async def test_i2_kind_a_server_that_hangs_up_on_two_names(only: str) -> None:
    """Before it has answered the upgrade."""
    seen: list[str] = []

    async def script(peer: RawPeer) -> None:
        offer = (await peer.read_request())["Sec-WebSocket-Protocol"]
        seen.append(offer)
        if offer != only:
            return peer.abort() if only == NEWER else peer.end()
        await peer.upgrade()
        return await serve(peer, only)

    async with raw_fake(script, upgrade=False) as server:
        assert only == await spoken_with(server.url)

    assert ORDER[only] == seen


@pytest.mark.parametrize("how", ENDS)
async def test_i2_kind_if_no_offer_helps_the_failure_says_most(how: int | str) -> None:
    """It is that of the first offer, unless all of them say that the offer is wrong."""

    async def script(peer: Peer) -> None:
        await end(peer, how)

    kind = AckTimeout if how == "silence" else ConnectionClosed
    async with fake(script, select=None) as server:
        told = await failure(kind, WebsocketsTransport(server.url, ack_timeout=0.2).connect())

    assert Phase.INIT is told.phase
    assert [BOTH, NEWER, OLDER] == offers(server)
    if isinstance(told, AckTimeout):
        assert 0.2 == told.limit
    else:
        assert how == told.code


@pytest.mark.parametrize("code", [1001, 1008, 1012, 1013, 4401, 4403, 4429, 4500, 4321, None])
async def test_i2_kind_what_says_something_else_is_final(code: int | None) -> None:
    """A refusal of the credentials, a server that restarts, a limit: no other offer would help."""

    async def script(peer: Peer) -> None:
        await peer.expect("connection_init")
        if code is None:
            await peer.send({"type": "connection_error", "payload": "no"})
        else:
            await peer.close(code)

    kind: type[TransportError] = ConnectionRejected if code is None else ConnectionClosed
    async with fake(script, select=None) as server:
        await failure(kind, WebsocketsTransport(server.url).connect())

    assert [BOTH] == offers(server)


@pytest.mark.parametrize("how", [1006, 1011, 4400, "silence"])
async def test_i2_kind_what_has_worked_is_not_doubted(how: int | str) -> None:
    """A server that once understood the offer has another fault now, and is asked once."""

    async def script(peer: Peer) -> None:
        if len(server.peers) == 1:
            await serve(peer, OLDER)
        else:
            await end(peer, how)

    async with fake(script, select=None) as server:
        assert OLDER == await spoken_with(server.url)
        connecting = WebsocketsTransport(server.url, ack_timeout=0.1).connect()
        await failure(AckTimeout if how == "silence" else ConnectionClosed, connecting)

    assert [BOTH, BOTH] == offers(server)


async def test_i2_kind_an_attempt_to_reconnect_goes_the_same_way() -> None:
    """The server was replaced by one that closes on two names."""
    is_new = False

    def refuse(request: Request) -> Refusal | None:
        is_right = not is_new or request.headers["Sec-WebSocket-Protocol"] == OLDER
        return None if is_right else Refusal(400)

    async def script(peer: Peer) -> None:
        nonlocal is_new
        await serve(peer, OLDER if is_new else NEWER)
        if not is_new:
            is_new = True
            await peer.close(1012)

    retry = gqlwire.RetryPolicy(first_delay=0)
    async with (
        fake(script, refuse=refuse) as server,
        gqlwire.connect(server.url, retry=retry) as session,
    ):
        assert {"hello": NEWER} == await session.execute("{ hello }")
        await server.peer(1)
        assert {"hello": OLDER} == await session.execute("{ hello }")

    assert [BOTH, BOTH, NEWER, OLDER] == offers(server)


# --- It never answers the upgrade ----------------------------------------------------------------


async def test_i10_postgraphile_that_never_answers_an_offer_of_two() -> None:
    """PostGraphile 4 with `websockets: ['v0']`; it does not answer the newer name alone, either."""
    with start_framework("postgraphile-v0") as server:
        for _ in range(2):
            async with gqlwire.connect(server.url, connect_timeout=4) as session:
                assert {"hello": "Hello, world!"} == await session.execute("{ hello }")
                assert OLDER == session.transport.subprotocol


class Silent:
    """A script of a server that answers some offers, and lets the others wait."""

    def __init__(self, *answered: str, after: float = 0.0) -> None:
        self.answered = answered
        self.seen: list[str] = []
        self.left: list[str] = []
        self._after = after

    async def __call__(self, peer: RawPeer) -> None:
        offer = (await peer.read_request())["Sec-WebSocket-Protocol"]
        self.seen.append(offer)
        try:
            if offer in self.answered:
                await asyncio.sleep(self._after)
                await peer.upgrade()
                await serve(peer, str(peer.subprotocol))
            await peer.closed()
        finally:
            self.left.append(offer)


@pytest.mark.parametrize("only", [NEWER, OLDER])
@pytest.mark.parametrize("limit", [0.5, 2.0, pytest.param(None, marks=pytest.mark.long)])
async def test_i10_kind_one_name_alone_is_answered(only: str, limit: float | None) -> None:
    """All offers together take `connect_timeout`. What worked is offered first next time; the
    attempts that were not answered are dropped."""
    script = Silent(only)
    async with raw_fake(script, upgrade=False) as server:
        assert only == await spoken_with(server.url, connect_timeout=limit)
        assert only == await spoken_with(server.url, connect_timeout=0.1)
        assert [*ORDER[only], only] == script.seen
        while len(script.left) < len(script.seen):
            await asyncio.sleep(0)


@pytest.mark.parametrize("limit", [0.2, 0.5, 1.0])
async def test_i10_kind_a_server_that_answers_nothing(limit: float) -> None:
    """The error is that of one attempt, after `connect_timeout` and not later."""
    script = Silent()
    async with raw_fake(script, upgrade=False) as server:
        begun = asyncio.get_running_loop().time()
        transport = WebsocketsTransport(server.url, connect_timeout=limit)
        told = await failure(ConnectTimeout, transport.connect())
        took = asyncio.get_running_loop().time() - begun

    assert (limit, Phase.HANDSHAKE) == (told.limit, told.phase)
    assert limit - 0.01 < took < 2 * limit
    assert [BOTH, NEWER, OLDER] == script.seen


async def test_i10_kind_a_slow_server_is_not_given_up() -> None:
    """It answers the first offer late: after others have joined, and before they are answered."""
    script = Silent(BOTH, after=0.6)
    async with raw_fake(script, upgrade=False) as server:
        assert NEWER == await spoken_with(server.url, connect_timeout=1)

    assert [BOTH, NEWER, OLDER] == script.seen


async def test_i10_kind_a_server_that_is_fast_gets_one_request() -> None:
    """As ever."""
    script = Silent(BOTH, NEWER, OLDER)
    async with raw_fake(script, upgrade=False) as server:
        assert NEWER == await spoken_with(server.url)

    assert [BOTH] == script.seen


@pytest.mark.parametrize("forced", [[NEWER], [NEWER, OLDER]])
async def test_i10_kind_a_forced_offer_waits_alone(forced: list[str]) -> None:
    """There is no other one."""
    script = Silent()
    async with raw_fake(script, upgrade=False) as server:
        transport = WebsocketsTransport(server.url, connect_timeout=0.3, subprotocols=forced)
        await failure(ConnectTimeout, transport.connect())

    assert [", ".join(forced)] == script.seen


@pytest.mark.parametrize("refusal", [400, 403, 500])
async def test_i10_kind_what_becomes_of_the_first_offer_counts(refusal: int) -> None:
    """The server refuses one name alone, and answers two of them at last."""
    refused = asyncio.Semaphore(0)

    async def script(peer: RawPeer) -> None:
        offer = (await peer.read_request())["Sec-WebSocket-Protocol"]
        if offer != BOTH:
            await peer.respond(refusal)
            return refused.release()
        for _ in range(2):
            await refused.acquire()
        await peer.upgrade()
        return await serve(peer, str(peer.subprotocol))

    async with raw_fake(script, upgrade=False) as server:
        assert NEWER == await spoken_with(server.url, connect_timeout=1)


async def test_i10_kind_a_late_refusal_is_raised() -> None:
    """Not the timeout that the others would have had."""
    others = asyncio.Event()

    async def script(peer: RawPeer) -> None:
        if (await peer.read_request())["Sec-WebSocket-Protocol"] == BOTH:
            await others.wait()
            await peer.respond(401)
        others.set()

    async with raw_fake(script, upgrade=False) as server:
        told = await failure(
            HandshakeRejected, WebsocketsTransport(server.url, connect_timeout=1).connect()
        )

    assert 401 == told.status


async def test_i10_kind_the_attempts_can_be_cancelled() -> None:
    """All of them; `leaves_nothing` looks for what is left."""
    script = Silent()
    async with raw_fake(script, upgrade=False) as server:
        transport = WebsocketsTransport(server.url, connect_timeout=1)
        connecting = asyncio.create_task(transport.connect())
        while len(script.seen) < 2:
            await asyncio.sleep(0.01)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(connecting, BOUND)


@pytest.mark.parametrize("chosen", [NEWER, OLDER])
async def test_i10_kind_the_one_that_is_answered_may_fail_after_all(chosen: str) -> None:
    """It is refused for its protocol: the other one is offered then."""
    seen: list[str] = []

    async def script(peer: RawPeer) -> None:
        offer = (await peer.read_request())["Sec-WebSocket-Protocol"]
        seen.append(offer)
        if offer == BOTH or (offer == NEWER and chosen == OLDER and seen.count(NEWER) == 1):
            return None
        await peer.upgrade()
        if offer == chosen:
            await peer.expect("connection_init")
            return await peer.close(4406)
        return await serve(peer, offer)

    async with raw_fake(script, upgrade=False) as server:
        assert OTHER[chosen] == await spoken_with(server.url, connect_timeout=0.5)

    assert seen[-1] == OTHER[chosen]
