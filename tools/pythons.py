"""Print the path of one interpreter for each other CPython that gqlwire supports and is here.

Supported are the minor versions of the classifiers in `pyproject.toml`, and later ones as far as
`requires-python` lets them in; of each, the newest release that runs. The running interpreter's
own version is left out. Looks on PATH and among pyenv's versions; runs on Python alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

CLASSIFIER = r"Programming Language :: Python :: 3\.(\d+)"
ROOT = Path(__file__).resolve().parent.parent
# What the package, its tests and `python -m venv` need: a bare build or a dead shim lacks some.
PROBE = """
import ensurepip, json, ssl, sqlite3, sys, sysconfig, venv
print(json.dumps({
    "executable": sys.executable,
    "version": sys.version_info[:3],
    "usable": sys.implementation.name == "cpython"
        and sys.version_info.releaselevel == "final"
        and not sysconfig.get_config_var("Py_GIL_DISABLED"),
}))
"""


class Bounds(NamedTuple):
    """The minor versions of Python 3 that may be tested: all named ones, and later ones."""

    named: frozenset[int]
    least: int
    below: float

    def allow(self, version: tuple[int, ...]) -> bool:
        major, minor = version[:2]
        named = minor in self.named or minor > max(self.named)
        return major == 3 and self.least <= minor < self.below and named


class Python(NamedTuple):
    """One interpreter; the later release is the greater one."""

    version: tuple[int, ...]
    executable: str


def main() -> None:
    supported = bounds(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"])
    newest: dict[int, Python] = {}
    for path in candidates():
        python = probed(path)
        if python is None or not supported.allow(python.version):
            continue
        minor = python.version[1]
        newest[minor] = max(newest.get(minor, python), python)
    newest.pop(sys.version_info.minor, None)
    for _, python in sorted(newest.items()):
        print(python.executable)


def bounds(project: dict[str, Any]) -> Bounds:
    """Read the classifiers and the `>=` and `<` of `requires-python`."""
    named = (re.fullmatch(CLASSIFIER, classifier) for classifier in project["classifiers"])
    requires = project["requires-python"]
    least = re.search(r">=\s*3\.(\d+)", requires)
    below = re.search(r"<\s*3\.(\d+)", requires)
    return Bounds(
        frozenset(int(match[1]) for match in named if match),
        int(least[1]) if least else 0,
        int(below[1]) if below else float("inf"),
    )


def candidates() -> list[Path]:
    """Every file that is called like a Python 3, on PATH and under pyenv."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        if root.returncode == 0:
            folders += sorted(Path(root.stdout.strip()).glob("versions/*/bin"))
    found: dict[Path, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("python3*")):
            if re.fullmatch(r"python3(\.\d+)?", path.name) and os.access(path, os.X_OK):
                found.setdefault(path.resolve(), path)
    return list(found.values())


def probed(path: Path) -> Python | None:
    """Return the interpreter at `path`, or None if it cannot be used."""
    try:
        run = subprocess.run(
            [path, "-c", PROBE], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if run.returncode:
        return None
    answer = json.loads(run.stdout)
    return Python(tuple(answer["version"]), answer["executable"]) if answer["usable"] else None


if __name__ == "__main__":
    main()
