"""Drops the events of a new connection that came on an earlier one, by their keys.

This module knows no subscription and no connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import Generic, TypeVar

from gqlwire._operations.functions import called

T = TypeVar("T")

_logger = logging.getLogger("gqlwire")

DEFAULT_MEMORY = 1_000
"""How many keys are remembered by default."""

_OTHERS_PER_KEY = 10
"""How often as many other events as there are keys in the memory may come before a repetition."""


class _Window(Enum):
    """Whether repetitions are dropped."""

    CLOSED = auto()
    """No: what came since the last reconnect is new."""
    OPEN = auto()
    """Yes: the newest key of before the reconnect has not come yet."""
    ENDING = auto()
    """Yes, until an event comes with a key that is not known."""
    OFF = auto()
    """Never again: the keys do not identify the events."""


class Keys(Generic[T]):
    """The last keys of a subscription, at most `memory`. None is no key.

    After a reconnect, events with one of the keys are dropped, until the newest of the keys has
    come again and is followed by another one.
    """

    def __init__(self, key: Callable[[T], Hashable], memory: int) -> None:
        self._key = key
        self._memory = memory
        self._known: dict[Hashable, None] = {}  # the newest is the last
        self._window = _Window.CLOSED
        # While the window is open: the keys since the reconnect, how many events had one of them,
        # and how many were dropped.
        self._fresh: dict[Hashable, None] = {}
        self._others = 0
        self._dropped = 0

    def cross(self) -> None:
        """Note that the next events come by another connection."""
        self._merge()
        if self._known and self._window is not _Window.OFF:
            self._window = _Window.OPEN
            self._others = self._dropped = 0

    def is_new(self, event: T) -> bool:
        """Return whether an event did not come before, and remember its key.

        Raises what `key` raises, and TypeError for a list, a dict or another mutable key.
        """
        key = called("key", self._key, event)
        if key is None:
            return True
        if not isinstance(key, Hashable):
            raise TypeError(
                f"key= returned {type(key).__name__}, which cannot be hashed: return an int, a "
                f"str, or a tuple of such values"
            )
        if self._window in (_Window.CLOSED, _Window.OFF):
            self._remember(key, self._known)
            return True
        if key in self._known:
            return not self._drops(key)
        self._remember(key, self._fresh)
        self._others += 1
        is_far = self._others > _OTHERS_PER_KEY * max(self._memory, DEFAULT_MEMORY)
        if is_far or self._window is _Window.ENDING:
            self._window = _Window.CLOSED
            self._merge()
        return True

    def _drops(self, key: Hashable) -> bool:
        if self._dropped >= len(self._known):
            _logger.warning(
                "key= of a subscription does not identify its events: after a reconnect, %d events "
                "had keys of earlier events, and only %d keys are remembered; from now on gqlwire "
                "drops none of its events. Return a different value from key= for each event",
                self._dropped + 1,
                len(self._known),
            )
            self._window = _Window.OFF
            return False
        self._dropped += 1
        if key == next(reversed(self._known)):
            self._window = _Window.ENDING
        return True

    def _merge(self) -> None:
        """Remember the keys since the reconnect as those before it."""
        fresh, self._fresh = self._fresh, {}
        for key in fresh:
            self._remember(key, self._known)

    def _remember(self, key: Hashable, keys: dict[Hashable, None]) -> None:
        keys.pop(key, None)
        keys[key] = None
        if len(keys) > self._memory:
            del keys[next(iter(keys))]
