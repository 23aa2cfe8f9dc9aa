"""What a thousand clients do to a server that restarts, and the plot of it: `docs/herd.svg`.

    python tools/herd_plot.py [FILE]

The clients are those of `gqlwire.retry`, and no more: nothing is connected, and the time is
counted. Drawing needs matplotlib (`benchmarks/pins/tools.txt`). The same seed gives the same file,
byte by byte.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from gqlwire.errors import ConnectionClosed, ConnectionRefused, Phase, TransportError
from gqlwire.retry import RetryPolicy
from gqlwire.retry.attempts import Attempts

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 1_000
DOWNTIME = 20.0
SEED = 2026

HOUR = 3600.0
LOST = ConnectionClosed(code=1012, phase=Phase.OPEN)
REFUSED = ConnectionRefused(phase=Phase.CONNECT)

Chance = Callable[[], float]


@dataclass
class Herd:
    """The attempts and connections of all clients, in seconds since they lost the server.

    `attempts`: the times of all attempts. `connected`: those of the last one of each. `waits`: how
    long they waited after the n-th failure in a row, by n.
    """

    attempts: list[float] = field(default_factory=list)
    connected: list[float] = field(default_factory=list)
    waits: dict[int, list[float]] = field(default_factory=dict)

    def per_second(self) -> Counter[int]:
        """Return how many attempts there were in each second."""
        return Counter(map(int, self.attempts))

    @property
    def peak(self) -> int:
        """The most attempts in one second, once the server was there again."""
        return max(Counter(map(int, self.connected)).values())


def simulate(
    chance_of: Callable[[int], Chance],
    *,
    clients: int = CLIENTS,
    downtime: float = DOWNTIME,
    policy: RetryPolicy | None = None,
) -> Herd:
    """Have the server vanish for `downtime` seconds from all clients at the same time."""
    herd = Herd()
    for number in range(clients):
        attempts = Attempts(policy or RetryPolicy(), chance_of(number))
        attempts.connecting(-HOUR)
        attempts.acknowledged(-HOUR)
        now: float = 0.0
        failure: TransportError = LOST
        while True:
            decision = attempts.failed(failure, now)
            herd.waits.setdefault(decision.attempt, []).append(decision.delay)
            now, failure = now + decision.delay, REFUSED
            attempts.connecting(now)
            herd.attempts.append(now)
            if now >= downtime:
                herd.connected.append(now)
                break
    return herd


def with_jitter(seed: int = SEED) -> Herd:
    """Simulate the policy as it is; each client draws its own lots."""
    return simulate(lambda number: Random(seed * 1_000_003 + number).random)


def without_jitter() -> Herd:
    """Simulate clients that all wait as long as they may."""
    return simulate(lambda _: lambda: 1.0)


def summary(jittered: Herd, plain: Herd) -> str:
    """Return the figures that the plot shows."""
    return (
        f"{len(jittered.connected)} clients, {DOWNTIME:g} s without a server: at most "
        f"{jittered.peak} connects in a second afterwards with full jitter, {plain.peak} without"
    )


def draw(jittered: Herd, plain: Herd, path: Path) -> None:
    """Draw the attempts of each second, a panel for each."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.hashsalt": "gqlwire",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.titlesize": 10,
            "figure.facecolor": "white",
        }
    )
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, sharey=True)
    last = int(max(jittered.attempts + plain.attempts)) + 2
    for axes, herd, colour, title in (
        (upper, plain, "#D55E00", "all wait as long as they may"),
        (lower, jittered, "#0072B2", "each waits for a random part of it (full jitter)"),
    ):
        counts = herd.per_second()
        axes.axvspan(0, DOWNTIME, color="#eeeeee")
        axes.bar(
            range(last), [counts[second] for second in range(last)], 1.0, align="edge", color=colour
        )
        axes.set_title(f"{title}: at most {herd.peak} in a second once the server is back")
        axes.set_ylabel("attempts per second")
        axes.grid(axis="y", color="#dddddd")
    upper.text(DOWNTIME * 0.57, len(plain.connected), "no server", ha="center", color="#666666")
    lower.set_xlabel(f"seconds since {len(plain.connected):,} clients lost the server")
    lower.set_xlim(0, last)
    metadata = {"Date": None, "Description": summary(jittered, plain)}
    figure.savefig(path, metadata=metadata)


def main(arguments: list[str]) -> int:
    """Draw the plot, and print its summary."""
    jittered, plain = with_jitter(), without_jitter()
    draw(jittered, plain, Path(arguments[0]) if arguments else ROOT / "docs" / "herd.svg")
    print(summary(jittered, plain))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
