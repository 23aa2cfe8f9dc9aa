"""`tools/layout.py`: what it counts in packages whose figures are known."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from loading import load

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


class Package:
    """A package called `made` that a test writes, and its measures."""

    def __init__(self, layout: ModuleType, folder: Path) -> None:
        self.layout = layout
        self.folder = folder / "made"

    def measured(self, **sources: str) -> Any:
        """Measure modules given by name; two underscores stand for a slash."""
        self.write("__init__", "")
        for name, source in sources.items():
            self.write(name.replace("__", "/"), source)
        return self.layout.measured(self.folder)

    def figures(self, **sources: str) -> dict[str, float]:
        return self.measured(**sources).figures

    def write(self, name: str, source: str) -> None:
        path = self.folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, "utf-8")
        (path.parent / "__init__.py").touch()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    return Package(load("layout", monkeypatch), tmp_path)


def test_modules_lines_and_rooms_are_counted(made: Package) -> None:
    """`__init__.py` is a module. The package's own is in the root, and is a room."""
    figures = made.figures(a="x = 1\ny = 2\n", sub__b="", sub__deep__c="z = 3\n")

    assert 6 == figures["modules"]
    assert 2 == figures["modules in the root"]
    assert 3 == figures["rooms"]
    assert 3 == figures["lines"]


def test_floors_are_the_longest_path_of_imports(made: Package) -> None:
    """A shorter way between the same modules changes nothing."""
    figures = made.figures(a="from made import b, c\n", b="import made.c\n", c="")

    assert 3 == figures["floors of modules"]
    assert 3 == figures["arrows between modules"]
    assert 0 == figures["cycles of modules"]


def test_a_cycle_is_one_floor(made: Package) -> None:
    figures = made.figures(
        a="from made.b import x\n",
        b="from made.c import x\n",
        c="from made.b import y\nfrom made.d import x\n",
        d="",
    )

    assert 3 == figures["floors of modules"]
    assert 1 == figures["cycles of modules"]


def test_two_cycles_that_touch_are_one(made: Package) -> None:
    figures = made.figures(
        a="import made.b\n", b="import made.a, made.c\n", c="import made.b\n", d="", e=""
    )

    assert 1 == figures["cycles of modules"]
    assert 1 == figures["floors of modules"]


@pytest.mark.parametrize(
    ("source", "only_in_functions", "only_for_types"),
    [
        ("import made.b", 0, 0),
        ("try:\n  import made.b\nexcept ImportError:\n  pass", 0, 0),
        ("class C:\n  import made.b", 0, 0),
        ("def f():\n  import made.b", 1, 0),
        ("class C:\n  async def f(self):\n    if self:\n      import made.b", 1, 0),
        ("if TYPE_CHECKING:\n  import made.b", 0, 1),
        ("if typing.TYPE_CHECKING:\n  from made import b", 0, 1),
        ("def f():\n  if TYPE_CHECKING:\n    import made.b", 0, 1),
        ("if TYPE_CHECKING:\n  pass\nelse:\n  import made.b", 0, 0),
        ("if TYPE_CHECKING:\n  import made.b\ndef f():\n  import made.b", 1, 0),
        ("def f():\n  import made.b\nimport made.b", 0, 0),
    ],
)
def test_all_kinds_of_imports_are_arrows(
    made: Package, source: str, only_in_functions: int, only_for_types: int
) -> None:
    """Of two imports of the same module the one that runs first decides the kind."""
    figures = made.figures(a=source, b="")

    assert 1 == figures["arrows between modules"]
    assert 2 == figures["floors of modules"]
    assert only_in_functions == figures["arrows only inside functions"]
    assert only_for_types == figures["arrows only for type checkers"]


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("sub__a", "from . import b", "made.sub.b"),
        ("sub__a", "from .b import x", "made.sub.b"),
        ("sub__a", "from . import x", "made.sub"),
        ("sub__a", "from .. import top", "made.top"),
        ("sub__a", "from ..top import x", "made.top"),
        ("sub____init__", "from .b import x", "made.sub.b"),
        ("sub____init__", "from ..top import x", "made.top"),
        ("sub__a", "from made.sub import b", "made.sub.b"),
        ("sub__a", "from made.sub import x", "made.sub"),
        ("sub__a", "import made.sub.b as c", "made.sub.b"),
        ("sub__a", "from made import x", "made"),
    ],
)
def test_an_import_points_to_the_module_it_names(
    made: Package, module: str, source: str, target: str
) -> None:
    """Relative imports start from the package, as Python reads them."""
    (made.folder / "sub").mkdir(parents=True)
    made.write("sub/b", "")
    made.write("top", "")
    made.write(module.replace("__", "/", 1), source)

    modules = made.layout.parsed(made.folder)
    (arrow,) = made.layout.arrows_of(modules)

    assert target == arrow[1]


def test_other_packages_are_no_arrows(made: Package) -> None:
    """Nor is a package whose name begins alike, nor a module that imports itself."""
    figures = made.figures(a="import os, made_up.b\nfrom asyncio import b\nimport made.a\n", b="")

    assert 0 == figures["arrows between modules"]


def test_rooms_hide_what_is_inside_them(made: Package) -> None:
    """Two packages may import each other without any cycle of modules."""
    figures = made.figures(
        top="from made.one import a\n",
        one__a="from made.one import b\n",
        one__b="from made.two import c\n",
        two__c="from made.one import d\n",
        one__d="",
    )

    assert (5, 4) == (figures["floors of modules"], figures["arrows between modules"])
    assert (2, 3) == (figures["floors of rooms"], figures["arrows between rooms"])
    assert (0, 1) == (figures["cycles of modules"], figures["cycles of rooms"])


def test_functions_are_measured_as_the_budget_does(made: Package) -> None:
    """Without docstrings; nine of ten is the ninth of ten."""
    small = "".join(f"def f{n}():\n    pass\n" for n in range(8))
    middle = 'def g():\n    """One.\n\n    Two."""\n    pass\n    pass\n'
    large = "async def h():\n" + "    pass\n" * 9

    figures = made.figures(a=small + middle, b=large)

    assert 10 == figures["functions"]
    assert 2 == figures["lines of the median function"]
    assert 3 == figures["lines of nine of ten functions, at most"]
    assert 10 == figures["lines of the longest function"]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(self):\n  self.a = self.b = 1", {"a", "b"}),
        ("def f(self):\n  self.a = 1\n def g(self):\n  self.a = 2", {"a"}),
        ("def f(self):\n  self.a: int\n  self.b: int = 1\n  self.c += 1", {"a", "b", "c"}),
        ("def f(self):\n  self.a, (x, self.b) = 1, (2, 3)", {"a", "b"}),
        ("async def f(me):\n  for me.a in []:\n   pass", {"a"}),
        ("def f(self, other):\n  other.a = self.b.c = self.d[0] = 1", set()),
        ("def f():\n  pass", set()),
        ("__slots__ = ('a', '__weakref__')\n def f(self):\n  self.b = 1", {"a", "b"}),
        ("a: int\n b: int = 1\n c = 2", set()),
    ],
)
def test_attributes_are_what_methods_assign(made: Package, source: str, names: set[str]) -> None:
    """On their first argument, by whatever statement; and the slots."""
    (node,) = made.layout.ast.parse(f"class C:\n {source}\n").body

    assert names == made.layout.attributes(node)


@pytest.mark.parametrize(
    "head",
    [
        "@dataclass\nclass C:",
        "@dataclasses.dataclass(frozen=True)\nclass C:",
        "class C(Struct, frozen=True):",
        "class C(msgspec.Struct):",
    ],
)
def test_fields_are_attributes(made: Package, head: str) -> None:
    """Where the annotations of a class make fields; a ClassVar makes none."""
    (node,) = made.layout.ast.parse(f"{head}\n a: int\n b: int = 1\n c: ClassVar[int] = 2\n").body

    assert {"a", "b"} == made.layout.attributes(node)


def test_of_two_classes_with_one_name_the_larger_counts(made: Package) -> None:
    small, large = (f"class C:\n def f(self):\n  {body} = 1\n" for body in ("self.a", "self.a.b"))

    layout = made.measured(a=large, b=small)

    assert {"C": 1} == layout.attributes


def with_attributes(name: str, count: int) -> str:
    """The text of a class with so many attributes."""
    return f"class {name}:\n def f(self):\n  " + "; ".join(f"self.a{n} = 1" for n in range(count))


def test_the_ten_largest_classes_are_shown_and_always_the_four_big_ones(made: Package) -> None:
    """The others in the order of their size; one that is missing has a dash."""
    classes = [with_attributes(f"C{n}", n) for n in range(1, 13)]
    classes += [with_attributes("EventStream", 1), with_attributes("Connection", 20)]

    table = made.layout.table({"now": made.measured(a="\n".join(classes))})

    shown = [line for line in table.splitlines() if line.startswith("| attributes")]
    assert [
        "| attributes of `Connection` | 20 |",
        "| attributes of `WebsocketsTransport` | - |",
        "| attributes of `ReconnectingTransport` | - |",
        "| attributes of `EventStream` | 1 |",
        *(f"| attributes of `C{n}` | {n} |" for n in range(12, 3, -1)),
    ] == shown


class Repository:
    """A git repository with a `src/gqlwire`, in which the tool is at home."""

    def __init__(self, layout: ModuleType, folder: Path) -> None:
        self.layout = layout
        self.folder = folder
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=self.folder, check=True)

    def write(self, name: str, source: str) -> None:
        package = self.folder / "src" / "gqlwire"
        package.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(source, "utf-8")

    def commit(self) -> None:
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "Change")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    layout = load("layout", monkeypatch)
    monkeypatch.setattr(layout, "ROOT", tmp_path)
    found = Repository(layout, tmp_path)
    found.write("a.py", "x = 1\n")
    found.commit()
    found.write("b.py", "import gqlwire.a\n" + with_attributes("Connection", 2))
    return found


def test_another_revision_is_shown_beside_the_working_tree(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not committed counts as now."""
    repository.layout.main(["--before", "HEAD"])

    lines = capsys.readouterr().out.splitlines()
    assert ["| | before (HEAD) | now |", "|---|---:|---:|", "| modules | 1 | 2 |"] == lines[:3]
    assert "| arrows between modules | 0 | 1 |" in lines
    assert "| attributes of `Connection` | - | 2 |" in lines


def test_the_same_figures_come_as_json(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.layout.main(["--before", "HEAD", "--json"])

    figures = json.loads(capsys.readouterr().out)
    assert 1 == figures["before (HEAD)"]["figures"]["modules"]
    assert 2 == figures["now"]["figures"]["modules"]
    assert {"Connection": 2} == figures["now"]["attributes"]


def test_a_revision_that_does_not_exist_ends_with_the_words_of_git(repository: Repository) -> None:
    with pytest.raises(SystemExit, match="absent"):
        repository.layout.main(["--before", "absent"])
