"""The judgement of the endurance run finds what is planted, and nothing else."""

import random
from collections import Counter
from pathlib import Path

import pytest
from consumers import Tally
from judge import MISSES, SURE, Limit, Verdict, judge, slope_of, table
from leaks import LEAKS, Bed, Leak
from outcome import Outcome
from samples import BESIDE, LIMITS
from traffic import State, Traffic

RUNS = 50
MINUTES = [number / 12 for number in range(360)]


def noise(chance: random.Random, rho: float, size: float = 1.0) -> list[float]:
    """Values each of which depends on the one before."""
    value, found = 0.0, []
    for _ in MINUTES:
        value = rho * value + chance.gauss(0, size)
        found.append(value)
    return found


def verdicts(rho: float, growth: float = 0.0, limit: float = 0.0) -> list[Verdict]:
    """One for each of RUNS runs whose figure grows by `growth` in a minute."""
    found = []
    for seed in range(RUNS):
        shaken = noise(random.Random(seed), rho)
        values = [growth * at + by for at, by in zip(MINUTES, shaken, strict=True)]
        found.append(Verdict("figure", slope_of(MINUTES, values), Limit(limit)))
    return found


def test_a_line_without_noise_has_no_error() -> None:
    slope = slope_of(MINUTES, [7 + 3 * minute for minute in MINUTES])

    assert 3 == pytest.approx(slope.value)
    assert 0 == pytest.approx(slope.error, abs=1e-9)


def test_what_does_not_change_is_flat() -> None:
    (verdict,) = judge(MINUTES, {"a": [5.0] * 360, "b": [1.0] * 360}, {"a": Limit(0)}, "b")

    assert not verdict.grows


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.97])
def test_noise_is_no_growth(rho: float) -> None:
    """However much samples depend on each other, and with a limit of 0."""
    assert sum(each.grows for each in verdicts(rho)) <= 1


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.97])
def test_the_smallest_leak_that_is_promised_is_found(rho: float) -> None:
    promised = sorted(each.finds for each in verdicts(rho, limit=0.001))[RUNS // 2]

    found = verdicts(rho, growth=promised, limit=0.001)

    assert sum(each.grows for each in found) >= 0.9 * RUNS


def test_growth_within_the_limit_is_allowed() -> None:
    assert not any(each.grows for each in verdicts(0.5, growth=0.9, limit=1.0))


def test_what_settles_is_no_growth_and_no_excuse() -> None:
    """A step of 1 in the middle is not 2 a minute; and one each minute is."""
    limit = {"a": Limit(0.01, settling=4.0)}
    step = [float(minute > 15) for minute in MINUTES]
    flat = [1.0] * len(MINUTES)

    (settled,) = judge(MINUTES, {"a": step, "b": flat}, limit, "b")
    (growing,) = judge(MINUTES, {"a": MINUTES, "b": flat}, limit, "b")

    assert 0.15 > settled.limit.growth
    assert not settled.grows
    assert growing.grows


def test_a_longer_run_finds_less() -> None:
    """Eight times as long: 8 ** 1.5 = 23 times less."""
    values = noise(random.Random(1), 0.5)
    part = len(values) // 8
    short = Verdict("", slope_of(MINUTES[:part], values[:part]), Limit(0)).finds
    long = Verdict("", slope_of(MINUTES, values), Limit(0)).finds

    assert 8 < short / long < 70


def test_what_connections_explain_hides_no_leak() -> None:
    """Each has three files; the leak is far smaller than how much they vary."""
    for seed in range(20):
        chance = random.Random(seed)
        sockets = [20 + each for each in noise(chance, 0.8, 8)]
        files = [3 * by + 0.2 * at for at, by in zip(MINUTES, sockets, strict=True)]
        figures = {"sockets": sockets, "files": files}

        (with_them,) = judge(MINUTES, figures, {"files": Limit(0.1)}, "sockets")
        without = Verdict("files", slope_of(MINUTES, files), Limit(0.1))

        assert with_them.grows
        assert not without.grows


def test_connections_that_are_left_are_a_leak() -> None:
    """They explain what they cost; so they are judged without an explanation."""
    chance = random.Random(2)
    sockets = [20 + 2 * at + by for at, by in zip(MINUTES, noise(chance, 0.5), strict=True)]
    figures = {name: [3 * each for each in sockets] for name in LIMITS} | {BESIDE: sockets}

    growing = [each.name for each in judge(MINUTES, figures, LIMITS, BESIDE) if each.grows]

    assert [BESIDE] == growing


def test_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="23 samples are too few: it takes 24"):
        slope_of(MINUTES[:23], MINUTES[:23])


def test_the_table_says_what_is_found() -> None:
    grown = Verdict("files", slope_of(MINUTES, MINUTES), Limit(0.5))
    flat = Verdict("memory", slope_of(MINUTES, [0.0] * 360), Limit(2048, "KiB", 1024))

    lines = [line.split() for line in table([grown, flat]).splitlines()]

    assert ["files", "+1.000", "0.000", "0.5", "0.5", "GROWS"] == lines[1]
    assert ["memory", "KiB", "+0.000", "0.000", "2", "2", "flat"] == lines[2]
    assert SURE > MISSES


# --- What is counted, not sampled -----------------------------------------------------------------


def heard(*numbers: int) -> Outcome:
    """The outcome of a feed with a cursor that got these."""
    tally = Tally()
    for number in numbers:
        tally.take(number)
    return Outcome("steady", 1, 1.0, lost=tally.lost, doubled=tally.doubled)


def test_each_number_once_and_in_order_is_right() -> None:
    assert [] == heard(1, 2, 3, 4).failures


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ((1, 2, 4), "1 events of feeds with a cursor were lost"),
        ((2, 3), "1 events of feeds with a cursor were lost"),
        ((1, 2, 2, 3), "1 events came twice"),
        ((1, 3, 2), "1 events of feeds with a cursor were lost"),
    ],
)
def test_a_planted_loss_or_double_is_found(numbers: tuple[int, ...], told: str) -> None:
    outcome = heard(*numbers)

    assert told in outcome.failures
    assert f"FAILED: {told}" in str(outcome)


@pytest.mark.parametrize("what", ["lost", "doubled"])
def test_what_is_planted_in_a_run_is_counted(what: str) -> None:
    """Beside the other one, which is planted elsewhere."""
    tallies = [Tally(), Tally()]
    for tally in tallies:
        tally.take(1)
    bed = Bed.__new__(Bed)  # without a session
    bed.tallies = tallies

    LEAKS[what](bed)
    for tally in tallies:
        tally.take(2)

    assert 1 == sum(getattr(tally, what) for tally in tallies)


def test_a_leak_has_a_name() -> None:
    assert Leak("files", 2.5) == Leak.parse("files=2.5")
    with pytest.raises(ValueError, match="water is none of objects, memory"):
        Leak.parse("water=1")


def test_growth_fails_a_run() -> None:
    outcome = Outcome("steady", 1, 1.0)
    outcome.verdicts = [Verdict("files", slope_of(MINUTES, MINUTES), Limit(0.5))]

    assert ["files grows by 1 ± 0 a minute: over 0.5"] == [
        failure.replace(str(outcome.verdicts[0].slope), "1 ± 0") for failure in outcome.failures
    ]


@pytest.mark.parametrize(
    ("states", "ledger", "fault"),
    [
        ([State.ANSWERED], "0\n0\n", "0: ran 2 times"),
        ([State.MAYBE], "0\n0\n", "0: ran 2 times"),
        ([State.ANSWERED], "", "0: answered, and never ran"),
        ([State.UNSENT], "0\n", "0: said to be unsent, and ran"),
        ([State.ANSWERED, State.MAYBE, State.MAYBE, State.UNSENT], "0\n1\n", None),
    ],
)
def test_mutations_are_compared_with_the_servers_count(
    states: list[State], ledger: str, fault: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "ledger"
    file.write_text(ledger)
    traffic = Traffic.__new__(Traffic)  # without a session: nothing is sent
    traffic._states, traffic._count = bytearray(states), len(states)

    counts, faults = traffic.compared(file)

    assert Counter(states) == counts
    assert ([] if fault is None else [fault]) == faults
