"""What is done to a request before it is sent, and to its results before they are handed out.

As the client was told, and the call. This module knows no transport and no connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from gqlwire._readers import Decode, Reader, reader_for
from gqlwire._settings import RequestOptions, Settings
from gqlwire.request import GraphQLRequest

if TYPE_CHECKING:
    from graphql import DocumentNode


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
        from gqlwire.schema import ResultParser

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
