"""A package was imported and not declared, and one that is used in parts that are not public had no
upper bound: its next release could break gqlwire.

What is imported is declared, with a lower bound; what is used in such parts, with an upper one.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "gqlwire"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DISTRIBUTIONS = packages_distributions()

# Which modules may use an extra.
USERS_OF_EXTRAS = {
    "deflate": ("_wire/deflate.py",),
    "pydantic": ("_payloads/reader.py",),
    "demo": ("demo/",),
}
# Modules within packages that their documentation has, apart from the packages themselves.
DOCUMENTED = {
    "msgspec.inspect",
    "msgspec.json",
    "msgspec.structs",
    "starlette.applications",
    "starlette.responses",
    "starlette.routing",
    "strawberry.asgi",
    "strawberry.types",
    "websockets.exceptions",
    "websockets.extensions.permessage_deflate",
}


class Import(NamedTuple):
    """One import of something that is neither Python's nor ours."""

    file: str
    module: str
    name: str | None

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def is_public(self) -> bool:
        """Whether the documentation has it: of the package itself, or of a module of it."""
        parts = [*self.module.split("."), self.name or ""]
        if any(part.startswith("_") for part in parts):
            return False
        if self.module in {self.package, *DOCUMENTED}:
            return True
        return self.name in getattr(import_module(self.package), "__all__", ())


def imports_in(text: str, file: str) -> Iterator[Import]:
    """What a module imports at runtime, wherever it does."""
    for node in running(ast.parse(text)):
        if isinstance(node, ast.Import):
            found = [Import(file, each.name, None) for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found = [Import(file, node.module, each.name) for each in node.names]
        else:
            continue
        for each in found:
            if each.package not in {"gqlwire", *sys.stdlib_module_names}:
                yield each


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers see."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from running(child)
        else:
            for other in child.orelse:
                yield from running(other)


def imports() -> list[Import]:
    return [
        found
        for path in sorted(SOURCE.rglob("*.py"))
        for found in imports_in(path.read_text("utf-8"), path.relative_to(SOURCE).as_posix())
    ]


def declared(file: str) -> dict[str, Requirement]:
    """The requirements by name that a module may rely on: those of all, and of its extras."""
    texts = [*PROJECT["dependencies"]]
    for extra, places in USERS_OF_EXTRAS.items():
        texts += EXTRAS[extra] if file.startswith(places) else []
    return {each.name: each for each in map(Requirement, texts)}


def faults_of(found: Import) -> list[str]:
    """What is wrong with the declaration of an import."""
    names = DISTRIBUTIONS.get(found.package, [])
    requirement = next((declared(found.file).get(name) for name in names), None)
    if requirement is None:
        return [f"{found.file} imports {found.package}, which is not declared"]
    operators = {each.operator for each in requirement.specifier}
    faults = [] if ">=" in operators else [f"{requirement} has no lower bound"]
    if not found.is_public and "<" not in operators:
        faults.append(f"{requirement} has no upper bound: {found.file} uses {found.module}")
    return faults


def requirements() -> list[Requirement]:
    texts = [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
    return [*map(Requirement, texts)]


# --- The row's own -------------------------------------------------------------------------------


def test_k10_python_socks_is_declared() -> None:
    """What gqlwire imports of it, and not only what picows brings along."""
    [found, *_] = [each for each in imports() if each.package == "python_socks"]

    assert "python-socks" in declared(found.file)
    assert faults_of(found) == []


def test_k10_picows_has_an_upper_bound_by_minor_release() -> None:
    """Its internals change without notice. What is installed is within the bound."""
    [picows] = [each for each in requirements() if each.name == "picows"]
    bounds = {each.operator: each.version for each in picows.specifier}
    lower, upper = (bounds[operator].split(".") for operator in (">=", "<"))

    assert (lower[0], int(lower[1]) + 1) == (upper[0], int(upper[1]))
    assert any(not each.is_public for each in imports() if each.package == "picows")
    assert picows.specifier.contains(version("picows"))


# --- Its kind ------------------------------------------------------------------------------------


def test_k10_kind_each_import_is_declared() -> None:
    """For all, or in the extra of the module; with the bounds that it needs."""
    found = imports()

    assert {"aiofastnet", "picows", "websockets", "strawberry"} <= {each.package for each in found}
    assert [] == [fault for each in found for fault in faults_of(each)]


def test_k10_kind_each_declaration_is_used() -> None:
    """But for what strawberry's own extra and uvicorn load by themselves."""
    used = {name for each in imports() for name in DISTRIBUTIONS[each.package]}

    assert {each.name for each in requirements()} - used == set()


def test_k10_kind_what_is_installed_is_within_the_bounds() -> None:
    """Of every package: the tests would not show it otherwise."""
    assert [
        str(each)
        for each in requirements()
        if not each.specifier.contains(version(each.name), prereleases=True)
    ] == []


@pytest.mark.parametrize(
    ("text", "file", "fault"),
    [
        ("import trustme", "client/client.py", "not declared"),
        ("def f():\n    from hypothesis import given", "cli/_run.py", "not declared"),
        ("import pydantic", "client/client.py", "not declared"),
        ("from websockets.frames import Frame", "_wire/dial.py", "not declared"),
        ("from multidict._multidict_py import CIMultiDict", "_wire/answer.py", "no upper bound"),
        ("import msgspec._utils", "_json.py", "no upper bound"),
        ("from python_socks.async_ import asyncio", "_wire/reach.py", "no upper bound"),
        ("from aiofastnet import _helpers", "_wire/reach.py", "no upper bound"),
        ("from picows.picows import WSProtocol", "_wire/dial.py", ""),
        ("from picows import WSError", "_wire/dial.py", ""),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import attrs", "retry.py", ""),
        ("import json, asyncio\nfrom . import wire\nfrom gqlwire import Client", "retry.py", ""),
    ],
)
def test_k10_kind_the_check_finds_what_it_should(text: str, file: str, fault: str) -> None:
    """Imports as somebody may write them next."""
    faults = [each for found in imports_in(text, file) for each in faults_of(found)]

    assert bool(fault) is bool(faults)
    assert all(fault in each for each in faults)


def test_k10_kind_the_next_releases_are_tried() -> None:
    """Each week, by a target that installs each package that users get, pre-releases included."""
    workflow = (ROOT / ".github/workflows/newest.yml").read_text("utf-8")
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\ntest-newest:")[2].split("\n\n")[0]

    assert "make test-newest" in workflow
    assert re.search(r"cron: ", workflow)
    assert "--upgrade --pre" in recipe
    assert "tools/dependencies.py" in recipe
    assert "-m pytest" in recipe


def test_k10_kind_the_target_names_each_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of `tools/dependencies.py`."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    dependencies = import_module("dependencies")

    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert dependencies.names(text) == sorted({each.name for each in requirements()})
