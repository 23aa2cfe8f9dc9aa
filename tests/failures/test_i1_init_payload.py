"""A server of Apollo's whose `onConnect` reads a field of the init payload failed for a client that
sent none. Its reference client sends an empty object; that of the newer protocol leaves it out.
"""

from __future__ import annotations

from typing import Any

import pytest
from negotiating import BOTH

import gqlwire
from conftest import NEWER, OLDER
from gqlwire.retry import Attempt, RetryPolicy
from servers.fake import Peer, fake
from servers.launch import start_framework
from support import leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)


@pytest.mark.parametrize("options", [{}, {"subprotocols": [OLDER]}], ids=["offered", "forced"])
async def test_i1_on_connect_reads_a_field_of_no_payload(options: dict[str, Any]) -> None:
    """The real server, whose `onConnect` is `(params) => ({ token: params.token })`."""
    with start_framework("subscriptions-transport-ws") as server:
        async with gqlwire.connect(server.url, **options) as session:
            assert {"hello": "Hello, world!"} == await session.execute("{ hello }")
            assert OLDER == session.transport.subprotocol


def nothing(_: Attempt) -> None:
    """A function for credentials that has none."""


@pytest.mark.parametrize(
    ("given", "older", "newer"),
    [
        ({}, {"payload": {}}, {}),
        ({"init_payload": None}, {"payload": {}}, {}),
        ({"init_payload": nothing}, {"payload": {}}, {}),
        ({"init_payload": {}}, {"payload": {}}, {"payload": {}}),
        ({"init_payload": lambda _: {}}, {"payload": {}}, {"payload": {}}),
        ({"init_payload": {"token": None}}, {"payload": {"token": None}}, None),
        ({"init_payload": {"token": "t"}}, {"payload": {"token": "t"}}, None),
    ],
)
@pytest.mark.parametrize(
    ("select", "is_old"), [(OLDER, True), (NEWER, False), (None, True), (BOTH, True)]
)
async def test_i1_kind_the_payload_is_that_of_the_reference_client(
    given: dict[str, Any],
    older: dict[str, Any],
    newer: dict[str, Any] | None,
    select: str | None,
    is_old: bool,
) -> None:
    """On the first connection and on each later one. A server that may be of either sort gets what
    both accept."""

    async def script(peer: Peer) -> None:
        inits.append(await peer.ack())
        if len(server.peers) == 1:
            await peer.close(1012)

    inits: list[Any] = []
    retry = RetryPolicy(first_delay=0)
    async with (
        fake(script, select=select) as server,
        gqlwire.connect(server.url, retry=retry, **given) as session,
    ):
        await server.peer(1)
        await session.wait_ready()

    expected = older if is_old or newer is None else newer
    assert [{"type": "connection_init", **expected}] * 2 == inits
