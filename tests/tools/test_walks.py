"""`tools/walks.py`: what it counts in a made-up package, and on live connections."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest
from loading import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

ONE = """
from made_up import two

def plain():
    return two.helper() + two.helper()

def hidden():
    class Body:
        value = [n for n in (lambda: range(3))()]
    return sorted(n for n in Body.value)

class Thing:
    @property
    def both(self):
        return two.helper(), self.own()

    def own(self):
        return two.outside(self.called)

    def called(self):
        return 1

async def waits(pause):
    await two.pauses(pause)
    return two.helper()
"""
TWO = """
def helper():
    return 1

def outside(function):
    return max([1], key=lambda _: function())

async def pauses(pause):
    await pause()
"""


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("walks", monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package `made_up`, with the files `one.py` and `two.py`."""
    package = tmp_path / "made_up"
    package.mkdir()
    for name, source in {"__init__": "", "one": ONE, "two": TWO}.items():
        (package / f"{name}.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("made_up", "made_up.one", "made_up.two"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return package


@pytest.fixture
def one(folder: Path) -> Any:
    return importlib.import_module("made_up.one")


def names(walk: list[Any]) -> list[str]:
    return [f"{entry.file} {entry.function}" for entry in walk]


@pytest.mark.parametrize(
    ("run", "entered", "counted"),
    [
        (
            lambda one: one.plain(),
            ["one.py plain", "two.py helper", "two.py helper"],
            {"files": 2, "functions": 2, "moves": 1},
        ),
        (
            lambda one: one.Thing().both,
            [
                "one.py Thing.both",
                "two.py helper",
                "one.py Thing.own",
                "two.py outside",
                "one.py Thing.called",
            ],
            {"files": 2, "functions": 5, "moves": 4},
        ),
        (
            lambda one: one.hidden(),
            ["one.py hidden"],
            {"files": 1, "functions": 1, "moves": 0},
        ),
        (lambda one: None, [], {"files": 0, "functions": 0, "moves": 0}),
    ],
    ids=["a function", "a property", "what has no name", "nothing"],
)
def test_entries_into_named_functions_are_counted(
    walks: ModuleType,
    one: Any,
    folder: Path,
    run: Callable[[Any], object],
    entered: list[str],
    counted: dict[str, int],
) -> None:
    """A function counts once, and a file once; each change of the file is a move."""
    tracer = walks.Tracer(folder)
    with tracer:
        run(one)

    assert entered == names(tracer.walk)
    assert counted == walks.counted(tracer.walk)


async def test_a_coroutine_that_continues_is_entered_again(
    walks: ModuleType, one: Any, folder: Path
) -> None:
    """As are those that wait for it."""
    tracer = walks.Tracer(folder)
    with tracer:
        await one.waits(lambda: walks.asyncio.sleep(0))

    assert [
        *("one.py waits", "two.py pauses"),
        *("one.py waits", "two.py pauses", "two.py helper"),
    ] == names(tracer.walk)
    assert {"files": 2, "functions": 3, "moves": 3} == walks.counted(tracer.walk)


def test_nothing_is_noted_outside_of_the_tracer(walks: ModuleType, one: Any, folder: Path) -> None:
    """Nor in other packages while it is entered."""
    one.plain()
    tracer = walks.Tracer(folder / "sub")
    with tracer:
        one.plain()
    one.plain()

    assert [] == tracer.walk


def test_functions_of_one_name_are_distinguished(walks: ModuleType) -> None:
    """Such as the getter and the setter of a property."""
    walk = [walks.Entry("a.py", "C.name", 1), walks.Entry("a.py", "C.name", 5)]

    assert 2 == walks.counted(walk)["functions"]


def test_a_list_shows_each_function_once_below_its_file(walks: ModuleType) -> None:
    """In the order in which they were entered first."""
    steps = ["a.py f", "b.py g", "a.py f", "b.py h", "a.py k", "b.py g"]
    walk = [walks.Entry(*step.split(), line=1) for step in steps]

    assert "a.py\n    f\nb.py\n    g\n    h\na.py\n    k\n" == walks.listed(walk)


def test_the_same_code_gives_the_same_walks(walks: ModuleType) -> None:
    """From run to run, and all four: each goes from one file to another."""
    first, second = (walks.walked("gqlwire", walks.ROOT / "src") for _ in range(2))

    assert first == second
    assert {*walks.WALKS} == {*first}
    for walk in first.values():
        counts = walks.counted(walk)
        assert 1 < counts["files"] <= counts["functions"]
        assert counts["files"] <= counts["moves"] + 1
        assert not [entry for entry in walk if entry.file.startswith(("demo/", "cli/"))]


def test_the_table_has_a_column_for_each_source_and_one_for_the_aims(
    walks: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a library does not do has a dash."""
    short = {name: [walks.Entry("a.py", "f", 1)] for name in walks.WALKS}
    path = [walks.Entry(f"{n}.py", "f", 1) for n in range(4)]
    longer = dict.fromkeys(walks.WALKS[:3], path)
    monkeypatch.setattr(walks, "walked", lambda library, *_: longer if library == "gql" else short)

    walks.main(["--before", "HEAD", "--gql", "python"])

    lines = capsys.readouterr().out.splitlines()
    assert "| walk | counted | before (HEAD) | now | gql | aim |" == lines[0]
    assert "| execute | functions | 1 | 1 | 4 | 36 |" in lines
    assert "| connect | moves | 0 | 0 | 3 |  |" in lines
    assert "| drop | moves | 0 | 0 | - | 100 |" in lines


def test_the_path_of_one_walk_can_be_listed(
    walks: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    walks.main(["--list", "execute"])

    assert "    AsyncClientSession.execute\n" in capsys.readouterr().out


def test_a_walk_that_breaks_off_says_why(walks: ModuleType, tmp_path: Path) -> None:
    """The package that it takes is the one it was given."""
    (tmp_path / "gqlwire.py").write_text("raise ImportError('a broken package')")

    with pytest.raises(SystemExit, match="a broken package"):
        walks.walked("gqlwire", tmp_path)
