"""A subscription over lost connections: what is left."""

from __future__ import annotations

import gc
import weakref

from lasting import lose, take
from lasting import served as served

from virtual_server import (
    TICKS,
    VirtualServer,
    kept,
    started,
    tidily,
)


@tidily
async def test_nothing_grows_with_the_number_of_losses(server: VirtualServer) -> None:
    """Neither in what carries them over nor in what feeds them."""
    async with kept(server) as it:
        events = it.session.subscribe(TICKS, tell_reconnects=True, key=lambda event: event["n"])
        await started(events, server.peer, -1)
        stream, resubscribing = events.stream, it.lasting._subscriptions
        assert stream is not None
        connections = []
        for number in range(50):
            await lose(it, server)
            connections.append(weakref.ref(server.peer.connection))
            server.peer.tell(number)
            assert {"n": number} == (await take(events, 2))[1]
            server.peers[:-1] = []

        assert (1, {}, {}) == (
            len(resubscribing._feeds),
            resubscribing._alarms,
            stream._marks or {},
        )
        gc.collect()
        assert 2 >= sum(reference() is not None for reference in connections)
        await events.aclose()
        assert {} == resubscribing._feeds
