"""How a client closes: the cases of Autobahn's group 7, with the 101 and later, and their siblings.

`docs/contributing/hostile-servers.md` lists which tests have the other cases.
"""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from frames import fragments, wire

from gqlwire.errors import TransportError
from gqlwire.transport.websockets import WebsocketsTransport
from servers.fake import RawPeer, raw_fake
from servers.raw import BINARY, CLOSE, PING, TEXT
from support import leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)


def close(code: int, reason: bytes = b"") -> bytes:
    return wire(CLOSE, struct.pack("!H", code) + reason)


BYE = close(1000)
VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
INVALID = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535]
EVENT = b'{"type":"next","id":"1","payload":{"data":{"ticks":1}}}'

# What is sent, and the code of the one close frame that the client answers with.
CASES = {
    "7.1.1": (BYE, 1000),
    "7.1.2": (BYE + wire(CLOSE), 1000),
    "7.1.2 with another code": (close(4001) + close(4002), 4001),
    "7.1.2 three times": (BYE * 3, 1000),
    "7.1.2 then an invalid one": (BYE + close(999), 1000),
    "7.1.2 then one of 126 bytes": (BYE + b"\x88\x7e\x00\x7e" + b"x" * 126, 1000),
    "7.1.3": (BYE + wire(PING, b"?"), 1000),
    "7.1.4": (BYE + wire(TEXT, EVENT), 1000),
    "7.1.4 binary": (BYE + wire(BINARY, b"x"), 1000),
    "7.1.4 garbage": (BYE + b"\xff\xff\xff", 1000),
    "7.1.4 a fragment that continues nothing": (BYE + b"\x80\x01x", 1000),
    "7.1.5": (wire(TEXT, b"{", fin=False) + BYE + b"\x80\x01}", 1000),
    "7.1.6": (b"".join(fragments([b" " * 65_536] * 4 + [EVENT])) + BYE + wire(PING), 1000),
    "7.3.1": (wire(CLOSE), 1000),
    "7.3.2": (b"\x88\x01a", 1002),
    "7.3.3": (BYE, 1000),
    "7.3.4": (close(1000, b"Hello World!"), 1000),
    "7.3.5": (close(1000, b"*" * 123), 1000),
    "7.3.6": (b"\x88\x7e\x00\x7e\x03\xe8" + b"*" * 124, 1002),
    "7.5.1": (close(1000, b"\xce\xba\xed\xa0\x80edited"), 1007),
    **{f"7.7, {code}": (close(code), code) for code in VALID},
    **{f"7.9 and 7.13, {code}": (close(code), 1002) for code in INVALID},
}


@pytest.mark.parametrize("is_early", [True, False], ids=["with the 101", "later"])
@pytest.mark.parametrize(("said", "code"), CASES.values(), ids=CASES)
async def test_one_close_frame_is_answered(said: bytes, code: int, is_early: bool) -> None:
    """Once, with its own code or that of its fault; nothing that comes after it counts."""
    answers: list[bytes] = []

    async def script(peer: RawPeer) -> None:
        await peer.read_request()
        await peer.upgrade(trailing=said if is_early else b"")
        if not is_early:
            await peer.ack()
            await peer.send_raw(said)
        while True:
            frame = await peer.receive_frame()
            answers.extend([frame.payload] if frame.opcode == CLOSE else [])

    async with raw_fake(script, upgrade=False) as server:
        transport = WebsocketsTransport(server.url, subprotocols=["graphql-transport-ws"])
        with suppress(TransportError):  # the close frame may come before `connect()` has returned
            await transport.connect()
            await transport.wait_closed()
        await transport.close()

    assert [code] == [struct.unpack("!H", answer[:2])[0] for answer in answers]
