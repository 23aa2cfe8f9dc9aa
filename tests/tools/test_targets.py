"""`make test` and `make test-all`: together they run every test, and what they say is seen."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loading import load

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
# What a target may say to pytest besides `-m`, so that it runs every test which that selects.
HARMLESS = {"-q", "-n", "2", "4", "--dist", "worksteal", "--hypothesis-profile=whole"}


def selections(target: str, **variables: str) -> list[str]:
    """The marker expressions of the calls of pytest that a target makes, without further makes."""
    # What an outer make was told would reach this one.
    told = ("MAKE", "MFLAGS", "COVER")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    command = ["make", "--no-print-directory", "-n", "MAKE=true", target]
    command += [f"{name}={value}" for name, value in variables.items()]
    run = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=True)
    found = []
    for line in run.stdout.replace("\\\n", " ").splitlines():
        _, is_call, said = line.partition("-m pytest ")
        if is_call:
            *options, mark, expression = shlex.split(said)
            assert "-m" == mark, line
            assert {*options} <= HARMLESS, line
            found.append(expression)
    return found


def test_each_test_is_run_by_a_target() -> None:
    """Whatever marks it has: one of the expressions selects it."""
    expressions = selections("test") + selections("test-all")
    marks = sorted({*re.findall(r"\w+", " ".join(expressions))} - {"not", "or", "and"})

    assert 3 == len(expressions)
    for chosen in product([False, True], repeat=len(marks)):
        has = dict(zip(marks, chosen, strict=True))
        assert any(eval(each, {}, has) for each in expressions), has


def test_what_is_covered_is_what_is_tested() -> None:
    """So a gate of coverage fails for what `make test` does not run."""
    (tested,) = selections("test")
    covered, _ = selections("test-all")

    assert tested == covered == selections("test-only")[0]


def test_ci_spares_a_run_and_no_test() -> None:
    """What is covered is a run of `make test` itself."""
    assert selections("test", COVER="yes") == selections("test")
    assert selections("test", COVER="yes") + selections("test-all", COVER="done") == selections(
        "test-all"
    )


@pytest.mark.parametrize("flags", ["COVER=done", " -- COVER=done", "n", "k -- COVER=yes"])
def test_an_outer_make_changes_nothing(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests run within `make test-all COVER=done`."""
    plain = selections("test-all")
    for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "COVER"):
        monkeypatch.setenv(name, flags.rpartition("=")[2] if name == "COVER" else flags)

    assert plain == selections("test-all")


def collected(*options: str) -> set[str]:
    """The cases of a sampled test that a call of pytest would run."""
    test = "tests/failures/test_f4_killed.py::test_f4_kind_a_process_that_is_killed_misses_no_event"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", test, *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {line for line in run.stdout.splitlines() if "::" in line}


def test_a_sampled_test_runs_whole_in_one_of_them() -> None:
    """And each n-th of its cases in `make test`."""
    (short,) = selections("test")
    _, long = selections("test-all")
    brief, rest = collected("-m", short), collected("-m", long)

    assert brief
    assert rest
    assert brief | rest == collected()
    assert not brief & rest


def test_each_file_with_tests_is_found() -> None:
    """By its name; another one would never run."""
    lost = [
        path.name
        for path in (ROOT / "tests").glob("*/**/*.py")
        if not path.name.startswith("test_") and "node_modules" not in path.parts
        for node in ast.parse(path.read_text("utf-8")).body
        if getattr(node, "name", "").startswith("test_")
    ]

    assert [] == lost


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    tool = load("stage", monkeypatch)
    monkeypatch.setattr(tool, "SILENCE", 0.2)
    monkeypatch.setattr(tool.signal, "signal", lambda *_: None)
    return tool


@pytest.mark.parametrize(
    ("code", "status", "end"),
    [
        ("", 0, r"\d s"),
        ("import sys; sys.exit(3)", 3, r"failed with status 3 after \d s"),
        ("import os; os.kill(os.getpid(), 9)", 137, r"failed with status -9 after \d s"),
    ],
)
def test_a_stage_says_what_it_is_and_how_it_ended(
    stage: ModuleType, code: str, status: int, end: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the command said is between, from stderr as well."""
    said = "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True); "
    command = [sys.executable, "-c", said + code]

    assert status == stage.main(["a title", "a minute", *command])

    expected = (
        rf"== a title: about a minute\n(   \d+ s\n)*out\nerr\n(   \d+ s\n)*== a title: {end}\n"
    )
    assert re.fullmatch(expected, capfd.readouterr().out)


def test_a_stage_is_not_silent(stage: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """Amid a line, too."""
    code = "import time; print('.', end='', flush=True); time.sleep(0.7)"

    assert 0 == stage.main(["a title", "a minute", sys.executable, "-c", code])

    assert re.search(r"minute\n(   \d s\n)*\.\n   \d s\n   \d s\n", capfd.readouterr().out)
