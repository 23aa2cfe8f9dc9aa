"""What befalls the connections of an endurance run: the blows of the storm, and hostile answers."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from hardship import EVERY, Blows, Hardship

from servers.faults import UNAVAILABLE, Fault, Strike, schedule


def _frame(opcode: int, payload: bytes, *, bits: int = 0x80) -> bytes:
    length = len(payload)
    head = bytes([bits | opcode, length]) if length < 126 else bytes([bits | opcode, 126])
    return head + (b"" if length < 126 else length.to_bytes(2)) + payload


_TEXT, _BINARY, _CLOSE, _PING = 0x1, 0x2, 0x8, 0x9

FRAMES = {
    "half a message": _frame(_TEXT, b'{"type":"next","id'),
    "no object": _frame(_TEXT, b"[1,2]"),
    "no UTF-8": _frame(_TEXT, b'{"type":"\xff\xfe"}'),
    "no type": _frame(_TEXT, b'{"id":"1","payload":{}}'),
    "an unknown type": _frame(_TEXT, b'{"type":"surprise","payload":{}}'),
    "an unknown operation": _frame(_TEXT, b'{"type":"next","id":"none","payload":{"data":{}}}'),
    "deep": _frame(_TEXT, b"[" * 60_000),
    "binary": _frame(_BINARY, b"\0\1\2"),
    "reserved opcode": _frame(0x3, b"what"),
    "reserved bit": _frame(_TEXT, b"{}", bits=0xC0),
    "long ping": _frame(_PING, b"x" * 200),
    "close 999": _frame(_CLOSE, (999).to_bytes(2)),
    "close 1002": _frame(_CLOSE, (1002).to_bytes(2) + b"it is you"),
    "close 4400": _frame(_CLOSE, (4400).to_bytes(2) + b"\xff\xff"),
    "close 4429": _frame(_CLOSE, (4429).to_bytes(2)),
    "close of one byte": _frame(_CLOSE, b"\x03"),
}
"""What a server may say on a live connection, and should not."""

ANSWERS = {
    "503, come in 1e400 s": b"HTTP/1.1 503 No\r\nRetry-After: 1e400\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\r\n\r\n",
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
    "302 to nowhere": b"HTTP/1.1 302 Found\r\nLocation: ::\r\nContent-Length: 0\r\n\r\n",
    "101 of another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n",
    "a status of 99999": b"HTTP/1.1 99999 Much\r\nContent-Length: 0\r\n\r\n",
    "a length below zero": b"HTTP/1.1 500 No\r\nContent-Length: -1\r\n\r\n",
}
"""What it may answer to the upgrade."""


def strikes(seed: int, end: float) -> Iterator[Strike[Blows]]:
    """The blows of the storm, one in about two seconds, until `end`."""
    endless: Iterable[Strike[Blows]] = schedule(seed, EVERY, 10**9, longest_pause=5.0, longest=1.0)
    return itertools.takewhile(lambda _: time.monotonic() < end, endless)


async def be_hostile(here: Hardship, seed: int, end: float, told: Counter[str]) -> None:
    """Now and then send what no server should, or answer the upgrade with it; count it in `told`.

    The session was connected before, so nothing of it is final.
    """
    chance = random.Random(seed)
    everything = [*FRAMES.items(), *ANSWERS.items()]
    while True:
        await asyncio.sleep(chance.uniform(2, 10))
        if time.monotonic() >= end:
            here.proxy.rejection = UNAVAILABLE
            return
        name, data = chance.choice(everything)
        await here.proxy.linked()
        if name in ANSWERS:
            here.proxy.rejection = data
            here.proxy.unavailable += 1
            here.proxy.strike(Fault.RESET)
        else:
            here.proxy.links[0].inject(data)
        told[name] += 1
