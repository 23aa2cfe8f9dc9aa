"""The reports of the results: `results.md`, and the blocks of the page in the docs.

A block of a page stands between `<!-- results: NAME -->` and `<!-- /results -->`, and is written
by `python -m benchmarks --docs`; the text around it is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import comparisons, targets
from benchmarks.results import Results
from benchmarks.scenarios import ALL, TITLES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
BLOCK = re.compile(r"(<!-- results: (?P<name>[a-z_]+) -->\n).*?(<!-- /results -->)", re.DOTALL)


class UnknownBlock(Exception):
    """A page asks for a block that does not exist."""


def markdown(results: Results) -> str:
    """Return everything as one page."""
    parts = ["# Benchmark results", made(results), "## Targets", to_reach(results)]
    parts += ["## Where gqlwire is not ahead", behind(results)]
    for name, title in TITLES.items():
        if any(results.matching(name)):
            parts += [f"## {title}", f"![{title}]({name}.svg)", tables(results, name)]
    if results.failures:
        parts += ["## What failed", *(f"- {failure}" for failure in results.failures)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def block(results: Results, name: str) -> str:
    """Return the text of a block of a page. Raises UnknownBlock."""
    writers = {"made": made, "to_reach": to_reach, "behind": behind}
    if name in writers:
        return writers[name](results)
    if name in ALL:
        return tables(results, name)
    raise UnknownBlock(name)


def page_with(results: Results, page: str) -> str:
    """Return a page with its blocks replaced. Raises UnknownBlock."""
    return BLOCK.sub(
        lambda found: found[1] + "\n" + block(results, found["name"]).strip() + "\n\n" + found[3],
        page,
    )


def tables(results: Results, name: str) -> str:
    """Return the tables of a scenario."""
    return "\n".join(table.markdown() for table in ALL[name].tables(results))


def to_reach(results: Results) -> str:
    """Return the table of the targets, without its title."""
    table = targets.table(results)
    table.title = ""
    return table.markdown()


def behind(results: Results) -> str:
    """Return a table of the figures in which peers are as good or better."""
    table = comparisons.behind(results)
    return table.markdown() if table.rows else "Nowhere in this run.\n"


def made(results: Results) -> str:
    """Return when, how and on which machine it was measured."""
    machine, about = results.machine, results.about
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    lines = [
        (
            f"- when: {about['date']}, `{about['command']}`, {about['rounds']} rounds, "
            f"{about['minutes']:g} minutes"
        ),
        (
            f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
            f"{machine['kernel']}, governor {machine['governor'] or 'unknown'}"
        ),
        f"- versions: {versions}",
    ]
    if about["scale"] != 1:
        lines.append(f"- only {about['scale']:.0%} of the events of a whole run")
    lines += [f"- {note}" for note in results.notes]
    lines += [f"- not fed fast enough: {name}" for name in comparisons.starved(results)]
    return "\n".join(lines) + "\n"
