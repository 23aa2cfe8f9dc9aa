"""The fuzz, for as long as you like: other attacks in each round, and the next round's seed.

    python tests/fuzz/longer.py --minutes 10 --seed 7

A failure ends it. It prints the smallest attack that was found to fail, and the seed of its round.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from attacks import Attack
from hypothesis import HealthCheck, given, seed, settings
from made import BY_FRAMES, BY_HANDSHAKE, BY_MESSAGES
from ordeal import endures

KINDS = {"handshakes": BY_HANDSHAKE, "frames": BY_FRAMES, "messages": BY_MESSAGES}
ROUND = 200
"""How many attacks of each kind a round has."""


def run_round(number: int) -> Counter[str]:
    """Run a round of each kind; return how often the user met which error."""
    errors: Counter[str] = Counter()
    for made in KINDS.values():

        @seed(number)
        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(made)
        def attacked(attack: Attack) -> None:
            errors.update(endures(attack))

        attacked()
    return errors


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=1, help="of the first round")
    given_options = options.parse_args()

    warnings.filterwarnings("ignore", "Generating overly large repr")
    began, number, errors = time.monotonic(), given_options.seed, Counter[str]()
    while time.monotonic() - began < 60 * given_options.minutes:
        print(f"round with --seed {number}", flush=True)
        errors += run_round(number)
        number += 1
    rounds = number - given_options.seed
    print(f"attacks        {rounds * ROUND * len(KINDS)}")
    for name, count in errors.most_common():
        print(f"{name:<28} {count}")


if __name__ == "__main__":
    main()
