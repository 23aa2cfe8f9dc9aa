"""Subscriptions in the storm; `make storm` runs the long one."""

import os
from collections import Counter

import pytest
from hardship import EVERY, SEED, STORMED, Place, census
from storm import CURSORS, WATCHERS, Figures, storm

from support import leaves_nothing

tidy = pytest.fixture(autouse=True)(leaves_nothing)

FAULTS = int(os.environ.get("GQLWIRE_STORM_FAULTS", "65"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("place", STORMED, ids=str)
async def test_a_storm(place: Place) -> None:
    """Nothing is lost, doubled, or missing unannounced; nothing grows, and nothing is left."""
    before = census()
    try:
        figures = await storm(place, FAULTS)
        judge(figures)
        del figures
        assert_gone(before)
    except BaseException as error:
        error.add_note(f"GQLWIRE_STORM_SEED={SEED} GQLWIRE_STORM_FAULTS={FAULTS} repeats it")
        raise


def judge(figures: Figures) -> None:
    """Hold the figures against what was promised."""
    assert FAULTS == figures.faults.total(), str(figures)
    assert set(EVERY) == set(figures.faults), str(figures)
    # With a cursor: each number exactly once, in order.
    assert (0, 0) == (figures.lost, figures.doubled), str(figures)
    # Without: what is missing was announced, and it is what came while nobody listened.
    assert (0, []) == (figures.unannounced, figures.doubts), str(figures)
    assert figures.missed >= figures.gaps > 0, str(figures)
    assert_flat(figures)


def assert_flat(figures: Figures) -> None:
    """Between the first third of the faults and the end nothing has grown.

    There are hundreds of resubscriptions between: one object that each leaves behind, or a
    kilobyte, would be over these bounds. What moves below them are buffers, of the proxy's, too.
    """
    early, late = figures.early, figures.late
    resubscribed = (CURSORS + WATCHERS) * figures.connections / 2
    assert late.objects.total() - early.objects.total() < resubscribed / 2, str(figures)
    assert late.traced - early.traced < 512 * resubscribed, str(figures)


def assert_gone(before: Counter[str]) -> None:
    """No object of ours is left of a client that was closed."""
    left = census() - before
    kinds = ("Connection", "EventStream", "LastingFeed", "Subscription", "TrackedSubscription")
    assert {} == {kind: left[kind] for kind in kinds if left[kind]}
