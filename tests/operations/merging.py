"""`gqlwire.merge`: helpers of its tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Raw

from doubles import MemoryWire, link_to, settle
from gqlwire._connection.connection import Connection
from gqlwire._operations.feed import Feed
from gqlwire._operations.merge import Merged, merge
from gqlwire._operations.options import Terms
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.result import decode_result
from gqlwire._protocols import GraphQLTransportWS
from gqlwire._streams.stream import Buffer, Overflow
from spelling import REQUEST

ROOMY = Buffer()


REFUSED = b'{"data":{"n":1},"errors":[{"message":"refused"}]}'


UNREADABLE = b"{]"


Events = Subscription[Any]


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    data: Any
    errors: Raw = Raw()


decode = msgspec.json.Decoder(Plain).decode


def convert(payload: Raw) -> Any:
    return decode_result(payload).data_or_raise()


class Speaking:
    """A connection, and a server that sends what the test says."""

    def __init__(self, dialect: Any = None, result: str = "next") -> None:
        self.wire = MemoryWire()
        self.connection = Connection(dialect or GraphQLTransportWS(), host="h.example:443")
        self.wire.handler = self.connection
        self.connection.opened(self.wire)
        self.connection.received(b'{"type":"connection_ack"}')
        self.wire.sent.clear()
        self._result = result

    def subscribe(
        self,
        buffer: Buffer = ROOMY,
        overflow: Overflow = Overflow.BLOCK,
        decoder: Callable[[Raw | bytes], Plain] | None = decode,
        idle_timeout: float | None = None,
    ) -> Events:
        terms = Terms(buffer, overflow, idle_timeout=idle_timeout)
        feed = Feed(link_to(self.connection), REQUEST, terms)
        return Subscription(feed, convert, decoder)

    def several(self, count: int, **options: Any) -> list[Events]:
        return [self.subscribe(**options) for _ in range(count)]

    def text(self, subscription: Events, data: Any) -> bytes:
        """A result as a message; a `bytes` is a payload as it is."""
        payload = data if isinstance(data, bytes) else json.dumps({"data": data}).encode()
        id = (subscription.id or "").encode()
        return b'{"type":"%s","id":"%s","payload":%s}' % (self._result.encode(), id, payload)

    def hear(self, *events: tuple[Events, Any]) -> None:
        """Take events that came together."""
        self.say(*(self.text(subscription, data) for subscription, data in events))

    def say(self, *texts: bytes) -> None:
        self.connection.received_all([*texts])
        self.connection.heard()

    def complete(self, subscription: Events) -> None:
        self.say(json.dumps({"type": "complete", "id": subscription.id}).encode())

    @property
    def started(self) -> list[str]:
        """The operations that were started, in order."""
        return [said["id"] for said in self.wire.said if said["type"] in ("subscribe", "start")]

    @property
    def stops(self) -> list[str]:
        """The operations that the server was told to stop, in order."""
        return [said["id"] for said in self.wire.said if said["type"] in ("complete", "stop")]


def at_once(step: Coroutine[Any, Any, Any]) -> Any:
    """The outcome of a step that does not wait; fails the test if it does."""
    try:
        step.send(None)
    except StopIteration as done:
        return done.value
    step.close()
    raise AssertionError("it waits")


async def begin(it: Speaking, merged: Merged[Any], *subscriptions: Events) -> None:
    """Take a first event of each of these, which are all that is new; with that they start."""
    step = asyncio.ensure_future(anext(merged))
    await settle()
    it.hear(*((subscription, "begun") for subscription in subscriptions))
    told = [await step, *(at_once(anext(merged)) for _ in subscriptions[1:])]
    assert [(subscription, "begun") for subscription in subscriptions] == told


async def begun(it: Speaking, count: int, **options: Any) -> tuple[Merged[Any], list[Events]]:
    """A merger of `count` subscriptions that have started; nothing is left to take."""
    subscriptions = it.several(count, **options)
    merged = merge(subscriptions)
    await begin(it, merged, *subscriptions)
    return merged, subscriptions


def taken(merged: Merged[Any], count: int) -> list[tuple[Events, Any]]:
    """So many pairs, none of which is waited for."""
    return [at_once(anext(merged)) for _ in range(count)]


async def waiting(merged: Merged[Any]) -> asyncio.Future[Any]:
    """A step that waits."""
    step = asyncio.ensure_future(anext(merged))
    await settle()
    assert not step.done()
    return step
