"""Subscriptions in the storm; `make storm` runs the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hardship import SEED, STORMED, Place

FAULTS = int(os.environ.get("GQLWIRE_STORM_FAULTS", "40"))
STORM = Path(__file__).with_name("storm.py")


@pytest.mark.long
@pytest.mark.parametrize("place", STORMED, ids=str)
def test_a_storm(place: Place) -> None:
    """Nothing is lost, doubled, or missing unannounced; and nothing grows.

    In a process of its own: pytest keeps the records of the log, with their exceptions.
    """
    told = subprocess.run(
        [
            *(sys.executable, str(STORM), "--faults", str(FAULTS), "--seed", str(SEED)),
            *("--server", place.name, "--protocol", place.protocol),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert 0 == told.returncode, told.stdout + told.stderr
    assert f"faults         {FAULTS}: " in told.stdout
