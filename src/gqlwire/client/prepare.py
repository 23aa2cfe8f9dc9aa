"""Prepares requests before they are sent, and converts their results for the user.

The client's settings and the options of the call decide how. This module knows no transport.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Raw, structs

from gqlwire._operations.feed import Feed
from gqlwire._operations.functions import copied
from gqlwire._operations.link import Link
from gqlwire._operations.options import RequestOptions, SubscribeOptions, Terms
from gqlwire._operations.resume import TrackedSubscription, Tracker
from gqlwire._operations.subscription import Subscription
from gqlwire._payloads.reader import Decode, reader_for
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.result import ExecutionResult
from gqlwire._streams.sink import Item
from gqlwire.client.options import Settings

if TYPE_CHECKING:
    from graphql import DocumentNode

    Source = GraphQLRequest | DocumentNode | str


def check_names(call: str, options: RequestOptions, kind: type[Any]) -> None:
    """Raise TypeError for an unknown option, as Python does for an unknown argument."""
    if not kind.__optional_keys__.issuperset(options):
        unknown = min(options.keys() - kind.__optional_keys__)
        raise TypeError(f"{call}() got an unexpected keyword argument {unknown!r}")


# --- Requests -------------------------------------------------------------------------------------


def prepare(
    settings: Settings,
    source: Source,
    options: RequestOptions,
    variables: dict[str, Any] | None = None,
) -> GraphQLRequest:
    """Return the request to send: validated and converted if the client has a schema.

    `variables` replace those of the call, unless they are None.

    Raises graphql-core's GraphQLError for a request that is not valid, and TypeError for variables
    that cannot be written as JSON.
    """
    request = GraphQLRequest(
        source,
        variable_values=options.get("variable_values") if variables is None else variables,
        operation_name=options.get("operation_name"),
        extensions=options.get("extensions"),
    )
    if settings.schema is not None:
        settings.validate(request)
        wanted = options.get("serialize_variables")
        is_wanted = settings.serialize_variables if wanted is None else wanted
        if request.variable_values and is_wanted:
            request = request.serialize_variable_values(settings.schema)
    if request.variable_values:
        request.variable_values = settings.scalars.plain(request.variable_values)
    return request


def _given_variables(source: Source, options: RequestOptions) -> dict[str, Any]:
    given = options.get("variable_values")
    if given is None and isinstance(source, GraphQLRequest):
        given = source.variable_values
    return given or {}


# --- Results --------------------------------------------------------------------------------------


def converters(
    settings: Settings,
    request: GraphQLRequest,
    options: RequestOptions,
    result_type: Any,
    *,
    whole: bool,
    single: bool,
) -> tuple[Callable[[Raw], Any], Decode | None]:
    """Return `(convert, decode)`.

    `convert` turns the payload of a result into the user's value: its data, or with `whole` the
    ExecutionResult. `single`: whether the operation has one result, so that a part of one is an
    error. `decode` does the same in one pass for plain results, or is None.

    Raises TypeError for an unsupported `result_type`, and ValueError for `result_type` together
    with `parse_result`.
    """
    if result_type is not None and options.get("parse_result"):
        raise ValueError(
            "result_type and parse_result=True cannot be combined: result_type already says how "
            "to convert the values"
        )
    parse_float = options.get("parse_float") or settings.parse_float
    reader = reader_for(result_type, settings.scalars, parse_float)
    read_whole = reader.read_single if single else reader.read_whole
    if settings.schema is not None and result_type is None:
        wanted = options.get("parse_result")
        if settings.parse_results if wanted is None else wanted:
            return _parsing(settings, request, read_whole, whole=whole), None
    return (read_whole, None) if whole else (reader.read, reader.decode)


def _parsing(
    settings: Settings,
    request: GraphQLRequest,
    read: Callable[[Raw], ExecutionResult[Any]],
    *,
    whole: bool,
) -> Callable[[Raw], Any]:
    from graphql import GraphQLError

    from gqlwire._payloads.schema import ResultParser, mismatch

    if settings.schema is None:
        raise ValueError("there is no schema to parse results with")
    parse = ResultParser(settings.schema, request.document, request.operation_name).parse

    def convert(payload: Raw) -> Any:
        result = read(payload)
        try:
            result.data = parse(result.data)
        except (GraphQLError, RecursionError) as refusal:
            raise mismatch(refusal, result) from refusal
        return result if whole else result.data_or_raise()

    return convert


# --- Subscriptions --------------------------------------------------------------------------------


def subscription(
    link: Link,
    settings: Settings,
    source: Source,
    options: SubscribeOptions,
    terms: Terms,
    *,
    result_type: Any,
    whole: bool,
) -> Subscription[Any]:
    """Return a subscription on `link`. Nothing is sent before the first step."""
    tracker = Tracker.of(terms)
    request = prepare(settings, source, options)
    convert, decode = converters(settings, request, options, result_type, whole=whole, single=False)
    if request.kind == "mutation":  # which raises if it is not clear which operation to run
        # It must not be sent twice. Its parts, or its one result, come on one connection.
        terms = structs.replace(terms, survive=False)
    if tracker is None:
        return Subscription(Feed(link, request.encode(), terms), convert, decode)
    given = copied(_given_variables(source, options))

    def resumed(last: Any) -> bytes:
        return prepare(settings, source, options, tracker.variables(last, given)).encode()

    def renew() -> bytes:
        # A weak reference, because the feed must not keep its subscription alive.
        current = reference()
        last = None if current is None else current.newest()
        return request.encode() if last is None else resumed(last)

    def is_position(item: Item) -> bool:
        current = reference()
        return current is not None and current.is_position(item)

    if terms.resume is None:
        feed = Feed(link, request.encode(), terms)
    else:
        feed = Feed(link, request.encode(), terms, renew, is_position)
    tracked: TrackedSubscription[Any] = TrackedSubscription(feed, convert, tracker, terms, resumed)
    reference = weakref.ref(tracked)
    return tracked
