"""A credentials function that swallowed one CancelledError undid `close()`, which never returned;
a hook that took 4 s to cancel made it last as long.

`close()` takes `close_timeout` at most, and nothing happens on a closed client.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest

from doubles import on_virtual_time, pass_time, settle
from gqlwire import Hooks
from gqlwire._connection import user_tasks
from gqlwire._reconnect.options import ReconnectOptions
from gqlwire.errors import CloseTimeout, CredentialsFailed, TransportClosed
from gqlwire.retry import Attempt
from spelling import NEWER, OLDER, Spelling
from virtual_server import (
    QUERY,
    Kept,
    Meeting,
    VirtualServer,
    begun,
    keeping,
    now,
    virtual_server,
)

served = pytest.fixture(name="server")(virtual_server)

BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])


class Stubborn:
    """Swallows its first cancellations, or takes long after each."""

    def __init__(self, swallows: int = 1, *, lasts: float = 1_000, cleans: float = 0) -> None:
        self.left = swallows
        self.lasts = lasts
        self.cleans = cleans
        self.is_stubborn = True
        self.returned = 0

    async def __call__(self, event: Any) -> Any:
        while self.is_stubborn:
            try:
                await asyncio.sleep(self.lasts)
                break
            except asyncio.CancelledError:
                if self.cleans:
                    await asyncio.sleep(self.cleans)
                if self.left <= 0:
                    raise
                self.left -= 1
        self.returned += 1
        return {}


async def closed(it: Kept) -> float:
    """Close it; return how long that took."""
    before = now()
    with contextlib.suppress(CloseTimeout):
        await it.lasting.close()
    return now() - before


def given_by(name: str, function: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: function}


# --- The row's own -------------------------------------------------------------------------------


@BOTH
@on_virtual_time
async def test_g1_a_credentials_function_that_swallows_its_cancellation(
    server: VirtualServer, spelling: Spelling
) -> None:
    """Nothing follows after `close()`, although it returns."""
    function = Stubborn(lasts=50)
    function.is_stubborn = False
    it = keeping(server, spelling=spelling, headers=function, connect_timeout=None)
    await it.lasting.connect()
    function.is_stubborn = True
    server.peer.hang_up()
    await pass_time(2)
    made = len(server.times)

    assert 0 == await closed(it)
    await pass_time(1_000)
    assert (made, 2) == (len(server.times), function.returned)
    assert [] == server.open
    with pytest.raises(TransportClosed):
        await it.session.execute(QUERY)


@BOTH
@on_virtual_time
async def test_g1_a_hook_that_takes_long_to_cancel(
    server: VirtualServer, spelling: Spelling, caplog: pytest.LogCaptureFixture
) -> None:
    """It is cancelled again after `close_timeout`, and left behind."""
    hook = Stubborn(swallows=0, cleans=4)
    reconnect = ReconnectOptions(hooks=Hooks(connected=hook))
    it = keeping(server, spelling=spelling, reconnect=reconnect, close_timeout=1)
    await it.lasting.connect()
    await settle()

    assert 1 == await closed(it)
    [warning] = [it for it in caplog.records if it.levelno == logging.WARNING]
    assert "1 hook did not end within 1 second (close_timeout)" in warning.getMessage()
    await pass_time(10)


@on_virtual_time
async def test_g1_a_hook_that_ends_in_time_is_waited_for(server: VirtualServer) -> None:
    """As before."""
    hook = Stubborn(swallows=0, cleans=0.5)
    it = keeping(server, reconnect=ReconnectOptions(hooks=Hooks(connected=hook)), close_timeout=1)
    await it.lasting.connect()
    await settle()

    assert 0.5 == await closed(it)


# --- Its kind ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["url", "headers", "init_payload"])
@pytest.mark.parametrize("swallows", [1, 2, 5])
@on_virtual_time
async def test_g1_kind_every_function_for_credentials(
    server: VirtualServer, name: str, swallows: int
) -> None:
    """At the first connect, with a time limit: it is over then, and whoever connects is told."""
    function = Stubborn(swallows=swallows)
    it = keeping(server, connect_timeout=3, **given_by(name, function))
    before = now()
    with pytest.raises(CredentialsFailed, match=f"the function for {name} took too long"):
        await it.lasting.connect()

    assert (3, []) == (now() - before, server.times)
    function.is_stubborn = False
    await pass_time(10_000)
    assert set() == user_tasks._abandoned


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", ["url", "headers", "init_payload"])
@on_virtual_time
async def test_g1_kind_closing_while_it_connects_for_the_first_time(
    server: VirtualServer, name: str, kept: bool
) -> None:
    """With and without reconnecting."""
    function = Stubborn(lasts=30)
    client = server.client(reconnecting=kept, connect_timeout=None, **given_by(name, function))
    entering = await begun(client.connect_async())
    before = now()
    await client.close_async()

    assert before == now()
    with pytest.raises(TransportClosed):
        await entering
    await pass_time(1_000)
    assert [] == server.times


@pytest.mark.sampled(5)
@pytest.mark.parametrize("which", ["connecting", "connected", "disconnected", "reconnected"])
@pytest.mark.parametrize("swallows", [0, 1, 3])
@on_virtual_time
async def test_g1_kind_every_hook(server: VirtualServer, which: str, swallows: int) -> None:
    """Many of them, and a server that does not answer the close frame: once `close_timeout`."""
    hook = Stubborn(swallows=swallows, cleans=5)
    hooks = Hooks(**given_by(which, hook))
    server.otherwise = Meeting(answers_close=False)
    it = keeping(server, reconnect=ReconnectOptions(hooks=hooks), close_timeout=2)
    await it.lasting.connect()
    for _ in range(3):
        server.peer.hang_up()
        await it.lasting.ready()
    await settle()

    assert 2 >= await closed(it)
    hook.is_stubborn = False
    await pass_time(10_000)
    gc.collect()
    assert set() == user_tasks._abandoned


@on_virtual_time
async def test_g1_kind_what_a_function_raises_after_it_was_left_is_not_logged(
    server: VirtualServer,
) -> None:
    """asyncio would say that nobody retrieved it; the decorator looks for that."""

    async def raises(_: Attempt) -> Any:
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            raise ZeroDivisionError from None

    client = server.client(headers=raises, connect_timeout=None)
    entering = await begun(client.connect_async())
    await client.close_async()
    with pytest.raises(TransportClosed):
        await entering
    await settle()
    gc.collect()
