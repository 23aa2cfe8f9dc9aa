"""Subscriptions in the storm; `make storm` runs the long one."""

import os
from collections import Counter

import pytest
from hardship import EVERY, SEED, STORMED, Place, census
from storm import storm

from support import leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

FAULTS = int(os.environ.get("GQLWIRE_STORM_FAULTS", "40"))


@pytest.mark.long
@pytest.mark.parametrize("place", STORMED, ids=str)
async def test_a_storm(place: Place) -> None:
    """Nothing is lost, doubled, or missing unannounced; nothing grows, and nothing is left."""
    before = census()
    try:
        figures = await storm(place, FAULTS)
        assert (FAULTS, set(EVERY)) == (figures.faults.total(), set(figures.faults))
        figures.judge()
        del figures
        assert_gone(before)
    except BaseException as error:
        error.add_note(f"GQLWIRE_STORM_SEED={SEED} GQLWIRE_STORM_FAULTS={FAULTS} repeats it")
        raise


def assert_gone(before: Counter[str]) -> None:
    """No object of ours is left of a client that was closed."""
    left = census() - before
    kinds = ("Connection", "EventStream", "LastingFeed", "Subscription", "TrackedSubscription")
    assert {} == {kind: left[kind] for kind in kinds if left[kind]}
