"""Helpers of tests about negotiation: what a server was offered, and what is spoken with it."""

from __future__ import annotations

import asyncio
from typing import Any

from conftest import NEWER, OLDER
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import Fake, Peer
from support import BOUND, QUERY

BOTH = f"{NEWER}, {OLDER}"
OTHER = {NEWER: OLDER, OLDER: NEWER}
START = {NEWER: "subscribe", OLDER: "start"}
EVENT = {NEWER: "next", OLDER: "data"}


def offer_of(peer: Peer) -> str:
    """What this connection was offered."""
    return peer.request_headers["Sec-WebSocket-Protocol"]


def offers(server: Fake) -> list[str]:
    """What was offered, connection by connection."""
    return [request.headers["Sec-WebSocket-Protocol"] for request in server.requests]


async def answer(peer: Peer, protocol: str) -> None:
    """Answer one query in the words of `protocol`; another's words fail the test."""
    start = await peer.expect(START[protocol], skip=["pong"])
    payload = {"data": {"hello": protocol}}
    await peer.send({"type": EVENT[protocol], "id": start["id"], "payload": payload})
    await peer.send({"type": "complete", "id": start["id"]})


async def spoken_with(url: str, **options: Any) -> str:
    """The protocol in which a new transport has a query answered."""
    transport = WebsocketsTransport(url, **options)
    async with asyncio.timeout(BOUND):
        await transport.connect()
        result = await transport.execute(QUERY)
        await transport.close()
    assert transport.subprotocol == result.data["hello"]
    return str(transport.subprotocol)
