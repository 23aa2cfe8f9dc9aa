"""`session.health()` over real sockets: what arrives there is what it tells."""

from __future__ import annotations

import asyncio

import pytest

from conftest import Speaker
from gqlwire.errors import Phase

TICKS = "subscription Ticks { ticks(count: 4, intervalMs: 20) { seq } }"


@pytest.mark.parametrize("reconnecting", [True, False])
async def test_each_event_and_frame_has_its_time(speaker: Speaker, reconnecting: bool) -> None:
    """Both kinds of sessions, both ways of a message: the first, and the later ones."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    times: list[float] = []
    async with speaker.client(reconnecting=reconnecting) as session:
        events = session.subscribe(TICKS)
        for _ in range(3):
            await anext(events)
            now = loop.time()
            [connection] = session.health().connections
            [subscription] = connection.subscriptions
            assert (Phase.OPEN, speaker.protocol) == (connection.state, connection.protocol)
            assert ("Ticks", "live", events.id) == (
                subscription.name,
                subscription.state,
                subscription.id,
            )
            assert subscription.last_event_age is not None
            assert connection.last_frame_age is not None
            assert connection.last_frame_age <= subscription.last_event_age
            times.append(now - subscription.last_event_age)
        assert [] == session.health().problems()
        await events.aclose()
    assert not session.health().is_alive
    assert sorted(times) == times
    assert begin - 0.002 <= times[0]
    assert times[2] - times[0] > 0.02  # the server waits in between
