"""What is done to a request before it is sent, and to its results before they are handed out.

As the client was told, and the call. This module knows no transport and no connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from gqlwire._payloads.reader import Decode, Reader, reader_for
from gqlwire._payloads.request import GraphQLRequest
from gqlwire.client.options import RequestOptions, Settings

if TYPE_CHECKING:
    from graphql import DocumentNode
from gqlwire._operations.feed import USUAL_SEAM, Seam
from gqlwire._operations.resume import Newest, TrackedSubscription, Tracker
from gqlwire._operations.subscription import Result, Subscription
from gqlwire._streams.sink import Item
from gqlwire.client.options import SubscribeOptions, terms_of
from gqlwire.transport import Transport


class Preparation:
    """Prepares one operation: `request` is what is to be sent, checked and converted."""

    def __init__(
        self,
        settings: Settings,
        request: GraphQLRequest | DocumentNode | str,
        options: RequestOptions,
    ) -> None:
        self._settings = settings
        self._source = request
        self._options = options
        self.request: GraphQLRequest = self.with_variables(None)

    @property
    def given(self) -> dict[str, Any]:
        """The variables that were given."""
        given = self._options.get("variable_values")
        if given is None and isinstance(self._source, GraphQLRequest):
            given = self._source.variable_values
        return given or {}

    def with_variables(self, variables: dict[str, Any] | None) -> GraphQLRequest:
        """Return the request with other variables; None means those that were given."""
        options, settings = self._options, self._settings
        prepared = GraphQLRequest(
            self._source,
            variable_values=options.get("variable_values") if variables is None else variables,
            operation_name=options.get("operation_name"),
            extensions=options.get("extensions"),
        )
        if settings.schema is not None:
            settings.validate(prepared)
            wanted = options.get("serialize_variables")
            if prepared.variable_values and (
                settings.serialize_variables if wanted is None else wanted
            ):
                prepared = prepared.serialize_variable_values(settings.schema)
        if prepared.variable_values:
            prepared.variable_values = settings.scalars.plain(prepared.variable_values)
        return prepared

    def way_back(
        self, result_type: Any, *, whole: bool
    ) -> tuple[Callable[[Raw], Any], Decode | None]:
        """Return what makes of the payload of a result what the user gets.

        With it comes what does the same in one pass for results that are plain, if that can be.
        """
        reader = self._reader(result_type)
        parse = None if self._settings.schema is None else self._parser(result_type)
        if parse is not None:
            return _parsing(reader, parse, whole=whole), None
        return (reader.read_whole, None) if whole else (reader.read, reader.decode)

    def _reader(self, result_type: Any) -> Reader[Any]:
        if result_type is not None and self._options.get("parse_result"):
            raise ValueError(
                "result_type and parse_result=True exclude each other: what the annotations of "
                "result_type say is what the values become"
            )
        parse_float = self._options.get("parse_float") or self._settings.parse_float
        return reader_for(result_type, self._settings.scalars, parse_float)

    def _parser(self, result_type: Any) -> Callable[[Any], Any] | None:
        """Return what converts data by the schema, if that is to be done."""
        wanted = self._options.get("parse_result")
        is_wanted = self._settings.parse_results if wanted is None else wanted
        if not is_wanted or result_type is not None or self._settings.schema is None:
            return None
        from gqlwire._payloads.schema import ResultParser

        request = self.request
        return ResultParser(self._settings.schema, request.document, request.operation_name).parse


def _parsing(
    reader: Reader[Any], parse: Callable[[Any], Any], *, whole: bool
) -> Callable[[Raw], Any]:
    def convert(payload: Raw) -> Any:
        result = reader.read_whole(payload)
        result.data = parse(result.data)
        return result if whole else result.data_or_raise()

    return convert


class Subscribing:
    """Makes a subscription of a prepared operation; with `is_told` it tells of reconnections."""

    def __init__(self, it: Preparation, options: SubscribeOptions, *, is_told: bool) -> None:
        self._it = it
        self._options = options
        self._is_told = is_told

    def on(
        self,
        transport: Transport,
        convert: Callable[[Raw], Any],
        decode: Callable[[Item], Result[Any]] | None,
    ) -> Subscription[Any]:
        """Return it, on `transport`.

        `convert` makes of a payload what is handed out; `decode` does the same in one pass for
        those that are plain.
        """
        tracker = self._tracker()
        newest = Newest()
        feed = transport.feed(
            self._first(tracker),
            terms=terms_of(self._options),
            seam=self._seam(tracker, newest),
        )
        if tracker is None:
            return Subscription(feed, convert, decode)
        tracked = TrackedSubscription(feed, convert, tracker, is_told=self._is_told)
        newest.of(tracked)
        return tracked

    def _tracker(self) -> Tracker[Any] | None:
        resume, key = self._options.get("resume"), self._options.get("key")
        checkpoint = self._options.get("checkpoint")
        if resume is None and key is None and checkpoint is None and not self._is_told:
            return None
        return Tracker(resume, key, checkpoint)

    def _first(self, tracker: Tracker[Any] | None) -> Any:
        if tracker is None or tracker.last is None:
            return self._it.request
        return self._it.with_variables(tracker.variables(tracker.last, self._it.given))

    def _seam(self, tracker: Tracker[Any] | None, newest: Newest) -> Seam:
        if tracker is None and self._options.keys().isdisjoint(("on_reconnect", "survive")):
            return USUAL_SEAM  # one for all: there may be very many of them

        def renew() -> bytes:
            last = newest()
            if tracker is None or last is None:
                return self._it.request.encode()
            return self._it.with_variables(tracker.variables(last, self._it.given)).encode()

        return Seam(
            renew if tracker is not None and tracker.resumes else None,
            self._options.get("on_reconnect"),
            is_marked=self._is_told or self._options.get("key") is not None,
            survives=self._options.get("survive", True),
        )
