"""Checks the numbers that users give as options.

NaN compares with nothing, and a timer that is set to it makes all timers of the program late. So no
number reaches a timer or a counter before it was checked here. Each check raises ValueError for a
number that is not allowed, and TypeError for what is not a number; `name` is that of the option.
"""

from __future__ import annotations

import math
from typing import Any


def check_seconds(name: str, value: Any, *, optional: bool = True, zero: bool = True) -> None:
    """Check a time. `optional`: whether None and infinity are allowed. `zero`: whether 0 is."""
    if value is None and optional:
        return
    wanted = "0 or more seconds" if zero else "more than 0 seconds"
    _check_kind(name, value, wanted)
    if optional and value == math.inf:
        return  # how some say never
    if not is_finite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {wanted}, not {_shown(value)}")


def check_count(name: str, value: Any, unit: str = "", *, optional: bool = False) -> None:
    """Check a whole number, 1 or more. `unit` is what it counts, for the message."""
    if value is None and optional:
        return
    wanted = f"at least 1 {unit}".rstrip()
    _check_kind(name, value, wanted)
    if not isinstance(value, int) or value < 1:
        hint = "" if isinstance(value, int) else ", which is not a whole number"
        raise ValueError(f"{name} must be {wanted}, not {_shown(value)}{hint}")


def check_factor(name: str, value: Any) -> None:
    """Check a finite number, 1 or more."""
    _check_kind(name, value, "a number, 1 or more")
    if not is_finite(value) or value < 1:
        raise ValueError(f"{name} must be a number, 1 or more, not {_shown(value)}")


def is_finite(value: float) -> bool:
    """Return whether a float can hold `value`, and it is neither NaN nor infinite."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that is too large for a float
        return False


def is_seconds(value: object) -> bool:
    """Return whether `value` is a time that can be waited for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return is_finite(value) and value >= 0


def _check_kind(name: str, value: object, wanted: str) -> None:
    # A bool is an int, but True does not mean one second to anybody.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {wanted}, not {_shown(value)}")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:60]}…"
