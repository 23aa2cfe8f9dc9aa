"""The graphql-transport-ws protocol (subprotocol `graphql-transport-ws`).

Law 1: every rule of this protocol is in this file, and no rule is elsewhere.
Law 2: this file never waits. It knows no socket, no clock and no task.

Source: PROTOCOL.md of enisdenjo/graphql-ws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec
from msgspec import Raw, Struct

from gqlwire._json import NOTHING, UNREADABLE
from gqlwire._protocols import events, lenient
from gqlwire._protocols.conversation import Conversation, Table
from gqlwire._protocols.dialect import KeepAliveRule, Setup
from gqlwire.errors import Phase

# --- Messages --------------------------------------------------------------------------------


class ConnectionInit(Struct, tag_field="type", tag="connection_init", omit_defaults=True):
    """Client to server: let us begin."""

    payload: Mapping[str, Any] | None = None


_SUBSCRIBE = b'{"type":"subscribe","id":"%s","payload":%s}'
"""Client to server: start an operation. To fill it in costs two thirds of what an encoder does."""


class ConnectionAck(events.Acknowledged, tag_field="type", tag="connection_ack"):
    """Server to client: operations may start."""


class ConnectionError(events.Complaint, tag_field="type", tag="connection_error"):
    """Server to client, not in PROTOCOL.md: Hasura says it on this subprotocol, too."""


class Ping(events.Pinged, tag_field="type", tag="ping", omit_defaults=True):
    """Both ways: a question for a sign of life."""


class Pong(events.Ponged, tag_field="type", tag="pong", omit_defaults=True):
    """Both ways: a sign of life, asked for or not."""


class Next(events.Result, tag_field="type", tag="next"):
    """Server to client: one result of the operation `id`."""


class Error(events.Failed, tag_field="type", tag="error"):
    """Server to client: the operation `id` was refused, and is over."""


class Complete(events.Completed, tag_field="type", tag="complete"):
    """Both ways: the operation `id` is over."""


ServerMessage = ConnectionAck | ConnectionError | Ping | Pong | Next | Error | Complete

_encode = msgspec.json.Encoder().encode
_decode: Callable[[bytes], ServerMessage] = msgspec.json.Decoder(ServerMessage).decode
_BY_TYPE = {str(kind.__struct_config__.tag): kind for kind in get_args(ServerMessage)}

# --- Table -----------------------------------------------------------------------------------

# A ping may come as soon as the socket is open ("Ping"), so before the acknowledgement, too.
SERVER_SAYS: Table = {
    Phase.INIT: {
        ConnectionAck: Phase.OPEN,
        ConnectionError: Phase.CLOSED,
        Ping: Phase.INIT,
        Pong: Phase.INIT,
    },
    Phase.OPEN: dict.fromkeys((Next, Error, Complete, Ping, Pong, ConnectionError), Phase.OPEN),
}

# --- Machine ---------------------------------------------------------------------------------

_USUAL = Setup()
_INIT_WITH_PAYLOAD = b'{"type":"connection_init","payload":'
_REDACTED_INIT = _INIT_WITH_PAYLOAD + b'"<redacted>"}'


class GraphQLTransportWS:
    """The client's side of one conversation. Implements `Dialect`."""

    __slots__ = ("_answer_pings", "_conversation", "_init_payload", "outbox")

    name = "graphql-transport-ws"
    own_types = frozenset({"ping", "pong"})
    keep_alive = KeepAliveRule()

    def __init__(self, setup: Setup = _USUAL) -> None:
        self.outbox: list[bytes] = []
        self._answer_pings = setup.answer_pings
        self._init_payload = setup.init_payload
        self._conversation = Conversation(SERVER_SAYS)

    @property
    def phase(self) -> Phase:
        """INIT until the acknowledgement, then OPEN, CLOSED once refused or closed."""
        return self._conversation.phase

    def connection_init(self) -> None:
        """Open the conversation. The payload goes out as it is; None omits the key."""
        self.outbox.append(_encode(ConnectionInit(self._init_payload)))

    def redacted(self, message: bytes) -> bytes:
        """Return a message of ours as a log may show it: the init payload holds credentials."""
        return _REDACTED_INIT if message.startswith(_INIT_WITH_PAYLOAD) else message

    def read(self, text: bytes) -> ServerMessage | events.Stray:
        """Decode one message, without a change of state."""
        try:
            return _decode(text)
        except UNREADABLE:
            message: ServerMessage | events.Stray = lenient.read(
                text, _BY_TYPE, nameless=ConnectionError
            )
            return message

    def receive(self, text: bytes) -> events.Event | None:
        """Take one message. Return what it means, or None if its operation is over."""
        try:
            message: ServerMessage | events.Stray = _decode(text)
        except UNREADABLE:
            message = self.read(text)
        conversation = self._conversation
        # The short way, for what comes a million times. `step` does the same.
        if conversation.phase is Phase.OPEN:
            if type(message) is Next:
                return message if message.id in conversation.live else None
            if type(message) is Complete:
                if message.id not in conversation.live:
                    return None
                conversation.live.remove(message.id)
                return message
        event = conversation.step(message)
        if type(event) is Ping and self._answer_pings:
            # "Ping": the answer carries what the question carried.
            self.outbox.append(_encode(Pong(event.payload)))
        return event

    def subscribe(self, id: str, payload: bytes) -> None:
        """Start the operation `id`; `payload` is the request, encoded as JSON."""
        self._conversation.live.add(id)
        self.outbox.append(_SUBSCRIBE % (id.encode(), payload))

    def complete(self, id: str) -> None:
        """Stop the operation `id`; results under way are dropped. Twice is harmless."""
        # "Complete": the server's own may cross ours; then there is nothing to stop.
        if self._conversation.stop(id):
            self.outbox.append(_encode(Complete(id)))

    def forget(self, id: str) -> None:
        """Ignore what still comes for the operation `id`, which the server ends by itself."""
        self._conversation.live.discard(id)

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Ask for a sign of life; any time is right ("Ping")."""
        self.outbox.append(_encode(Ping(_raw(payload))))

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Give a sign of life, asked for or not ("Pong")."""
        self.outbox.append(_encode(Pong(_raw(payload))))

    def close(self) -> None:
        """End the conversation. There is no message for it: the socket closes with 1000."""
        self._conversation.close()


def _raw(payload: Mapping[str, Any] | None) -> Raw:
    return NOTHING if payload is None else Raw(_encode(payload))
