"""The settings of a client that its sessions use: schema, time limit and scalars.

This module knows no transport and no connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from gqlwire._payloads.reader import ParseFloat
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.scalars import Scalars

if TYPE_CHECKING:
    from graphql import GraphQLSchema


class Settings(Struct):
    """The settings that all sessions of a client share. `execute_timeout` is in seconds."""

    schema: GraphQLSchema | None = None
    introspection: dict[str, Any] | None = None
    introspection_args: dict[str, Any] = field(default_factory=dict)
    execute_timeout: float | None = 10
    serialize_variables: bool = False
    parse_results: bool = False
    scalars: Scalars = field(default_factory=Scalars)
    parse_float: ParseFloat | None = None

    def validate(self, request: GraphQLRequest) -> None:
        """Check `request` against the schema.

        Raises the first GraphQLError of graphql-core if the request is not valid, and ValueError
        if there is no schema.
        """
        from gqlwire._payloads import schema

        if self.schema is None:
            raise ValueError("there is no schema to validate against")
        schema.validate(self.schema, request.document)
