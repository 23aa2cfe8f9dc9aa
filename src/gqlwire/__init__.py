"""GraphQL over WebSocket that is fast and survives."""

from gqlwire._connect import connect
from gqlwire._streams import Buffer, Overflow
from gqlwire.client import Client
from gqlwire.request import GraphQLRequest, gql
from gqlwire.results import ExecutionResult
from gqlwire.session import AsyncClientSession
from gqlwire.subscription import Subscription

__all__ = [
    "AsyncClientSession",
    "Buffer",
    "Client",
    "ExecutionResult",
    "GraphQLRequest",
    "Overflow",
    "Subscription",
    "connect",
    "gql",
]
