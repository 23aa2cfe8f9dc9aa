"""What is said about a connection that is lost, and made again."""

from __future__ import annotations

from gqlwire import Disconnected, Hooks, Reconnected
from gqlwire.cli._console import Console
from gqlwire.cli._progress import duration


class Losses:
    """Tells of each loss once, and of what followed. What is given up is not its affair."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_told = False

    def hooks(self) -> Hooks:
        """Return what a client is to call."""
        return Hooks(disconnected=self._disconnected, reconnected=self._reconnected)

    def _disconnected(self, event: Disconnected) -> None:
        if event.will_retry and not self._is_told:
            self._is_told = True
            self._console.complain(f"warning: {event.failure}; connecting again")

    def _reconnected(self, event: Reconnected) -> None:
        self._is_told = False
        self._console.complain(
            f"warning: connected again after {duration(event.gap_seconds)}; "
            f"events of that time may be missing"
        )
