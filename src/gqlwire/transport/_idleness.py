"""Noticing that nothing has run for a while. It knows no connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Idleness:
    """Calls `on_idle` when `is_busy` was false for `limit` seconds; None is never.

    It has to be told of each beginning and each end.
    """

    def __init__(
        self, limit: float | None, is_busy: Callable[[], bool], on_idle: Callable[[], None]
    ) -> None:
        self.limit = limit
        self._is_busy = is_busy
        self._on_idle = on_idle
        self._alarm: asyncio.TimerHandle | None = None

    def begun(self) -> None:
        """Something runs."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def ended(self) -> None:
        """Something has ended, or could run from now on."""
        if self.limit is not None and self._alarm is None and not self._is_busy():
            self._alarm = asyncio.get_running_loop().call_later(self.limit, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if not self._is_busy():
            self._on_idle()
