"""From the options of `session.subscribe` to a subscription.

It knows no socket, no protocol and no connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from gqlwire._lasting import USUAL_SEAM, Seam
from gqlwire._preparation import Preparation
from gqlwire._settings import SubscribeOptions, terms_of
from gqlwire._sinks import Item
from gqlwire._tracking import Tracker
from gqlwire.subscription import Result, Subscription
from gqlwire.tracked import Newest, TrackedSubscription
from gqlwire.transport import Transport


class Subscribing:
    """Makes a subscription of a prepared operation; with `is_told` it tells of reconnections."""

    def __init__(self, it: Preparation, options: SubscribeOptions, *, is_told: bool) -> None:
        self._it = it
        self._options = options
        self._is_told = is_told

    def on(
        self,
        transport: Transport,
        convert: Callable[[Raw], Any],
        decode: Callable[[Item], Result[Any]] | None,
    ) -> Subscription[Any]:
        """Return it, on `transport`.

        `convert` makes of a payload what is handed out; `decode` does the same in one pass for
        those that are plain.
        """
        tracker = self._tracker()
        newest = Newest()
        feed = transport.feed(
            self._first(tracker),
            terms=terms_of(self._options),
            seam=self._seam(tracker, newest),
        )
        if tracker is None:
            return Subscription(feed, convert, decode)
        tracked = TrackedSubscription(feed, convert, tracker, is_told=self._is_told)
        newest.of(tracked)
        return tracked

    def _tracker(self) -> Tracker[Any] | None:
        resume, key = self._options.get("resume"), self._options.get("key")
        checkpoint = self._options.get("checkpoint")
        if resume is None and key is None and checkpoint is None and not self._is_told:
            return None
        return Tracker(resume, key, checkpoint)

    def _first(self, tracker: Tracker[Any] | None) -> Any:
        if tracker is None or tracker.last is None:
            return self._it.request
        return self._it.with_variables(tracker.variables(tracker.last, self._it.given))

    def _seam(self, tracker: Tracker[Any] | None, newest: Newest) -> Seam:
        if tracker is None and self._options.keys().isdisjoint(("on_reconnect", "survive")):
            return USUAL_SEAM  # one for all: there may be very many of them

        def renew() -> bytes:
            last = newest()
            if tracker is None or last is None:
                return self._it.request.encode()
            return self._it.with_variables(tracker.variables(last, self._it.given)).encode()

        return Seam(
            renew if tracker is not None and tracker.resumes else None,
            self._options.get("on_reconnect"),
            is_marked=self._is_told or self._options.get("key") is not None,
            survives=self._options.get("survive", True),
        )
