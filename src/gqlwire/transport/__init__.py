"""How to reach a server. `Transport` is what a `Client` needs; `websockets` has the one there is.

This file knows no picows and no protocol.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from msgspec import Raw

from gqlwire._operations.feed import Feed, Seam, Terms
from gqlwire._payloads.request import GraphQLRequest
from gqlwire._payloads.result import ExecutionResult


class Transport(Protocol):
    """A way to run operations on a server."""

    async def connect(self) -> None:
        """Be ready to run operations. Raises a TransportError if that cannot be."""
        ...

    @property
    def is_alive(self) -> bool:
        """Whether operations can be run, now or later, without another `connect`."""
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
        self, request: GraphQLRequest, *, timeout: float | None = None, idempotent: bool = False
    ) -> Coroutine[Any, Any, Raw]:
        """Do what `execute` does, and return the result's payload undecoded, in JSON.

        What is `idempotent` may be repeated if the connection is lost.
        """
        ...

    def feed(
        self, request: GraphQLRequest, *, terms: Terms | None = None, seam: Seam | None = None
    ) -> Feed:
        """Return the undecoded results of an operation, which starts with the first step.

        `seam` says what is to be done where one connection ends and the next begins.
        """
        ...


__all__ = ["Transport"]
