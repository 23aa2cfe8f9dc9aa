"""Drops the events of a new connection that came on an earlier one, by their keys.

This module knows no subscription and no connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from gqlwire._operations.functions import called

T = TypeVar("T")

_logger = logging.getLogger("gqlwire")

DEFAULT_MEMORY = 1_000
"""How many keys are remembered by default."""

_PATIENCE = 10
"""How often as many other events as there are keys in the memory may come before a repetition."""


class Keys(Generic[T]):
    """The last keys of a subscription, at most `memory`. None is no key.

    After a reconnect, events with one of the keys are dropped, until the newest of the keys has
    come again and is followed by another one.
    """

    def __init__(self, key: Callable[[T], Hashable], memory: int) -> None:
        self._key = key
        self._memory = memory
        self._known: dict[Hashable, None] = {}  # the newest is the last
        self._is_open = False  # whether repetitions are dropped now
        # While they are: the keys since the reconnect, and how many came; how many events were
        # dropped; and the key that came last before the reconnect.
        self._fresh: dict[Hashable, None] = {}
        self._others = 0
        self._dropped = 0
        self._newest: Hashable = None
        self._has_passed = False
        self._is_off = False

    def cross(self) -> None:
        """Note that the next events come by another connection."""
        self._close()
        if self._known and not self._is_off:
            self._is_open, self._has_passed = True, False
            self._others = self._dropped = 0
            self._newest = next(reversed(self._known))

    def is_new(self, event: T) -> bool:
        """Return whether an event did not come before, and remember its key."""
        key = called("key", self._key, event)
        if key is None:
            return True
        if not self._is_open:
            self._remember(key, self._known)
            return True
        if key in self._known:
            return not self._drops(key)
        self._remember(key, self._fresh)
        self._others += 1
        if self._has_passed or self._others > _PATIENCE * max(self._memory, DEFAULT_MEMORY):
            self._close()
        return True

    def _drops(self, key: Hashable) -> bool:
        if self._dropped >= len(self._known):
            self._is_off = True
            self._close()
            _logger.warning(
                "key= of a subscription does not identify its events: after a reconnect, %d events "
                "had keys of earlier events, and only %d keys are remembered; from now on gqlwire "
                "drops none of its events. Return a different value from key= for each event",
                self._dropped + 1,
                len(self._known),
            )
            return False
        self._dropped += 1
        self._has_passed = self._has_passed or key == self._newest
        return True

    def _close(self) -> None:
        fresh, self._fresh = self._fresh, {}
        for key in fresh:
            self._remember(key, self._known)
        self._is_open = False

    def _remember(self, key: Hashable, keys: dict[Hashable, None]) -> None:
        keys.pop(key, None)
        keys[key] = None
        if len(keys) > self._memory:
            del keys[next(iter(keys))]
