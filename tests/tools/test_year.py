"""The simulated year of the docs, in brief: a few clients for some weeks, on the real machinery."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import year  # noqa: E402
from benchmarks.year_world import HOUR, MINUTE, Luck, World  # noqa: E402


def test_two_clients_live_through_some_weeks() -> None:
    """They are away for as long as the server is, and a little more."""
    days, seed = 15, 5
    clients = year.run(ROOT / "src", 2, days, seed, 1)
    world = World(seed, days)
    down = sum(
        max(spell.end, spell.refuses_until) - spell.begin
        for spell in world.spells
        if spell.attempts != "flapping"
    )

    assert 2 == len(clients)
    for client in clients:
        assert 3 < client["connections"] <= client["attempts"]
        assert down / 2 < sum(client["gaps"]) < down + HOUR
        assert 0 == client["errors"]


def test_the_same_seed_is_the_same_year() -> None:
    one, other = World(3, 365), World(3, 365)

    assert one.spells == other.spells
    assert one.spells != World(4, 365).spells
    assert 40 < len(one.spells) < 90
    for spell in one.spells:
        assert spell.begin <= spell.end <= spell.begin + 2 * HOUR
        assert spell.refuses_until <= spell.end + 10 * MINUTE


def test_each_connection_has_an_end_after_its_begin() -> None:
    world = World(3, 365)
    luck, time = Luck(world, 1), 0.0
    ends = 0
    while time < world.end:
        lasts, _ = luck.end_of_connection(time)
        assert lasts > 0
        time, ends = time + lasts, ends + 1
    assert 100 < ends < 3_000


def test_the_table_and_the_plot_of_the_docs_are_those_of_the_results() -> None:
    """Who simulates again puts the table into the page."""
    results = json.loads(year.RESULTS.read_text("utf-8"))
    page = (ROOT / "docs" / "policy.md").read_text("utf-8")

    assert year.table(results["figures"]) in page
    assert f"{results['figures']['now']['clients']:,.0f} clients" in page
    assert "](year.svg)" in page
    assert year.PLOT.exists()
