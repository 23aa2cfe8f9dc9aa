"""`gqlwire.merge`: what is wrong with one event."""

from __future__ import annotations

from typing import Any

import pytest
from merging import REFUSED, Speaking, at_once, begun, decode, taken, waiting

from doubles import on_virtual_time
from gqlwire.errors import (
    TransportProtocolError,
    TransportQueryError,
)


@pytest.mark.parametrize("decoder", [decode, None], ids=["in one pass", "the long way"])
@on_virtual_time
async def test_an_event_with_an_error_is_raised_in_its_turn(decoder: Any) -> None:
    """`current` is its subscription, which stays in the merger, as the others do."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2, decoder=decoder)
    it.hear((a, REFUSED), (b, 1), (a, 2), (b, b'{"nothing":1}'), (b, 3))

    with pytest.raises(TransportQueryError, match="refused") as caught:
        at_once(anext(merged))
    assert ({"n": 1}, None, a) == (caught.value.data, caught.value.query_id, merged.current)
    assert [(b, 1), (a, 2)] == taken(merged, 2)
    with pytest.raises(TransportProtocolError, match="neither data nor errors"):
        at_once(anext(merged))
    assert b is merged.current
    assert [(b, 3)] == taken(merged, 1)

    step = await waiting(merged)
    it.hear((a, REFUSED))
    with pytest.raises(TransportQueryError):
        await step
    step = await waiting(merged)
    it.hear((a, 4))
    assert (a, 4) == await step
    assert (2, []) == (len(merged), it.stops)


@on_virtual_time
async def test_an_end_that_looked_like_an_event_is_skipped() -> None:
    """Its message began like a result and was an end: the step continues with the next event."""
    it = Speaking()
    merged, (a, b) = await begun(it, 2)
    it.hear((a, b'{"data":1},"type":"complete"'), (b, 2))

    assert [(b, 2)] == taken(merged, 1)
    step = await waiting(merged)
    assert 1 == len(merged)
    it.hear((b, 3))
    assert (b, 3) == await step
