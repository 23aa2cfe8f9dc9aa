"""One attempt to connect, which can be given up while it hangs: at whatever it hangs.

This module knows no policy and no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gqlwire._connection.connection import Connection
from gqlwire._connection.dialer import Dialer
from gqlwire._streams.backpressure import ReadGate
from gqlwire.errors import TransportError
from gqlwire.retry import Attempt


class Dialing:
    """One attempt to connect. `age` is in seconds."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt: Attempt = attempt
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._task: asyncio.Task[Connection] | None = None
        self._why: TransportError | None = None

    @property
    def age(self) -> float:
        """How long it has taken until now."""
        return self._loop.time() - self._begun

    def give_up(self, why: TransportError) -> None:
        """Let the attempt fail now, with `why`."""
        self._why = why
        if self._task is not None:
            self._task.cancel()

    async def open(
        self, dialer: Dialer, gate: ReadGate, on_drop: Callable[[Connection], None]
    ) -> Connection:
        """Return an acknowledged connection; see `Dialer.dial`.

        Raises a TransportError if the connection cannot be made, or if the attempt is given up.
        """
        task = self._task = self._loop.create_task(dialer.dial(self.attempt, gate, on_drop))
        try:
            connection = await task
        except asyncio.CancelledError:
            if task.done() and not (task.cancelled() or task.exception()):
                await task.result().discard()  # it was made just before the cancellation
            current = asyncio.current_task()
            is_closing = current is not None and current.cancelling()
            if self._why is None or is_closing:
                raise
            raise self._why from None
        if self._why is not None:  # it was made just before
            connection.drop(self._why, dead=False)
        return connection
