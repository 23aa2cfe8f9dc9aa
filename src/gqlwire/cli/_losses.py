"""What the command prints when the connection is lost, and when it is connected again."""

from __future__ import annotations

from gqlwire import Disconnected, Hooks, Reconnected
from gqlwire.cli._console import Console
from gqlwire.cli._progress import duration


class Losses:
    """Warns of each lost connection once, and when it is connected again.

    It prints nothing for a failure that is not retried: the command ends with that error.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_reported = False

    def hooks(self) -> Hooks:
        """Return the hooks to give to a client."""
        return Hooks(disconnected=self._disconnected, reconnected=self._reconnected)

    def _disconnected(self, event: Disconnected) -> None:
        if event.will_retry and not self._is_reported:
            self._is_reported = True
            self._console.complain(f"warning: {event.failure}; connecting again")

    def _reconnected(self, event: Reconnected) -> None:
        self._is_reported = False
        self._console.complain(
            f"warning: connected again after {duration(event.gap_seconds)}; "
            f"events from this time may be missing"
        )
