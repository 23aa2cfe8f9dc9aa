"""A fast GraphQL client over WebSocket that reconnects.

The package imports its modules lazily: a module is loaded when one of its names is first used. So a
program does not wait for modules that it does not need.
"""

from gqlwire._version import __version__ as __version__

# Type checkers treat a variable with this name as true. Importing `typing` would take longer than
# the rest of this file.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from gqlwire._operations.checkpoint import Checkpoint, FileCheckpoint
    from gqlwire._operations.merge import Merged, merge
    from gqlwire._operations.options import Reconnected
    from gqlwire._operations.subscription import Batches, Subscription
    from gqlwire._payloads.request import GraphQLRequest, gql
    from gqlwire._payloads.result import ExecutionResult
    from gqlwire._payloads.scalars import Scalar
    from gqlwire._reconnect.counters import Counters
    from gqlwire._reconnect.health import ConnectionHealth, Failure, Health, SubscriptionHealth
    from gqlwire._reconnect.hooks import Connected, Disconnected, Hooks
    from gqlwire._reconnect.states import Change
    from gqlwire._streams.buffer import Buffer, Overflow
    from gqlwire.client import Client
    from gqlwire.client.connect import connect
    from gqlwire.client.session import AsyncClientSession
    from gqlwire.retry import Attempt, RetryPolicy

__all__ = [
    "AsyncClientSession",
    "Attempt",
    "Batches",
    "Buffer",
    "Change",
    "Checkpoint",
    "Client",
    "Connected",
    "ConnectionHealth",
    "Counters",
    "Disconnected",
    "ExecutionResult",
    "Failure",
    "FileCheckpoint",
    "GraphQLRequest",
    "Health",
    "Hooks",
    "Merged",
    "Overflow",
    "Reconnected",
    "RetryPolicy",
    "Scalar",
    "Subscription",
    "SubscriptionHealth",
    "connect",
    "gql",
    "merge",
]

_HOMES = {
    "AsyncClientSession": "client.session",
    "Attempt": "retry",
    "Batches": "_operations.subscription",
    "Buffer": "_streams.buffer",
    "Change": "_reconnect.states",
    "Checkpoint": "_operations.checkpoint",
    "Client": "client",
    "Connected": "_reconnect.hooks",
    "ConnectionHealth": "_reconnect.health",
    "Counters": "_reconnect.counters",
    "Disconnected": "_reconnect.hooks",
    "ExecutionResult": "_payloads.result",
    "Failure": "_reconnect.health",
    "FileCheckpoint": "_operations.checkpoint",
    "GraphQLRequest": "_payloads.request",
    "Health": "_reconnect.health",
    "Hooks": "_reconnect.hooks",
    "Merged": "_operations.merge",
    "Overflow": "_streams.buffer",
    "Reconnected": "_operations.options",
    "RetryPolicy": "retry",
    "Scalar": "_payloads.scalars",
    "Subscription": "_operations.subscription",
    "SubscriptionHealth": "_reconnect.health",
    "connect": "client.connect",
    "gql": "_payloads.request",
    "merge": "_operations.merge",
}
_MODULES = {"errors", "transport"}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"gqlwire.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'gqlwire' has no attribute {name!r}")
    value: object = getattr(import_module(f"gqlwire.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES} - {"TYPE_CHECKING"})
