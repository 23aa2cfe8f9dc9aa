"""The names of unknown messages were kept whole, and those of all connections: a server could fill
the memory with them. Names are cut, and there is a limit for their number over reconnections.
"""

from __future__ import annotations

import logging
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import settle
from gqlwire._connection.telemetry import add_strays
from gqlwire._reconnect.counters import Counters, total
from spelling import NEWER, OLDER, Spelling
from virtual_server import VirtualServer, kept, tidily, virtual_server

served = pytest.fixture(name="server")(virtual_server)

BOTH = pytest.mark.parametrize("spelling", [NEWER, OLDER], ids=["newer", "older"])
MIB = 1024 * 1024
LONGEST = 41
MOST = 51


def assert_bounded(strays: dict[str, int], total: int) -> None:
    assert all(len(name) <= LONGEST for name in strays)
    assert len(strays) <= MOST
    assert sum(strays.values()) == total


@BOTH
@tidily
async def test_k1_a_type_of_mebibytes(
    server: VirtualServer, spelling: Spelling, caplog: pytest.LogCaptureFixture
) -> None:
    """The counters, the log and the failure keep the beginning of the name."""
    caplog.set_level(logging.DEBUG, "gqlwire")
    async with kept(server, spelling=spelling) as it:
        tracemalloc.start()
        try:
            for letter in "abcd":
                server.peer.say(b'{"type":"%s"}' % (letter.encode() * MIB))
            kept_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert kept_bytes < MIB
        assert_bounded(it.session.counters.unknown_messages, 4)
        assert "a" * 40 + "…" in it.session.counters.unknown_messages
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


@BOTH
@tidily
async def test_k1_new_types_on_each_connection(server: VirtualServer, spelling: Spelling) -> None:
    """The row's 50 types on each of many connections: the session counts all, and names a few."""
    async with kept(server, spelling=spelling) as it:
        for connection in range(20):
            server.peer.say(*({"type": f"made up {connection}.{n}"} for n in range(50)))
            server.peer.hang_up(1012)
            await it.session.wait_ready()
            await settle()

        found = it.session.counters.unknown_messages
        assert_bounded(found, 1000)
        assert 950 == found["others"]


def test_k1_kind_over_several_connections_of_a_session() -> None:
    """Whose counts are added up, those of connections that are over included."""
    past = Counters()
    for connection in range(20):
        names = {f"made up {connection}.{n}": 2 for n in range(50)}
        counted = Counters(unknown_messages=names, reconnects={f"{4000 + connection}": 1})
        past = total([past, counted, Counters()])

    assert_bounded(past.unknown_messages, 2000)
    assert 20 == len(past.reconnects)


KINDS: dict[str, Any] = {
    "list": ["x" * 1000] * 10,
    "object": {"x" * 1000: 1},
    "digits": 10**1000,
    "wide": "\U0001f600" * 1000,
    "escaped": "\x00" * 1000,
    "nothing": None,
    "empty": "",
}


@pytest.mark.parametrize("type", KINDS.values(), ids=KINDS)
@BOTH
@tidily
async def test_k1_kind_types_that_are_odd(
    server: VirtualServer, spelling: Spelling, type: Any
) -> None:
    """Whatever the type is made of, and without reconnecting as well."""
    async with kept(server, spelling=spelling) as it:
        server.peer.say({"type": type}, {"type": type})
        assert_bounded(it.session.counters.unknown_messages, 2)
        assert_bounded(dict(it.session.transport.unknown_messages), 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=60), st.integers(1, 3)), max_size=120))
def test_k1_kind_nothing_is_lost(said: list[tuple[str, int]]) -> None:
    """Each stray is counted once, under a name that is short."""
    strays: dict[str, int] = {}
    for type, count in said:
        assert add_strays(strays, type, count) in strays

    assert_bounded(strays, sum(count for _, count in said))
