"""What a client tells its sessions, and what operations take besides the request.

This module knows no transport and no connection.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypedDict

from msgspec import Struct, field

from gqlwire._operations.feed import Reconnected, Terms
from gqlwire._payloads.reader import ParseFloat
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.scalars import Scalars
from gqlwire._streams.buffer import Buffer, Overflow

if TYPE_CHECKING:
    from graphql import GraphQLSchema

    from gqlwire._operations.checkpoint import Checkpoint


class RequestOptions(TypedDict, total=False):
    """What `execute` and `subscribe` take besides the request.

    `variable_values`, `operation_name`, `extensions`: as in `GraphQLRequest`; these win.
    `serialize_variables`, `parse_result`, `parse_float`: override the client's settings for one
    operation.
    """

    variable_values: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None
    serialize_variables: bool | None
    parse_result: bool | None
    parse_float: ParseFloat | None


class ExecuteOptions(RequestOptions, total=False):
    """What `execute` takes besides.

    `timeout`: seconds for this operation, waiting for a connection included; None for no limit. By
    default the client's `execute_timeout`. `idempotent`: whether it may be sent again if the
    connection is lost while it runs; a mutation never is, unless this says so.
    """

    timeout: float | None
    idempotent: bool


class SubscribeOptions(RequestOptions, total=False):
    """What `subscribe` takes besides.

    `buffer`: how much may wait for a slow consumer, a `Buffer` or a number of events; by default
    65,536 events and 16 MiB. `overflow`: what happens beyond it, see `Overflow`.
    `first_event_timeout`, `idle_timeout`: seconds that a step waits for the first event, counted
    from the start, and for any later one; then it raises OperationTimeout, and the subscription is
    over. By default it waits for ever.

    Over connections that are lost (see `Client`):
    `survive`: whether it goes on at all; True by default.
    `on_reconnect`: is called with a `Reconnected` each time; may be a coroutine function.
    `resume`: a function of the newest event that came and of the variables that were given, which
    returns the variables to go on with. It is not asked before there was an event.
    `key`: a function of an event that tells it from others; events that came before and come again
    at the beginning of a new connection are dropped.
    `checkpoint`: keeps the last event over restarts of the process, for `resume`; see `Checkpoint`.
    """

    buffer: Buffer | int | None
    overflow: Overflow | str
    first_event_timeout: float | None
    idle_timeout: float | None
    survive: bool
    on_reconnect: Callable[[Reconnected], object] | None
    resume: Callable[[Any, dict[str, Any]], dict[str, Any]] | None
    key: Callable[[Any], Hashable] | None
    checkpoint: Checkpoint[Any] | None


class Settings(Struct):
    """What a client tells its sessions; times in seconds."""

    schema: GraphQLSchema | None = None
    introspection: dict[str, Any] | None = None
    introspection_args: dict[str, Any] = field(default_factory=dict)
    execute_timeout: float | None = 10
    serialize_variables: bool = False
    parse_results: bool = False
    scalars: Scalars = field(default_factory=Scalars)
    parse_float: ParseFloat | None = None

    def validate(self, request: GraphQLRequest) -> None:
        """Raise graphql-core's GraphQLError, the first, if the schema does not allow `request`."""
        from gqlwire._payloads import schema

        if self.schema is None:
            raise ValueError("there is no schema to validate against")
        schema.validate(self.schema, request.document)


def check_names(call: str, options: RequestOptions, kind: type[Any]) -> None:
    """Raise TypeError for an option that there is not, as Python does for arguments."""
    if not kind.__optional_keys__.issuperset(options):
        unknown = min(options.keys() - kind.__optional_keys__)
        raise TypeError(f"{call}() got an unexpected keyword argument {unknown!r}")


def terms_of(options: SubscribeOptions) -> Terms:
    """Return what of the options says how results wait."""
    return Terms.of(
        options.get("buffer"),
        options.get("overflow", Overflow.BLOCK),
        options.get("first_event_timeout"),
        options.get("idle_timeout"),
    )
