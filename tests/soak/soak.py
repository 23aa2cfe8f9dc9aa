"""The endurance runs: 200 feeds on real servers for long, and what the process has meanwhile.

    python tests/soak/soak.py --minutes 60
    python tests/soak/soak.py --minutes 3 --seed 7 --run weather --directory out --plot out/soak.svg

Each of two runs takes half of the time. `weather`: everything fails, as in the storm, and more.
`steady`: nothing fails, and the events come five times as fast. What is printed, and judged: events
that were lost or came twice, mutations that ran twice, slopes of the memory and of whatever else
can leak, lines of the log, complaints of asyncio, and what the servers wrote to stderr.

`--plant objects=100` shows that the judgement works: it leaks so many a minute.
"""

import argparse
import asyncio
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "reconnect"))

from hardship import SEED
from kinds import KINDS
from leaks import LEAKS, Leak
from runs import WARM_UP, Run
from samples import save


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    kinds = [kind for kind in KINDS if options.run in (None, kind.name)]
    seconds = options.minutes * 60 / len(kinds)
    every = options.every or min(5.0, max(1.0, seconds / 120))
    if options.directory is not None:
        options.directory.mkdir(parents=True, exist_ok=True)
    draw = _drawing() if options.plot is not None else None
    samples, failed = {}, 0
    tracemalloc.start()
    for kind in kinds:
        run = Run(kind, seconds, every, options.seed)
        outcome = asyncio.run(run.endure(options.plant))
        samples[kind.name] = run.samples
        if options.directory is not None:
            save(run.samples, options.directory / f"{kind.name}.csv")
        print(outcome, flush=True)
        failed += bool(outcome.failures)
    if draw is not None:
        draw(samples, WARM_UP, options.plot)
    return failed


def _drawing() -> Callable[..., None]:
    """What draws; it needs matplotlib, and that is seen before an hour is spent."""
    from plot import draw

    return draw


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="of all runs, without the start"
    )
    parser.add_argument("--run", choices=[kind.name for kind in KINDS], help="by default both")
    parser.add_argument("--seed", type=int, default=SEED, help="says when which fault comes")
    parser.add_argument("--every", type=float, help="seconds between samples; by default 1 to 5")
    parser.add_argument("--directory", type=Path, help="for the samples, a CSV file for each run")
    parser.add_argument("--plot", type=Path, help="an SVG or PNG of them; needs matplotlib")
    parser.add_argument(
        "--plant",
        type=Leak.parse,
        action="append",
        default=[],
        metavar="WHAT=RATE",
        help=f"leak so many a minute (bytes of memory); of {', '.join(LEAKS)}",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
