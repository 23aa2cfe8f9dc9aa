"""The source of another revision, for tools that show two revisions side by side."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def source_of(revision: str, repository: Path) -> Iterator[Path]:
    """Extract `src` of a revision into a temporary directory, and remove it afterwards.

    Exits with the message of git if there is no such revision.
    """
    command = ["git", "archive", revision, "src"]
    archive = subprocess.run(command, cwd=repository, capture_output=True, check=False)
    if archive.returncode:
        sys.exit(archive.stderr.decode().strip())
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder) / "src"
