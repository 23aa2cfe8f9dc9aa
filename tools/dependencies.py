"""Print the names of the packages that `pyproject.toml` declares for users, extras included."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def names(pyproject: str) -> list[str]:
    project = tomllib.loads(pyproject)["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for group in groups for requirement in group)
    return sorted({match[0] for match in found if match})


if __name__ == "__main__":
    sys.stdout.write("\n".join(names((ROOT / "pyproject.toml").read_text("utf-8"))) + "\n")
