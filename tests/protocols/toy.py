"""A protocol that nobody speaks: the drill for adding one.

It differs from both real ones in what a protocol may differ in: it has words of its own, an
operation starts with two messages, each operation is authorized for itself, and the server says how
long it may be silent. All of it is in this file. `ROW` goes into the registry under `NAME`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec
from msgspec import Raw, Struct

from gqlwire._json import UNREADABLE
from gqlwire._protocols import KeepAliveRule, Row, Setup, events, lenient
from gqlwire._protocols.conversation import Conversation, Table
from gqlwire.errors import Phase

NAME = "toy"

# --- Messages --------------------------------------------------------------------------------


class Hello(Struct, tag_field="type", tag="hello"):
    """Client to server: let us begin."""


class Authorize(Struct, tag_field="type", tag="authorize"):
    """Client to server: the operation `id`, which follows, may start."""

    id: str
    token: str


class Start(Struct, tag_field="type", tag="start"):
    """Client to server: start the operation `id`."""

    id: str
    request: Raw


class Stop(Struct, tag_field="type", tag="stop"):
    """Client to server: stop the operation `id`."""

    id: str


class Welcome(events.Acknowledged, tag_field="type", tag="welcome"):
    """Server to client: operations may start. The payload has the limit for silence."""


class Refusal(events.Complaint, tag_field="type", tag="refusal"):
    """Server to client: operations may not start."""


class Challenge(events.Pinged, tag_field="type", tag="challenge"):
    """Server to client: repeat this, so that I see that you are there."""


class Event(events.Result, tag_field="type", tag="event"):
    """Server to client: one result of the operation `id`."""


class Fault(events.Failed, tag_field="type", tag="fault"):
    """Server to client: the operation `id` was refused, and is over."""


class Done(events.Completed, tag_field="type", tag="done"):
    """Server to client: the operation `id` is over."""


class Terms(Struct):
    """The payload of a welcome."""

    silence_ms: float | None = None


ServerMessage = Welcome | Refusal | Challenge | Event | Fault | Done

_encode = msgspec.json.Encoder().encode
_decode: Callable[[bytes], ServerMessage] = msgspec.json.Decoder(ServerMessage).decode
_BY_TYPE = {str(kind.__struct_config__.tag): kind for kind in get_args(ServerMessage)}

# --- Table -----------------------------------------------------------------------------------

SERVER_SAYS: Table = {
    Phase.INIT: {Welcome: Phase.OPEN, Refusal: Phase.CLOSED, Challenge: Phase.INIT},
    Phase.OPEN: dict.fromkeys((Event, Fault, Done, Challenge), Phase.OPEN),
}

# --- Machine ---------------------------------------------------------------------------------


class Toy:
    """The client's side of one conversation. Implements `Dialect`."""

    name = NAME
    own_types = frozenset({"welcome", "challenge"})

    def __init__(self, setup: Setup) -> None:
        self.outbox: list[bytes] = []
        self.keep_alive = KeepAliveRule()
        self._secret = (setup.init_payload or {}).get("secret", "")
        self._conversation = Conversation(SERVER_SAYS)

    @property
    def phase(self) -> Phase:
        return self._conversation.phase

    def connection_init(self) -> None:
        self.outbox.append(_encode(Hello()))

    def redacted(self, message: bytes) -> bytes:
        if not message.startswith(b'{"type":"authorize"'):
            return message
        return _encode(Authorize(msgspec.json.decode(message)["id"], "<redacted>"))

    def read(self, text: bytes) -> events.Event:
        try:
            return _decode(text)
        except UNREADABLE:
            message: events.Event = lenient.read(text, _BY_TYPE, nameless=Refusal)
            return message

    def receive(self, text: bytes) -> events.Event | None:
        event = self._conversation.step(self.read(text))
        if isinstance(event, Welcome):
            milliseconds = msgspec.json.decode(event.payload, type=Terms).silence_ms
            self.keep_alive = KeepAliveRule(limit=milliseconds and milliseconds / 1000)
        elif isinstance(event, Challenge):
            self.outbox.append(b'{"type":"answer","payload":%s}' % bytes(event.payload))
        return event

    def subscribe(self, id: str, payload: bytes) -> None:
        self._conversation.live.add(id)
        self.outbox.append(_encode(Authorize(id, token(self._secret, payload))))
        self.outbox.append(_encode(Start(id, Raw(payload))))

    def complete(self, id: str) -> None:
        if self._conversation.stop(id):
            self.outbox.append(_encode(Stop(id)))

    def forget(self, id: str) -> None:
        self._conversation.stop(id)

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        pass

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        pass

    def close(self) -> None:
        self._conversation.close()


def token(secret: str, request: bytes) -> str:
    """The authorization of one request, and of no other."""
    return hashlib.sha256(secret.encode() + request).hexdigest()


ROW = Row("toy.example", Toy)
