"""Where the results of an operation wait: bounds."""

from __future__ import annotations

import pytest

from gqlwire._streams.stream import Buffer


@pytest.mark.parametrize("bounds", [(0, 1), (1, 0), (-1, 5), (5, -1)])
def test_a_buffer_without_room_is_an_error(bounds: tuple[int, int]) -> None:
    """It could never deliver anything."""
    with pytest.raises(ValueError, match=r"at least 1 (event|byte)"):
        Buffer(*bounds)


def test_by_default_a_buffer_is_bounded_both_ways() -> None:
    """The numbers are those of the documentation."""
    assert (65_536, 16 * 1024 * 1024) == (Buffer().events, Buffer().size)
