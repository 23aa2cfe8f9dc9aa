"""The graphql-transport-ws protocol (subprotocol `graphql-transport-ws`).

All rules of this protocol are in this module. It does no I/O: it uses no socket, clock or task.

Source: PROTOCOL.md of enisdenjo/graphql-ws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec
from msgspec import Raw, Struct

from gqlwire._json import NOTHING, UNREADABLE, encode
from gqlwire._protocols import events, lenient
from gqlwire._protocols.conversation import Conversation, Table
from gqlwire._protocols.dialect import KeepAliveRule, Setup
from gqlwire.errors import Phase

# --- Messages --------------------------------------------------------------------------------


class ConnectionInit(Struct, tag_field="type", tag="connection_init", omit_defaults=True):
    """Client to server: start the conversation."""

    payload: Mapping[str, Any] | None = None


_SUBSCRIBE = b'{"type":"subscribe","id":"%s","payload":%s}'
"""Client to server: start an operation. Formatting takes two thirds of the time of an encoder."""


class ConnectionAck(events.Acknowledged, tag_field="type", tag="connection_ack"):
    """Server to client: operations may start."""


class ConnectionError(events.Complaint, tag_field="type", tag="connection_error"):
    """Server to client. It is not in PROTOCOL.md, but Hasura also sends it on this subprotocol."""


class Ping(events.Pinged, tag_field="type", tag="ping", omit_defaults=True):
    """Both ways: asks for a pong."""


class Pong(events.Ponged, tag_field="type", tag="pong", omit_defaults=True):
    """Both ways: answers a ping, or shows unasked that the sender is alive."""


class Next(events.Result, tag_field="type", tag="next"):
    """Server to client: one result of the operation `id`."""


class Error(events.Failed, tag_field="type", tag="error"):
    """Server to client: the operation `id` was refused, and has ended."""


class Complete(events.Completed, tag_field="type", tag="complete"):
    """Both ways: the operation `id` has ended."""


ServerMessage = ConnectionAck | ConnectionError | Ping | Pong | Next | Error | Complete

_encode = msgspec.json.Encoder().encode
_decode: Callable[[bytes], ServerMessage] = msgspec.json.Decoder(ServerMessage).decode
_BY_TYPE = {str(kind.__struct_config__.tag): kind for kind in get_args(ServerMessage)}

# --- Table -----------------------------------------------------------------------------------

# A ping may arrive before the acknowledgement: any time after the socket is open ("Ping").
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
        """Send `connection_init` with the payload of the user; None omits the key."""
        self.outbox.append(encode(ConnectionInit(self._init_payload), "connection_init"))

    def redacted(self, message: bytes) -> bytes:
        """Return a sent message without secrets, for a log: the init payload holds credentials."""
        return _REDACTED_INIT if message.startswith(_INIT_WITH_PAYLOAD) else message

    def read(self, text: bytes) -> ServerMessage | events.Stray:
        """Decode one message without changing the state."""
        try:
            return _decode(text)
        except UNREADABLE:
            message: ServerMessage | events.Stray = lenient.read(
                text, _BY_TYPE, nameless=ConnectionError
            )
            return message

    def receive(self, text: bytes) -> events.Event | None:
        """Handle one message. Return its event, or None if its operation has ended."""
        try:
            message: ServerMessage | events.Stray = _decode(text)
        except UNREADABLE:
            message = self.read(text)
        conversation = self._conversation
        # Fast path for the most frequent messages; `step` does the same.
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
            # The pong has the payload of the ping, as that of the reference client has.
            self.outbox.append(_encode(Pong(event.payload)))
        return event

    def subscribe(self, id: str, payload: bytes) -> None:
        """Start the operation `id`; `payload` is the request, encoded as JSON."""
        self._conversation.live.add(id)
        self.outbox.append(_SUBSCRIBE % (id.encode(), payload))

    def complete(self, id: str) -> None:
        """Stop the operation `id`, and ignore its later results; a second call does nothing."""
        # "Complete": if the server has completed the operation already, there is nothing to stop.
        if self._conversation.stop(id):
            self.outbox.append(_encode(Complete(id)))

    def forget(self, id: str) -> None:
        """Ignore later messages for the operation `id`, which the server completes unasked."""
        self._conversation.live.discard(id)

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a ping, which is allowed at any time ("Ping")."""
        self.outbox.append(_encode(Ping(_raw(payload))))

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Send a pong, as an answer to a ping or unasked ("Pong")."""
        self.outbox.append(_encode(Pong(_raw(payload))))

    def close(self) -> None:
        """End the conversation. The protocol has no message for it; the close frame is enough."""
        self._conversation.close()


def _raw(payload: Mapping[str, Any] | None) -> Raw:
    return NOTHING if payload is None else Raw(encode(payload, "the payload"))
