"""What the raw scripted server does alone, through a plain websockets client."""

import asyncio
import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from .fake import RawPeer, raw_fake
from .plain import dial
from .raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT


async def waiting(peer: RawPeer) -> None:
    """A script that does nothing."""


async def test_silent_connection() -> None:
    """A connection that never asks for anything is dropped at the end of `with`, too."""
    before = asyncio.all_tasks()
    async with raw_fake(waiting) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await server.connected()
    assert b"" == await reader.read()
    writer.close()
    await writer.wait_closed()
    assert [] == server.peers
    assert before == asyncio.all_tasks()


@pytest.mark.parametrize(
    ("opcode", "payload", "options", "code"),
    [
        (0x3, b"", {}, 1002),
        (TEXT, b"x", {"rsv1": True}, 1002),
        (TEXT, b"x", {"rsv2": True}, 1002),
        (TEXT, b"x", {"rsv3": True}, 1002),
        (TEXT, b"x", {"masked": True}, 1002),
        (CONTINUATION, b"x", {}, 1002),
        (PING, b"x", {"fin": False}, 1002),
        (PING, b"x" * 126, {}, 1002),
        (CLOSE, b"x", {}, 1002),
        (TEXT, b"\xff", {}, 1007),
    ],
)
async def test_bad_frames(opcode: int, payload: bytes, options: dict[str, Any], code: int) -> None:
    """Frames that the RFC forbids go out as told; the peer hears the client refuse them."""
    ends: list[int] = []

    async def script(peer: RawPeer) -> None:
        await peer.send_frame(opcode, payload, **options)
        ends.append((await peer.closed())[0])

    async with raw_fake(script) as server, dial(server.url) as socket:
        with pytest.raises((ConnectionClosed, UnicodeDecodeError)):
            await socket.recv()
        await socket.wait_closed()
        await socket.close()
    assert [code] == ends


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
async def test_good_frames(size: int) -> None:
    """Legal frames of every length class are understood, in both directions."""

    async def script(peer: RawPeer) -> None:
        message = await peer.receive()
        await peer.send_frame(TEXT, message["pad"].encode(), fin=False)
        await peer.send_frame(PING, b"?")
        await peer.send_frame(CONTINUATION, b"!")
        pong = await peer.receive_frame()
        assert (PONG, b"?", True, True) == (pong.opcode, pong.payload, pong.fin, pong.masked)
        await peer.send_frame(BINARY, b"end")

    async with raw_fake(script) as server, dial(server.url) as socket:
        text = json.dumps({"type": "x", "pad": "y" * size})
        # In pieces: the peer joins the fragments of the client.
        await socket.send([text[:5], text[5:]])
        assert ["y" * size + "!", b"end"] == [await socket.recv(), await socket.recv()]


async def test_lying_length() -> None:
    """A frame that promises more than it brings leaves the client waiting until TCP ends."""

    async def script(peer: RawPeer) -> None:
        await peer.send_frame(TEXT, b"half", length=8)
        peer.end()

    async with raw_fake(script) as server, dial(server.url) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert 1006 == socket.close_code


async def test_close_frame_with_or_without_code() -> None:
    """The peer sends a close frame with a code or none, and waits for the client's answer."""
    ends: list[tuple[int, str]] = []

    async def script(peer: RawPeer) -> None:
        await peer.close(*([None] if len(server.peers) == 1 else [4400, "why"]))
        ends.append(await peer.closed())

    codes = []
    async with raw_fake(script) as server:
        for _ in range(2):
            async with dial(server.url) as socket:
                await socket.wait_closed()
                codes.append(socket.close_code)
    assert [1005, 4400] == codes
    assert [(1005, ""), (4400, "why")] == ends


async def test_upgrade_by_hand() -> None:
    """The script may answer the upgrade itself: refuse, be wrong, add frames to the response."""

    async def script(peer: RawPeer) -> None:
        headers = await peer.read_request()
        assert "/graphql" == peer.path
        assert "websocket" == headers["upgrade"]
        if len(server.peers) == 1:
            await peer.respond(503, {"Retry-After": "7"}, b"later")
        elif len(server.peers) == 2:
            await peer.upgrade(replace={"Sec-WebSocket-Accept": "wrong"})
        elif len(server.peers) == 3:
            await peer.upgrade(replace={"Upgrade": None})
        elif len(server.peers) == 4:
            await peer.send_raw(b"SSH-2.0-none\r\n")
            peer.end()
        else:
            await peer.upgrade(headers=[("X-A", "1"), ("X-A", "2")], trailing=b"\x81\x02hi")

    async with raw_fake(script, upgrade=False) as server:
        with pytest.raises(InvalidStatus) as caught:
            await dial(server.url)
        response = caught.value.response
        assert (503, "7", b"later") == (
            response.status_code,
            response.headers["Retry-After"],
            response.body,
        )
        for _ in range(3):
            with pytest.raises(InvalidHandshake):
                await dial(server.url)
        async with dial(server.url) as socket:
            assert socket.response is not None
            assert ["1", "2"] == socket.response.headers.get_all("X-A")
            assert "hi" == await socket.recv()
