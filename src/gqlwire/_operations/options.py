"""The options of `execute` and `subscribe`; each is declared once.

A new option of `subscribe` is a field of `Terms`, a key of `SubscribeOptions` for type checkers,
and the place that uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from msgspec import Struct, field

from gqlwire._numbers import check_seconds
from gqlwire._payloads.reader import ParseFloat
from gqlwire._streams.buffer import Buffer, Overflow
from gqlwire.errors import TransportError

if TYPE_CHECKING:
    from gqlwire._operations.checkpoint import Checkpoint


class Reconnected(Struct, frozen=True):
    """A subscription has continued on a new connection. Events sent in the gap may be missing.

    `gap_seconds`: the time from the loss of the connection to the first result after it, or to the
    server's `complete`; another connection may have been lost in between. `attempts`: how many
    attempts to connect it took. `failure`: why the connection was lost. `refusals`: how often the
    server refused to continue, before it did.

    For the hook `reconnected`, the gap ends when the new connection is acknowledged.
    """

    gap_seconds: float
    attempts: int
    failure: TransportError
    refusals: int = 0


class RequestOptions(TypedDict, total=False):
    """The options that both `execute` and `subscribe` take.

    `variable_values`, `operation_name`, `extensions`: as in `GraphQLRequest`; these win over those
    of the request. `serialize_variables`, `parse_result`, `parse_float`: override the client's
    settings for one operation.
    """

    variable_values: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None
    serialize_variables: bool | None
    parse_result: bool | None
    parse_float: ParseFloat | None


class ExecuteOptions(RequestOptions, total=False):
    """The options that only `execute` takes.

    `timeout`: seconds for this operation, including the wait for a connection; None for no limit.
    The default is the client's `execute_timeout`. `idempotent`: whether the operation may be sent
    again if the connection is lost while it runs; a mutation never is unless this is true.
    """

    timeout: float | None
    idempotent: bool


class SubscribeOptions(RequestOptions, total=False):
    """The options that only `subscribe` takes.

    `buffer`: how much may wait for a slow consumer, a `Buffer` or a number of events; the default
    is 65,536 events and 16 MiB. `overflow`: what happens when it is full, see `Overflow`.
    `first_event_timeout`, `idle_timeout`: seconds that a step waits for the first event, counted
    from the start, and for any later one. Then the step raises OperationTimeout and the
    subscription is over. The default is no limit.

    When the connection is lost (see `Client`):
    `survive`: whether the subscription continues at all; True by default.
    `on_reconnect`: called with a `Reconnected` each time; may be a coroutine function.
    `resume`: a function of the newest event that arrived and of the given variables. It returns the
    variables for the next subscription, which must begin exactly after that event. It is not called
    before the first event. With `overflow="block"` it is also called after the subscription was
    stopped because its buffer was full; then no event is lost, however slow the consumer is.
    `key`: a function of an event that returns a hashable value which identifies the event; None is
    no key. After a reconnect or such a stop, events are dropped whose key is among the last
    `key_memory` (1,000).
    `checkpoint`: stores the last event, so that `resume` works after a restart of the process; see
    `Checkpoint`. `checkpoint_every`: how often it saves: an int is a number of events, a float or a
    timedelta is a time, in seconds. The default is each event. What is left is saved at the end.
    """

    buffer: Buffer | int | None
    overflow: Overflow | str
    first_event_timeout: float | None
    idle_timeout: float | None
    survive: bool
    on_reconnect: Callable[[Reconnected], object] | None
    resume: Callable[[Any, dict[str, Any]], dict[str, Any]] | None
    key: Callable[[Any], Hashable] | None
    key_memory: int | None
    checkpoint: Checkpoint | None
    checkpoint_every: int | float | timedelta | None


class Terms(Struct, frozen=True):
    """The options of one subscription, see `SubscribeOptions`.

    `tell_reconnects`: whether a `Reconnected` comes between the events.
    """

    buffer: Buffer = field(default_factory=Buffer)
    overflow: Overflow = Overflow.BLOCK
    first_event_timeout: float | None = None
    idle_timeout: float | None = None
    survive: bool = True
    on_reconnect: Callable[[Reconnected], object] | None = None
    resume: Callable[[Any, dict[str, Any]], dict[str, Any]] | None = None
    key: Callable[[Any], Hashable] | None = None
    key_memory: int | None = None
    checkpoint: Checkpoint | None = None
    checkpoint_every: int | float | timedelta | None = None
    tell_reconnects: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any], *, tell_reconnects: bool = False) -> Terms:
        """Return the terms for the options of a call, in which `buffer` may be a number of events.

        Raises ValueError or TypeError for an invalid `overflow`, `buffer` or time.
        """
        chosen = {name: options[name] for name in cls.__struct_fields__ if name in options}
        if not chosen and not tell_reconnects:
            return USUAL_TERMS  # shared, because there may be very many subscriptions
        buffer = chosen.pop("buffer", None)
        if not isinstance(buffer, Buffer):
            buffer = Buffer() if buffer is None else Buffer(events=buffer)
        for name in ("first_event_timeout", "idle_timeout"):
            check_seconds(name, chosen.get(name))
        overflow = Overflow(chosen.pop("overflow", Overflow.BLOCK))
        return cls(buffer, overflow, **chosen, tell_reconnects=tell_reconnects)


USUAL_TERMS = Terms()
