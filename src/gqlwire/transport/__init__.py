"""How to reach a server. `Transport` is what a `Client` needs; `websockets` has the one there is.

This file knows no picows and no protocol.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from msgspec import Raw

from gqlwire._operations import Feed
from gqlwire._streams import Buffer, Overflow
from gqlwire.request import GraphQLRequest
from gqlwire.results import ExecutionResult


class Transport(Protocol):
    """A way to run operations on a server."""

    async def connect(self) -> None:
        """Be ready to run operations. Raises a TransportError if that cannot be."""
        ...

    async def close(self) -> None:
        """Let go of the server. Twice is harmless."""
        ...

    async def execute(
        self, request: GraphQLRequest, *, timeout: float | None = None
    ) -> ExecutionResult:
        """Run an operation and return its first result, errors and all.

        Raises OperationTimeout if there is none within `timeout` seconds.
        """
        ...

    def ask(
        self, request: GraphQLRequest, *, timeout: float | None = None
    ) -> Coroutine[Any, Any, Raw]:
        """Do what `execute` does, and return the result's payload undecoded, in JSON."""
        ...

    def feed(
        self,
        request: GraphQLRequest,
        *,
        buffer: Buffer | int | None = None,
        overflow: Overflow | str = Overflow.BLOCK,
    ) -> Feed:
        """Return the undecoded results of an operation, which starts with the first step."""
        ...


__all__ = ["Transport"]
