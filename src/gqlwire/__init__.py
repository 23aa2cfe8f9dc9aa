"""GraphQL over WebSocket that is fast and survives.

Each name is loaded when it is first used, so that a program, or a command that only tells its
version, does not wait for what it does not need.
"""

from gqlwire._version import __version__ as __version__

# Checkers take a name that is spelt like this for true; `typing` would take longer to load than
# all of this file.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from gqlwire._buffer import Buffer, Overflow
    from gqlwire._connect import connect
    from gqlwire.checkpoint import Checkpoint, FileCheckpoint
    from gqlwire.client import Client
    from gqlwire.merged import Merged, merge
    from gqlwire.request import GraphQLRequest, gql
    from gqlwire.results import ExecutionResult
    from gqlwire.retry import RetryPolicy
    from gqlwire.scalars import Scalar
    from gqlwire.session import AsyncClientSession
    from gqlwire.subscription import Batches, Subscription
    from gqlwire.survival import (
        Attempt,
        Change,
        Connected,
        Counters,
        Disconnected,
        Hooks,
        Reconnected,
    )

__all__ = [
    "AsyncClientSession",
    "Attempt",
    "Batches",
    "Buffer",
    "Change",
    "Checkpoint",
    "Client",
    "Connected",
    "Counters",
    "Disconnected",
    "ExecutionResult",
    "FileCheckpoint",
    "GraphQLRequest",
    "Hooks",
    "Merged",
    "Overflow",
    "Reconnected",
    "RetryPolicy",
    "Scalar",
    "Subscription",
    "connect",
    "gql",
    "merge",
]

_HOMES = {
    "AsyncClientSession": "session",
    "Attempt": "survival",
    "Batches": "subscription",
    "Buffer": "_buffer",
    "Change": "survival",
    "Checkpoint": "checkpoint",
    "Client": "client",
    "Connected": "survival",
    "Counters": "survival",
    "Disconnected": "survival",
    "ExecutionResult": "results",
    "FileCheckpoint": "checkpoint",
    "GraphQLRequest": "request",
    "Hooks": "survival",
    "Merged": "merged",
    "Overflow": "_buffer",
    "Reconnected": "survival",
    "RetryPolicy": "retry",
    "Scalar": "scalars",
    "Subscription": "subscription",
    "connect": "_connect",
    "gql": "request",
    "merge": "merged",
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
