"""Apollo's protocol (subprotocol `graphql-ws`), that of subscriptions-transport-ws.

All rules of this protocol are in this module. It does no I/O: it uses no socket, clock or task.

Source: PROTOCOL.md of apollographql/subscriptions-transport-ws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec
from msgspec import Struct

from gqlwire._json import UNREADABLE, encode
from gqlwire._protocols import events, lenient
from gqlwire._protocols.conversation import Conversation, Table
from gqlwire._protocols.dialect import KeepAliveRule, Setup
from gqlwire.errors import Phase

# --- Messages --------------------------------------------------------------------------------


class ConnectionInit(Struct, tag_field="type", tag="connection_init", omit_defaults=True):
    """Client to server: start the conversation."""

    payload: Mapping[str, Any] | None = None


_START = b'{"type":"start","id":"%s","payload":%s}'
"""Client to server: start an operation. Formatting takes two thirds of the time of an encoder."""


class Stop(Struct, tag_field="type", tag="stop"):
    """Client to server: stop the operation `id`."""

    id: str


class ConnectionTerminate(Struct, tag_field="type", tag="connection_terminate"):
    """Client to server: end the conversation."""


class ConnectionAck(events.Acknowledged, tag_field="type", tag="connection_ack"):
    """Server to client: operations may start."""


class ConnectionError(events.Complaint, tag_field="type", tag="connection_error"):
    """Server to client: `connection_init` is refused. Later: a message could not be read."""


class KeepAlive(events.KeptAlive, tag_field="type", tag="ka"):
    """Server to client: the server is alive."""


class Data(events.Result, tag_field="type", tag="data"):
    """Server to client: one result of the operation `id`."""


class Error(events.Failed, tag_field="type", tag="error"):
    """Server to client: the operation `id` was refused, and has ended."""


class Complete(events.Completed, tag_field="type", tag="complete"):
    """Server to client: the operation `id` has ended."""


ServerMessage = ConnectionAck | ConnectionError | KeepAlive | Data | Error | Complete

_encode = msgspec.json.Encoder().encode
_decode: Callable[[bytes], ServerMessage] = msgspec.json.Decoder(ServerMessage).decode
_BY_TYPE = {str(kind.__struct_config__.tag): kind for kind in get_args(ServerMessage)}

# --- Table -----------------------------------------------------------------------------------

# A `ka` may arrive before the acknowledgement (Hasura's do). A `connection_error` after it answers
# a message that the server could not read, and "does not disconnect the client"
# (GQL_CONNECTION_ERROR).
SERVER_SAYS: Table = {
    Phase.INIT: {
        ConnectionAck: Phase.OPEN,
        ConnectionError: Phase.CLOSED,
        KeepAlive: Phase.INIT,
    },
    Phase.OPEN: dict.fromkeys((Data, Error, Complete, KeepAlive, ConnectionError), Phase.OPEN),
}

# --- Machine ---------------------------------------------------------------------------------

_USUAL = Setup()
_INIT_WITH_PAYLOAD = b'{"type":"connection_init","payload":'
_REDACTED_INIT = _INIT_WITH_PAYLOAD + b'"<redacted>"}'


class Apollo:
    """The client's side of one conversation. Implements `Dialect`."""

    __slots__ = ("_conversation", "_init_payload", "outbox")

    name = "graphql-ws"
    own_types = frozenset({"ka"})
    # GQL_CONNECTION_KEEP_ALIVE: the client checks for keep-alives "only upon the first received".
    keep_alive = KeepAliveRule(from_first_sign=True)

    def __init__(self, setup: Setup = _USUAL) -> None:
        self.outbox: list[bytes] = []
        self._init_payload = setup.init_payload
        self._conversation = Conversation(SERVER_SAYS)

    @property
    def phase(self) -> Phase:
        """INIT until the acknowledgement, then OPEN, CLOSED once refused or closed."""
        return self._conversation.phase

    def connection_init(self) -> None:
        """Send `connection_init` with the payload of the user; None sends an empty object.

        The reference client sends `{}` as well, so many an `onConnect` reads a field of it unasked.
        """
        payload = {} if self._init_payload is None else self._init_payload
        self.outbox.append(encode(ConnectionInit(payload), "connection_init"))

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
            if type(message) is Data:
                return message if message.id in conversation.live else None
            if type(message) is Complete:
                if message.id not in conversation.live:
                    return None
                conversation.live.remove(message.id)
                return message
        return conversation.step(message)

    def subscribe(self, id: str, payload: bytes) -> None:
        """Start the operation `id`; `payload` is the request, encoded as JSON."""
        self._conversation.live.add(id)
        self.outbox.append(_START % (id.encode(), payload))

    def complete(self, id: str) -> None:
        """Stop the operation `id`, and ignore its later results; a second call does nothing."""
        # The server answers a `stop` with a `complete`, which is ignored like later results.
        if self._conversation.stop(id):
            self.outbox.append(_encode(Stop(id)))

    def forget(self, id: str) -> None:
        """Ignore later messages for the operation `id`, which the server completes unasked."""
        self._conversation.live.discard(id)

    def ping(self, payload: Mapping[str, Any] | None = None) -> None:
        """Do nothing: in this protocol the client has no such message."""

    def pong(self, payload: Mapping[str, Any] | None = None) -> None:
        """Do nothing: in this protocol the client has no such message."""

    def close(self) -> None:
        """End the conversation (GQL_CONNECTION_TERMINATE)."""
        self._conversation.close()
        self.outbox.append(_encode(ConnectionTerminate()))
