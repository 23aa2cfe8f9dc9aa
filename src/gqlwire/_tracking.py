"""How far a subscription has come, and how it goes on from there.

This module knows no connection and no protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from gqlwire.checkpoint import Checkpoint


T = TypeVar("T")

Variables = dict[str, Any]
Resume = Callable[[T, Variables], Variables]

_KEYS = 1_000
"""So many of the last keys are compared with what comes first on a new connection."""


class Tracker(Generic[T]):
    """Remembers the last event; from it, `resume` computes the variables to go on with.

    `key`: tells events apart; those that came before and come again at the beginning of a new
    connection are dropped. `checkpoint`: outlives the process.
    """

    def __init__(
        self,
        resume: Resume[T] | None,
        key: Callable[[T], Hashable] | None,
        checkpoint: Checkpoint[T] | None,
    ) -> None:
        if checkpoint is not None and resume is None:
            raise ValueError("a checkpoint is of no use without `resume`, which goes on from it")
        self._resume = resume
        self._key = key
        self._checkpoint = checkpoint
        self.last: T | None = None if checkpoint is None else checkpoint.load()
        self._unsaved = False
        self._keys: dict[Hashable, None] = {}
        if key is not None and self.last is not None:
            self._keys[key(self.last)] = None
        self._is_at_seam = bool(self._keys)

    @property
    def resumes(self) -> bool:
        """Whether there are other variables to go on with."""
        return self._resume is not None

    def variables(self, last: T | None, given: Variables) -> Variables:
        """Return the variables to go on with after `last`; those `given` if it is None."""
        return given if self._resume is None or last is None else self._resume(last, given)

    def accepts(self, event: T) -> bool:
        """Note an event that is about to be delivered; say whether it is a new one."""
        if self._key is not None and not self._is_new(self._key(event)):
            return False
        self.last = event
        self._unsaved = True
        return True

    def _is_new(self, key: Hashable) -> bool:
        if self._is_at_seam and key in self._keys:
            return False
        self._is_at_seam = False
        self._keys.pop(key, None)
        self._keys[key] = None
        if len(self._keys) > _KEYS:
            del self._keys[next(iter(self._keys))]
        return True

    def cross(self) -> None:
        """Note that what follows came by another connection."""
        self._is_at_seam = True

    def acknowledge(self) -> None:
        """Save the last event, which was dealt with."""
        if self._unsaved and self._checkpoint is not None and self.last is not None:
            self._unsaved = False
            self._checkpoint.save(self.last)
