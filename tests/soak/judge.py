"""Whether figures that were sampled over time are flat: slopes by least squares, with their errors.

It must not know where the figures are from: `samples.py` takes them.

**The error of a slope.** Samples of a process depend on the ones before them: a buffer that is full
now is mostly full two seconds later. Least squares that take them for independent state an error
that is far too small. So the error is the larger one of two. The first is the usual one, multiplied
by what the correlation of neighbouring residuals (rho) costs: sqrt((1 + rho) / (1 - rho)). The
second is that of the means of BLOCKS equal parts of the time, which are long enough not to depend
on each other; it finds the slow swings that the first one misses.

**What explains a part of it.** A process that is losing and making connections has more files and
tasks for each of them. That is no growth, and it hides one. So what `beside` explains of a figure
is taken out of the figure, and of the time, before the line is fitted (the theorem of Frisch, Waugh
and Lovell: the slope is that of least squares with both). `beside` itself has to be judged as well,
without that.

**The judgement.** A figure grows if its slope is over its limit by more than SURE errors. So noisy
figures of a busy machine fail no run, and a leak fails each run that is long enough: the error
falls with the length of the run, to the power of 1.5. `Verdict.finds` says how small a leak the run
finds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean

SURE = 3.0
"""So many errors over its limit, and it is no accident: one in 150 for the twelve parts here, and
only for a figure that grows as fast as its limit."""

MISSES = 2.0
"""With so many errors more, a leak is found in 97 of 100 runs."""

BLOCKS = 12


@dataclass(frozen=True)
class Slope:
    """The growth for each minute, and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.error:.2g}"


@dataclass(frozen=True)
class Limit:
    """What a figure may grow in a minute and be called flat, in `unit`s of `scale`.

    `settling`: what it may grow besides, in all. A process keeps the memory that it once had, so a
    rare peak looks like growth, of which no error of a slope knows.
    """

    growth: float
    unit: str = ""
    scale: float = 1.0
    settling: float = 0.0

    def over(self, minutes: float) -> "Limit":
        """What is allowed in each minute of a run that is so long."""
        return replace(self, growth=self.growth + self.settling / minutes, settling=0.0)


@dataclass(frozen=True)
class Verdict:
    """The judgement of one figure."""

    name: str
    slope: Slope
    limit: Limit

    @property
    def grows(self) -> bool:
        return self.slope.value - SURE * self.slope.error > self.limit.growth

    @property
    def finds(self) -> float:
        """The smallest leak, for each minute, that a run with this error finds."""
        return self.limit.growth + (SURE + MISSES) * self.slope.error


def slope_of(
    minutes: Sequence[float], values: Sequence[float], beside: Sequence[float] = ()
) -> Slope:
    """Fit a line. Raises ValueError if there are too few samples to know the error."""
    if len(minutes) < 2 * BLOCKS:
        raise ValueError(f"{len(minutes)} samples are too few: it takes {2 * BLOCKS}")
    if beside:
        minutes, values = _without(minutes, beside), _without(values, beside)
    value, error, rho = _fitted(minutes, values)
    # The residuals of few samples seem less correlated than they are: about (1 + 3 rho) / n.
    rho = min(0.95, max(0.0, rho + (1 + 3 * max(0.0, rho)) / len(minutes)))
    _, of_blocks, _ = _fitted(_means(minutes), _means(values))
    return Slope(value, max(error * math.sqrt((1 + rho) / (1 - rho)), of_blocks))


def judge(
    minutes: Sequence[float],
    figures: Mapping[str, Sequence[float]],
    limits: Mapping[str, Limit],
    beside: str,
) -> list[Verdict]:
    """Judge each figure that has a limit; `beside` is the name of the one that explains others."""
    length = max(minutes) - min(minutes)
    return [
        Verdict(
            name,
            slope_of(minutes, figures[name], () if name == beside else figures[beside]),
            limit.over(length),
        )
        for name, limit in limits.items()
    ]


def table(verdicts: Sequence[Verdict]) -> str:
    """Spell them out, one a line."""
    rows = [("", "per minute", "± error", "may be", "finds from", "")]
    for each in verdicts:
        by, unit = each.limit.scale, each.limit.unit
        rows.append(
            (
                f"{each.name} {unit}".rstrip(),
                f"{each.slope.value / by:+.3f}",
                f"{each.slope.error / by:.3f}",
                f"{each.limit.growth / by:.4g}",
                f"{each.finds / by:.3g}",
                "GROWS" if each.grows else "flat",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join(_padded(cell, width, place) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    )


def _padded(cell: str, width: int, place: int) -> str:
    return cell.rjust(width) if 0 < place < 5 else cell.ljust(width)


def _fitted(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float, float]:
    """The slope, its error if the residuals are independent, and how far neighbours correlate."""
    count, x, y = len(xs), fmean(xs), fmean(ys)
    spread = sum((each - x) ** 2 for each in xs)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread
    left = [b - y - slope * (a - x) for a, b in zip(xs, ys, strict=True)]
    squares = sum(each**2 for each in left)
    products = sum(a * b for a, b in pairwise(left))
    error = math.sqrt(squares / (count - 2) / spread)
    return slope, error, products / squares if squares else 0.0


def _without(values: Sequence[float], beside: Sequence[float]) -> list[float]:
    """The residuals of `values` once a line on `beside` is fitted to them."""
    if len({*beside}) == 1:
        return [*values]
    slope, _, _ = _fitted(beside, values)
    middle = fmean(beside)
    return [each - slope * (by - middle) for each, by in zip(values, beside, strict=True)]


def _means(values: Sequence[float]) -> list[float]:
    ends = [round(part * len(values) / BLOCKS) for part in range(BLOCKS + 1)]
    return [fmean(values[a:b]) for a, b in pairwise(ends)]
