"""Anything with `dial()` can be kept: here a dialer without URLs, negotiation and sockets."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from doubles import MemoryWire, pass_time, settle
from gqlwire import AsyncClientSession, Client
from gqlwire._connection.connection import Connection
from gqlwire._connection.dialer import Dialer
from gqlwire._operations.link import Link
from gqlwire._protocols import GraphQLTransportWS
from gqlwire._reconnect.transport import ReconnectingTransport
from gqlwire._streams.backpressure import ReadGate
from gqlwire.client.options import Settings
from gqlwire.errors import ConnectionRefused, Phase, TransportClosed
from gqlwire.retry import Attempt
from virtual_server import begun, tidily

TICKS = "subscription { n }"
ACK = b'{"type":"connection_ack"}'


class InMemory:
    """A dialer, and a transport, whose connections have a wire in memory."""

    host = "memory"
    urls = 1
    can_refresh = False
    close_timeout = 10.0
    is_alive = True

    def __init__(self) -> None:
        self.link = Link(self)
        self.wires: list[MemoryWire] = []
        self.attempts: list[Attempt] = []
        self.refusals = 0

    async def connect(self) -> None:
        self.link.live = await self.dial(Attempt(), ReadGate(), lambda _: None)

    async def dial(
        self, attempt: Attempt, gate: ReadGate, on_drop: Callable[[Connection], None]
    ) -> Connection:
        self.attempts.append(attempt)
        if self.refusals:
            self.refusals -= 1
            raise ConnectionRefused("nobody listens", host=self.host, phase=Phase.CONNECT)
        wire = MemoryWire()
        connection = Connection(GraphQLTransportWS(), host=self.host, gate=gate, on_end=on_drop)
        wire.handler = connection
        self.wires.append(wire)
        connection.opened(wire)
        connection.received(ACK)
        return connection

    @property
    def phase(self) -> Phase:
        return Phase.CONNECT

    def another(self) -> InMemory:
        return InMemory()

    async def close(self) -> None:
        for wire in self.wires:
            if wire.handler is not None:
                await wire.handler.close()

    def tell(self, number: int) -> None:
        """An event of the one subscription, by the newest connection."""
        wire = self.wires[-1]
        (start,) = [said for said in wire.said if said["type"] == "subscribe"]
        result = {"type": "next", "id": start["id"], "payload": {"data": {"n": number}}}
        assert wire.handler is not None
        wire.handler.received(json.dumps(result).encode())


def test_a_dialer_is_known_by_its_methods() -> None:
    """No class has to be derived from."""
    assert isinstance(InMemory(), Dialer)


@tidily
async def test_a_dialer_of_another_kind_is_kept() -> None:
    """Its next connection, after two refusals, has the subscription again."""
    dialer = InMemory()
    client = Client(transport=dialer, reconnecting=True)
    async with client as session:
        events = session.subscribe(TICKS)
        step = await begun(anext(events))
        dialer.tell(1)
        assert {"n": 1} == await step

        dialer.refusals = 2
        dialer.wires[-1].handler.closed(1012, "")
        await pass_time(60)
        step = await begun(anext(events))
        dialer.tell(2)
        assert {"n": 2} == await step
        await events.aclose()

    assert (2, 4) == (len(dialer.wires), len(dialer.attempts))


@tidily
async def test_a_transport_of_another_kind_runs_operations_without_reconnecting() -> None:
    """Over its own link, whose one connection it sets; nothing follows when that is lost."""
    dialer = InMemory()
    async with Client(transport=dialer) as session:
        events = session.subscribe(TICKS)
        step = await begun(anext(events))
        dialer.tell(7)
        assert {"n": 7} == await step
        await events.aclose()

    assert 1 == len(dialer.attempts)


@tidily
async def test_its_final_failure_reaches_each_operation() -> None:
    """As that of a WebSocket does."""
    dialer = InMemory()
    kept = ReconnectingTransport(dialer)
    await kept.connect()
    session = AsyncClientSession(dialer, Settings(), kept)
    events = session.subscribe(TICKS)
    step = await begun(anext(events))
    await kept.close()
    await settle()

    with pytest.raises(TransportClosed):
        await step
